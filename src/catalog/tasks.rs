//! A task's own row, and how it ends.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Catalog, CatalogError, on_either};
use crate::crash;
use crate::database::{Session, SessionConnection};
use crate::model::{Policy, TaskKind, TaskState};

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
        })
    }
}

macro_rules! select_task {
    () => {
        "SELECT CAST(task_id AS bigint) AS task_id, uuid, kind, parent_uuid, state,
           source_driver, source_place, source_fingerprint, source_config, source_section,
           destination_driver, destination_place, destination_fingerprint, destination_config,
           destination_section, destination_was_empty, policy, planned, planned_bytes
      FROM windlass_tasks t "
    };
}

const SELECT_TASK: &str = concat!(
    select_task!(),
    "WHERE CAST(task_id AS text) = $1 OR uuid = $1"
);

/// The tasks that move documents and that no other task undoes, the latest first.
const STANDING_TASKS: &str = concat!(
    select_task!(),
    "WHERE kind <> 'delete-source' AND NOT EXISTS (
           SELECT 1 FROM windlass_tasks r WHERE r.parent_uuid = t.uuid AND r.kind = 'reverse')
     ORDER BY 1 DESC"
);

impl Catalog {
    /// A task by its id or its UUID. The error names the tasks that there are.
    pub async fn task(&self, wanted: &str) -> Result<TaskRow, CatalogError> {
        let raw: Option<RawTask> = match self.has_schema().await? {
            true => on_either!(&self.db, pool => {
                sqlx::query_as(SELECT_TASK).bind(wanted).fetch_optional(pool).await
            })
            .map_err(CatalogError::of("look for the task"))?,
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
        let found: Option<(String,)> = on_either!(&self.db, pool => {
            sqlx::query_as(
                "SELECT uuid FROM windlass_tasks WHERE parent_uuid = $1 AND kind = 'reverse'",
            )
            .bind(task.to_string())
            .fetch_optional(pool)
            .await
        })
        .map_err(CatalogError::of("look for a task that undoes this one"))?;
        match found {
            Some((uuid,)) => Ok(Some(self.task(&uuid).await?)),
            None => Ok(None),
        }
    }

    /// The tasks that move documents and that no other task undoes, the latest first.
    pub async fn standing_tasks(&self) -> Result<Vec<TaskRow>, CatalogError> {
        if !self.has_schema().await? {
            return Ok(Vec::new());
        }
        let raw: Vec<RawTask> = on_either!(&self.db, pool => {
            sqlx::query_as(STANDING_TASKS).fetch_all(pool).await
        })
        .map_err(CatalogError::of("look for earlier tasks"))?;
        raw.into_iter().map(TaskRow::try_from).collect()
    }

    async fn known_tasks(&self) -> Result<String, CatalogError> {
        if !self.has_schema().await? {
            return Ok("windlass has not been used on it".into());
        }
        let ids: Vec<(String, String)> = on_either!(&self.db, pool => {
            sqlx::query_as(
                "SELECT CAST(task_id AS text), state FROM windlass_tasks
                  ORDER BY windlass_tasks.task_id DESC LIMIT 20",
            )
            .fetch_all(pool)
            .await
        })
        .map_err(CatalogError::of("list the tasks"))?;
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
    /// names the process that is at work: `host:pid:threadid:`.
    pub async fn task_resumes(
        &self,
        session: &Session,
        task_id: i64,
        executor_id: &str,
    ) -> Result<(), CatalogError> {
        self.set_state(
            session,
            task_id,
            TaskState::Running,
            By::Resumed(executor_id),
        )
        .await
    }

    /// Ends a run: Anchore's row and ours in one transaction on the locked session, and the
    /// executor's end with it.
    pub async fn task_ends(
        &self,
        session: &Session,
        task_id: i64,
        state: TaskState,
        executor: Uuid,
    ) -> Result<(), CatalogError> {
        self.set_state(session, task_id, state, By::Ended(executor))
            .await
    }

    async fn set_state(
        &self,
        session: &Session,
        task_id: i64,
        state: TaskState,
        by: By<'_>,
    ) -> Result<(), CatalogError> {
        let mut guard = session.lock().await?;
        let statements = async {
            match &mut *guard {
                SessionConnection::Postgres(pg) => {
                    set_state_in(pg, state_sql(true), task_id, state, by).await
                }
                SessionConnection::Sqlite(sqlite) => {
                    set_state_in_sqlite(sqlite, state_sql(false), task_id, state, by).await
                }
            }
        };
        session
            .watch(statements)
            .await
            .map_err(CatalogError::of("set the task's state"))
    }
}

/// Who sets a state.
#[derive(Clone, Copy)]
enum By<'a> {
    /// A process that goes on with the task, as Anchore names it.
    Resumed(&'a str),
    /// The executor that comes to its end.
    Ended(Uuid),
}

const EXECUTOR_ID: &str = "UPDATE tasks SET executor_id = $2 WHERE id = $1";

/// The statements that set a state, in one string each so that both databases share the code.
struct StateSql {
    anchore: &'static str,
    own: &'static str,
    executor: &'static str,
    shards: &'static str,
}

fn state_sql(postgres: bool) -> StateSql {
    // Anchore's enum knows no "interrupted": a clean stop is `pending`, with last_state running.
    // The lease stays: it says that the shard was begun.
    const SHARDS: &str = "UPDATE windlass_shards SET owner = NULL
                           WHERE task_id = $1 AND NOT done AND owner IS NOT NULL";
    match postgres {
        true => StateSql {
            anchore: "UPDATE tasks SET last_state = state, state = $2::task_states,
                             last_updated = now() AT TIME ZONE 'utc',
                             ended_at = CASE WHEN $3 THEN now() AT TIME ZONE 'utc' END
                       WHERE id = $1",
            own: "UPDATE windlass_tasks SET state = $2, updated_at = now() WHERE task_id = $1",
            executor: "UPDATE windlass_executors SET ended_at = now(), heartbeat = now()
                        WHERE task_id = $1 AND executor = $2",
            shards: SHARDS,
        },
        false => StateSql {
            anchore: "UPDATE tasks SET last_state = state, state = $2,
                             last_updated = strftime('%Y-%m-%d %H:%M:%f000', 'now'),
                             ended_at = CASE WHEN $3
                                        THEN strftime('%Y-%m-%d %H:%M:%f000', 'now') END
                       WHERE id = $1",
            own: "UPDATE windlass_tasks
                     SET state = $2, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                   WHERE task_id = $1",
            executor: "UPDATE windlass_executors
                          SET ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
                              heartbeat = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                        WHERE task_id = $1 AND executor = $2",
            shards: SHARDS,
        },
    }
}

macro_rules! set_state_on {
    ($name:ident, $connection:ty) => {
        async fn $name(
            connection: &mut $connection,
            sql: StateSql,
            task_id: i64,
            state: TaskState,
            by: By<'_>,
        ) -> Result<(), sqlx::Error> {
            let anchore_state = match state {
                TaskState::Running => "running",
                TaskState::Interrupted => "pending",
                TaskState::Complete => "complete",
                TaskState::Failed => "failed",
            };
            let mut transaction = sqlx::Connection::begin(connection).await?;
            sqlx::query(sql.anchore)
                .bind(task_id)
                .bind(anchore_state)
                .bind(matches!(state, TaskState::Complete | TaskState::Failed))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(sql.own)
                .bind(task_id)
                .bind(state.name())
                .execute(&mut *transaction)
                .await?;
            sqlx::query(sql.shards)
                .bind(task_id)
                .execute(&mut *transaction)
                .await?;
            let (statement, who) = match by {
                By::Ended(executor) => (sql.executor, executor.to_string()),
                By::Resumed(executor_id) => (EXECUTOR_ID, executor_id.to_owned()),
            };
            sqlx::query(statement)
                .bind(task_id)
                .bind(who)
                .execute(&mut *transaction)
                .await?;
            crash::point("task-before-end-commit");
            transaction.commit().await
        }
    };
}
set_state_on!(set_state_in, sqlx::PgConnection);
set_state_on!(set_state_in_sqlite, sqlx::SqliteConnection);
