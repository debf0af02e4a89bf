//! A further pass of a task that copies while the services run: the difference between its objects and
//! the rows as they are now, planned inside the database.

use super::backend::{self, dialect_of};
use super::error::CatalogError;
use super::handle::Catalog;
use super::plan::{PlanEnd, begin_plan, shards};
use super::request::{PassRequest, PlannedPass, Scope};
use super::sql::{AS_PLANNED, Connection, JOIN_ROW, Objects, STAGED, Statement, before_joins};
use crate::database::Session;
use crate::model::Stage;

/// Objects that stand for their rows no more: the row has changed, or is gone. What was skipped has
/// come upon such a row; where that is as before by now, it is planned anew.
fn supersede() -> String {
    format!(
        "UPDATE windlass_objects SET superseded = true
          WHERE task_id = $1 AND idx IN (
                SELECT o.idx FROM windlass_objects o {JOIN_ROW}
                 WHERE o.task_id = $1 AND NOT o.superseded
                   AND o.phase IN ('pending', 'copied', 'verified')
                   AND (o.outcome = 'skipped' OR NOT {AS_PLANNED}))"
    )
}

/// Shards in which something is left to do: to a pass, objects that are to be skipped; to the
/// cut-over, whatever is not committed.
const REOPEN: &str = "
    UPDATE windlass_shards SET done = false
     WHERE task_id = $1 AND done AND EXISTS (
           SELECT 1 FROM windlass_objects o
            WHERE o.task_id = $1
              AND o.idx BETWEEN windlass_shards.first_idx AND windlass_shards.last_idx
              AND o.phase IN ('pending', 'copied', 'verified')
              AND (o.outcome IS NULL OR o.outcome = 'failed') AND (o.superseded OR $2))";

const NOTE: &str = "
    UPDATE windlass_tasks SET planned = $2, planned_bytes = $3, passes = passes + 1, stage = $4
     WHERE task_id = $1 RETURNING passes";

const TO_MIGRATE: &str = "
    UPDATE archive_migration_tasks SET archive_documents_to_migrate = $2 WHERE id = $1";

/// The task's objects, in one pass over them. `$2` is the first that was planned now.
fn count() -> String {
    format!(
        "SELECT count(*) AS planned, CAST(coalesce(sum(source_size), 0) AS bigint) AS planned_bytes,
                count(CASE WHEN idx >= $2 THEN 1 END) AS added,
                CAST(coalesce(sum(CASE WHEN idx >= $2 THEN source_size END), 0) AS bigint)
                    AS added_bytes,
                count(CASE WHEN superseded THEN 1 END) AS superseded,
                count(CASE WHEN {STAGED} THEN 1 END) AS staged,
                CAST(coalesce(sum(CASE WHEN {STAGED} THEN source_size END), 0) AS bigint)
                    AS staged_bytes
           FROM windlass_objects WHERE task_id = $1"
    )
}

#[derive(sqlx::FromRow)]
struct Counted {
    planned: i64,
    planned_bytes: i64,
    added: i64,
    added_bytes: i64,
    superseded: i64,
    staged: i64,
    staged_bytes: i64,
}

impl Catalog {
    /// Plans a pass on the locked session, in one transaction: what stands for its row no more is
    /// marked, and what is new or has changed becomes an object of its own.
    pub async fn plan_pass(
        &self,
        session: &Session,
        request: &PassRequest,
    ) -> Result<PlannedPass, CatalogError> {
        let end = match request.dry_run {
            true => PlanEnd::Discard,
            false => PlanEnd::Keep,
        };
        let work = async |connection: &mut Connection<'_>| plan_pass(connection, request).await;
        self.in_a_plan(session, request.patience, work, async |_: &PlannedPass| {
            Ok::<_, CatalogError>(end)
        })
        .await
    }
}

impl Catalog {
    /// Marks the objects of a task that stand for their rows no more, on the locked session.
    pub async fn supersede(&self, session: &Session, task_id: i64) -> Result<(), CatalogError> {
        let mut guard = session.lock().await?;
        let mut connection = Connection::from(&mut *guard);
        let supersede = Statement::new(supersede()).bind(task_id);
        let done = session.watch(connection.execute(supersede)).await;
        done.map(drop)
            .map_err(CatalogError::of("look for rows that have changed"))
    }
}

async fn plan_pass(
    connection: &mut Connection<'_>,
    request: &PassRequest,
) -> Result<PlannedPass, sqlx::Error> {
    let task_id = request.task_id;
    let of_task = |sql: String| Statement::new(sql).bind(task_id);
    let dialect = dialect_of(connection);
    let mut begin = begin_plan(dialect, request.patience);
    // Where services are waiting, the plan before has looked at them, or the end of its pass.
    let objects = match request.dry_run || request.stage == Stage::Cutover {
        true => Objects::LookedAt,
        false => Objects::New,
    };
    begin.extend(before_joins(dialect, objects));
    connection.several(begin).await?;
    let superseded = connection.execute(of_task(supersede())).await?;
    let scope = Scope {
        from: &request.from,
        to: &request.to,
        policy: &request.policy,
        planned: request.planned,
        digests_only: request.stage == Stage::Staging,
    };
    let first_idx = request.planned as i64;
    let count = of_task(count()).bind(first_idx);
    let (notices, counted) = backend::plan(connection, task_id, scope, (None, count)).await?;
    let counted: Counted = counted.one()?;
    let is_last = request.stage == Stage::Cutover;
    let note = of_task(NOTE.into())
        .bind(counted.planned)
        .bind(counted.planned_bytes)
        .bind(request.stage.name());
    let [_, _, _, pass] = connection
        .together([
            shards(task_id, first_idx, counted.added),
            of_task(REOPEN.into()).bind(is_last),
            of_task(TO_MIGRATE.into()).bind(counted.planned - counted.superseded),
            note,
        ])
        .await?;
    let (pass,): (i32,) = pass.one()?;
    Ok(PlannedPass {
        pass: pass as u32,
        added: counted.added as u64,
        added_bytes: counted.added_bytes as u64,
        superseded,
        superseded_in_all: counted.superseded as u64,
        staged: counted.staged as u64,
        staged_bytes: counted.staged_bytes as u64,
        without_digest: notices.without_digest,
        planned: counted.planned as u64,
    })
}
