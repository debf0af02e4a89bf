//! The connection to Anchore's database: its URL, its pool, and the one session that
//! holds Anchore's advisory lock.
//!
//! URLs are SQLAlchemy's and are parsed here ([`DatabaseUrl`]); sqlx never sees one,
//! since it reads special characters, `sqlite:///` and unknown options differently
//! and logs what it does not know. What may be retried is told by [`classify`].
//!
//! Invariant: a lost [`Session`] is never replaced behind its user's back. The right
//! to commit ends with it.

mod advice;
mod advisory;
mod beside;
mod bounded;
mod certificate;
mod claims;
mod configured;
mod dial;
mod encoding;
mod error;
mod establish;
mod holder;
mod libpq;
mod literal;
mod lockfile;
mod options;
mod parse;
mod pool;
mod pooler;
mod query;
mod reach;
mod refusal;
mod session;
mod standing;
mod tls;
mod url;
mod workers;

use std::time::{Duration, Instant};

use self::establish::Settled;
use self::pool::Pool;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

pub use bounded::BoundedPool;
pub use claims::{Claims, TokenQuestion};
pub use encoding::Encoding;
pub use error::{
    DatabaseError, ErrorClass, PoolMode, advice_on, classify, code_of, describe, explain,
};
pub use holder::{Holder, LockError};
pub use libpq::why_ignored;
pub use literal::literal;
pub use pool::Pooled;
pub use refusal::{keep_count_after_failure, may_be_of_one_row, refusal};
pub use session::{ALIVE_TIMEOUT, Session, SessionConnection, SessionGuard, SessionState};
pub use standing::{Standing, lock_holder, standing};
pub use url::{DatabaseUrl, DatabaseUrlError, PostgresUrl, SslMode};
pub use workers::{Hold, WorkerNumber};

/// How often a silent database is asked for a sign of life.
const ASK_PAUSE: Duration = Duration::from_secs(5);

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
    /// Have the database refuse whatever would change it, for a program that only looks on.
    pub read_only: bool,
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
            read_only: false,
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
        // One connection first: its failure is told as what it is.
        match url {
            DatabaseUrl::Postgres(postgres) => {
                let (first, found, encoding) = beside::first(postgres, options).await?;
                let limit = attempt_limit(url, options);
                let pool = Pool::new(found, options.clone(), limit, first);
                let limit = match options.statement_timeout {
                    Some(limit) => limit + session::GRACE,
                    None => Duration::MAX,
                };
                Ok(Self::Postgres(BoundedPool::new(
                    pool,
                    limit,
                    options.retries,
                    encoding,
                )))
            }
            DatabaseUrl::Sqlite { path } => {
                connect_sqlite(path, options).await?.close().await.ok();
                let pool = SqlitePoolOptions::new()
                    .max_connections(options.max_connections)
                    .acquire_timeout(attempt_limit(url, options))
                    // Waiting for one's turn is no fault, and nothing that a person could mend.
                    .acquire_slow_threshold(Duration::MAX)
                    .connect_lazy_with(options::sqlite(path, options));
                Ok(Self::Sqlite(pool))
            }
        }
    }

    /// What text it can hold.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Postgres(pool) => pool.encoding(),
            Self::Sqlite(_) => Encoding::Utf8,
        }
    }

    /// Ends when nothing has been heard of the database for so long: for those who wait for a
    /// statement that may take any time. SQLite is never silent.
    pub async fn silence(&self, limit: Duration) -> sqlx::Error {
        let Self::Postgres(pool) = self else {
            return std::future::pending().await;
        };
        let mut heard = Instant::now();
        while heard.elapsed() < limit {
            tokio::time::sleep(ASK_PAUSE.min(limit)).await;
            let asked = async { pool.acquire().await?.ping().await };
            let left = limit.saturating_sub(heard.elapsed()).max(ASK_PAUSE);
            if let Ok(Ok(())) = tokio::time::timeout(left, asked).await {
                heard = Instant::now();
            }
        }
        error::silence(limit)
    }

    /// Lets go of the second of the connections that it began with: whoever only looks on now and then
    /// needs one, and others may need the place.
    pub async fn keep_one(&self) {
        if let Self::Postgres(pool) = self
            && let Some(second) = pool.take_first()
        {
            // One that can't say farewell is gone all the same.
            let _ = tokio::time::timeout(ALIVE_TIMEOUT, second.close()).await;
        }
    }

    /// Opens no more than so many connections beside the one that holds the lock: others work beside this
    /// process.
    pub fn keep_to(&self, most: u32) {
        if let Self::Postgres(pool) = self {
            pool.keep_to(most);
        }
    }

    /// Closes the pool, waiting for what is in use.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

/// How long connecting to one server may take.
fn server_limit(url: &PostgresUrl, options: &ConnectOptions) -> Duration {
    let limit = url.connect_limit.unwrap_or(options.connect_timeout);
    let limit = limit.min(options.connect_timeout);
    url.connect_timeout.unwrap_or(limit)
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
    Ok(find_postgres(url, options, None).await?.0.connection)
}

/// A connection, and the server and the password that it was had with. It is asked a `question` first.
async fn find_postgres(
    url: &PostgresUrl,
    options: &ConnectOptions,
    question: Option<&'static str>,
) -> Result<(Settled, PostgresUrl), DatabaseError> {
    let to = DatabaseUrl::Postgres(url.clone());
    retrying(&to, options, || reach::open(url, options, question)).await
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
        // One that is full may only not have noticed yet that an earlier windlass has ended.
        let retries = match error {
            DatabaseError::NotNow { .. } => options.retries.max(3),
            _ => options.retries,
        };
        if attempt >= retries || !error.is_retryable() {
            return Err(error);
        }
        // Who runs out of tries says so; until then it is no more than a wait.
        tracing::info!("{error}; trying again");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    unreachable!("the loop ends by returning")
}
