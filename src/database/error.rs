//! What a database says when it fails, sorted by what can be done.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::DatabaseUrl;
use super::advice::{advice, of_tls, of_unreachable};
use super::reach::NoServer;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The same again may succeed: the connection was lost, or another was first.
    /// The statement may have taken effect; writes must guard themselves.
    Retryable,
    /// This statement will not succeed; others may.
    Permanent,
    /// Nothing will succeed until a person does something.
    Fatal,
}

/// Sorts an error. What follows a lost connection is retryable, but a
/// [`Session`](super::Session) it happened on is lost with it.
pub fn classify(error: &sqlx::Error) -> ErrorClass {
    match error {
        // An answer that breaks off in its middle is a protocol error to sqlx.
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => ErrorClass::Retryable,
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) | sqlx::Error::PoolClosed => {
            ErrorClass::Fatal
        }
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            match error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
                Some(_) => classify_sqlite(&code),
                None => classify_sqlstate(&code),
            }
        }
        _ => ErrorClass::Permanent,
    }
}

/// By PostgreSQL's appendix A.
fn classify_sqlstate(code: &str) -> ErrorClass {
    match code {
        // admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout,
        // idle_in_transaction_session_timeout; serialization_failure,
        // deadlock_detected; too_many_connections; lock_not_available, query_canceled.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "40001" | "40P01" | "53300" | "55P03"
        | "57014" => ErrorClass::Retryable,
        // invalid_catalog_name, insufficient_privilege, disk_full, out_of_memory,
        // database_dropped, read_only_sql_transaction (a standby).
        "3D000" | "42501" | "53100" | "53200" | "57P04" | "25006" => ErrorClass::Fatal,
        // 08: the connection. 28: authorization. 58, XX: I/O errors, corruption.
        _ if code.starts_with("08") => ErrorClass::Retryable,
        _ if ["28", "58", "XX"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            ErrorClass::Fatal
        }
        _ => ErrorClass::Permanent,
    }
}

/// By the primary result code, the low byte of the extended one.
fn classify_sqlite(code: &str) -> ErrorClass {
    match code.parse::<u32>().unwrap_or(1) & 0xff {
        // BUSY, LOCKED, PROTOCOL (a race for the WAL's lock).
        5 | 6 | 15 => ErrorClass::Retryable,
        // PERM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, AUTH, NOTADB.
        3 | 8 | 10 | 11 | 13 | 14 | 23 | 26 => ErrorClass::Fatal,
        _ => ErrorClass::Permanent,
    }
}

/// The error of a statement that was waited for in vain. It may have taken effect.
pub(super) fn silence(limit: Duration) -> sqlx::Error {
    let said = format!("the database did not answer within {} s", limit.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, said))
}

/// Whether the server would open no further connection, or said nothing when it was asked for one,
/// as a pooler does that has none to lend.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().as_deref() == Some("53300")
                // PgBouncer's, under a code of its own.
                || error.message().contains("no more connections allowed")
        }
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        sqlx::Error::PoolTimedOut => true,
        _ => false,
    }
}

/// A pooler's way of lending its server connections in which none can hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// Another one for each transaction.
    Transaction,
    /// Another one for each statement.
    Statement,
}

impl std::fmt::Display for PoolMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        })
    }
}

/// Whether an error means that the connection it came over is of no more use.
pub(super) fn ends_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["57P", "08", "25P03"]
                .iter()
                .any(|ending| code.starts_with(ending))
        }),
        _ => false,
    }
}

/// The SQLSTATE, or SQLite's code; empty for an error that is not the database's own.
pub fn code_of(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    code.unwrap_or_default().into_owned()
}

/// An error in the database's own words: without sqlx's preface, and without the line
/// of the server's source that PostgreSQL's errors print.
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// An error in the database's own words, with what can be done about it.
pub fn explain(error: &sqlx::Error) -> String {
    let said = describe(error);
    match advice_on(error) {
        Some(advice) => format!("{said}: {advice}"),
        None => said,
    }
}

/// What can be done about an error, where there is something to say.
pub fn advice_on(error: &sqlx::Error) -> Option<String> {
    advice(&code_of(error), &describe(error))
}

/// Why the database cannot be used. Names the place, never a password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The host's name means nothing.
    #[error(
        "cannot find the database host of {place}: {source}; check the host name in the database URL"
    )]
    UnknownHost {
        /// host:port/database.
        place: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody listens, or the way there is cut.
    #[error(
        "cannot reach the database at {place}: {source}; {}",
        of_unreachable(source)
    )]
    Unreachable {
        /// host:port/database.
        place: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// None of several servers can be used.
    #[error(
        "no server of {place} can be used: {source}; name one that takes writes, the primary, among the hosts"
    )]
    NoServer {
        /// host:port,host:port/database.
        place: String,
        /// Why each of them cannot.
        source: io::Error,
    },
    /// Connected, but no answer in time.
    #[error(
        "the database at {place} did not answer within {seconds} s; check the network, or allow more with --db-connect-timeout"
    )]
    NoAnswer {
        /// host:port/database.
        place: String,
        /// The limit.
        seconds: u64,
    },
    /// Wrong user or password, or none.
    #[error(
        "the database at {place} refused the login: {message}; check the user and the password (in the database URL or PGPASSWORD)"
    )]
    LoginRefused {
        /// host:port/database.
        place: String,
        /// The server's words.
        message: String,
    },
    /// The server has no database of that name.
    #[error(
        "the server of {place} has no such database; check the name at the end of the database URL"
    )]
    NoSuchDatabase {
        /// host:port/database.
        place: String,
    },
    /// The server is starting, stopping, or full.
    #[error("the database at {place} takes no connections now: {message}; then try again")]
    NotNow {
        /// host:port/database.
        place: String,
        /// The server's words.
        message: String,
    },
    /// One connection is too few.
    #[error(
        "the database at {place} opens only one connection for windlass: {message}; windlass needs two at least, one that holds the migration lock and one for its work: {next}"
    )]
    TooFew {
        /// host:port/database.
        place: String,
        /// The server's words about the second one.
        message: String,
        /// The statement that raises the limit, or what else can be done.
        next: String,
    },
    /// A standby.
    #[error("the database at {place} is a standby and takes no writes: connect to the primary")]
    Standby {
        /// host:port/database.
        place: String,
    },
    /// A pooler whose connections share their backends.
    #[error(
        "the database at {place} is behind a pooler in {mode} mode, which lends another server connection for each {mode}: Anchore's migration lock belongs to one connection and cannot be held there; nothing was done: connect to PostgreSQL itself, or to a pool in session mode (PgBouncer: pool_mode = session)"
    )]
    Pooler {
        /// host:port/database.
        place: String,
        /// How it lends them.
        mode: PoolMode,
    },
    /// TLS was demanded or tried, and failed.
    #[error(
        "no TLS connection to the database at {place}: {message}; {}",
        of_tls(message)
    )]
    Tls {
        /// host:port/database.
        place: String,
        /// The library's words.
        message: String,
    },
    /// The SQLite file is not there.
    #[error("there is no database file {}; check the path in the database URL (three slashes before a relative path, four before an absolute one)", path.display())]
    NoSuchFile {
        /// The file.
        path: PathBuf,
    },
    /// The SQLite file cannot be opened or is not a database.
    #[error("cannot open the database file {}: {message}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        message: String,
    },
    /// Anything else that a statement met.
    #[error("the database at {place} failed: {}", explain(source))]
    Failed {
        /// host:port/database, or the file.
        place: String,
        /// The error as sqlx has it.
        source: sqlx::Error,
    },
}

impl DatabaseError {
    /// Whether the same again may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::UnknownHost { .. }
            | Self::Unreachable { .. }
            | Self::NoServer { .. }
            | Self::NoAnswer { .. }
            | Self::NotNow { .. } => true,
            Self::Failed { source, .. } => classify(source) == ErrorClass::Retryable,
            _ => false,
        }
    }

    /// Names a statement's error.
    pub fn of_statement(url: &DatabaseUrl, source: sqlx::Error) -> Self {
        Self::Failed {
            place: url.place(),
            source,
        }
    }

    /// Names what went wrong while connecting.
    pub(super) fn connecting(url: &DatabaseUrl, error: sqlx::Error) -> Self {
        match url {
            DatabaseUrl::Postgres(_) => Self::connecting_postgres(url.place(), error),
            DatabaseUrl::Sqlite { path } if !path.exists() => {
                Self::NoSuchFile { path: path.clone() }
            }
            DatabaseUrl::Sqlite { path } => match &error {
                sqlx::Error::Database(database) if classify(&error) != ErrorClass::Retryable => {
                    Self::BadFile {
                        path: path.clone(),
                        message: database.message().to_owned(),
                    }
                }
                _ => Self::of_statement(url, error),
            },
        }
    }

    fn connecting_postgres(place: String, error: sqlx::Error) -> Self {
        let error = match error {
            sqlx::Error::Io(source) if source.get_ref().is_some_and(|e| e.is::<NoServer>()) => {
                return Self::NoServer { place, source };
            }
            sqlx::Error::Io(source) if is_resolver_error(&source) => {
                return Self::UnknownHost { place, source };
            }
            sqlx::Error::Io(source) => return Self::Unreachable { place, source },
            sqlx::Error::Tls(source) => {
                return Self::Tls {
                    place,
                    message: source.to_string(),
                };
            }
            other => other,
        };
        let sqlx::Error::Database(database) = &error else {
            return Self::Failed {
                place,
                source: error,
            };
        };
        let message = database.message().to_owned();
        match database.code().unwrap_or_default().as_ref() {
            "3D000" => Self::NoSuchDatabase { place },
            code if code.starts_with("28") => Self::LoginRefused { place, message },
            "57P03" | "57P01" | "57P02" => Self::NotNow { place, message },
            _ if is_full(&error) => Self::NotNow {
                message: explain(&error),
                place,
            },
            _ => Self::Failed {
                place,
                source: error,
            },
        }
    }
}

/// The standard library has no kind for it.
fn is_resolver_error(error: &io::Error) -> bool {
    error.to_string().contains("failed to lookup address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_sorted() {
        use ErrorClass::{Fatal, Permanent, Retryable};
        for (code, class) in [
            ("57P01", Retryable),
            ("57P02", Retryable),
            ("57P03", Retryable),
            ("57014", Retryable),
            ("08006", Retryable),
            ("08P01", Retryable),
            ("40001", Retryable),
            ("40P01", Retryable),
            ("53300", Retryable),
            ("28P01", Fatal),
            ("28000", Fatal),
            ("3D000", Fatal),
            ("53100", Fatal),
            ("42501", Fatal),
            ("25006", Fatal),
            ("XX001", Fatal),
            ("23505", Permanent),
            ("42P01", Permanent),
            ("22021", Permanent),
            ("", Permanent),
        ] {
            assert_eq!(classify_sqlstate(code), class, "{code}");
        }
    }

    #[test]
    fn sqlite_codes_are_sorted() {
        use ErrorClass::{Fatal, Permanent, Retryable};
        for (code, class) in [
            ("5", Retryable),
            ("261", Retryable), // BUSY_RECOVERY
            ("517", Retryable), // BUSY_SNAPSHOT
            ("6", Retryable),
            ("262", Retryable), // LOCKED_SHAREDCACHE
            ("13", Fatal),
            ("14", Fatal),
            ("11", Fatal),
            ("26", Fatal),
            ("1", Permanent),
            ("2067", Permanent), // CONSTRAINT_UNIQUE
            ("", Permanent),
        ] {
            assert_eq!(classify_sqlite(code), class, "{code}");
        }
    }

    #[test]
    fn other_errors_are_sorted() {
        let io = sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());
        assert_eq!(classify(&io), ErrorClass::Retryable);
        assert!(ends_connection(&io));
        assert_eq!(classify(&sqlx::Error::PoolTimedOut), ErrorClass::Retryable);
        assert!(!ends_connection(&sqlx::Error::PoolTimedOut));
        assert_eq!(classify(&sqlx::Error::RowNotFound), ErrorClass::Permanent);
    }
}
