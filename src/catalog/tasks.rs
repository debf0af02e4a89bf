//! A task's own row, its executors, and how it ends.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Catalog, CatalogError, on_either};
use crate::crash;
use crate::database::{Database, Session, SessionConnection};
use crate::model::{Outcome, Phase, PhaseCounts, Policy, Summary, TaskKind, TaskState};

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

/// A process that works, or worked, on a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Executor {
    /// The checkpoint's UUID.
    pub executor: Uuid,
    /// 1 for the task's first checkpoint, one more for each that was rebuilt.
    pub epoch: i32,
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: i64,
    /// The journal's last entry known to the mirror.
    pub seq: u64,
    /// That entry's hash, in hex.
    pub head: String,
    /// Whether it ended in good order.
    pub ended: bool,
    /// Seconds since its last heartbeat.
    pub heartbeat_age_s: i64,
}

/// An object that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Failure {
    /// Its number within the task.
    pub idx: i64,
    /// `userId`.
    pub user_id: String,
    /// `bucket`.
    pub bucket: String,
    /// `archiveId`.
    pub archive_id: String,
    /// `documentName`.
    pub document_name: String,
    /// The phase that it stays in.
    pub phase: String,
    /// What kind of failure.
    pub class: String,
    /// What went wrong.
    pub error: String,
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

const SELECT_TASK: &str = "
    SELECT CAST(task_id AS bigint) AS task_id, uuid, kind, parent_uuid, state, source_driver, source_place,
           source_fingerprint, source_config, source_section, destination_driver,
           destination_place, destination_fingerprint, destination_config, destination_section,
           destination_was_empty, policy, planned, planned_bytes
      FROM windlass_tasks WHERE CAST(task_id AS text) = $1 OR uuid = $1";

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

    /// The executors of a task, the latest first.
    pub async fn executors(&self, task_id: i64) -> Result<Vec<Executor>, CatalogError> {
        type Raw = (String, i32, String, i64, i64, String, bool, i64);
        let age = match &self.db {
            Database::Postgres(_) => "floor(extract(epoch FROM now() - heartbeat))::bigint",
            Database::Sqlite(_) => {
                "CAST((julianday('now') - julianday(heartbeat)) * 86400 AS INTEGER)"
            }
        };
        let sql = format!(
            "SELECT executor, epoch, host, pid, seq, head, ended_at IS NOT NULL, {age}
               FROM windlass_executors WHERE task_id = $1 ORDER BY epoch DESC"
        );
        let rows: Vec<Raw> = on_either!(&self.db, pool => {
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(task_id).fetch_all(pool).await
        })
        .map_err(CatalogError::of("read the executors"))?;
        rows.into_iter()
            .map(
                |(executor, epoch, host, pid, seq, head, ended, heartbeat_age_s)| {
                    let executor = executor
                        .parse()
                        .map_err(|_| CatalogError::Unreadable("an executor's uuid".into()))?;
                    let seq = seq as u64;
                    Ok(Executor {
                        executor,
                        epoch,
                        host,
                        pid,
                        seq,
                        head,
                        ended,
                        heartbeat_age_s,
                    })
                },
            )
            .collect()
    }

    /// Seconds since the youngest heartbeat of an executor of another task that did not end in
    /// good order; its writes at a store may still be under way.
    pub async fn unclean_neighbour_age_s(
        &self,
        task_id: Option<i64>,
    ) -> Result<Option<i64>, CatalogError> {
        let age = match &self.db {
            Database::Postgres(_) => "floor(extract(epoch FROM now() - max(heartbeat)))::bigint",
            Database::Sqlite(_) => {
                "CAST((julianday('now') - julianday(max(heartbeat))) * 86400 AS INTEGER)"
            }
        };
        let sql = format!(
            "SELECT {age} FROM windlass_executors WHERE ended_at IS NULL AND task_id <> $1"
        );
        let (age,): (Option<i64>,) = on_either!(&self.db, pool => {
            sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(task_id.unwrap_or(-1))
                .fetch_one(pool)
                .await
        })
        .map_err(CatalogError::of("read the executors' heartbeats"))?;
        Ok(age)
    }

    /// Notes that an executor begins, or goes on after a stop.
    pub async fn executor_begins(
        &self,
        task_id: i64,
        executor: &Executor,
        version: &str,
    ) -> Result<(), CatalogError> {
        let now = match &self.db {
            Database::Postgres(_) => "now()",
            Database::Sqlite(_) => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        };
        let sql = format!(
            "INSERT INTO windlass_executors
                    (task_id, executor, epoch, host, pid, version, seq, head)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (task_id, executor) DO UPDATE
                SET host = excluded.host, pid = excluded.pid, version = excluded.version,
                    heartbeat = {now}, ended_at = NULL"
        );
        on_either!(&self.db, pool => {
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(task_id)
                .bind(executor.executor.to_string())
                .bind(executor.epoch)
                .bind(&executor.host)
                .bind(executor.pid)
                .bind(version)
                .bind(executor.seq as i64)
                .bind(&executor.head)
                .execute(pool)
                .await
                .map(drop)
        })
        .map_err(CatalogError::of("note the executor"))
    }

    /// Puts a task back to `running` for a resume, on the locked session: Anchore's row too.
    pub async fn task_resumes(&self, session: &Session, task_id: i64) -> Result<(), CatalogError> {
        self.set_state(session, task_id, TaskState::Running, None)
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
        self.set_state(session, task_id, state, Some(executor))
            .await
    }

    async fn set_state(
        &self,
        session: &Session,
        task_id: i64,
        state: TaskState,
        ended: Option<Uuid>,
    ) -> Result<(), CatalogError> {
        let mut guard = session.lock().await?;
        let statements = async {
            match &mut *guard {
                SessionConnection::Postgres(pg) => {
                    set_state_in(pg, state_sql(true), task_id, state, ended).await
                }
                SessionConnection::Sqlite(sqlite) => {
                    set_state_in_sqlite(sqlite, state_sql(false), task_id, state, ended).await
                }
            }
        };
        session
            .watch(statements)
            .await
            .map_err(CatalogError::of("set the task's state"))
    }

    /// The first failures of a task, by object.
    pub async fn failures(&self, task_id: i64, most: u32) -> Result<Vec<Failure>, CatalogError> {
        on_either!(&self.db, pool => {
            sqlx::query_as(
                "SELECT idx, user_id, bucket, archive_id, document_name, phase,
                        coalesce(failure_class, '') AS class, coalesce(last_error, '') AS error
                   FROM windlass_objects WHERE task_id = $1 AND outcome = 'failed'
                  ORDER BY idx LIMIT $2",
            )
            .bind(task_id)
            .bind(i64::from(most))
            .fetch_all(pool)
            .await
        })
        .map_err(CatalogError::of("list the failures"))
    }

    /// Which of these objects the database has as committed or beyond.
    pub async fn committed_among(
        &self,
        task_id: i64,
        idxs: &[u64],
    ) -> Result<Vec<u64>, CatalogError> {
        let list = format!("{idxs:?}");
        let sql = match &self.db {
            Database::Postgres(_) => {
                "SELECT idx FROM windlass_objects WHERE task_id = $1
                    AND phase IN ('committed', 'source-deleted')
                    AND idx IN (SELECT value::bigint FROM json_array_elements_text($2::json))"
            }
            Database::Sqlite(_) => {
                "SELECT idx FROM windlass_objects WHERE task_id = $1
                    AND phase IN ('committed', 'source-deleted')
                    AND idx IN (SELECT value FROM json_each($2))"
            }
        };
        let found: Vec<(i64,)> = on_either!(&self.db, pool => {
            sqlx::query_as(sql).bind(task_id).bind(list).fetch_all(pool).await
        })
        .map_err(CatalogError::of("look for commits"))?;
        Ok(found.into_iter().map(|(idx,)| idx as u64).collect())
    }

    /// Counts a task's objects by phase and outcome.
    pub async fn summary(&self, task_id: i64) -> Result<Summary, CatalogError> {
        let rows: Vec<(String, Option<String>, i64, i64)> = on_either!(&self.db, pool => {
            sqlx::query_as(
                "SELECT phase, outcome, count(*), CAST(coalesce(sum(dest_size), 0) AS bigint)
                   FROM windlass_objects WHERE task_id = $1 GROUP BY phase, outcome",
            )
            .bind(task_id)
            .fetch_all(pool)
            .await
        })
        .map_err(CatalogError::of("count the task's objects"))?;
        let mut summary = Summary::default();
        for (phase, outcome, count, bytes) in rows {
            let unreadable = |_| CatalogError::Unreadable(format!("phase {phase} {outcome:?}"));
            let phase_read: Phase = phase.parse().map_err(unreadable)?;
            let outcome = outcome
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(unreadable)?;
            add(
                &mut summary,
                phase_read,
                outcome,
                count as u64,
                bytes as u64,
            );
        }
        Ok(summary)
    }
}

pub(super) fn add(
    summary: &mut Summary,
    phase: Phase,
    outcome: Option<Outcome>,
    count: u64,
    bytes: u64,
) {
    let PhaseCounts {
        pending,
        copied,
        verified,
        committed,
        source_deleted,
    } = &mut summary.phases;
    *match phase {
        Phase::Pending => pending,
        Phase::Copied => copied,
        Phase::Verified => verified,
        Phase::Committed => committed,
        Phase::SourceDeleted => source_deleted,
    } += count;
    summary.planned += count;
    if phase >= Phase::Committed {
        summary.committed += count;
        summary.bytes += bytes;
    }
    match (phase, outcome) {
        (Phase::SourceDeleted, _) => summary.source_deleted += count,
        (Phase::Committed, Some(Outcome::SourceKept)) => summary.source_kept += count,
        (Phase::Committed, Some(_)) => summary.undeleted += count,
        (Phase::Committed, None) => {}
        (_, Some(Outcome::Skipped)) => summary.skipped += count,
        (_, Some(_)) => summary.failed += count,
        (_, None) => summary.remaining += count,
    }
}

/// The statements that set a state, in one string each so that both databases share the code.
struct StateSql {
    anchore: &'static str,
    own: &'static str,
    executor: &'static str,
    shards: &'static str,
}

fn state_sql(postgres: bool) -> StateSql {
    // Anchore's enum knows no "interrupted": a clean stop is `pending`, with last_state running.
    const SHARDS: &str = "UPDATE windlass_shards SET owner = NULL, lease_until = NULL
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
            ended: Option<Uuid>,
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
            if let Some(executor) = ended {
                sqlx::query(sql.executor)
                    .bind(task_id)
                    .bind(executor.to_string())
                    .execute(&mut *transaction)
                    .await?;
            }
            crash::point("task-before-end-commit");
            transaction.commit().await
        }
    };
}
set_state_on!(set_state_in, sqlx::PgConnection);
set_state_on!(set_state_in_sqlite, sqlx::SqliteConnection);
