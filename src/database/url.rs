//! Database URLs as SQLAlchemy 1.3 (Anchore's) reads them.
//!
//! Its grammar is one regular expression whose password is greedy: it runs from the
//! first `:` to the **last** `@` of the text, so that `#`, `@`, `:` and `/` may stand
//! in it as they are; percent-escapes in user and password are decoded. The database's
//! name is taken as it stands, up to a `?`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::Secret;

use super::{parse, query};

/// A database, as its URL names it. Printing it never shows the password.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are one or two of them in a process"
)]
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
    /// `connect_timeout`, in seconds: for each host.
    pub connect_timeout: Option<Duration>,
    /// `timeout`: the same where it is less than `--db-connect-timeout`. Anchore's own files say a
    /// day, which nobody waits for a server that is lost.
    pub connect_limit: Option<Duration>,
    /// `options=-c name=value …`: settings of the session, such as `search_path`.
    pub settings: Vec<(String, String)>,
    /// Hosts to try after the first, in their order.
    pub more_hosts: Vec<HostPort>,
    /// `hostaddr`: where each host is, so that its name is only for its certificate.
    pub addresses: Vec<String>,
    /// `target_session_attrs`.
    pub target: Target,
    /// `ssl_min_protocol_version`, `ssl_max_protocol_version`.
    pub tls_versions: TlsVersions,
    /// `sslnegotiation=direct`.
    pub ssl_direct: bool,
    /// pg8000's `timeout`: how long one answer may take.
    pub answer_limit: Option<Duration>,
    /// The password as it was written, where decoding its escapes has changed it: whoever pastes
    /// one raw has never meant them as escapes.
    pub raw_password: Option<RawPassword>,
    /// Options that were given and do nothing, which does no harm.
    pub ignored: Vec<&'static str>,
}

/// A password as it was written, and whether it is the right one, known to all who share it.
#[derive(Debug, Clone)]
pub struct RawPassword {
    secret: Secret,
    right: Arc<AtomicBool>,
}

impl RawPassword {
    pub(super) fn new(secret: &str) -> Self {
        Self {
            secret: Secret::new(secret),
            right: Arc::default(),
        }
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(super) fn is_right(&self) -> bool {
        self.right.load(Ordering::Relaxed)
    }

    pub(super) fn set_right(&self) {
        self.right.store(true, Ordering::Relaxed);
    }
}

impl PartialEq for RawPassword {
    fn eq(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

impl Eq for RawPassword {}

/// One of several servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostPort {
    /// As [`PostgresUrl::host`].
    pub host: Option<String>,
    /// As [`PostgresUrl::port`].
    pub port: Option<u16>,
}

/// libpq's `target_session_attrs`, as far as somebody who writes can use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// Whatever answers.
    #[default]
    Any,
    /// A server that takes writes.
    ReadWrite,
    /// A server that is no standby.
    Primary,
}

/// Which versions of TLS may be spoken; older ones than 1.2 never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// Only 1.2.
    Only12,
    /// Only 1.3.
    Only13,
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
    /// Not a URL at all.
    #[error(
        "the database URL has no scheme, the part in front of ://, and is of no known form; expected \
         postgresql://user:password@host:port/database or sqlite:///file"
    )]
    NoScheme,
    /// Of another database.
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
    #[error(
        "the database URL or its arguments have an unknown option {name}: neither libpq nor pg8000 has it; take it out"
    )]
    UnknownOption {
        /// Its name, without its value.
        name: String,
    },
    /// An option that cannot be honoured and that it would do harm to ignore.
    #[error("the option {name} of the database URL or its arguments cannot be honoured: {why}")]
    Refused {
        /// Its name, without its value.
        name: &'static str,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// A known option with a value that it does not take.
    #[error(
        "the option {name} of the database URL or its arguments has a wrong value; expected {expected}"
    )]
    OptionValue {
        /// Its name, without its value.
        name: &'static str,
        /// What it takes.
        expected: &'static str,
    },
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, DatabaseUrlError> {
        match parse::parts(text)? {
            Self::Postgres(postgres) if postgres.database.is_empty() => {
                Err(DatabaseUrlError::Part {
                    part: "database name",
                    expected: "a name after the host: host:port/database",
                })
            }
            url => Ok(url),
        }
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
                let hosts = postgres.hosts().into_iter().map(|HostPort { host, port }| {
                    let host = host.as_deref().unwrap_or("(default host)");
                    format!("{}:{}", bracketed(host), port.unwrap_or(5432))
                });
                let hosts = hosts.collect::<Vec<_>>().join(",");
                format!("{hosts}/{}", postgres.database)
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
            postgres.raw_password = None;
        }
        self
    }

    /// The same URL with the password of another, and all that is known about it.
    #[must_use]
    pub fn with_password_of(mut self, other: &Self) -> Self {
        if let (Self::Postgres(postgres), Self::Postgres(other)) = (&mut self, other) {
            postgres.password = other.password.clone();
            postgres.raw_password = other.raw_password.clone();
        }
        self
    }

    /// Whether this is the same database of the same servers, entered as the same user.
    pub fn is_same_database(&self, other: &Self) -> bool {
        let user = |url: &Self| match url {
            Self::Sqlite { .. } => None,
            Self::Postgres(postgres) => postgres.user.clone(),
        };
        self.place() == other.place() && user(self) == user(other)
    }

    /// Whether it says itself how its server is to be trusted.
    pub fn names_ssl_mode(&self) -> bool {
        matches!(self, Self::Postgres(postgres) if postgres.ssl_mode.is_some())
    }

    /// How long one answer may take, where the URL says so.
    pub fn answer_limit(&self) -> Option<Duration> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres(postgres) => postgres.answer_limit,
        }
    }

    /// What was given and does nothing, for a word about it.
    pub fn ignored(&self) -> &[&'static str] {
        match self {
            Self::Sqlite { .. } => &[],
            Self::Postgres(postgres) => &postgres.ignored,
        }
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
    /// All hosts, in the order in which they are tried.
    pub fn hosts(&self) -> Vec<HostPort> {
        let first = HostPort {
            host: self.host.clone(),
            port: self.port,
        };
        std::iter::once(first)
            .chain(self.more_hosts.iter().cloned())
            .collect()
    }

    /// The same URL with these hosts.
    pub(super) fn set_hosts(&mut self, mut hosts: Vec<HostPort>) {
        if hosts.len() > 1 {
            for host in &mut hosts {
                host.port.get_or_insert(5432);
            }
        }
        let mut hosts = hosts.into_iter();
        let first = hosts.next().unwrap_or_default();
        (self.host, self.port) = (first.host, first.port);
        self.more_hosts = hosts.collect();
    }

    fn redacted(&self) -> String {
        let mut url = "postgresql://".to_owned();
        if let Some(user) = &self.user {
            url += &format!("{}@", query::quote(user));
        }
        // A socket's directory has slashes, and can only stand in the query.
        let hosts = self.hosts();
        let is_socket = |h: &HostPort| h.host.as_deref().is_some_and(|h| h.starts_with('/'));
        let in_query = hosts.iter().any(is_socket);
        let authority = hosts.iter().map(|HostPort { host, port }| {
            let host = host.as_deref().filter(|_| !in_query).unwrap_or("");
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            bracketed(host) + &port
        });
        url += &authority.collect::<Vec<_>>().join(",");
        url + "/" + &self.database + &query::render(self, in_query)
    }
}

/// An IPv6 address goes in brackets.
pub(super) fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('/') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
