//! What a database tells of itself, of the way to it, and of who holds the lock: looked at, and nothing
//! is taken or set.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Row as _};

use super::lockfile::LockFile;
use super::{Database, DatabaseError, DatabaseUrl, Holder, LockError, advisory};

/// What a database tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name and version.
    pub version: String,
    /// The same as a number, where it has one: 150014 of 15.14.
    pub version_number: Option<i32>,
    /// Version and cipher of the encryption, where there is any.
    pub encryption: Option<String>,
    /// Whether what is said leaves this machine.
    pub is_remote: bool,
    /// Why it takes no writes, where it takes none.
    pub refuses_writes: Option<&'static str>,
    /// The port at which the server itself was reached, over TCP.
    pub own_port: Option<i32>,
    /// Half of a few round trips took no longer.
    pub round_trip: Duration,
}

const TOLD: &str = "SELECT current_setting('server_version'), \
    current_setting('server_version_num')::int, coalesce(s.ssl, false), s.version, s.cipher, \
    pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', inet_server_port(), \
    coalesce(host(inet_client_addr()) = host(inet_server_addr()) \
             OR inet_client_addr() << '127.0.0.0/8', true) \
    FROM (SELECT pg_backend_pid() AS pid) AS b LEFT JOIN pg_stat_ssl s ON s.pid = b.pid";

/// Round trips of which the middle one is told.
const ROUNDS: usize = 5;

/// What a database tells of itself.
///
/// # Errors
/// It does not answer.
pub async fn standing(db: &Database, url: &DatabaseUrl) -> Result<Standing, DatabaseError> {
    told(db)
        .await
        .map_err(|error| DatabaseError::of_statement(url, error))
}

async fn told(db: &Database) -> Result<Standing, sqlx::Error> {
    match db {
        Database::Postgres(pool) => {
            let mut connection = pool.acquire().await?;
            let work = async {
                let row = sqlx::raw_sql(TOLD).fetch_one(&mut *connection).await?;
                let mut rounds = Vec::new();
                for _ in 0..ROUNDS {
                    let since = Instant::now();
                    connection.ping().await?;
                    rounds.push(since.elapsed());
                }
                let is_encrypted: bool = row.try_get(2)?;
                let (tls, cipher): (Option<String>, Option<String>) =
                    (row.try_get(3)?, row.try_get(4)?);
                let encryption = format!(
                    "{} with {}",
                    tls.unwrap_or_default(),
                    cipher.unwrap_or_default()
                );
                let is_local: bool = row.try_get(8)?;
                Ok::<_, sqlx::Error>(Standing {
                    version: format!("PostgreSQL {}", row.try_get::<String, _>(0)?),
                    version_number: Some(row.try_get(1)?),
                    encryption: is_encrypted.then_some(encryption),
                    is_remote: !is_local,
                    refuses_writes: match (row.try_get(5)?, row.try_get(6)?) {
                        (true, _) => Some("it is a standby and takes no writes"),
                        (false, true) => Some("its transactions are read-only"),
                        (false, false) => None,
                    },
                    own_port: row.try_get(7)?,
                    round_trip: middle(rounds),
                })
            };
            let told = pool.bounded(work).await??;
            Ok(told)
        }
        Database::Sqlite(pool) => {
            let since = Instant::now();
            let row = sqlx::query("SELECT sqlite_version()")
                .fetch_one(pool)
                .await?;
            Ok(Standing {
                version: format!("SQLite {}", row.try_get::<String, _>(0)?),
                version_number: None,
                encryption: None,
                is_remote: false,
                refuses_writes: None,
                own_port: None,
                round_trip: since.elapsed(),
            })
        }
    }
}

fn middle(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds.get(rounds.len() / 2).copied().unwrap_or_default()
}

/// Who holds the migration lock.
///
/// # Errors
/// That can't be seen.
pub async fn lock_holder(db: &Database, url: &DatabaseUrl) -> Result<Option<Holder>, LockError> {
    match (db, url) {
        (Database::Postgres(pool), _) => {
            let holder = async {
                let mut connection = pool.acquire().await?;
                pool.bounded(advisory::holder(&mut connection)).await?
            };
            let holder = holder.await;
            holder.map_err(|error| DatabaseError::of_statement(url, error).into())
        }
        (Database::Sqlite(_), DatabaseUrl::Sqlite { path }) => {
            let path = LockFile::path_for(path);
            LockFile::holder(&path).map_err(|source| LockError::File { path, source })
        }
        (Database::Sqlite(_), DatabaseUrl::Postgres(_)) => Ok(None),
    }
}
