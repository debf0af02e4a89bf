//! What the catalog has to tell for a report: all of one instant, in one reading transaction.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::backend::dialect_of;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Connection, Dialect, Statement};
use super::summary::{Sizes, add};
use crate::model::{Phase, Summary};

/// Slots of time that the mirror's history is read in, at most: what comes across the wire stays
/// small, however many objects there are.
const SLOTS_MAX: i64 = 50_000;

/// The shortest slot, in milliseconds.
const SLOT_MIN_MS: i64 = 10;

/// What the catalog has to tell of one task.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// When it was planned, in milliseconds since 1970, as all times here.
    pub created_ms: i64,
    /// The task that it undoes or finishes: its UUID, and what is known of it.
    pub parent: Option<(String, Option<RelatedTask>)>,
    /// The tasks that undo or finish it.
    pub children: Vec<RelatedTask>,
    /// Its objects, counted.
    pub total: Summary,
    /// The same by bucket, in the order of their names.
    pub buckets: BTreeMap<String, BucketCount>,
    /// Its checkpoints, the first one first.
    pub checkpoints: Vec<Checkpoint>,
    /// The first objects that failed, were accepted so, or were skipped.
    pub found: Vec<Found>,
    /// How many there are of each kind: phase, outcome, class and cause.
    pub causes: BTreeMap<(String, String, String, String), u64>,
    /// What became of the objects whose last step was an executor's, by its epoch.
    pub by_epoch: BTreeMap<i64, Worked>,
    /// When what was done, where it was asked for.
    pub times: Option<WorkTimes>,
}

/// Objects whose last step was one executor's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worked {
    /// Committed.
    pub committed: u64,
    /// Failed before that.
    pub failed: u64,
    /// Neither, and no longer where they were.
    pub under_way: u64,
}

impl Worked {
    fn add(&mut self, phase: Phase, outcome: Option<&str>, objects: u64) {
        match (phase, outcome) {
            (Phase::Committed | Phase::SourceDeleted, _) => self.committed += objects,
            (_, Some("failed")) => self.failed += objects,
            (Phase::Copied | Phase::Verified, None) => self.under_way += objects,
            _ => {}
        }
    }
}

/// Another task.
#[derive(Debug, Clone, FromRow)]
pub struct RelatedTask {
    /// `tasks.id`.
    pub task_id: i64,
    /// Its UUID.
    pub uuid: String,
    /// Its kind.
    pub kind: String,
    /// Where it stands.
    pub state: String,
}

/// The objects of one bucket.
#[derive(Debug, Clone, Copy, Default)]
pub struct BucketCount {
    /// What became of them.
    pub summary: Summary,
    /// Their stored size at the source.
    pub source_bytes: u64,
}

/// A checkpoint as the database knows it.
#[derive(Debug, Clone, FromRow)]
pub struct Checkpoint {
    /// Its UUID.
    pub executor: String,
    /// 1 for the task's first.
    pub epoch: i32,
    /// The host that worked last with it.
    pub host: String,
    /// Its process there.
    pub pid: i64,
    /// The version of windlass.
    pub version: String,
    /// When it was made.
    pub started_ms: i64,
    /// The last sign of life.
    pub heartbeat_ms: i64,
    /// When it ended in good order.
    pub ended_ms: Option<i64>,
    /// The last mirrored entry.
    pub seq: i64,
    /// Its hash, in hex.
    pub head: String,
}

/// An object that failed, was accepted so, or was skipped.
#[derive(Debug, Clone, FromRow)]
pub struct Found {
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
    /// `failed`, `accepted` or `skipped`.
    pub outcome: String,
    /// The class of the failure; empty for what was skipped.
    pub class: String,
    /// Why it failed, in one word; empty for what was skipped.
    pub cause: String,
    /// Steps that failed.
    pub attempts: i32,
    /// The error, or the reason.
    pub why: String,
}

/// The mirror's history: the last time of each step of each object, put together.
#[derive(Debug, Clone, Default)]
pub struct WorkTimes {
    /// Time, bytes copied, objects committed; in the order of time, without empty slots.
    pub done: Vec<(i64, u64, u64)>,
    /// From copied to verified: milliseconds, and how many objects took so long.
    pub verify: Vec<(i64, u64)>,
    /// From verified to committed.
    pub commit: Vec<(i64, u64)>,
    /// From committed to source-deleted.
    pub delete_source: Vec<(i64, u64)>,
}

impl Catalog {
    /// What the catalog has to tell of a task: at most `most` objects one by one, and the times
    /// where they are wanted, which takes a look at every object.
    pub async fn tell(
        &self,
        task_id: i64,
        most: u32,
        with_times: bool,
    ) -> Result<Told, CatalogError> {
        let read =
            async |within: &mut Connection<'_>| read(within, task_id, most, with_times).await;
        self.of_one_instant("read the task for a report", read)
            .await?
            .told()
    }

    /// At most `most` of its objects that failed, were accepted so, or were skipped: one by one, as in
    /// [`Self::tell`].
    pub async fn found(&self, task_id: i64, most: u32) -> Result<Vec<Found>, CatalogError> {
        self.all("read the objects that failed", found(task_id, most))
            .await
    }
}

/// The statements, in the words of a database.
struct Sql {
    dialect: &'static dyn Dialect,
}

impl Sql {
    fn ms(&self, column: &str) -> String {
        self.dialect.ms(column)
    }

    fn task(&self) -> String {
        let created = self.ms("created_at");
        format!("SELECT uuid, parent_uuid, {created} FROM windlass_tasks WHERE task_id = $1")
    }

    fn checkpoints(&self) -> String {
        format!(
            "SELECT executor, epoch, host, pid, version, {} AS started_ms, {} AS heartbeat_ms,
                    {} AS ended_ms, seq, head
               FROM windlass_executors WHERE task_id = $1 ORDER BY epoch",
            self.ms("started_at"),
            self.ms("heartbeat"),
            self.ms("ended_at")
        )
    }

    fn bounds(&self) -> String {
        let (copied, committed) = (self.ms("copied_at"), self.ms("committed_at"));
        format!(
            "SELECT min(first), max(last)
               FROM (SELECT min({copied}) AS first, max({copied}) AS last
                       FROM windlass_objects WHERE task_id = $1
                      UNION ALL SELECT min({committed}), max({committed})
                       FROM windlass_objects WHERE task_id = $1) AS bounds"
        )
    }

    /// `$2`: the length of a slot.
    fn done(&self) -> String {
        format!(
            "SELECT slot, CAST(sum(bytes) AS bigint), CAST(sum(objects) AS bigint)
               FROM (SELECT {} / $2 AS slot, coalesce(dest_size, 0) AS bytes, 0 AS objects
                       FROM windlass_objects WHERE task_id = $1 AND copied_at IS NOT NULL
                      UNION ALL
                     SELECT {} / $2, 0, 1
                       FROM windlass_objects WHERE task_id = $1 AND committed_at IS NOT NULL)
                    AS done
              GROUP BY slot ORDER BY slot",
            self.ms("copied_at"),
            self.ms("committed_at")
        )
    }

    /// The longer, the coarser: so their number stays small, too.
    fn step(&self, from: &str, to: &str) -> String {
        format!(
            "SELECT CASE WHEN ms < 1000 THEN ms WHEN ms < 100000 THEN ms / 10 * 10
                         ELSE ms / 1000 * 1000 END AS about, count(*)
               FROM (SELECT {} - {} AS ms FROM windlass_objects
                      WHERE task_id = $1 AND {from} IS NOT NULL AND {to} IS NOT NULL) AS steps
              WHERE ms >= 0 GROUP BY about",
            self.ms(to),
            self.ms(from)
        )
    }
}

const RELATED: &str = "
    SELECT CAST(task_id AS bigint) AS task_id, uuid, kind, state FROM windlass_tasks";

const COUNTS: &str = "
    SELECT bucket, phase, outcome, coalesce(failure_class, ''), count(*),
           CAST(coalesce(sum(source_size), 0) AS bigint),
           CAST(coalesce(sum(dest_size), 0) AS bigint),
           CAST(coalesce(sum(content_size), 0) AS bigint), coalesce(cause, ''),
           CAST(epoch AS bigint)
      FROM windlass_objects WHERE task_id = $1
     GROUP BY bucket, phase, outcome, coalesce(failure_class, ''), coalesce(cause, ''), epoch";

/// What failed before the commit comes first, what somebody else has changed last.
const FOUND: &str = "
    SELECT user_id, bucket, archive_id, document_name, phase, outcome,
           coalesce(failure_class, '') AS class, coalesce(cause, '') AS cause, attempts,
           coalesce(last_error, '') AS why
      FROM windlass_objects
     WHERE task_id = $1 AND outcome IN ('failed', 'accepted', 'skipped')
     ORDER BY CASE outcome WHEN 'failed' THEN 0 WHEN 'accepted' THEN 1 ELSE 2 END,
           phase = 'committed', idx LIMIT $2";

fn found(task_id: i64, most: u32) -> Statement {
    Statement::new(FOUND).bind(task_id).bind(i64::from(most))
}

type Count = (
    String,
    String,
    Option<String>,
    String,
    i64,
    i64,
    i64,
    i64,
    String,
    i64,
);

/// Rows as they came.
struct Raw {
    task: (String, Option<String>, i64),
    parent: Option<RelatedTask>,
    children: Vec<RelatedTask>,
    counts: Vec<Count>,
    checkpoints: Vec<Checkpoint>,
    found: Vec<Found>,
    times: Option<WorkTimes>,
}

async fn read(
    connection: &mut Connection<'_>,
    task_id: i64,
    most: u32,
    with_times: bool,
) -> Result<Raw, sqlx::Error> {
    let dialect = dialect_of(connection);
    let sql = Sql { dialect };
    let of_task = |sql: String| Statement::new(sql).bind(task_id);
    let task: (String, Option<String>, i64) = connection.one(of_task(sql.task())).await?;
    let related = |by: &str| Statement::new(format!("{RELATED} WHERE {by} = $1 ORDER BY 1"));
    let parent = related("uuid").bind(&task.1);
    let parent = connection.optional(parent).await?;
    let children = related("parent_uuid").bind(&task.0);
    let children = connection.all(children).await?;
    let times = match with_times {
        true => Some(read_times(connection, &sql, task_id).await?),
        false => None,
    };
    Ok(Raw {
        task,
        parent,
        children,
        counts: connection.all(of_task(COUNTS.into())).await?,
        checkpoints: connection.all(of_task(sql.checkpoints())).await?,
        found: connection.all(found(task_id, most)).await?,
        times,
    })
}

async fn read_times(
    connection: &mut Connection<'_>,
    sql: &Sql,
    task_id: i64,
) -> Result<WorkTimes, sqlx::Error> {
    let of_task = |sql: String| Statement::new(sql).bind(task_id);
    let bounds: Vec<(Option<i64>, Option<i64>)> = connection.all(of_task(sql.bounds())).await?;
    let slot_ms = slot_ms(&bounds);
    let done = of_task(sql.done()).bind(slot_ms);
    let done: Vec<(i64, i64, i64)> = connection.all(done).await?;
    let done = done.into_iter();
    let mut durations = async |from: &str, to: &str| {
        let rows: Vec<(i64, i64)> = connection.all(of_task(sql.step(from, to))).await?;
        let durations = rows.into_iter().map(|(ms, n)| (ms, n as u64));
        Ok::<Vec<(i64, u64)>, sqlx::Error>(durations.collect())
    };
    Ok(WorkTimes {
        done: done
            .map(|(slot, bytes, n)| (slot * slot_ms, bytes as u64, n as u64))
            .collect(),
        verify: durations("copied_at", "verified_at").await?,
        commit: durations("verified_at", "committed_at").await?,
        delete_source: durations("committed_at", "source_deleted_at").await?,
    })
}

fn slot_ms(bounds: &[(Option<i64>, Option<i64>)]) -> i64 {
    let span = bounds
        .iter()
        .find_map(|(first, last)| Some((*last)? - (*first)?));
    (span.unwrap_or(0) / SLOTS_MAX).max(SLOT_MIN_MS)
}

impl Raw {
    fn told(self) -> Result<Told, CatalogError> {
        let (_, parent_uuid, created_ms) = self.task;
        let mut told = Told {
            created_ms,
            parent: parent_uuid.map(|uuid| (uuid, self.parent)),
            children: self.children,
            checkpoints: self.checkpoints,
            found: self.found,
            times: self.times,
            ..Told::default()
        };
        for (bucket, phase, outcome, class, objects, source, dest, content, cause, epoch) in
            self.counts
        {
            let unreadable = |_| CatalogError::Unreadable(format!("phase {phase} {outcome:?}"));
            let phase_read: Phase = phase.parse().map_err(unreadable)?;
            let read = outcome.as_deref().map(str::parse).transpose();
            let outcome_read = read.map_err(unreadable)?;
            let objects = objects as u64;
            let sizes = Sizes {
                source_bytes: source as u64,
                dest_bytes: dest as u64,
                content_bytes: content as u64,
            };
            let worked = told.by_epoch.entry(epoch).or_default();
            worked.add(phase_read, outcome.as_deref(), objects);
            let counted = told.buckets.entry(bucket).or_default();
            counted.source_bytes += source as u64;
            for summary in [&mut told.total, &mut counted.summary] {
                add(summary, phase_read, outcome_read, objects, sizes);
            }
            if let Some(outcome @ ("failed" | "accepted" | "skipped")) = outcome.as_deref() {
                let kind = (phase, outcome.to_owned(), class, cause);
                *told.causes.entry(kind).or_default() += objects;
            }
        }
        Ok(told)
    }
}
