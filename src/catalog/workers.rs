//! Several executors on one task: how one joins, what it finds as its own, and how it ends.

use uuid::Uuid;

use super::backend::dialect;
use super::claims::{RawClaim, claim};
use super::error::CatalogError;
use super::executors::{Executor, becomes_active};
use super::handle::Catalog;
use super::request::Writer;
use super::sql::{Answer, Dialect, Statement};
use super::tasks::ExecutorEnd;
use crate::database::{Session, WorkerNumber};
use crate::model::{Claim, TaskState};

/// What came of joining a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// It works on it, as the executor with this epoch.
    At(i32),
    /// The task is at its end.
    Complete,
    /// Those who share the lock work on another task now, or on none.
    NotActive(Option<i64>),
    /// The server is another one than that on which they have worked, or was put back.
    FailedOver,
    /// It has been worked on by another version, which might make other bytes of a document.
    OtherVersion(String),
}

/// Where those stand who share the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// On this task.
    This,
    /// On another, or on none.
    Other(Option<i64>),
    /// On this or another, and this one was last worked on before the server was failed over.
    FailedOver,
}

/// The timeline that the server is on: a standby that is promoted begins another.
const TIMELINE: &str = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// The oldest server that workers can share a task on.
const SERVER_MIN: i32 = 100_000;

/// Notes the timeline on which a task becomes the active one.
pub(super) fn notes_timeline(task_id: i64) -> Statement {
    let sql = format!("UPDATE windlass_tasks SET timeline = {TIMELINE} WHERE task_id = $1");
    Statement::new(sql).bind(task_id)
}

/// The active task, and whether this one was made active on the server's timeline.
fn asks_active(task_id: i64) -> Statement {
    let sql = format!(
        "SELECT CAST(a.task_id AS bigint),
                (SELECT t.timeline = {TIMELINE} FROM windlass_tasks t WHERE t.task_id = $1)
           FROM windlass_active a"
    );
    Statement::new(sql).bind(task_id)
}

fn active(answer: Answer, task_id: i64) -> Result<Active, sqlx::Error> {
    let active: Option<(Option<i64>, Option<bool>)> = answer.optional()?;
    Ok(match active {
        Some((Some(active), Some(true))) if active == task_id => Active::This,
        Some((Some(active), _)) if active == task_id => Active::FailedOver,
        // Another task in between does not let this one go on.
        Some((_, Some(false))) => Active::FailedOver,
        other => Active::Other(other.and_then(|(active, _)| active)),
    })
}

const JOIN: &str = "join the task";
const END: &str = "leave the task";

const STATE: &str = "SELECT state FROM windlass_tasks WHERE task_id = $1";

/// Of several that join at once each has its turn, and its own epoch. Anchore's row first: a commit has
/// that one before it counts in ours (PostgreSQL carries out the last of a statement's changes first), and
/// the other way round the two would wait for each other.
fn its_turn(dialect: &dyn Dialect, task_id: i64) -> [Statement; 2] {
    let held = dialect.for_update();
    let anchores = format!("SELECT id FROM tasks WHERE id = $1{held}");
    [anchores, format!("{STATE}{held}")].map(|sql| Statement::new(sql).bind(task_id))
}

fn joins(now: &str) -> String {
    format!(
        "INSERT INTO windlass_executors
                (task_id, executor, epoch, host, pid, version, seq, head)
         SELECT :task_id, :executor,
                (SELECT coalesce(max(epoch), 0) + 1 FROM windlass_executors
                  WHERE task_id = :task_id),
                :host, :pid, :version, :seq, :head
          WHERE EXISTS (SELECT 1 FROM windlass_active WHERE task_id = :task_id)
            AND EXISTS (SELECT 1 FROM windlass_tasks
                         WHERE task_id = :task_id AND state <> 'complete' AND timeline = {TIMELINE})
            AND NOT EXISTS (SELECT 1 FROM windlass_executors
                             WHERE task_id = :task_id AND version <> :version)
         ON CONFLICT (task_id, executor) DO UPDATE
            SET host = excluded.host, pid = excluded.pid, heartbeat = {now}, ended_at = NULL
         RETURNING epoch"
    )
}

/// Anchore's row and ours, of a task that somebody works on.
fn runs(dialect: &dyn Dialect, task_id: i64, executor: Uuid, executor_id: &str) -> [Statement; 2] {
    let (now, now_of_anchore) = (dialect.now(), dialect.now_of_anchore());
    let has_joined = "EXISTS (SELECT 1 FROM windlass_executors
                               WHERE task_id = $1 AND executor = $2 AND ended_at IS NULL)
                      AND EXISTS (SELECT 1 FROM windlass_active WHERE task_id = $1)";
    let anchores = Statement::new(format!(
        "UPDATE tasks SET last_state = state, state = {}, last_updated = {now_of_anchore},
                ended_at = NULL, executor_id = $3
          WHERE id = $1 AND {has_joined}
            AND EXISTS (SELECT 1 FROM windlass_tasks WHERE task_id = $1 AND state <> 'complete')",
        dialect.task_state("'running'")
    ));
    let own = Statement::new(format!(
        "UPDATE windlass_tasks SET state = 'running', updated_at = {now}
          WHERE task_id = $1 AND state <> 'complete' AND {has_joined}"
    ));
    let of = |statement: Statement| statement.bind(task_id).bind(executor.to_string());
    [of(anchores).bind(executor_id), of(own)]
}

impl Catalog {
    /// Whether workers can share a task on this database.
    pub async fn takes_workers(&self) -> Result<bool, CatalogError> {
        if !dialect(&self.db).locks_rows() {
            return Ok(false);
        }
        let version = Statement::new("SELECT CAST(current_setting('server_version_num') AS int)");
        let (version,): (i32,) = self.one("ask for the server's version", version).await?;
        Ok(version >= SERVER_MIN)
    }

    /// Which task those may work on who share the lock.
    pub async fn active_task(
        &self,
        session: &Session,
        task_id: i64,
    ) -> Result<Active, CatalogError> {
        let what = "ask for the active task";
        let [answer] = self
            .at_once_over(what, session, [asks_active(task_id)])
            .await?;
        active(answer, task_id).map_err(CatalogError::of(what))
    }

    /// Makes a task the one that those may work on who share the lock: over a session that has it alone.
    pub async fn make_active(&self, session: &Session, task_id: i64) -> Result<(), CatalogError> {
        let what = "make the task the active one";
        let active = [becomes_active(task_id), notes_timeline(task_id)];
        self.at_once_over(what, session, active).await.map(drop)
    }

    /// Notes a worker, over its session, which shares the lock. One whose checkpoint was noted before
    /// keeps its epoch.
    pub async fn worker_joins(
        &self,
        session: &Session,
        task_id: i64,
        executor: &Executor,
        (version, executor_id): (&str, &str),
    ) -> Result<Joined, CatalogError> {
        let dialect = dialect(&self.db);
        let versions =
            "SELECT version FROM windlass_executors WHERE task_id = $1 AND version <> $2";
        let values = [
            ("task_id", task_id.into()),
            ("executor", executor.executor.to_string().into()),
            ("host", (&executor.host).into()),
            ("pid", executor.pid.into()),
            ("version", version.into()),
            ("seq", (executor.seq as i64).into()),
            ("head", (&executor.head).into()),
        ];
        let [anchores_turn, turn] = its_turn(dialect, task_id);
        let [anchores, own] = runs(dialect, task_id, executor.executor, executor_id);
        let statements = [
            anchores_turn,
            turn,
            asks_active(task_id),
            Statement::new(versions).bind(task_id).bind(version),
            Statement::named(&joins(dialect.now()), values),
            anchores,
            own,
        ];
        let answers = self.at_once_over(JOIN, session, statements).await?;
        let [_, state, is_active, versions, joined, ..] = answers;
        let joined: Option<(i32,)> = joined.optional().map_err(CatalogError::of(JOIN))?;
        if let Some((epoch,)) = joined {
            return Ok(Joined::At(epoch));
        }
        let state: Option<(String,)> = state.optional().map_err(CatalogError::of(JOIN))?;
        if state.is_some_and(|(state,)| state == TaskState::Complete.name()) {
            return Ok(Joined::Complete);
        }
        let other: Option<(String,)> = versions.optional().map_err(CatalogError::of(JOIN))?;
        let is_active = active(is_active, task_id).map_err(CatalogError::of(JOIN))?;
        Ok(match (is_active, other) {
            (Active::Other(active), _) => Joined::NotActive(active),
            (Active::FailedOver, _) => Joined::FailedOver,
            (Active::This, Some((version,))) => Joined::OtherVersion(version),
            // Closed by another in between, or its row is gone.
            (Active::This, None) => Joined::NotActive(None),
        })
    }

    /// The shards that an executor has claimed, in this process or an earlier one, and not brought to
    /// their end.
    pub async fn own_shards(&self, writer: &Writer) -> Result<Vec<Claim>, CatalogError> {
        let own = Statement::new(
            "SELECT shard, first_idx, last_idx, lease_epoch FROM windlass_shards
              WHERE task_id = $1 AND owner = $2 AND NOT done ORDER BY shard",
        );
        let own = own.bind(writer.task_id).bind(writer.executor.to_string());
        let own: Vec<RawClaim> = self.all("look for its shards", own).await?;
        Ok(own.into_iter().map(claim).collect())
    }

    /// Whether a worker's session has ended. Its process may be alive, and may wake.
    pub async fn session_has_ended(&self, number: WorkerNumber) -> Result<bool, CatalogError> {
        let asked = Statement::new("SELECT pg_try_advisory_xact_lock($1)").bind(number.key());
        let what = "see whether a worker's session has ended";
        let (has_ended,): (bool,) = self.one(what, asked).await?;
        Ok(has_ended)
    }

    /// Ends a worker's run, and the task with it where every shard is done: in one transaction, whoever
    /// else is at work. Where nobody else is, the task stands as it was left. How it stands.
    pub async fn worker_ends(
        &self,
        session: &Session,
        task_id: i64,
        end: ExecutorEnd,
    ) -> Result<TaskState, CatalogError> {
        let dialect = dialect(&self.db);
        let (now, now_of_anchore) = (dialect.now(), dialect.now_of_anchore());
        let [anchores_turn, turn] = its_turn(dialect, task_id);
        let ended_at = if end.is_clean { now } else { "NULL" };
        let ends = Statement::new(format!(
            "UPDATE windlass_executors SET ended_at = {ended_at}, heartbeat = {now}
              WHERE task_id = $1 AND executor = $2"
        ));
        let own = Statement::new(format!(
            "UPDATE windlass_tasks SET state = {STANDS}, updated_at = {now}
              WHERE task_id = $1 AND state <> 'complete'"
        ));
        let anchores = Statement::new(format!(
            "UPDATE tasks SET last_state = tasks.state, last_updated = {now_of_anchore},
                    state = {}, ended_at = CASE WHEN w.state IN ('complete', 'failed')
                                                THEN {now_of_anchore} END
               FROM windlass_tasks w WHERE w.task_id = $1 AND tasks.id = $1
                AND tasks.ended_at IS NULL",
            dialect.task_state(
                "(CASE w.state WHEN 'complete' THEN 'complete' WHEN 'failed' THEN 'failed'
                               WHEN 'interrupted' THEN 'pending' ELSE 'running' END)"
            )
        ));
        let state = Statement::new(STATE);
        let statements = [
            anchores_turn,
            turn,
            ends.bind(task_id).bind(end.executor.to_string()),
            own.bind(task_id),
            anchores.bind(task_id),
            state.bind(task_id),
        ];
        let [.., state] = self.at_once_over(END, session, statements).await?;
        let (state,): (String,) = state.one().map_err(CatalogError::of(END))?;
        let unreadable = |_| CatalogError::Unreadable(format!("task {task_id}: its state"));
        state.parse().map_err(unreadable)
    }

    /// Leaves a task that was only planned to the workers who are to come: nobody works on it yet.
    pub async fn waits_for_workers(
        &self,
        session: &Session,
        task_id: i64,
    ) -> Result<(), CatalogError> {
        let dialect = dialect(&self.db);
        let own =
            Statement::new("UPDATE windlass_tasks SET state = 'interrupted' WHERE task_id = $1");
        let anchores = Statement::new(format!(
            "UPDATE tasks SET last_state = state, state = {} WHERE id = $1",
            dialect.task_state("'pending'")
        ));
        let what = "leave the task to its workers";
        let statements = [own.bind(task_id), anchores.bind(task_id)];
        self.at_once_over(what, session, statements).await.map(drop)
    }
}

/// How a task stands when one of its workers ends. One that is not known to have ended, and has shards or
/// was heard of a moment ago, may go on. What a pass leaves waits for the next.
const STANDS: &str = "
    CASE WHEN NOT EXISTS (SELECT 1 FROM windlass_shards s WHERE s.task_id = $1 AND NOT s.done)
         THEN CASE WHEN stage = 'staging' THEN 'staged' ELSE 'complete' END
         WHEN EXISTS (SELECT 1 FROM windlass_executors e
                       WHERE e.task_id = $1 AND e.ended_at IS NULL
                         AND (e.heartbeat > now() - interval '30 seconds'
                              OR EXISTS (SELECT 1 FROM windlass_shards s
                                          WHERE s.task_id = $1 AND NOT s.done
                                            AND s.owner = e.executor)))
         THEN 'running'
         WHEN EXISTS (SELECT 1 FROM windlass_shards s
                        JOIN windlass_objects o ON o.task_id = s.task_id
                         AND o.idx BETWEEN s.first_idx AND s.last_idx
                       WHERE s.task_id = $1 AND NOT s.done
                         AND o.phase <> 'source-deleted' AND o.outcome IS NULL
                         AND NOT (coalesce(stage, '') = 'staging'
                                  AND (o.phase = 'verified' OR o.superseded)))
         THEN 'interrupted'
         WHEN stage = 'staging' THEN 'staged'
         ELSE 'failed' END";
