//! Finding out a pooler that lends its server connections from statement to statement.
//!
//! Behind one, the backend that takes the advisory lock is anybody's a moment later, and the lock
//! stays with it. So this is asked before the lock is, by what the pooler does: while another
//! connection has a transaction open, a connection that has its own backend keeps it.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::error::PoolMode;
use super::establish::Settled;

const BACKEND: &str = "SELECT pg_backend_pid()";

/// Opens a transaction, and asks for the backend that has it.
pub(super) const BEGIN_AND_BACKEND: &str = "BEGIN; SELECT pg_backend_pid()";

/// The same of the first two connections there are, of which each has been asked something already: the
/// first for its backend, which was `before`, and `second` to begin a transaction and for its own.
/// Returns the second, where both have a backend of their own.
pub(super) async fn shared_between(
    first: &mut PgConnection,
    before: i32,
    second: Settled,
) -> Result<Result<PgConnection, PoolMode>, sqlx::Error> {
    let others: i32 = second.answer.ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    let mut second = second.connection;
    let after = backend(first).await?;
    // Its settings were made with this transaction, and last as it does.
    sqlx::raw_sql("COMMIT").execute(&mut second).await?;
    if before == after && others != after {
        return Ok(Ok(second));
    }
    forget_settings([first, &mut second]).await;
    Ok(Err(PoolMode::Transaction))
}

/// How the connection is pooled, where it is pooled so that no lock can be held.
///
/// By simple statements: prepared ones may be lost between two connections already.
pub(super) async fn shared_backends(
    session: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<Option<PoolMode>, sqlx::Error> {
    let before = backend(session).await?;
    let begun = sqlx::raw_sql(BEGIN_AND_BACKEND)
        .fetch_one(&mut *other)
        .await;
    let others: i32 = match begun {
        Ok(row) => row.try_get(0)?,
        Err(error) if refuses_transactions(&error) => return Ok(Some(PoolMode::Statement)),
        Err(error) => return Err(error),
    };
    let after = backend(session).await?;
    sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
    if before == after && others != after {
        return Ok(None);
    }
    forget_settings([session, other]).await;
    Ok(Some(PoolMode::Transaction))
}

/// What was set on a backend that is others' as well should not stay there.
async fn forget_settings(connections: [&mut PgConnection; 2]) {
    for connection in connections {
        let _ = sqlx::raw_sql("RESET ALL").execute(connection).await;
    }
}

async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = sqlx::raw_sql(BACKEND).fetch_one(connection).await?;
    row.try_get(0)
}

/// In PgBouncer's words.
pub(super) fn refuses_transactions(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().map(|error| error.message());
    said.is_some_and(|said| said.contains("transaction blocks not allowed"))
}
