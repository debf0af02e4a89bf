//! Who may write to a task's mirror: its latest executor, and nobody else.
//!
//! An executor that has lost the lock may find out late (a machine that hangs, say), and meanwhile
//! another goes on with its task: behind the head that the database has of the first at that moment,
//! which the other's journal names. From then on that head stays where it is. Whoever takes a task
//! over touches the rows of the executors before it, and whoever writes to the mirror locks its own
//! row first and looks for a later one afterwards, in a statement of its own: so either its batch is
//! in the database before the other begins, or it sees the other.

use super::backend::dialect_of;
use super::error::CatalogError;
use super::handle::Catalog;
use super::request::Writer;
use super::sql::{Begin, Connection, Pooled, Statement, within_limit};

/// Executors that have taken the task over since.
const LATER: &str = "SELECT count(*) FROM windlass_executors
     WHERE task_id = $1 AND executor <> $2 AND epoch >= $3";

/// What stands of the mirror's writer.
pub(super) struct Owner {
    /// Whether another executor has taken the task over.
    pub is_taken_over: bool,
    /// How far the database has its journal.
    pub seq: Option<u64>,
}

/// Looks who owns the task; asked at the beginning of a transaction that writes, and true until it
/// ends.
pub(super) async fn owner(
    connection: &mut Connection<'_>,
    writer: &Writer,
) -> Result<Owner, sqlx::Error> {
    let own_row = format!(
        "SELECT seq FROM windlass_executors WHERE task_id = $1 AND executor = $2{}",
        dialect_of(connection).for_update()
    );
    let of_writer = |sql: String| {
        let statement = Statement::new(sql).bind(writer.task_id);
        statement.bind(writer.executor.to_string())
    };
    let locked: Option<(i64,)> = connection.optional(of_writer(own_row)).await?;
    let later = of_writer(LATER.into()).bind(writer.epoch);
    let (later,): (i64,) = connection.one(later).await?;
    Ok(Owner {
        is_taken_over: later > 0,
        seq: locked.map(|(seq,)| seq as u64),
    })
}

impl Catalog {
    /// Runs statements over the pool, in a transaction of the task's latest executor alone.
    ///
    /// # Errors
    /// [`CatalogError::TakenOver`] where another has taken the task over, with nothing written.
    pub(super) async fn as_owner<T>(
        &self,
        what: &'static str,
        writer: &Writer,
        statements: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, sqlx::Error>,
    ) -> Result<T, CatalogError> {
        let mut pooled = Pooled::acquire(&self.db)
            .await
            .map_err(CatalogError::of(what))?;
        let work = async {
            let mut connection = pooled.connection();
            let mut transaction = connection.begin(Begin::Immediate).await?;
            let mut within = transaction.connection();
            if owner(&mut within, writer).await?.is_taken_over {
                return Ok(None);
            }
            let done = statements(&mut within).await?;
            transaction.commit().await?;
            Ok(Some(done))
        };
        let done = within_limit(&self.db, work).await.and_then(|done| done);
        let task_id = writer.task_id;
        let done = done.map_err(CatalogError::of(what))?;
        if done.is_some() {
            pooled.give_back();
        }
        done.ok_or(CatalogError::TakenOver { task_id })
    }
}
