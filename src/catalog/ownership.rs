//! Who may write to a task's mirror: its latest executor, and nobody else.
//!
//! An executor that has lost the lock may find out late (a machine that hangs, say), and meanwhile
//! another goes on with its task: behind the head that the database has of the first at that moment,
//! which the other's journal names. From then on that head stays where it is. Whoever takes a task
//! over touches the rows of the executors before it, and whoever writes to the mirror locks its own
//! row first and looks for a later one afterwards, in a statement of its own: so either its batch is
//! in the database before the other begins, or it sees the other.

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::request::Writer;
use super::sql::{Answer, Begin, Dialect, Pooled, Statement, within_limit};

/// Executors that have taken the task over since.
const LATER: &str = "SELECT count(*) FROM windlass_executors
     WHERE task_id = $1 AND executor <> $2 AND epoch >= $3 AND $4";

/// A condition for what is written in one message with the look at who owns the task, and so before
/// anybody here has heard what came of that. The task is `$1`; the parameters of the writer's executor
/// and epoch are given. Of workers none owns the task.
pub(super) fn unless_taken_over(writer: &Writer, executor: &str, epoch: &str) -> String {
    let among_workers = !writer.is_alone();
    format!(
        "({among_workers} OR NOT EXISTS (SELECT 1 FROM windlass_executors later
              WHERE later.task_id = $1 AND later.executor <> {executor} AND later.epoch >= {epoch}))"
    )
}

/// The look for executors that have taken the task over; among workers none has.
pub(super) fn later(writer: &Writer) -> Statement {
    Statement::new(LATER)
        .bind(writer.task_id)
        .bind(writer.executor.to_string())
        .bind(writer.epoch)
        .bind(writer.is_alone())
}

/// Refuses to go on where [`later`] has found one.
pub(super) fn refuse_taken_over(
    later: Answer,
    writer: &Writer,
) -> Result<Result<(), CatalogError>, sqlx::Error> {
    let (later,): (i64,) = later.one()?;
    Ok(match later > 0 {
        true => Err(CatalogError::TakenOver {
            task_id: writer.task_id,
        }),
        false => Ok(()),
    })
}

/// What stands of the mirror's writer.
pub(super) struct Owner {
    /// Whether another executor has taken the task over.
    pub is_taken_over: bool,
    /// How far the database has its journal.
    pub seq: Option<u64>,
}

/// The two looks at who owns the task, one behind the other at the beginning of a transaction that
/// writes. What they tell is true until it ends.
pub(super) fn looks(dialect: &dyn Dialect, writer: &Writer) -> [Statement; 2] {
    let own_row = format!(
        "SELECT seq FROM windlass_executors WHERE task_id = $1 AND executor = $2{}",
        dialect.for_update()
    );
    let own_row = Statement::new(own_row).bind(writer.task_id);
    [own_row.bind(writer.executor.to_string()), later(writer)]
}

impl Owner {
    /// What the looks have told.
    pub fn seen([own_row, later]: [Answer; 2]) -> Result<Self, sqlx::Error> {
        let own_row: Option<(i64,)> = own_row.optional()?;
        let (later,): (i64,) = later.one()?;
        Ok(Self {
            is_taken_over: later > 0,
            seq: own_row.map(|(seq,)| seq as u64),
        })
    }
}

impl Catalog {
    /// Runs a statement over the pool that writes [`unless_taken_over`], in a transaction of the task's
    /// latest executor alone.
    ///
    /// # Errors
    /// [`CatalogError::TakenOver`] where another has taken the task over, with nothing written.
    pub(super) async fn as_owner(
        &self,
        what: &'static str,
        writer: &Writer,
        statement: Statement,
    ) -> Result<Answer, CatalogError> {
        let mut pooled = Pooled::acquire(&self.db)
            .await
            .map_err(CatalogError::of(what))?;
        let [own_row, later] = looks(dialect(&self.db), writer);
        let work = async {
            let mut connection = pooled.connection();
            let statements = [own_row, later, statement];
            connection.at_once(Begin::Immediate, statements).await
        };
        let done = within_limit(&self.db, work).await.and_then(|done| done);
        let [own_row, later, answer] = done.map_err(CatalogError::of(what))?;
        pooled.give_back();
        let owner = Owner::seen([own_row, later]).map_err(CatalogError::of(what))?;
        match owner.is_taken_over {
            true => Err(CatalogError::TakenOver {
                task_id: writer.task_id,
            }),
            false => Ok(answer),
        }
    }
}
