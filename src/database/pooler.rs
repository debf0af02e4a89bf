//! Finding out a pooler that lends its server connections from statement to statement.
//!
//! Behind one, the backend that takes the advisory lock is anybody's a moment later, and the lock
//! stays with it. So this is asked before the lock is, by what the pooler does: while another
//! connection has a transaction open, a connection that has its own backend keeps it.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::error::PoolMode;

const BACKEND: &str = "SELECT pg_backend_pid()";

/// How the connection is pooled, where it is pooled so that no lock can be held.
///
/// By simple statements: prepared ones may be lost between two connections already.
pub(super) async fn shared_backends(
    session: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<Option<PoolMode>, sqlx::Error> {
    let before = backend(session).await?;
    match sqlx::raw_sql("BEGIN").execute(&mut *other).await {
        Ok(_) => {}
        Err(error) if refuses_transactions(&error) => return Ok(Some(PoolMode::Statement)),
        Err(error) => return Err(error),
    }
    let others = backend(other).await?;
    let after = backend(session).await?;
    sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
    if before == after && others != after {
        return Ok(None);
    }
    // What was set on a backend that is others' as well should not stay there.
    for connection in [session, other] {
        let _ = sqlx::raw_sql("RESET ALL").execute(connection).await;
    }
    Ok(Some(PoolMode::Transaction))
}

async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql(BACKEND).fetch_one(connection).await?;
    row.try_get(0)
}

/// In PgBouncer's words.
fn refuses_transactions(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().map(|error| error.message());
    said.is_some_and(|said| said.contains("transaction blocks not allowed"))
}
