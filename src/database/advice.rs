//! From what a database says to what can be done about it: one table, so that the same cause gets
//! the same sentence wherever it is met.

use std::io;

/// A cause: an SQLSTATE or its class (SQLite: the code), words of the message, and the next step.
type Cause = (&'static str, &'static str, &'static str);

const SESSION_POOL: &str = "this is a pooler in transaction mode, which lends another server \
    connection for each transaction: connect to PostgreSQL itself, or to a pool in session mode \
    (PgBouncer: pool_mode = session)";

/// The first that fits counts.
const CAUSES: &[Cause] = &[
    (
        "42501",
        "must be owner of",
        "connect as the user that owns it, or give it to this one (ALTER TABLE … OWNER TO …)",
    ),
    ("42P01", "", "is this Anchore's database?"),
    ("1", "no such table", "is this Anchore's database?"),
    (
        "25006",
        "",
        "connect to the primary, not to a standby; where it is the primary, default_transaction_read_only is set for this user or database",
    ),
    (
        "8",
        "readonly",
        "make the file and its directory writable for this user",
    ),
    ("53100", "", "free some space, then resume"),
    ("13", "", "free some space, then resume"),
    (
        "53200",
        "",
        "the server has run out of memory: lower --concurrency, or see to the server",
    ),
    (
        "53300",
        "for role",
        "close some of that user's connections, or raise its limit (ALTER ROLE … CONNECTION LIMIT …)",
    ),
    (
        "53300",
        "for database",
        "close some of its connections, or raise its limit (ALTER DATABASE … CONNECTION LIMIT …)",
    ),
    (
        "53300",
        "",
        "close some of the server's connections, or raise max_connections",
    ),
    (
        "08P01",
        "no more connections allowed",
        "close some of the pooler's connections, or raise its max_client_conn",
    ),
    (
        "08P01",
        "unsupported startup parameter",
        "the pooler in between refuses a setting: take it out of the database URL, or name it in the pooler's ignore_startup_parameters",
    ),
    (
        "08P01",
        "transaction blocks not allowed",
        "this is a pooler in statement mode: connect to PostgreSQL itself, or to a pool in session mode (PgBouncer: pool_mode = session)",
    ),
    (
        "08P01",
        "query_wait_timeout",
        "the pooler has no server connection to lend: raise its pool size",
    ),
    ("26000", "prepared statement", SESSION_POOL),
    ("42P05", "prepared statement", SESSION_POOL),
    (
        "22P05",
        "",
        "the database keeps its text in an encoding that lacks this character",
    ),
    (
        "22021",
        "",
        "the database keeps its text in an encoding that lacks this character",
    ),
    (
        "42704",
        "unrecognized configuration parameter",
        "take it out of the options in the database URL",
    ),
    ("57014", "statement timeout", "allow more with --db-timeout"),
    (
        "55P03",
        "",
        "another session holds a lock on it: end that one (pg_stat_activity shows it), then try again",
    ),
    (
        "XX001",
        "",
        "the database is damaged: stop, and restore or repair it before anything else is written",
    ),
    ("XX002", "", "an index is damaged: REINDEX it, then resume"),
];

/// What can be done, where there is something to say.
pub(super) fn advice(code: &str, said: &str) -> Option<String> {
    if code == "42501"
        && let Some(grant) = grant(said)
    {
        return Some(grant);
    }
    let fits = |(known, words, _): &&Cause| *known == code && said.contains(words);
    CAUSES
        .iter()
        .find(fits)
        .map(|(.., next)| (*next).to_owned())
}

/// The statement that grants what was denied.
fn grant(said: &str) -> Option<String> {
    let (kind, name) = said
        .strip_prefix("permission denied for ")?
        .split_once(' ')?;
    // PostgreSQL 10 and before say "relation", also of a sequence.
    let rights = match kind {
        "schema" => "USAGE, CREATE ON SCHEMA ",
        "sequence" => "USAGE ON SEQUENCE ",
        "relation" if name.ends_with("_seq") => "USAGE ON SEQUENCE ",
        "table" | "relation" => "SELECT, INSERT, UPDATE, DELETE ON ",
        "database" => "CONNECT ON DATABASE ",
        "function" => "EXECUTE ON FUNCTION ",
        _ => return None,
    };
    Some(format!(
        "connect as Anchore's own user, or let the owner grant it: GRANT {rights}{name} TO …; (the \
         database user of windlass)"
    ))
}

/// What may be in the way of a connection that was not even begun.
pub(super) fn of_unreachable(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nobody listens there: check host and port in the database URL, and that the server runs"
        }
        io::ErrorKind::NotFound => {
            "a file is not there: the socket's directory that the database URL names as its host, or \
             one of sslrootcert, sslcert and sslkey"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not use it: look at the owner of the socket, and of the files that \
             sslrootcert, sslcert and sslkey name"
        }
        io::ErrorKind::TimedOut => "check the network and its firewalls",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "whoever listens there hung up: check that it is PostgreSQL, and what its log says"
        }
        _ => "check that the server runs there and accepts connections",
    }
}

/// What is wrong with certificates, by rustls's names for it.
pub(super) fn of_tls(said: &str) -> &'static str {
    const CAUSES: &[(&str, &str)] = &[
        (
            "UnknownIssuer",
            "nobody that is trusted has signed the server's certificate: name its root with sslrootcert",
        ),
        (
            "NotValidForName",
            "the server's certificate is for another host name: use the one that it names, or sslmode=verify-ca",
        ),
        (
            "Expired",
            "the server's certificate has run out: renew it, or set the clock right",
        ),
        (
            "NotValidYet",
            "the server's certificate is not valid yet: set the clock right",
        ),
        (
            "CaUsedAsEndEntity",
            "the server shows a root certificate as its own: give it one that a root has signed, or use sslmode=require",
        ),
        (
            "UnsupportedCertVersion",
            "the server's certificate is of an old version: give it one of version 3",
        ),
        (
            "does not support",
            "the server offers none: use sslmode=prefer, or turn ssl on in its configuration",
        ),
        (
            "InvalidCertificate",
            "a certificate file does not hold what it should: sslrootcert, sslcert and sslkey are PEM files",
        ),
        (
            "certificate required",
            "the server wants to see a certificate: name one with sslcert and sslkey",
        ),
        (
            "CertificateRequired",
            "the server wants to see a certificate: name one with sslcert and sslkey",
        ),
    ];
    let found = CAUSES.iter().find(|(words, _)| said.contains(words));
    found.map_or(
        "check sslmode and sslrootcert in the database URL, and --db-use-ssl",
        |(_, next)| next,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_gets_its_next_step() {
        for (code, said, next) in [
            (
                "42501",
                "permission denied for table archive_metadata",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON archive_metadata TO",
            ),
            (
                "42501",
                "permission denied for relation tasks_id_seq",
                "GRANT USAGE ON SEQUENCE tasks_id_seq TO",
            ),
            (
                "42501",
                "permission denied for sequence tasks_id_seq",
                "GRANT USAGE ON SEQUENCE tasks_id_seq TO",
            ),
            (
                "42501",
                "permission denied for schema public",
                "GRANT USAGE, CREATE ON SCHEMA public TO",
            ),
            (
                "42501",
                "must be owner of table windlass_objects",
                "OWNER TO",
            ),
            (
                "25006",
                "cannot execute INSERT in a read-only transaction",
                "connect to the primary",
            ),
            ("53300", "too many connections for role \"a\"", "ALTER ROLE"),
            (
                "53300",
                "too many connections for database \"a\"",
                "ALTER DATABASE",
            ),
            (
                "53300",
                "sorry, too many clients already",
                "max_connections",
            ),
            (
                "08P01",
                "unsupported startup parameter: options",
                "ignore_startup_parameters",
            ),
            (
                "26000",
                "prepared statement \"sqlx_s_1\" does not exist",
                "pool_mode = session",
            ),
            (
                "42P05",
                "prepared statement \"sqlx_s_1\" already exists",
                "pool_mode = session",
            ),
            ("22P05", "character with byte sequence …", "encoding"),
            ("1", "no such table: archive_document", "Anchore's database"),
        ] {
            let said = advice(code, said).unwrap_or_else(|| panic!("{code} {said}"));
            assert!(said.contains(next), "{code}: {said}");
        }
        assert_eq!(advice("23505", "duplicate key"), None);
        assert_eq!(advice("42501", "must be superuser"), None);
    }

    #[test]
    fn what_is_not_there_is_no_server_that_does_not_run() {
        let of = |kind: io::ErrorKind| of_unreachable(&kind.into());
        assert!(of(io::ErrorKind::ConnectionRefused).contains("nobody listens"));
        assert!(of(io::ErrorKind::NotFound).contains("a file is not there"));
        assert!(of(io::ErrorKind::PermissionDenied).contains("may not"));
    }

    #[test]
    fn certificates_are_told_by_what_is_wrong_with_them() {
        for (said, next) in [
            ("invalid peer certificate: UnknownIssuer", "sslrootcert"),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "a root certificate as its own",
            ),
            (
                "invalid peer certificate: certificate not valid for name \"a\"; NotValidForName",
                "another host name",
            ),
            ("server does not support TLS", "sslmode=prefer"),
            ("what nobody knows", "check sslmode"),
        ] {
            assert!(of_tls(said).contains(next), "{said}");
        }
    }
}
