//! How workers share Anchore's lock: each of them holds it shared, and the lock of its own number beside
//! it. Anchore's tool, and any other task, needs it alone. Whoever gets the lock of a worker's number knows
//! that its session has ended; more it does not know.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

/// The number of a task's executor, as the server locks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerNumber(i64);

/// Keys of one number are apart from those of two, such as Anchore's; this keeps ours apart from those
/// of other programs.
const OURS: i64 = 0x574c << 48;

impl WorkerNumber {
    /// Of the executor with this epoch; none behind the last one that there is a number for.
    pub fn new(task_id: i64, epoch: i32) -> Option<Self> {
        let task = u32::try_from(task_id).ok()?;
        let epoch = u16::try_from(epoch).ok()?;
        Some(Self(OURS | i64::from(task) << 16 | i64::from(epoch)))
    }

    /// The key of its lock.
    pub fn key(self) -> i64 {
        self.0
    }
}

/// How a session is to hold Anchore's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Alone.
    Exclusive,
    /// With other workers. The number comes second, and neither is kept without the other.
    Shared(Option<WorkerNumber>),
}

impl Hold {
    /// How it is tried for; a server that follows another takes the lock and no writes: there it is not
    /// even tried.
    pub(super) fn try_sql(self) -> String {
        let function = match self {
            Hold::Exclusive => "pg_try_advisory_lock",
            Hold::Shared(_) => "pg_try_advisory_lock_shared",
        };
        format!(
            "SELECT pg_is_in_recovery(), \
             CASE WHEN NOT pg_is_in_recovery() THEN {function}(2, 1) END, pg_backend_pid()"
        )
    }

    /// Whether this backend holds it so. `classid` and `objid` are the two keys, and `objsubid` 2 says that
    /// there are two; of one key they are its halves.
    pub(super) fn held_sql(self) -> String {
        let of_backend = "locktype = 'advisory' AND granted AND pid = pg_backend_pid() \
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let held =
            |key: &str| format!("EXISTS (SELECT 1 FROM pg_locks WHERE {of_backend} AND {key})");
        let anchores = "classid = 2 AND objid = 1 AND objsubid = 2";
        let held = match self {
            Hold::Exclusive => held(&format!("{anchores} AND mode = 'ExclusiveLock'")),
            Hold::Shared(None) => held(&format!("{anchores} AND mode = 'ShareLock'")),
            Hold::Shared(Some(number)) => {
                let (high, low) = (number.0 >> 32, number.0 & 0xffff_ffff);
                format!(
                    "{} AND {}",
                    held(&format!("{anchores} AND mode = 'ShareLock'")),
                    held(&format!(
                        "classid = {high} AND objid = {low} AND objsubid = 1 \
                         AND mode = 'ExclusiveLock'"
                    ))
                )
            }
        };
        format!("SELECT pg_backend_pid(), {held}")
    }
}

/// Tries for the lock of a number.
pub(super) async fn try_number(
    pg: &mut PgConnection,
    number: WorkerNumber,
) -> Result<bool, sqlx::Error> {
    let sql = format!("SELECT pg_try_advisory_lock({})", number.0);
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(pg).await?;
    row.try_get(0)
}

/// From alone to shared, without letting go in between. The shared half is waited for: while somebody is
/// in line for the lock a try fails, although nobody else can hold it, and the wait is over at once.
pub(super) async fn share(
    pg: &mut PgConnection,
    number: WorkerNumber,
) -> Result<bool, sqlx::Error> {
    if !try_number(pg, number).await? {
        return Ok(false);
    }
    let both = "SELECT pg_advisory_lock_shared(2, 1); SELECT pg_advisory_unlock(2, 1)";
    sqlx::raw_sql(both).execute(pg).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_executors_have_one_number() {
        let key = |task, epoch| WorkerNumber::new(task, epoch).map(WorkerNumber::key);
        assert_eq!(key(2, 1), Some(0x574c_0000_0002_0001));
        assert_ne!(key(1, 2), key(2, 1));
        assert!(key(i64::from(i32::MAX), 65_535).is_some_and(|key| key > 0));
        assert_eq!((key(1, 65_536), key(-1, 1), key(1, -1)), (None, None, None));
    }
}
