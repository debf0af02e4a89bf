//! The connection to Anchore's database: its URL, its pool, and the one session that
//! holds Anchore's advisory lock.
//!
//! URLs are SQLAlchemy's and are parsed here ([`DatabaseUrl`]); sqlx never sees one,
//! since it reads special characters, `sqlite:///` and unknown options differently
//! and logs what it does not know. What may be retried is told by [`classify`].
//!
//! Invariant: a lost [`Session`] is never replaced behind its user's back. The right
//! to commit ends with it.

mod advisory;
mod bounded;
mod certificate;
mod configured;
mod dial;
mod error;
mod holder;
mod libpq;
mod lockfile;
mod options;
mod query;
mod reach;
mod refusal;
mod session;
mod tls;
mod url;

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

pub use bounded::BoundedPool;
pub use error::{DatabaseError, ErrorClass, classify, describe};
pub use holder::{Holder, LockError};
pub use libpq::why_ignored;
pub use refusal::{keep_count_after_failure, may_be_of_one_row, refusal};
pub use session::{ALIVE_TIMEOUT, Session, SessionConnection, SessionGuard, SessionState};
pub use url::{DatabaseUrl, DatabaseUrlError, PostgresUrl, SslMode};

/// Between two tries to connect.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How to connect: what is not in the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Refuse a connection without TLS (the certificate is checked only where the
    /// URL's `sslmode` says so, as with Anchore).
    pub ssl: bool,
    /// How often to try again when the server cannot be reached, a second apart.
    pub retries: u32,
    /// The limit of one attempt; the URL's `connect_timeout` beats it.
    pub connect_timeout: Duration,
    /// The limit of one statement; none where `None`.
    pub statement_timeout: Option<Duration>,
    /// The most connections that the pool opens.
    pub max_connections: u32,
    /// Make the SQLite file where it is missing.
    pub create: bool,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            ssl: false,
            retries: 3,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: None,
            max_connections: 8,
            create: false,
        }
    }
}

impl ConnectOptions {
    /// How long the loss of a session may go unnoticed where nothing is heard of the server: until
    /// the statement that is under way is given up, or else the question after the lock.
    pub fn silence_limit(&self) -> Duration {
        let statement = self.statement_timeout.map(|limit| limit + session::GRACE);
        ALIVE_TIMEOUT.max(statement.unwrap_or_default())
    }
}

/// A pool of connections to either database.
#[derive(Debug, Clone)]
pub enum Database {
    /// PostgreSQL, in earnest.
    Postgres(BoundedPool),
    /// SQLite, the embedded default.
    Sqlite(SqlitePool),
}

impl Database {
    /// Connects, trying again as the options allow.
    ///
    /// # Errors
    /// One clear line: who cannot be reached, and what to do.
    pub async fn connect(
        url: &DatabaseUrl,
        options: &ConnectOptions,
    ) -> Result<Self, DatabaseError> {
        // One connection first: a pool turns every failure into "timed out".
        // The pool's own connections are opened as they are needed.
        match url {
            DatabaseUrl::Postgres(postgres) => {
                let (first, found) = find_postgres(postgres, options).await?;
                first.close().await.ok();
                let (way, tunnel) = reach::lasting(&found, options)
                    .map_err(|error| DatabaseError::connecting(url, error))?;
                let pool = PgPoolOptions::new()
                    .max_connections(options.max_connections)
                    .acquire_timeout(attempt_limit(url, options))
                    .after_release(|connection, _| {
                        Box::pin(async {
                            // Its buffers stay as large as the largest document that went through,
                            // in each connection, and nobody has counted that.
                            connection.shrink_buffers();
                            // What lies silent must not keep its place in the pool.
                            let heard = tokio::time::timeout(ALIVE_TIMEOUT, connection.ping());
                            heard
                                .await
                                .is_ok_and(|alive| alive.is_ok())
                                .then_some(true)
                                .ok_or_else(|| error::silence(ALIVE_TIMEOUT))
                        })
                    })
                    .connect_lazy_with(way);
                let limit = match options.statement_timeout {
                    Some(limit) => limit + session::GRACE,
                    None => Duration::MAX,
                };
                Ok(Self::Postgres(BoundedPool::new(
                    pool,
                    limit,
                    options.retries,
                    tunnel,
                )))
            }
            DatabaseUrl::Sqlite { path } => {
                connect_sqlite(path, options).await?.close().await.ok();
                let pool = SqlitePoolOptions::new()
                    .max_connections(options.max_connections)
                    .acquire_timeout(attempt_limit(url, options))
                    .connect_lazy_with(options::sqlite(path, options));
                Ok(Self::Sqlite(pool))
            }
        }
    }

    /// Closes the pool, waiting for what is in use.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.unbounded().close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

/// How long connecting to one server may take.
fn server_limit(url: &PostgresUrl, options: &ConnectOptions) -> Duration {
    url.connect_timeout.unwrap_or(options.connect_timeout)
}

/// The same for all servers of a URL, each in its turn.
fn attempt_limit(url: &DatabaseUrl, options: &ConnectOptions) -> Duration {
    match url {
        DatabaseUrl::Postgres(postgres) => {
            let servers = u32::try_from(postgres.hosts().len()).unwrap_or(1);
            server_limit(postgres, options).saturating_mul(servers)
        }
        DatabaseUrl::Sqlite { .. } => options.connect_timeout,
    }
}

async fn connect_postgres(
    url: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<PgConnection, DatabaseError> {
    Ok(find_postgres(url, options).await?.0)
}

/// A connection, and the server and the password that it was had with.
async fn find_postgres(
    url: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<(PgConnection, PostgresUrl), DatabaseError> {
    let to = DatabaseUrl::Postgres(url.clone());
    retrying(&to, options, || reach::open(url, options)).await
}

async fn connect_sqlite(
    path: &std::path::Path,
    options: &ConnectOptions,
) -> Result<SqliteConnection, DatabaseError> {
    let to = DatabaseUrl::Sqlite {
        path: path.to_owned(),
    };
    let sqlite = options::sqlite(path, options);
    retrying(&to, options, || sqlite.connect()).await
}

/// Tries to connect until it succeeds, fails for good, or the attempts are used up.
async fn retrying<C, F>(
    url: &DatabaseUrl,
    options: &ConnectOptions,
    connect: impl Fn() -> F,
) -> Result<C, DatabaseError>
where
    F: Future<Output = Result<C, sqlx::Error>>,
{
    let limit = attempt_limit(url, options);
    for attempt in 0.. {
        let error = match tokio::time::timeout(limit, connect()).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => DatabaseError::connecting(url, error),
            Err(_) => DatabaseError::NoAnswer {
                place: url.place(),
                seconds: limit.as_secs(),
            },
        };
        if attempt >= options.retries || !error.is_retryable() {
            return Err(error);
        }
        // Who runs out of tries says so; until then it is no more than a wait.
        tracing::info!("{error}; trying again");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    unreachable!("the loop ends by returning")
}
