//! The options of libpq, psycopg2 and pg8000 that change nothing here: those that it does no harm
//! to ignore, and those that would.
//!
//! The list of libpq is the one of PostgreSQL 18. `docs/compatibility.md` carries the same.

use super::query::{truth, wrong};
use super::{DatabaseUrlError, PostgresUrl};

/// Known, and without an effect that anybody could miss: no word about them.
const SILENT: [&str; 9] = [
    "application_name",
    "fallback_application_name",
    "client_encoding",
    // Obsolete in libpq itself.
    "tty",
    "authtype",
    "gsslib",
    "krbsrvname",
    "gssdelegation",
    "max_prepared_statements",
];

/// Ignored with a word: a guard of windlass's own stands in their place, or there is none to miss.
const IGNORED: [(&str, &str); 12] = [
    ("keepalives", GUARDED),
    ("keepalives_idle", GUARDED),
    ("keepalives_interval", GUARDED),
    ("keepalives_count", GUARDED),
    ("tcp_keepalive", GUARDED),
    ("tcp_user_timeout", GUARDED),
    ("sslcompression", "TLS is never compressed"),
    ("sslsni", "the server's name is always sent"),
    (
        "sslkeylogfile",
        "the keys of a session are never written down",
    ),
    ("load_balance_hosts", "hosts are tried in their order"),
    (
        "min_protocol_version",
        "version 3.0 of the protocol is spoken",
    ),
    (
        "max_protocol_version",
        "version 3.0 of the protocol is spoken",
    ),
];

const GUARDED: &str =
    "every statement has a deadline, and the server is told to look for a dead client";

/// Refused: what they ask for cannot be done, and to go on without it would be less than was asked.
const REFUSED: [(&str, &str); 19] = [
    ("passfile", PASSWORD),
    (
        "sslpassword",
        "an encrypted key cannot be read: decrypt it (openssl pkey -in KEY -out PLAIN) and name that in sslkey",
    ),
    ("sslcrl", NO_CRL),
    ("sslcrldir", NO_CRL),
    (
        "requirepeer",
        "the owner of a socket is not looked at: put the socket into a directory that only the server's account can write to, and leave the option out",
    ),
    (
        "require_auth",
        "the method of the login is the server's to choose: leave the option out, and use sslmode=verify-full to know the server",
    ),
    ("service", SERVICE),
    ("servicefile", SERVICE),
    ("scram_client_key", PASSWORD),
    ("scram_server_key", PASSWORD),
    ("oauth_issuer", OAUTH),
    ("oauth_client_id", OAUTH),
    ("oauth_client_secret", OAUTH),
    ("oauth_scope", OAUTH),
    (
        "source_address",
        "the address to connect from is the system's to choose: leave the option out",
    ),
    (
        "dsn",
        "a string of libpq's options: give each as an option of its own",
    ),
    ("connection_factory", PYTHON),
    ("cursor_factory", PYTHON),
    (
        "startup_params",
        "settings of the session go into options=-c name=value",
    ),
];

const PASSWORD: &str =
    "give the password in the URL, in credentials.database.password or in PGPASSWORD";
const NO_CRL: &str = "lists of revoked certificates are not read, and to go on without them would trust what they revoke; let sslrootcert name only authorities that you trust today";
const SERVICE: &str = "service files are not read: write host, port, dbname and user into the URL";
const OAUTH: &str = "there is no login by OAuth: give the role a password or a certificate";
const PYTHON: &str = "it is an object of Python's";

/// Does what is to be done about an option that sets nothing.
pub(super) fn treat(
    url: &mut PostgresUrl,
    name: &str,
    value: &str,
) -> Result<(), DatabaseUrlError> {
    if SILENT.contains(&name) {
        return Ok(());
    }
    if let Some((name, _)) = IGNORED.iter().find(|(known, _)| *known == name) {
        if !url.ignored.contains(name) {
            url.ignored.push(name);
        }
        return Ok(());
    }
    if let Some((name, why)) = REFUSED.iter().find(|(known, _)| *known == name) {
        return Err(DatabaseUrlError::Refused { name, why });
    }
    treat_by_value(name, value)
}

/// Options that ask for something only with one of their values.
fn treat_by_value(name: &str, value: &str) -> Result<(), DatabaseUrlError> {
    let refused = |name, why| Err(DatabaseUrlError::Refused { name, why });
    match (name, value) {
        ("gssencmode" | "channel_binding", "disable" | "prefer") => Ok(()),
        ("gssencmode", "require") => refused(
            "gssencmode",
            "there is no encryption by GSSAPI: use gssencmode=disable with sslmode=verify-full",
        ),
        ("channel_binding", "require") => refused(
            "channel_binding",
            "logins are not bound to their channel: use channel_binding=prefer with sslmode=verify-full, which keeps others out of it, too",
        ),
        ("gssencmode", _) => Err(wrong("gssencmode", "disable or prefer")),
        ("channel_binding", _) => Err(wrong("channel_binding", "disable or prefer")),
        ("sslcertmode", "allow") => Ok(()),
        ("sslcertmode", "disable") => refused(
            "sslcertmode",
            "leave sslcert and sslkey out, and no certificate is shown",
        ),
        ("sslcertmode", _) => refused(
            "sslcertmode",
            "whether the server has asked for a certificate is not looked at: let pg_hba.conf demand it (clientcert), and leave the option out",
        ),
        ("replication" | "async", _) if !truth(value) && value != "database" => Ok(()),
        ("replication", _) => refused("replication", "windlass needs a connection for SQL"),
        ("async", _) => refused("async", PYTHON),
        _ => Err(super::query::unknown(name)),
    }
}

/// Why an option is ignored.
pub fn why_ignored(name: &str) -> Option<&'static str> {
    let found = IGNORED.iter().find(|(known, _)| *known == name);
    found.map(|(_, why)| *why)
}

#[cfg(test)]
#[path = "libpq_tests.rs"]
mod tests;
