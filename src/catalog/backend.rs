//! Which of the two databases it is: asked here, and nowhere above.
//!
//! Most statements are the same on both but for some words, which a [`Dialect`] has. What one of
//! them does in a way of its own is a function of that name in `postgres` and in `sqlite`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::migrate::Migrator;

use super::error::CatalogError;
use super::request::{Batch, MirrorUpdate, PlanNotices, Rehearsal, Scope, Writer};
use super::sql::{Answer, Connection, Dialect, Statement};
use super::{postgres, sqlite};
use crate::database::Database;

/// How long another process may take to make the tables.
const MIGRATE_PAUSE: Duration = Duration::from_millis(200);

/// The words of a database.
pub(super) fn dialect(db: &Database) -> &'static dyn Dialect {
    match db {
        Database::Postgres(_) => &postgres::Postgres,
        Database::Sqlite(_) => &sqlite::Sqlite,
    }
}

/// The words of a connection's database.
pub(super) fn dialect_of(connection: &Connection<'_>) -> &'static dyn Dialect {
    match connection {
        Connection::Postgres(_) => &postgres::Postgres,
        Connection::Sqlite(_) => &sqlite::Sqlite,
    }
}

/// Makes windlass's own tables where they are missing. sqlx locks the database for it on PostgreSQL;
/// on SQLite the loser of two finds the tables there when it tries again.
pub(super) async fn migrate(db: &Database, migrator: &Migrator) -> Result<(), CatalogError> {
    match db {
        Database::Postgres(pool) => {
            let connection = pool.acquire().await;
            let mut connection = connection.map_err(CatalogError::of("make windlass's tables"))?;
            migrator.run(&mut *connection).await?;
        }
        Database::Sqlite(pool) => {
            if migrator.run(pool).await.is_err() {
                tokio::time::sleep(MIGRATE_PAUSE).await;
                migrator.run(pool).await?;
            }
        }
    }
    Ok(())
}

/// Whether anybody holds Anchore's migration lock; on SQLite, where Anchore's own tool takes none, it
/// can't be ruled out.
pub(super) async fn lock_is_held(db: &Database) -> Result<bool, sqlx::Error> {
    match db {
        Database::Postgres(_) => {
            let (held,): (bool,) = Statement::new(postgres::LOCK_IS_HELD).one(db).await?;
            Ok(held)
        }
        Database::Sqlite(_) => Ok(true),
    }
}

/// Inserts the objects of a plan, and marks those that may not be moved. One statement is to be said
/// before, another behind it, whose answer comes with what was found.
pub(super) async fn plan(
    connection: &mut Connection<'_>,
    task_id: i64,
    scope: Scope<'_>,
    beside: (Option<Statement>, Statement),
) -> Result<(PlanNotices, Answer), sqlx::Error> {
    match connection {
        Connection::Postgres(pg) => postgres::plan(pg, task_id, scope, beside).await,
        Connection::Sqlite(sqlite) => sqlite::plan(sqlite, task_id, scope, beside).await,
    }
}

/// What a plan would hold, and some of its objects; of a task's next pass, where there is one.
pub(super) async fn rehearse(
    connection: &mut Connection<'_>,
    task_id: Option<i64>,
    scope: Scope<'_>,
    sample: u32,
) -> Result<Rehearsal, sqlx::Error> {
    match connection {
        Connection::Postgres(pg) => postgres::rehearse(pg, task_id, scope, sample).await,
        Connection::Sqlite(sqlite) => sqlite::rehearse(sqlite, task_id, scope, sample).await,
    }
}

/// Swaps the rows of a batch that are still as planned, and marks them in the mirror. Returns those
/// that were swapped, each with whether the mirror has it.
pub(super) async fn move_rows(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
) -> Result<HashMap<u64, bool>, sqlx::Error> {
    match connection {
        Connection::Postgres(pg) => postgres::move_rows(pg, batch).await,
        Connection::Sqlite(sqlite) => sqlite::move_rows(sqlite, batch).await,
    }
}

/// Does the same at once, where each message costs; none, with nothing changed, where it must be done step
/// by step. `look` fails where a row was altered.
pub(super) async fn move_at_once(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
    look: Statement,
) -> Result<Option<HashSet<u64>>, sqlx::Error> {
    match connection {
        Connection::Postgres(pg) => postgres::move_at_once(pg, batch, look).await,
        Connection::Sqlite(_) => Ok(None),
    }
}

/// Applies updates of the mirror that are newer than what stands there, and says `behind` last.
pub(super) async fn update_mirror(
    connection: &mut Connection<'_>,
    writer: &Writer,
    updates: &[&MirrorUpdate],
    behind: Statement,
) -> Result<(), sqlx::Error> {
    match connection {
        Connection::Postgres(pg) => postgres::update(pg, writer, updates, behind).await,
        Connection::Sqlite(sqlite) => sqlite::update(sqlite, writer, updates, behind).await,
    }
}
