//! Making the plan: inside the database, in one transaction on the locked session.

use std::time::Duration;

use super::backend::{self, dialect_of};
use super::error::CatalogError;
use super::executors::becomes_active;
use super::handle::{Catalog, SHARD_OBJECTS};
use super::request::{
    PlanNotices, PlanRequest, Planned, PlannedBucket, Scope, SharedWith, TaskPlan,
};
use super::sql::{Connection, Dialect, Statement};
use super::workers::notes_timeline;
use super::{anchore, kin, plan_follow_up, schema};
use crate::crash;
use crate::database::{Encoding, Session};
use crate::model::{DriverKind, Place, Stage, TaskKind};

/// How long the end of the plan's transaction may take: it may have millions of rows to make safe.
const END_LIMIT: Duration = Duration::from_secs(120);

/// How the transaction of a plan ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlanEnd {
    Keep,
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
        let request = &fitting(request, self.db.encoding());
        let work = async |connection: &mut Connection<'_>| plan(connection, request).await;
        self.in_a_plan(session, request.patience, work, async |planned| {
            Ok(match decide(planned).await? {
                TaskPlan::Keep => PlanEnd::Keep,
                TaskPlan::Discard => PlanEnd::Discard,
            })
        })
        .await
    }

    /// Runs the statements of a plan, which begin a transaction of the locked session, however long they
    /// take, as long as the database lives; and ends it as `decide` says.
    pub(super) async fn in_a_plan<T, E>(
        &self,
        session: &Session,
        patience: Duration,
        work: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, sqlx::Error>,
        decide: impl AsyncFnOnce(&T) -> Result<PlanEnd, E>,
    ) -> Result<T, E>
    where
        E: From<CatalogError>,
    {
        let mut guard = session.lock().await.map_err(CatalogError::from)?;
        let mut connection = Connection::from(&mut *guard);
        let planned = tokio::select! {
            planned = work(&mut connection) => planned,
            error = self.db.silence(patience) => Err(error),
        };
        let planned = session
            .note(planned)
            .map_err(CatalogError::of("make the plan"));
        let decision = match &planned {
            Ok(planned) => decide(planned).await,
            Err(_) => Ok(PlanEnd::Discard),
        };
        let end = match decision {
            Ok(PlanEnd::Keep) => "COMMIT",
            _ => "ROLLBACK",
        };
        let is_kept = end == "COMMIT";
        if is_kept {
            crash::point("plan-before-commit");
        }
        let ended = session
            .watch_within(END_LIMIT, connection.execute(Statement::new(end)))
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

/// Statements of our own rather than sqlx's guard: the transaction outlives this function.
/// A plan of millions takes longer than any other statement may. A lock that somebody has left
/// behind is waited for no longer than an outage.
pub(super) fn begin_plan(dialect: &dyn Dialect, patience: Duration) -> Vec<Statement> {
    let mut statements = vec![Statement::new(dialect.begin_plan())];
    let limits = dialect.limits_of_plan(patience);
    statements.extend(limits.into_iter().map(Statement::new));
    statements
}

async fn plan(
    connection: &mut Connection<'_>,
    request: &PlanRequest,
) -> Result<Planned, sqlx::Error> {
    let task_id = begin(connection, request).await?;
    let from = request.from.place.driver.name();
    let to = request.to.place.driver.name();
    let online = request.stage.map(|_| true);
    let migration = anchore::insert_migration(task_id, (from, to), online);
    let count = count(dialect_of(connection), task_id, request);
    let (mut notices, follow_up, counted) = match &request.after {
        Some(after) => {
            connection.execute(migration).await?;
            let kind = request.kind;
            let found = plan_follow_up::plan(connection, task_id, kind, after).await?;
            let counted = connection.all(count).await?;
            (PlanNotices::default(), Some(found), counted)
        }
        None => {
            let scope = Scope {
                from: &request.from.place,
                to: &request.to.place,
                policy: &request.policy,
                planned: 0,
                digests_only: request.stage == Some(Stage::Staging),
            };
            let beside = (Some(migration), count);
            let planned = backend::plan(connection, task_id, scope, beside).await?;
            (planned.0, None, planned.1.all::<Counted>()?)
        }
    };
    let sum = |of: fn(&Counted) -> i64| counted.iter().map(of).sum::<i64>();
    notices.shared = sum(|bucket| bucket.shared) as u64;
    notices.refused = sum(|bucket| bucket.refused) as u64;
    notices.unreadable_by_anchore = sum(|bucket| bucket.misread) as u64;
    let (objects, bytes) = (sum(|bucket| bucket.objects), sum(|bucket| bucket.bytes));
    let mut statements = own_rows(task_id, request, objects, bytes)?;
    let own_rows = statements.len();
    let shared_with = |earlier: &i64| Statement::new(SHARED_WITH).bind(task_id).bind(*earlier);
    statements.extend(request.earlier.iter().map(shared_with));
    let answers = connection.several(statements).await?;
    let mut shared_with = Vec::new();
    for (earlier, answer) in request
        .earlier
        .iter()
        .zip(answers.into_iter().skip(own_rows))
    {
        let (open, failed, accepted): (i64, i64, i64) = answer.one()?;
        shared_with.push(SharedWith {
            task_id: *earlier,
            open: open as u64,
            failed: failed as u64,
            accepted: accepted as u64,
        });
    }
    let buckets = counted
        .into_iter()
        .take(BUCKETS_MAX)
        .map(PlannedBucket::from);
    let buckets = buckets.collect();
    let (objects, bytes) = (objects as u64, bytes as u64);
    Ok(Planned {
        task_id,
        objects,
        bytes,
        notices,
        buckets,
        follow_up,
        shared_with,
        shared_across_shards: kin::join(connection, task_id, request, notices.shared).await?,
    })
}

/// Begins the transaction, and notes the task where Anchore does; its number.
async fn begin(connection: &mut Connection<'_>, request: &PlanRequest) -> Result<i64, sqlx::Error> {
    let dialect = dialect_of(connection);
    // A message of its own: before version 13 the limit with which one began held for all of it.
    let begin = begin_plan(dialect, request.patience);
    connection.several(begin).await?;
    let id = request.dry_run.then_some(DRY_RUN_ID);
    let task = anchore::insert_task(dialect, id, &request.executor_id);
    let (task_id,): (i64,) = connection.one(task).await?;
    // Only a dry run comes here without tables, and rolls them back with the plan.
    if request.dry_run {
        schema::make_missing(connection).await?;
    }
    Ok(task_id)
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

/// The number of a task that is rolled back in any case. Anchore counts from 1.
const DRY_RUN_ID: i64 = -1;

/// Buckets that a plan names: Anchore has ten or so.
const BUCKETS_MAX: usize = 100;

/// What is planned in one bucket.
#[derive(sqlx::FromRow)]
struct Counted {
    bucket: String,
    objects: i64,
    bytes: i64,
    refused: i64,
    shared: i64,
    misread: i64,
}

impl From<Counted> for PlannedBucket {
    fn from(counted: Counted) -> Self {
        Self {
            bucket: counted.bucket,
            objects: counted.objects,
            bytes: counted.bytes,
        }
    }
}

/// The plan by bucket, the one with the most objects first: one pass over the objects, for everything
/// that is to be said of them.
fn count(dialect: &dyn Dialect, task_id: i64, request: &PlanRequest) -> Statement {
    let misread = match request.kind {
        TaskKind::Forward => misread(dialect, &request.to.place),
        TaskKind::Reverse | TaskKind::DeleteSource => NEVER.into(),
    };
    let sql = format!(
        "SELECT bucket, count(*) AS objects,
                CAST(coalesce(sum(source_size), 0) AS bigint) AS bytes,
                count(CASE WHEN refused IS NOT NULL THEN 1 END) AS refused,
                count(CASE WHEN shared THEN 1 END) AS shared,
                count(CASE WHEN {misread} THEN 1 END) AS misread
           FROM windlass_objects WHERE task_id = $1
          GROUP BY bucket ORDER BY objects DESC, bucket"
    );
    Statement::new(sql).bind(task_id)
}

const NEVER: &str = "1 = 0";

/// Objects that Anchore, which parses URLs with Python's `urlparse`, could not read back from a place:
/// `?` and `#` cut the rest off, tab, CR and LF are dropped.
fn misread(dialect: &dyn Dialect, place: &Place) -> String {
    match place.driver {
        DriverKind::Db | DriverKind::Db2 => NEVER.into(),
        DriverKind::Localfs => dialect.is_cut_by_url_parsing("bucket"),
        DriverKind::S3 | DriverKind::Swift => {
            dialect.is_cut_by_url_parsing("user_id || bucket || archive_id")
        }
    }
}

const TO_MIGRATE: &str = "
    UPDATE archive_migration_tasks SET archive_documents_to_migrate = $1 WHERE id = $2";

/// `$2` objects from number `$4` on, in shards of `$3` behind those that there are.
const SHARDS: &str = "
    WITH RECURSIVE s(shard) AS (
        SELECT CAST(0 AS bigint) WHERE $2 > 0
         UNION ALL SELECT shard + 1 FROM s WHERE (shard + 1) * $3 < $2)
    INSERT INTO windlass_shards (task_id, shard, first_idx, last_idx)
    SELECT $1, shard + (SELECT coalesce(max(shard) + 1, 0) FROM windlass_shards
                         WHERE task_id = $1),
           $4 + shard * $3,
           $4 + CASE WHEN (shard + 1) * $3 < $2 THEN (shard + 1) * $3 - 1 ELSE $2 - 1 END
      FROM s";

/// The shards of objects that were planned a moment ago, from number `first_idx` on.
pub(super) fn shards(task_id: i64, first_idx: i64, objects: i64) -> Statement {
    let shards = Statement::new(SHARDS).bind(task_id).bind(objects);
    let shard_objects = crash::limit("shard-objects", SHARD_OBJECTS);
    shards.bind(shard_objects as i64).bind(first_idx)
}

/// What else is noted of a task: where Anchore looks, and of windlass's own.
fn own_rows(
    task_id: i64,
    request: &PlanRequest,
    objects: i64,
    bytes: i64,
) -> Result<Vec<Statement>, sqlx::Error> {
    // Anchore counts documents whose row moves.
    let rows_to_swap = match request.kind {
        TaskKind::Forward | TaskKind::Reverse => objects,
        TaskKind::DeleteSource => 0,
    };
    let mut rows = vec![
        Statement::new(TO_MIGRATE).bind(rows_to_swap).bind(task_id),
        insert_own_task(task_id, request, objects, bytes)?,
        shards(task_id, 0, objects),
        becomes_active(task_id),
    ];
    rows.extend(request.workers.then(|| notes_timeline(task_id)));
    Ok(rows)
}

fn insert_own_task(
    task_id: i64,
    request: &PlanRequest,
    objects: i64,
    bytes: i64,
) -> Result<Statement, sqlx::Error> {
    let policy = serde_json::to_string(&request.policy)
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let parent = request.after.as_ref().map(|after| after.uuid.to_string());
    let (from, to) = (&request.from, &request.to);
    let row = vec![
        ("task_id", task_id.into()),
        ("uuid", request.uuid.to_string().into()),
        ("kind", request.kind.name().into()),
        ("parent_uuid", parent.into()),
        ("state", "running".into()),
        ("source_driver", from.place.driver.name().into()),
        ("source_place", (&from.display).into()),
        ("source_fingerprint", (&from.fingerprint).into()),
        ("source_config", (&from.config).into()),
        ("source_section", (&from.section).into()),
        ("destination_driver", to.place.driver.name().into()),
        ("destination_place", (&to.display).into()),
        ("destination_fingerprint", (&to.fingerprint).into()),
        ("destination_config", (&to.config).into()),
        ("destination_section", (&to.section).into()),
        (
            "destination_was_empty",
            request.destination_was_empty.into(),
        ),
        ("policy", policy.into()),
        ("planned", objects.into()),
        ("planned_bytes", bytes.into()),
        ("stage", request.stage.map(Stage::name).into()),
        ("passes", i32::from(request.stage.is_some()).into()),
        ("workers", request.workers.into()),
    ];
    Ok(Statement::insert("windlass_tasks", vec![row]))
}
