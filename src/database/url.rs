//! Database URLs as SQLAlchemy 1.3 (Anchore's) reads them.
//!
//! Its grammar is one regular expression whose password is greedy: it runs from the
//! first `:` to the **last** `@` of the text, so that `#`, `@`, `:` and `/` may stand
//! in it as they are; percent-escapes in user and password are decoded. The database's
//! name is taken as it stands, up to a `?`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Secret;

use super::query;

/// A database, as its URL names it. Printing it never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
    /// A SQLite file.
    Sqlite {
        /// As written: relative to the working directory, or absolute.
        path: PathBuf,
    },
}

/// The parts of a PostgreSQL URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostgresUrl {
    /// The user, decoded.
    pub user: Option<String>,
    /// The password, decoded. Where there is none, `PGPASSWORD` counts.
    pub password: Option<Secret>,
    /// Host name, address, or the directory of a socket. Where there is none, libpq's
    /// default: `PGHOST`, or the local socket.
    pub host: Option<String>,
    /// The port; 5432 where there is none.
    pub port: Option<u16>,
    /// The database's name.
    pub database: String,
    /// `sslmode`.
    pub ssl_mode: Option<SslMode>,
    /// `sslrootcert`: a file.
    pub ssl_root_cert: Option<PathBuf>,
    /// `sslcert`: a file.
    pub ssl_cert: Option<PathBuf>,
    /// `sslkey`: a file.
    pub ssl_key: Option<PathBuf>,
    /// `connect_timeout`, in seconds.
    pub connect_timeout: Option<Duration>,
    /// `options=-c name=value …`: settings of the session, such as `search_path`.
    pub settings: Vec<(String, String)>,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Without, if that works.
    Allow,
    /// With, if that works.
    Prefer,
    /// Only with; any certificate.
    Require,
    /// Only with a certificate of a known authority.
    VerifyCa,
    /// And of that very host.
    VerifyFull,
}

/// Why a database URL cannot be used. Never shows the URL: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Not a URL at all, or of another database.
    #[error(
        "the database URL is of no known form; expected postgresql://user:password@host:port/database or sqlite:///file"
    )]
    Scheme,
    /// A part that is not as it should be.
    #[error("the {part} of the database URL is not valid; expected {expected}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What should stand there.
        expected: &'static str,
    },
    /// An option that windlass does not know.
    #[error("the database URL has an unknown option {name}; known are {}", query::KNOWN.join(", "))]
    UnknownOption {
        /// Its name, without its value.
        name: String,
    },
    /// A known option with a value that it does not take.
    #[error("the option {name} of the database URL has a wrong value; expected {expected}")]
    OptionValue {
        /// Its name, without its value.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
    },
}

const POSTGRES_SCHEMES: [&str; 4] = [
    "postgresql",
    "postgres",
    "postgresql+pg8000",
    "postgresql+psycopg2",
];
const SQLITE_SCHEMES: [&str; 2] = ["sqlite", "sqlite+pysqlite"];

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, DatabaseUrlError> {
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or(DatabaseUrlError::Scheme)?;
        if SQLITE_SCHEMES.contains(&scheme) {
            return parse_sqlite(rest);
        }
        if POSTGRES_SCHEMES.contains(&scheme) {
            return parse_postgres(rest).map(Self::Postgres);
        }
        Err(DatabaseUrlError::Scheme)
    }

    /// A URL that [`parse`](Self::parse) reads back as this one without its password.
    pub fn redacted(&self) -> String {
        match self {
            Self::Sqlite { path } => format!("sqlite:///{}", path.display()),
            Self::Postgres(postgres) => postgres.redacted(),
        }
    }

    /// The place alone, for messages: `host:port/database`, or the file.
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite { path } => path.display().to_string(),
            Self::Postgres(postgres) => {
                let host = postgres.host.as_deref().unwrap_or("(default host)");
                let host = bracketed(host);
                format!(
                    "{host}:{}/{}",
                    postgres.port.unwrap_or(5432),
                    postgres.database
                )
            }
        }
    }

    /// The password, where the URL has one.
    pub fn password(&self) -> Option<Secret> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres(postgres) => postgres.password.clone(),
        }
    }

    /// The same URL with this password; SQLite has none.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        if let Self::Postgres(postgres) = &mut self {
            postgres.password = Some(password);
        }
        self
    }

    /// The same URL with a relative SQLite path made absolute, so that it can be
    /// found again from another working directory.
    ///
    /// # Errors
    /// The working directory cannot be read.
    pub fn absolute(self) -> std::io::Result<Self> {
        match self {
            Self::Sqlite { path } => Ok(Self::Sqlite {
                path: std::path::absolute(path)?,
            }),
            postgres => Ok(postgres),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", self.redacted())
    }
}

impl PostgresUrl {
    fn redacted(&self) -> String {
        let mut url = "postgresql://".to_owned();
        if let Some(user) = &self.user {
            url += &format!("{}@", query::quote(user));
        }
        // A socket's directory has slashes, and can only stand in the query.
        let socket = self.host.as_deref().filter(|host| host.starts_with('/'));
        if let (Some(host), None) = (self.host.as_deref(), socket) {
            url += &bracketed(host);
        }
        if let Some(port) = self.port {
            url += &format!(":{port}");
        }
        url + "/" + &self.database + &query::render(self, socket)
    }
}

/// An IPv6 address goes in brackets.
fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('/') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

fn parse_sqlite(rest: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
    const EXPECTED: &str = "three slashes before a relative path (sqlite:///archive.db) and four before an absolute one";
    let wrong = DatabaseUrlError::Part {
        part: "path",
        expected: EXPECTED,
    };
    let (path, options) = split_query(rest.strip_prefix('/').ok_or(wrong.clone())?);
    if path.is_empty() || path == ":memory:" || path.ends_with('/') {
        return Err(wrong);
    }
    match query::pairs(options).into_iter().next() {
        Some((name, _)) => Err(query::unknown(&name)),
        None => Ok(DatabaseUrl::Sqlite {
            path: Path::new(path).to_owned(),
        }),
    }
}

fn parse_postgres(rest: &str) -> Result<PostgresUrl, DatabaseUrlError> {
    let (user, password, rest) = split_login(rest);
    let (host, rest) = split_host(rest)?;
    let (port, rest) = split_port(rest)?;
    let (database, options) = split_query(rest.strip_prefix('/').unwrap_or(rest));
    if database.is_empty() || (!rest.is_empty() && !rest.starts_with('/')) {
        return Err(DatabaseUrlError::Part {
            part: "database name",
            expected: "a name after the host: host:port/database",
        });
    }
    let mut url = PostgresUrl {
        user: user.filter(|user| !user.is_empty()).map(query::unquote),
        password: password.map(|password| Secret::new(query::unquote(password))),
        host: host.map(str::to_owned),
        port,
        database: database.to_owned(),
        ..PostgresUrl::default()
    };
    query::apply(&mut url, options)?;
    Ok(url)
}

/// `user`, `password` and the rest, by SQLAlchemy's greedy rule.
fn split_login(rest: &str) -> (Option<&str>, Option<&str>, &str) {
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    if rest[end..].starts_with(':')
        && let Some(at) = rest.rfind('@').filter(|&at| at > end)
    {
        return (
            Some(&rest[..end]),
            Some(&rest[end + 1..at]),
            &rest[at + 1..],
        );
    }
    match rest[..end].rfind('@') {
        Some(at) => (Some(&rest[..at]), None, &rest[at + 1..]),
        None => (None, None, rest),
    }
}

fn split_host(rest: &str) -> Result<(Option<&str>, &str), DatabaseUrlError> {
    let wrong = DatabaseUrlError::Part {
        part: "host",
        expected: "a name, an IPv4 address, or an IPv6 address in brackets",
    };
    if let Some(inner) = rest.strip_prefix('[') {
        let end = inner.find(']').ok_or(wrong.clone())?;
        return match inner[..end].parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok((Some(&inner[..end]), &inner[end + 1..])),
            Err(_) => Err(wrong),
        };
    }
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let host = &rest[..end];
    if host.contains(['?', '#', '[', ']', ' ']) {
        return Err(wrong);
    }
    Ok((Some(host).filter(|host| !host.is_empty()), &rest[end..]))
}

fn split_port(rest: &str) -> Result<(Option<u16>, &str), DatabaseUrlError> {
    let Some(after) = rest.strip_prefix(':') else {
        return Ok((None, rest));
    };
    let end = after.find('/').unwrap_or(after.len());
    let port = match &after[..end] {
        "" => None,
        digits => Some(digits.parse().ok().filter(|&port| port > 0).ok_or(DatabaseUrlError::Part {
            part: "port",
            expected: "a number from 1 to 65535 (a password without its @ and host reads as one)",
        })?),
    };
    Ok((port, &after[end..]))
}

fn split_query(rest: &str) -> (&str, &str) {
    rest.split_once('?').unwrap_or((rest, ""))
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
