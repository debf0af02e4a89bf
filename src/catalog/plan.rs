//! Making the plan: inside the database, in one transaction on the locked session.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::plan_follow_up::{self, FollowUpNotices};
use super::{Catalog, CatalogError, SHARD_OBJECTS, anchore, plan_postgres, plan_sqlite, schema};
use crate::crash;
use crate::database::{Encoding, Session, SessionConnection};
use crate::model::{Place, Policy, TaskKind};

/// The longest key that is planned, in bytes of its four parts. The journal keeps each entry
/// within 8 KiB, and an entry names the key up to four times; S3 itself ends at 1,024.
pub const KEY_MAX_BYTES: i64 = 1_500;

/// How long the end of the plan's transaction may take: it may have millions of rows to make safe.
const END_LIMIT: Duration = Duration::from_secs(120);

/// One side of a task: the store's rule for URLs, and how to find it again.
#[derive(Debug, Clone)]
pub struct Side {
    /// How keys become URLs here.
    pub place: Place,
    /// For people, redacted.
    pub display: String,
    /// Tells whether a configuration still means this place.
    pub fingerprint: String,
    /// The configuration file, absolute.
    pub config: String,
    /// Its section: `object_store` or `analysis_archive`.
    pub section: String,
}

/// The task that another follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// Its `tasks.id`.
    pub task_id: i64,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its objects that were never committed, and at whose destination something lies.
    pub left: Vec<u64>,
}

/// What to plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The new task's UUID.
    pub uuid: Uuid,
    /// Forward, reverse or delete-source.
    pub kind: TaskKind,
    /// The task to undo or to finish; a forward task has none.
    pub after: Option<FollowUp>,
    /// Where documents are.
    pub from: Side,
    /// Where they go.
    pub to: Side,
    /// Whether the destination held nothing when it was looked at.
    pub destination_was_empty: bool,
    /// What the operator asked for.
    pub policy: Policy,
    /// Anchore's `executor_id`: `host:pid:threadid:`.
    pub executor_id: String,
    /// Earlier tasks that may have the same documents in their plans.
    pub earlier: Vec<i64>,
    /// How long the plan may wait for a lock of others, or for a database that is silent.
    pub patience: Duration,
    /// Whether the plan is only to be looked at: it takes no number that a task could have had.
    pub dry_run: bool,
}

/// What the plan found besides its objects: nothing is left out silently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PlanNotices {
    /// Rows with the source's scheme that are in another place.
    pub elsewhere: u64,
    /// Rows without a `content_url`.
    pub without_url: u64,
    /// Planned objects that Anchore could not read back from the destination.
    pub unreadable_by_anchore: u64,
    /// Rows whose key is too long to be journaled; they are not in the plan.
    pub keys_too_long: u64,
    /// Planned objects that cannot be moved, each with its reason in the mirror.
    pub refused: u64,
    /// Planned objects whose source another row points at as well.
    pub shared: u64,
}

/// The planned objects of one of Anchore's buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct PlannedBucket {
    /// Its name.
    pub bucket: String,
    /// Objects.
    pub objects: i64,
    /// Their stored size together.
    pub bytes: i64,
}

/// A plan, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// `tasks.id`.
    pub task_id: i64,
    /// Objects in it.
    pub objects: u64,
    /// Their stored size together, as the catalog has it.
    pub bytes: u64,
    /// What else was found.
    pub notices: PlanNotices,
    /// The largest buckets, the one with the most objects first.
    pub buckets: Vec<PlannedBucket>,
    /// What a plan that follows another task found.
    pub follow_up: Option<FollowUpNotices>,
    /// What it has in common with the earlier tasks that were asked about, in their order.
    pub shared_with: Vec<SharedWith>,
}

/// Objects of a plan that stand in an earlier task's plan, too, from the same source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedWith {
    /// The earlier task.
    pub task_id: i64,
    /// Those that it has not brought to an end.
    pub open: u64,
    /// Those that have failed in it.
    pub failed: u64,
    /// Those that a person has accepted as they are, and whose rows are still the same.
    pub accepted: u64,
}

impl Planned {
    /// Whether every row has gone on since the task before: there is none to give back.
    pub fn has_gone_on(&self) -> bool {
        let changed = self.follow_up.map_or(0, |found| found.changed_since);
        self.objects > 0 && changed.unsigned_abs() == self.objects
    }
}

/// What to do with a plan once it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskPlan {
    /// Keep it: the task exists from here on.
    Keep,
    /// Roll it back: a dry run, or nothing to do.
    Discard,
}

impl Catalog {
    /// Plans a task. `decide` sees the counted plan before it is committed; with
    /// [`TaskPlan::Discard`] not a row is left.
    pub async fn plan<E>(
        &self,
        session: &Session,
        request: &PlanRequest,
        decide: impl AsyncFnOnce(&Planned) -> Result<TaskPlan, E>,
    ) -> Result<Planned, E>
    where
        E: From<CatalogError>,
    {
        let mut guard = session.lock().await.map_err(CatalogError::from)?;
        let request = &fitting(request, self.db.encoding());
        // However long it takes, as long as the database lives.
        let planned = tokio::select! {
            planned = begin_and_plan(&mut guard, request) => planned,
            error = self.db.silence(request.patience) => Err(error),
        };
        let planned = session
            .note(planned)
            .map_err(CatalogError::of("make the plan"));
        let decision = match &planned {
            Ok(planned) => decide(planned).await,
            Err(_) => Ok(TaskPlan::Discard),
        };
        let end = match decision {
            Ok(TaskPlan::Keep) => "COMMIT",
            _ => "ROLLBACK",
        };
        let is_kept = end == "COMMIT";
        if is_kept {
            crash::point("plan-before-commit");
        }
        let ended = session
            .watch_within(END_LIMIT, execute(&mut guard, end))
            .await
            .map_err(CatalogError::of("end the plan's transaction"));
        if is_kept {
            crash::point("plan-after-commit");
        }
        decision?;
        let planned = planned?;
        ended?;
        Ok(planned)
    }
}

/// Places and paths are for people, and for finding the files again; a database that lacks some of
/// their characters is no reason not to migrate.
fn fitting(request: &PlanRequest, encoding: Encoding) -> PlanRequest {
    let mut request = request.clone();
    for side in [&mut request.from, &mut request.to] {
        side.display = encoding.fit(&side.display).into_owned();
        side.config = encoding.fit(&side.config).into_owned();
    }
    request
}

async fn execute(connection: &mut SessionConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    match connection {
        SessionConnection::Postgres(pg) => sqlx::query(sql).execute(pg).await.map(drop),
        SessionConnection::Sqlite(sqlite) => sqlx::query(sql).execute(sqlite).await.map(drop),
    }
}

async fn begin_and_plan(
    connection: &mut SessionConnection,
    request: &PlanRequest,
) -> Result<Planned, sqlx::Error> {
    // Statements of our own rather than sqlx's guard: the transaction outlives this function.
    execute(connection, "BEGIN").await?;
    if let SessionConnection::Postgres(pg) = connection {
        // A plan of millions takes longer than any other statement may.
        sqlx::query("SET LOCAL statement_timeout = 0")
            .execute(&mut *pg)
            .await?;
        // A lock that somebody has left behind is waited for no longer than an outage.
        let patience_ms = request.patience.as_millis().clamp(1, i32::MAX as u128);
        let limit = format!("SET LOCAL lock_timeout = {patience_ms}");
        sqlx::query(sqlx::AssertSqlSafe(limit)).execute(pg).await?;
    }
    // Only a dry run comes here without tables, and rolls them back with the plan.
    schema::make_missing(connection).await?;
    let from = request.from.place.driver.name();
    let to = request.to.place.driver.name();
    let id = request.dry_run.then_some(DRY_RUN_ID);
    let task_id = anchore::insert_task(connection, id, &request.executor_id, from, to).await?;
    let (notices, follow_up) = match (&request.after, &mut *connection) {
        (Some(after), connection) => {
            let (notices, follow_up) =
                plan_follow_up::plan(connection, task_id, request.kind, after).await?;
            (notices, Some(follow_up))
        }
        (None, SessionConnection::Postgres(pg)) => {
            (plan_postgres::plan(pg, task_id, request).await?, None)
        }
        (None, SessionConnection::Sqlite(sqlite)) => {
            (plan_sqlite::plan(sqlite, task_id, request).await?, None)
        }
    };
    let (objects, bytes) = count(connection, task_id).await?;
    insert_own_rows(connection, task_id, request, objects, bytes).await?;
    let mut shared_with = Vec::new();
    for earlier in &request.earlier {
        shared_with.push(shared_with_earlier(connection, task_id, *earlier).await?);
    }
    let buckets = largest_buckets(connection, task_id).await?;
    let (objects, bytes) = (objects as u64, bytes as u64);
    Ok(Planned {
        task_id,
        objects,
        bytes,
        notices,
        buckets,
        follow_up,
        shared_with,
    })
}

/// One pass over both plans.
const SHARED_WITH: &str = "
    SELECT count(CASE WHEN o.outcome IS NULL THEN 1 END),
           count(CASE WHEN o.outcome = 'failed' THEN 1 END),
           count(CASE WHEN o.outcome = 'accepted'
                       AND n.source_digest IS NOT DISTINCT FROM o.source_digest
                       AND n.last_updated IS NOT DISTINCT FROM o.last_updated THEN 1 END)
      FROM windlass_objects n JOIN windlass_objects o
        ON o.archive_id = n.archive_id AND o.bucket = n.bucket AND o.user_id = n.user_id
       AND o.document_name = n.document_name AND o.source_url = n.source_url
     WHERE n.task_id = $1 AND o.task_id = $2 AND o.phase IN ('pending', 'copied', 'verified')";

async fn shared_with_earlier(
    connection: &mut SessionConnection,
    task_id: i64,
    earlier: i64,
) -> Result<SharedWith, sqlx::Error> {
    macro_rules! fetch {
        ($connection:expr) => {
            sqlx::query_as(SHARED_WITH)
                .bind(task_id)
                .bind(earlier)
                .fetch_one($connection)
                .await?
        };
    }
    let (open, failed, accepted): (i64, i64, i64) = match connection {
        SessionConnection::Postgres(pg) => fetch!(pg),
        SessionConnection::Sqlite(sqlite) => fetch!(sqlite),
    };
    Ok(SharedWith {
        task_id: earlier,
        open: open as u64,
        failed: failed as u64,
        accepted: accepted as u64,
    })
}

/// The number of a task that is rolled back in any case. Anchore counts from 1.
const DRY_RUN_ID: i64 = -1;

/// Buckets that a plan names: Anchore has ten or so.
const BUCKETS_MAX: i64 = 100;

async fn largest_buckets(
    connection: &mut SessionConnection,
    task_id: i64,
) -> Result<Vec<PlannedBucket>, sqlx::Error> {
    let sql = "SELECT bucket, count(*) AS objects,
                      CAST(coalesce(sum(source_size), 0) AS bigint) AS bytes
                 FROM windlass_objects WHERE task_id = $1
                GROUP BY bucket ORDER BY objects DESC, bucket LIMIT $2";
    macro_rules! fetch {
        ($connection:expr) => {
            sqlx::query_as(sql)
                .bind(task_id)
                .bind(BUCKETS_MAX)
                .fetch_all($connection)
                .await
        };
    }
    match connection {
        SessionConnection::Postgres(pg) => fetch!(pg),
        SessionConnection::Sqlite(sqlite) => fetch!(sqlite),
    }
}

async fn count(
    connection: &mut SessionConnection,
    task_id: i64,
) -> Result<(i64, i64), sqlx::Error> {
    let sql = "SELECT count(*), CAST(coalesce(sum(source_size), 0) AS bigint)
                 FROM windlass_objects WHERE task_id = $1";
    match connection {
        SessionConnection::Postgres(pg) => sqlx::query_as(sql).bind(task_id).fetch_one(pg).await,
        SessionConnection::Sqlite(sqlite) => {
            sqlx::query_as(sql).bind(task_id).fetch_one(sqlite).await
        }
    }
}

async fn insert_own_rows(
    connection: &mut SessionConnection,
    task_id: i64,
    request: &PlanRequest,
    objects: i64,
    bytes: i64,
) -> Result<(), sqlx::Error> {
    let policy = serde_json::to_string(&request.policy)
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    // Anchore counts documents whose row moves.
    let rows_to_swap = match request.kind {
        TaskKind::Forward | TaskKind::Reverse => objects,
        TaskKind::DeleteSource => 0,
    };
    macro_rules! insert {
        ($connection:expr) => {{
            sqlx::query(
                "UPDATE archive_migration_tasks SET archive_documents_to_migrate = $1
                  WHERE id = $2",
            )
            .bind(rows_to_swap)
            .bind(task_id)
            .execute(&mut *$connection)
            .await?;
            sqlx::query(
                "INSERT INTO windlass_tasks (task_id, uuid, kind, parent_uuid, state,
                     source_driver, source_place, source_fingerprint, source_config,
                     source_section, destination_driver, destination_place,
                     destination_fingerprint, destination_config, destination_section,
                     destination_was_empty, policy, planned, planned_bytes)
                 VALUES ($1, $2, $3, $18, 'running', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
                         $14, $15, $16, $17)",
            )
            .bind(task_id)
            .bind(request.uuid.to_string())
            .bind(request.kind.name())
            .bind(request.from.place.driver.name())
            .bind(&request.from.display)
            .bind(&request.from.fingerprint)
            .bind(&request.from.config)
            .bind(&request.from.section)
            .bind(request.to.place.driver.name())
            .bind(&request.to.display)
            .bind(&request.to.fingerprint)
            .bind(&request.to.config)
            .bind(&request.to.section)
            .bind(request.destination_was_empty)
            .bind(policy)
            .bind(objects)
            .bind(bytes)
            .bind(request.after.as_ref().map(|after| after.uuid.to_string()))
            .execute(&mut *$connection)
            .await?;
            sqlx::query(
                "WITH RECURSIVE s(shard) AS (
                     SELECT CAST(0 AS bigint) WHERE $2 > 0
                      UNION ALL SELECT shard + 1 FROM s WHERE (shard + 1) * $3 < $2)
                 INSERT INTO windlass_shards (task_id, shard, first_idx, last_idx)
                 SELECT $1, shard, shard * $3,
                        CASE WHEN (shard + 1) * $3 < $2 THEN (shard + 1) * $3 - 1 ELSE $2 - 1 END
                   FROM s",
            )
            .bind(task_id)
            .bind(objects)
            .bind(SHARD_OBJECTS as i64)
            .execute(&mut *$connection)
            .await?;
        }};
    }
    match connection {
        SessionConnection::Postgres(pg) => insert!(pg),
        SessionConnection::Sqlite(sqlite) => insert!(sqlite),
    }
    Ok(())
}

/// Checks that hold on both databases: what may not be moved, and what is shared. Each is one
/// pass over the whole table; `archive_metadata` has no index on `content_url`.
pub(super) const MARK_SHARED: &str = "
    UPDATE windlass_objects SET shared = true
     WHERE task_id = $1 AND source_url IN (
           SELECT content_url FROM archive_metadata WHERE content_url IS NOT NULL
            GROUP BY content_url HAVING count(*) > 1)";

/// Different sources that meet at one destination key, or rows that disagree on how their common
/// source is to be read: nobody can say which is right.
pub(super) const REFUSE_MEETING: &str = "
    UPDATE windlass_objects
       SET refused = 'another object of this task, from another source or read in another way, '
                     || 'goes to the same place: ' || dest_url
     WHERE task_id = $1 AND dest_url IN (
           SELECT dest_url FROM windlass_objects WHERE task_id = $1
            GROUP BY dest_url HAVING min(source_url) <> max(source_url)
                OR count(DISTINCT coalesce(source_compressed, false)) > 1)";

/// A row of another key that points at the destination already.
pub(super) const REFUSE_TAKEN: &str = r#"
    UPDATE windlass_objects
       SET refused = 'another document is stored at its destination: ' || dest_url
     WHERE task_id = $1 AND refused IS NULL AND EXISTS (
           SELECT 1 FROM archive_metadata m
            WHERE m.content_url = windlass_objects.dest_url
              AND (m."userId" <> windlass_objects.user_id
                   OR m.bucket <> windlass_objects.bucket
                   OR m."archiveId" <> windlass_objects.archive_id))"#;

/// The two counts that the marks left.
pub(super) const COUNT_MARKS: &str = "
    SELECT count(CASE WHEN refused IS NOT NULL THEN 1 END),
           count(CASE WHEN shared THEN 1 END)
      FROM windlass_objects WHERE task_id = $1";
