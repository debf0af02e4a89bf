//! The first connections, and the session's, opened beside the pool's: windlass needs two at least.

use std::io;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::error::is_full;
use super::session::{prepared, within};
use super::{
    BoundedPool, ConnectOptions, DatabaseError, DatabaseUrl, Encoding, PoolMode, PostgresUrl,
    attempt_limit, connect_postgres, describe, establish, find_postgres, pooler, reach,
};

/// How often it is tried again in the place that the pool has just given up: the server takes a
/// moment to notice.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// How long the second connection may take, where there is one already.
const SECOND_LIMIT: Duration = Duration::from_secs(3);

/// Asked of the first connection: its backend, and how the database keeps its text.
const WHO_AND_HOW: &str = "SELECT pg_backend_pid(), current_setting('server_encoding')";

/// The connections that a pool begins with, the one server and the password that they were had
/// with, and what text the database holds. Of a second one only
/// the answer counts that it gives: a limit that allows one is enough for whoever only looks on.
pub(super) async fn first(
    postgres: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<(Vec<PgConnection>, PostgresUrl, Encoding), DatabaseError> {
    let url = DatabaseUrl::Postgres(postgres.clone());
    let failed = |error| DatabaseError::of_statement(&url, error);
    let (first, found) = find_postgres(postgres, options, Some(WHO_AND_HOW)).await?;
    let (mut first, answer) = (first.connection, first.answer);
    let answer = answer.ok_or(sqlx::Error::RowNotFound);
    let named = answer.and_then(|row| Ok((row.try_get(0)?, row.try_get::<String, _>(1)?)));
    let (backend, encoding) = named.map_err(failed)?;
    let mut connections = Vec::new();
    let question = Some(pooler::BEGIN_AND_BACKEND);
    let second = tokio::time::timeout(SECOND_LIMIT, reach::open(&found, options, question));
    match second.await {
        Ok(Ok((second, _))) => {
            let shared = pooler::shared_between(&mut first, backend, second);
            let second = within(shared).await.map_err(failed)?;
            connections.push(second.map_err(|mode| pooled(&url, mode))?);
        }
        Ok(Err(error)) if pooler::refuses_transactions(&error) => {
            return Err(pooled(&url, PoolMode::Statement));
        }
        _ => {}
    }
    connections.push(first);
    Ok((connections, found, Encoding::of_server(&encoding)))
}

fn pooled(url: &DatabaseUrl, mode: PoolMode) -> DatabaseError {
    DatabaseError::Pooler {
        place: url.place(),
        mode,
    }
}

async fn refuse_shared_backends(
    one: &mut PgConnection,
    other: &mut PgConnection,
    url: &DatabaseUrl,
) -> Result<(), DatabaseError> {
    let shared = within(pooler::shared_backends(one, other)).await;
    match shared.map_err(|error| DatabaseError::of_statement(url, error))? {
        Some(mode) => Err(pooled(url, mode)),
        None => Ok(()),
    }
}

/// A connection that is fit to hold the lock, while the pool keeps one at least.
pub(super) async fn connect(
    pool: &BoundedPool,
    postgres: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<PgConnection, DatabaseError> {
    let url = DatabaseUrl::Postgres(postgres.clone());
    let failed = |error| DatabaseError::of_statement(&url, error);
    let session = open(pool, postgres, options).await?;
    let mut session = prepared(session, &url).await?;
    for tries_left in (0..TRIES).rev() {
        match pool.acquire().await {
            Ok(mut other) => {
                refuse_shared_backends(&mut session, &mut other, &url).await?;
                break;
            }
            Err(error) if !is_full(&error) => return Err(failed(error)),
            Err(error) if tries_left == 0 => {
                return Err(too_few(&mut session, &url, &error).await);
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    Ok(session)
}

/// What came of a try to connect.
enum Tried {
    Connected(PgConnection),
    /// The server, or the pooler before it, has no place for one more.
    Full,
    /// Nothing was said, as a pooler does that has none to lend, and a network that is away.
    Silent,
    Failed,
}

/// The first try is for a server that has room, the others for one of the pool's places. Silence is
/// waited out twice and no more: whoever waits here has an outage to end.
async fn open(
    pool: &BoundedPool,
    postgres: &PostgresUrl,
    options: &ConnectOptions,
) -> Result<PgConnection, DatabaseError> {
    let url = DatabaseUrl::Postgres(postgres.clone());
    let limit = attempt_limit(&url, options);
    let attempt = async || {
        let attempt = tokio::time::timeout(limit, establish::postgres(postgres, options)).await;
        match attempt {
            Ok(Ok(connection)) => Tried::Connected(connection),
            Ok(Err(sqlx::Error::Io(error))) if error.kind() == io::ErrorKind::TimedOut => {
                Tried::Silent
            }
            Ok(Err(error)) if is_full(&error) => Tried::Full,
            Ok(Err(_)) => Tried::Failed,
            Err(_) => Tried::Silent,
        }
    };
    let mut tried = attempt().await;
    if matches!(tried, Tried::Full | Tried::Silent) {
        let _room = pool.make_room().await;
        let tries = match tried {
            Tried::Full => TRIES,
            _ => 1,
        };
        for _ in 0..tries {
            tried = attempt().await;
            if !matches!(tried, Tried::Full) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    match tried {
        Tried::Connected(connection) => Ok(connection),
        Tried::Silent => Err(DatabaseError::NoAnswer {
            place: url.place(),
            seconds: limit.as_secs(),
        }),
        // Whatever else it is, it is told, and tried again, as everywhere.
        Tried::Full | Tried::Failed => connect_postgres(postgres, options).await,
    }
}

const LIMITS: &str = "SELECT session_user::text, r.rolconnlimit, d.datname::text, d.datconnlimit \
    FROM pg_database d LEFT JOIN pg_roles r ON r.rolname = session_user \
    WHERE d.datname = current_database()";

/// Names the limit that leaves windlass only one connection.
async fn too_few(
    session: &mut PgConnection,
    url: &DatabaseUrl,
    error: &sqlx::Error,
) -> DatabaseError {
    let limits = within(async {
        let row = sqlx::raw_sql(LIMITS).fetch_one(session).await?;
        let role: String = row.try_get(0)?;
        let of_role: Option<i32> = row.try_get(1)?;
        let database: String = row.try_get(2)?;
        let of_database: i32 = row.try_get(3)?;
        Ok((role, of_role.unwrap_or(-1), database, of_database))
    });
    let next = match limits.await {
        Ok((role, limit, ..)) if limit >= 0 => {
            format!("ALTER ROLE {} CONNECTION LIMIT 10", quoted(&role))
        }
        Ok((.., database, limit)) if limit >= 0 => {
            format!("ALTER DATABASE {} CONNECTION LIMIT 10", quoted(&database))
        }
        _ => "free some connections, or raise max_connections".to_owned(),
    };
    DatabaseError::TooFew {
        place: url.place(),
        message: describe(error),
        next,
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
