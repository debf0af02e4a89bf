//! A task's own row, and how it ends.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Dialect, Statement};
use super::summary::summary_question;
use super::uploads::uploads_question;
use crate::crash;
use crate::database::Session;
use crate::model::{Policy, Rest, Stage, TaskKind, TaskState};

/// A task as the catalog has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// `tasks.id`.
    pub task_id: i64,
    /// What the checkpoint carries.
    pub uuid: Uuid,
    /// Forward, reverse or delete-source.
    pub kind: TaskKind,
    /// The task that this one undoes or finishes.
    pub parent: Option<Uuid>,
    /// Where it stands.
    pub state: TaskState,
    /// The source's driver, place for people, fingerprint, configuration file and section.
    pub source: TaskSide,
    /// The same of the destination.
    pub destination: TaskSide,
    /// Whether the destination held nothing when the task was made.
    pub destination_was_empty: bool,
    /// What the operator asked for.
    pub policy: Policy,
    /// Objects in the plan.
    pub planned: u64,
    /// Their stored size together.
    pub planned_bytes: u64,
    /// Where it stands, if it copies while the services run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Passes that were planned so far.
    #[serde(default, skip_serializing_if = "crate::model::is_zero")]
    pub passes: u32,
    /// Whether it was planned for several workers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub workers: bool,
}

impl TaskRow {
    /// How far a run takes its objects.
    pub fn rest(&self) -> Rest {
        self.policy.rest(self.stage)
    }
}

/// One side of a task as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSide {
    /// The driver's name.
    pub driver: String,
    /// The place, redacted.
    pub place: String,
    /// Tells whether a configuration still means this place.
    pub fingerprint: String,
    /// The configuration file.
    pub config: String,
    /// Its section.
    pub section: String,
}

#[derive(sqlx::FromRow)]
struct RawTask {
    task_id: i64,
    uuid: String,
    kind: String,
    parent_uuid: Option<String>,
    state: String,
    source_driver: String,
    source_place: String,
    source_fingerprint: String,
    source_config: String,
    source_section: String,
    destination_driver: String,
    destination_place: String,
    destination_fingerprint: String,
    destination_config: String,
    destination_section: String,
    destination_was_empty: bool,
    policy: String,
    planned: i64,
    planned_bytes: i64,
    stage: Option<String>,
    passes: i32,
    workers: bool,
}

impl TryFrom<RawTask> for TaskRow {
    type Error = CatalogError;

    fn try_from(raw: RawTask) -> Result<Self, CatalogError> {
        let unreadable = |what: &str| {
            CatalogError::Unreadable(format!("task {}: {what} can't be read", raw.task_id))
        };
        Ok(Self {
            task_id: raw.task_id,
            uuid: raw.uuid.parse().map_err(|_| unreadable("its uuid"))?,
            state: raw.state.parse().map_err(|_| unreadable("its state"))?,
            policy: serde_json::from_str(&raw.policy).map_err(|_| unreadable("its policy"))?,
            kind: raw.kind.parse().map_err(|_| unreadable("its kind"))?,
            parent: raw
                .parent_uuid
                .map(|uuid| uuid.parse().map_err(|_| unreadable("its parent")))
                .transpose()?,
            source: TaskSide {
                driver: raw.source_driver,
                place: raw.source_place,
                fingerprint: raw.source_fingerprint,
                config: raw.source_config,
                section: raw.source_section,
            },
            destination: TaskSide {
                driver: raw.destination_driver,
                place: raw.destination_place,
                fingerprint: raw.destination_fingerprint,
                config: raw.destination_config,
                section: raw.destination_section,
            },
            destination_was_empty: raw.destination_was_empty,
            planned: raw.planned as u64,
            planned_bytes: raw.planned_bytes as u64,
            stage: match raw.stage {
                Some(stage) => Some(stage.parse().map_err(|_| unreadable("its stage"))?),
                None => None,
            },
            passes: raw.passes as u32,
            workers: raw.workers,
        })
    }
}

const SELECT_TASK: &str = "
    SELECT CAST(task_id AS bigint) AS task_id, uuid, kind, parent_uuid, state,
           source_driver, source_place, source_fingerprint, source_config, source_section,
           destination_driver, destination_place, destination_fingerprint, destination_config,
           destination_section, destination_was_empty, policy, planned, planned_bytes,
           stage, passes, workers
      FROM windlass_tasks t";

/// The tasks that move documents and that no other task undoes, the latest first.
const STANDING: &str = "
     WHERE kind <> 'delete-source' AND NOT EXISTS (
           SELECT 1 FROM windlass_tasks r WHERE r.parent_uuid = t.uuid AND r.kind = 'reverse')
     ORDER BY 1 DESC";

pub(super) fn task_question(wanted: &str) -> Statement {
    let sql = format!("{SELECT_TASK} WHERE CAST(task_id AS text) = $1 OR uuid = $1");
    Statement::new(sql).bind(wanted)
}

pub(super) fn undone_by(task: Uuid) -> Statement {
    let sql = "SELECT uuid FROM windlass_tasks WHERE parent_uuid = $1 AND kind = 'reverse'";
    Statement::new(sql).bind(task.to_string())
}

pub(super) fn standing_tasks() -> Statement {
    Statement::new(format!("{SELECT_TASK}{STANDING}"))
}

impl Catalog {
    /// A task by its id or its UUID. The error names the tasks that there are.
    pub async fn task(&self, wanted: &str) -> Result<TaskRow, CatalogError> {
        let raw: Option<RawTask> = match self.has_schema().await? {
            true => {
                let task = self.optional("look for the task", task_question(wanted));
                task.await?
            }
            false => None,
        };
        match raw {
            Some(raw) => raw.try_into(),
            None => Err(CatalogError::NoSuchTask {
                wanted: wanted.into(),
                known: self.known_tasks().await?,
            }),
        }
    }

    /// The task that undoes this one, where there is one.
    pub async fn reverse_of(&self, task: Uuid) -> Result<Option<TaskRow>, CatalogError> {
        let what = "look for a task that undoes this one";
        let found: Option<(String,)> = self.optional(what, undone_by(task)).await?;
        match found {
            Some((uuid,)) => Ok(Some(self.task(&uuid).await?)),
            None => Ok(None),
        }
    }

    /// The tasks that were to delete what a task has left.
    pub async fn deletes_of(&self, task: Uuid) -> Result<Vec<TaskRow>, CatalogError> {
        let sql = format!("{SELECT_TASK} WHERE parent_uuid = $1 AND kind = 'delete-source'");
        let asked = Statement::new(sql).bind(task.to_string());
        let raw: Vec<RawTask> = self
            .all("look for tasks that delete sources", asked)
            .await?;
        raw.into_iter().map(TryInto::try_into).collect()
    }

    /// The tasks that move documents and that no other task undoes, the latest first.
    pub async fn standing_tasks(&self) -> Result<Vec<TaskRow>, CatalogError> {
        if !self.has_schema().await? {
            return Ok(Vec::new());
        }
        let raw: Vec<RawTask> = self.all("look for earlier tasks", standing_tasks()).await?;
        raw.into_iter().map(TaskRow::try_from).collect()
    }

    async fn known_tasks(&self) -> Result<String, CatalogError> {
        if !self.has_schema().await? {
            return Ok("windlass has not been used on it".into());
        }
        let ids: Vec<(String, String)> = self
            .all(
                "list the tasks",
                Statement::new(
                    "SELECT CAST(task_id AS text), state FROM windlass_tasks
                  ORDER BY windlass_tasks.task_id DESC LIMIT 20",
                ),
            )
            .await?;
        let ids: Vec<_> = ids
            .iter()
            .map(|(id, state)| format!("{id} ({state})"))
            .collect();
        Ok(match ids.is_empty() {
            true => "it has none yet".into(),
            false => format!("it has {}", ids.join(", ")),
        })
    }

    /// Puts a task back to `running` for a resume, on the locked session: Anchore's row too, which
    /// names the process that is at work: `host:pid:threadid:`. What has become of its objects, and
    /// its uploads, are asked ahead with it.
    pub async fn task_resumes(
        &self,
        session: &Session,
        task_id: i64,
        executor_id: &str,
    ) -> Result<(), CatalogError> {
        let by = By::Resumed(executor_id);
        let [anchore, own, shards, who] =
            set_state(dialect(&self.db), task_id, TaskState::Running, by);
        let questions = [summary_question(task_id), uploads_question(task_id)];
        let [summary, uploads] = questions.clone();
        let statements = [anchore, own, shards, who, summary, uploads];
        crash::point("task-before-end-commit");
        let done = self.at_once_over(SET_STATE, session, statements);
        let [.., summary, uploads] = done.await?;
        let kept = self.ahead.keep(&questions, vec![summary, uploads]);
        kept.map_err(CatalogError::of(SET_STATE))
    }

    /// Ends a run: Anchore's row and ours in one transaction on the locked session, and the
    /// executor's end with it.
    pub async fn task_ends(
        &self,
        session: &Session,
        task_id: i64,
        state: TaskState,
        end: ExecutorEnd,
    ) -> Result<(), CatalogError> {
        let statements = set_state(dialect(&self.db), task_id, state, By::Ended(end));
        crash::point("task-before-end-commit");
        let done = self.at_once_over(SET_STATE, session, statements);
        done.await.map(drop)
    }
}

const SET_STATE: &str = "set the task's state";

/// How an executor ends.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorEnd {
    /// The checkpoint's UUID.
    pub executor: Uuid,
    /// Whether nothing that it has sent can still arrive; else another task has to wait for that,
    /// as after a crash.
    pub is_clean: bool,
}

/// Who sets a state.
#[derive(Clone, Copy)]
enum By<'a> {
    /// A process that goes on with the task, as Anchore names it.
    Resumed(&'a str),
    /// The executor that comes to its end.
    Ended(ExecutorEnd),
}

/// Shards that were begun belong to nobody until somebody goes on, but for those of workers, which have to
/// be taken over. The lease stays: it says that the shard was begun.
const SHARDS: &str = "UPDATE windlass_shards SET owner = NULL
                       WHERE task_id = $1 AND NOT done AND owner IS NOT NULL
                         AND NOT (SELECT t.workers FROM windlass_tasks t WHERE t.task_id = $1)";

fn set_state(dialect: &dyn Dialect, task_id: i64, state: TaskState, by: By<'_>) -> [Statement; 4] {
    let (now, now_of_anchore) = (dialect.now(), dialect.now_of_anchore());
    // Anchore's enum knows no "interrupted": a clean stop is `pending`, with last_state running.
    let state_of_anchore = match state {
        // What is staged goes on: nothing of it is over.
        TaskState::Running | TaskState::Staged => "running",
        TaskState::Interrupted => "pending",
        TaskState::Complete => "complete",
        TaskState::Failed => "failed",
    };
    let is_over = matches!(state, TaskState::Complete | TaskState::Failed);
    let of_anchore = format!(
        "UPDATE tasks SET last_state = state, state = {}, last_updated = {now_of_anchore},
                ended_at = CASE WHEN $3 THEN {now_of_anchore} END
          WHERE id = $1",
        dialect.task_state("$2")
    );
    let own =
        format!("UPDATE windlass_tasks SET state = $2, updated_at = {now} WHERE task_id = $1");
    let (of_executor, who) = match by {
        By::Ended(end) => {
            let ended_at = if end.is_clean { now } else { "NULL" };
            (
                format!(
                    "UPDATE windlass_executors SET ended_at = {ended_at}, heartbeat = {now}
                      WHERE task_id = $1 AND executor = $2"
                ),
                end.executor.to_string(),
            )
        }
        By::Resumed(executor_id) => (
            "UPDATE tasks SET executor_id = $2 WHERE id = $1".into(),
            executor_id.to_owned(),
        ),
    };
    let of_task = |sql: String| Statement::new(sql).bind(task_id);
    [
        of_task(of_anchore).bind(state_of_anchore).bind(is_over),
        of_task(own).bind(state.name()),
        of_task(SHARDS.into()),
        of_task(of_executor).bind(who),
    ]
}
