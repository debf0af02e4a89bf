//! Who may write to a task's mirror: its latest executor, and nobody else.
//!
//! An executor that has lost the lock may find out late (a machine that hangs, say), and meanwhile
//! another goes on with its task: behind the head that the database has of the first at that moment,
//! which the other's journal names. From then on that head stays where it is. Whoever takes a task
//! over touches the rows of the executors before it, and whoever writes to the mirror locks its own
//! row first and looks for a later one afterwards, in a statement of its own: so either its batch is
//! in the database before the other begins, or it sees the other.

use uuid::Uuid;

/// An executor that writes to its task's mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// The task.
    pub task_id: i64,
    /// The checkpoint.
    pub executor: Uuid,
    /// Its epoch within the task.
    pub epoch: i32,
}

/// Locks the writer's own row, where the database has such locks: on SQLite one transaction writes
/// at a time.
pub(super) const OWN_ROW_POSTGRES: &str =
    "SELECT seq FROM windlass_executors WHERE task_id = $1 AND executor = $2 FOR UPDATE";
pub(super) const OWN_ROW_SQLITE: &str =
    "SELECT seq FROM windlass_executors WHERE task_id = $1 AND executor = $2";

/// Executors that have taken the task over since.
pub(super) const LATER: &str = "SELECT count(*) FROM windlass_executors
     WHERE task_id = $1 AND executor <> $2 AND epoch >= $3";

/// Whether another executor has taken the task over; asked at the beginning of a transaction that
/// writes, and true until it ends.
macro_rules! is_taken_over {
    ($connection:expr, $own_row:expr, $writer:expr) => {
        async {
            let writer: &$crate::catalog::Writer = $writer;
            let executor = writer.executor.to_string();
            sqlx::query($own_row)
                .bind(writer.task_id)
                .bind(&executor)
                .fetch_optional(&mut *$connection)
                .await?;
            let (later,): (i64,) = sqlx::query_as($crate::catalog::ownership::LATER)
                .bind(writer.task_id)
                .bind(&executor)
                .bind(writer.epoch)
                .fetch_one(&mut *$connection)
                .await?;
            Ok::<_, sqlx::Error>(later > 0)
        }
    };
}
pub(super) use is_taken_over;

/// A transaction of the latest executor alone: begun, the ownership looked at, the statements
/// carried out, committed. `None` where the task has been taken over, with nothing written.
macro_rules! as_owner {
    ($connection:expr, $begin:expr, $own_row:expr, $writer:expr, $transaction:ident => $body:expr) => {
        async {
            let mut $transaction = $connection.begin_with($begin).await?;
            if $crate::catalog::ownership::is_taken_over!($transaction, $own_row, $writer).await? {
                return Ok(None);
            }
            let done = $body;
            $transaction.commit().await?;
            Ok::<_, sqlx::Error>(Some(done))
        }
    };
}
pub(super) use as_owner;

/// Runs statements on whichever database it is, as the task's latest executor.
macro_rules! on_either_as_owner {
    ($catalog:expr, $what:expr, $writer:expr, $transaction:ident => $body:expr) => {{
        use sqlx::Connection as _;
        let writer: &$crate::catalog::Writer = $writer;
        let done = match &$catalog.db {
            $crate::database::Database::Postgres(pool) => {
                let of = $crate::catalog::CatalogError::of;
                let mut connection = pool.acquire().await.map_err(of($what))?;
                let own_row = $crate::catalog::ownership::OWN_ROW_POSTGRES;
                let work = $crate::catalog::ownership::as_owner!(
                    connection, "BEGIN", own_row, writer, $transaction => $body
                );
                let bounded = pool.bounded(work).await;
                bounded.map_err(of($what))?
            }
            $crate::database::Database::Sqlite(pool) => {
                let own_row = $crate::catalog::ownership::OWN_ROW_SQLITE;
                $crate::catalog::ownership::as_owner!(
                    pool, "BEGIN IMMEDIATE", own_row, writer, $transaction => $body
                )
                .await
            }
        };
        match done.map_err($crate::catalog::CatalogError::of($what))? {
            Some(done) => Ok(done),
            None => Err($crate::catalog::CatalogError::TakenOver {
                task_id: writer.task_id,
            }),
        }
    }};
}
pub(super) use on_either_as_owner;
