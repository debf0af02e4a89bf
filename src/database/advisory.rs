//! Anchore's advisory lock on PostgreSQL: `pg_advisory_lock(2, 1)`, held by the session.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::establish::set_known;
use super::{Hold, Holder};

/// Settings that the session cannot do without.
const REQUIRED: &str = "SET synchronous_commit = on";

/// Settings that old servers lack: let the server find out within a minute that our
/// machine is gone, and never end the session for being idle.
const WISHED: [&str; 6] = [
    "SET tcp_keepalives_idle = 20",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 4",
    "SET tcp_user_timeout = 60000",
    "SET idle_session_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
];

/// `pg_stat_activity` hides its columns from other roles: only the pid is certain.
const HOLDER: &str = "SELECT l.pid, a.application_name, host(a.client_addr) AS client_addr, \
    to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since \
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'advisory' AND l.classid = 2 AND l.objid = 1 AND l.objsubid = 2 AND l.granted \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND l.pid <> pg_backend_pid() ORDER BY l.pid LIMIT 1";

/// Who has the lock alone, or else is in line for it: then nobody is let in to share it.
const IN_THE_WAY: &str = "SELECT l.pid, a.application_name, host(a.client_addr) AS client_addr, \
    to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since, \
    l.granted \
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'advisory' AND l.classid = 2 AND l.objid = 1 AND l.objsubid = 2 \
    AND l.mode = 'ExclusiveLock' \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND l.pid <> pg_backend_pid() ORDER BY l.granted DESC, l.pid LIMIT 1";

/// All of them in one statement: those that the server does not know are passed over.
fn all_at_once() -> String {
    let settings = [REQUIRED].into_iter().chain(WISHED);
    let settings = settings.filter_map(|set| set.strip_prefix("SET ")?.split_once(" = "));
    set_known(settings)
}

/// What came of a try to take the lock.
pub(super) enum Tried {
    /// By this backend.
    Held(i32),
    HeldBy(Holder),
    /// It is shared, and this one is in line to have it alone.
    InLine(Holder),
    /// The server takes no writes.
    Standby,
}

/// Sets the session up and tries to take the lock, in one round trip where the server lets all be set.
pub(super) async fn set_up_and_try(
    pg: &mut PgConnection,
    hold: Hold,
) -> Result<Tried, sqlx::Error> {
    let both = format!("{}; {}", all_at_once(), hold.try_sql());
    match sqlx::raw_sql(AssertSqlSafe(both)).fetch_all(&mut *pg).await {
        Ok(rows) => tried(pg, rows.last(), hold).await,
        Err(sqlx::Error::Database(_)) => {
            set_one_by_one(pg).await?;
            try_lock(pg, hold).await
        }
        Err(error) => Err(error),
    }
}

/// Sets the session up, before it takes the lock.
pub(super) async fn set_up(pg: &mut PgConnection) -> Result<(), sqlx::Error> {
    let all = sqlx::raw_sql(AssertSqlSafe(all_at_once()));
    match all.execute(&mut *pg).await {
        Err(sqlx::Error::Database(_)) => set_one_by_one(pg).await,
        done => done.map(drop),
    }
}

/// Where one of them is refused.
async fn set_one_by_one(pg: &mut PgConnection) -> Result<(), sqlx::Error> {
    pg.execute(REQUIRED).await?;
    for setting in WISHED {
        match pg.execute(setting).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) => tracing::debug!("{setting}: {}", error.message()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tries to take the lock, in a session that has been set up.
pub(super) async fn try_lock(pg: &mut PgConnection, hold: Hold) -> Result<Tried, sqlx::Error> {
    let sql = AssertSqlSafe(hold.try_sql());
    let row = sqlx::raw_sql(sql).fetch_one(&mut *pg).await?;
    tried(pg, Some(&row), hold).await
}

async fn tried(
    pg: &mut PgConnection,
    row: Option<&PgRow>,
    hold: Hold,
) -> Result<Tried, sqlx::Error> {
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    let (is_standby, is_held): (bool, Option<bool>) = (row.try_get(0)?, row.try_get(1)?);
    match (is_standby, is_held) {
        (true, _) => return Ok(Tried::Standby),
        (false, Some(true)) => return Ok(Tried::Held(row.try_get(2)?)),
        _ => {}
    }
    if let Hold::Shared(_) = hold {
        return in_the_way(pg).await;
    }
    // Whoever held it may have let go in between; then there is no more to say.
    Ok(Tried::HeldBy(holder(pg).await?.unwrap_or_default()))
}

/// Who else holds the lock.
pub(super) async fn holder(pg: &mut PgConnection) -> Result<Option<Holder>, sqlx::Error> {
    let holder = sqlx::raw_sql(HOLDER).fetch_optional(pg).await?;
    holder.as_ref().map(read_holder).transpose()
}

/// Why the lock can't be shared.
async fn in_the_way(pg: &mut PgConnection) -> Result<Tried, sqlx::Error> {
    let Some(row) = sqlx::raw_sql(IN_THE_WAY).fetch_optional(pg).await? else {
        return Ok(Tried::HeldBy(Holder::default()));
    };
    let holder = read_holder(&row)?;
    Ok(match row.try_get("granted")? {
        true => Tried::HeldBy(holder),
        false => Tried::InLine(holder),
    })
}

fn read_holder(row: &PgRow) -> Result<Holder, sqlx::Error> {
    Ok(Holder {
        pid: None,
        backend: row.try_get("pid")?,
        application_name: row.try_get("application_name")?,
        client_addr: row.try_get("client_addr")?,
        since: row.try_get("since")?,
    })
}

/// Whether the lock is held by this backend, and this is the backend that took it.
pub(super) async fn is_held(
    pg: &mut PgConnection,
    backend: Option<i32>,
    hold: Hold,
) -> Result<bool, sqlx::Error> {
    let sql = AssertSqlSafe(hold.held_sql());
    let row = sqlx::raw_sql(sql).fetch_one(pg).await?;
    let (answering, held): (i32, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(held && Some(answering) == backend)
}

/// Lets go of the lock.
pub(super) async fn unlock(pg: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("SELECT pg_advisory_unlock_all()")
        .execute(pg)
        .await
        .map(|_| ())
}
