//! The objects of a task's shards.

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::request::Writer;
use super::sql::{AS_PLANNED, JOIN_ROW, Statement};
use crate::model::{Facts, Object, ObjectKey, Outcome, Phase, Restore, RowImage, Shard, State};

/// An object, with what its row in `archive_metadata` looks like now.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The object as planned, as far as it has come.
    pub object: Object,
    /// Why it can't be moved, known since the plan was made.
    pub refused: Option<String>,
    /// Whether the row is still the planned one, by its whole tuple.
    pub row_as_planned: bool,
    /// Whether a row with the same user, bucket and id points at the destination already.
    pub dest_in_use: bool,
    /// Whether the journal is known to have the commit; false where the row was swapped and the
    /// entry is not known to have followed.
    pub journaled: bool,
    /// Whether its task began with it as committed, and gives nothing back: of a reverse, a copy that
    /// was never committed.
    pub left_over: bool,
    /// The last entry applied to it.
    pub seq: u64,
}

#[derive(sqlx::FromRow)]
struct RawObject {
    idx: i64,
    user_id: String,
    bucket: String,
    archive_id: String,
    document_name: String,
    source_url: String,
    source_digest: Option<String>,
    source_size: Option<i64>,
    source_compressed: Option<bool>,
    created_at: Option<i64>,
    last_updated: Option<i64>,
    dest_url: String,
    shared: bool,
    refused: Option<String>,
    phase: String,
    outcome: Option<String>,
    dest_digest: Option<String>,
    dest_size: Option<i64>,
    dest_compressed: Option<bool>,
    content_sha256: Option<String>,
    content_size: Option<i64>,
    attempts: i32,
    restores: bool,
    row_digest: Option<String>,
    row_size: Option<i64>,
    row_compressed: Option<bool>,
    row_last_updated: Option<i64>,
    row_as_planned: bool,
    dest_in_use: bool,
    journaled: bool,
    left_over: bool,
    seq: i64,
}

/// The objects of a range that are not at their end, with their rows. The join goes through
/// both tables' keys.
fn load_sql(which: &str) -> String {
    format!(
        r#"
    SELECT o.idx, o.user_id, o.bucket, o.archive_id, o.document_name, o.source_url,
           o.source_digest, o.source_size, o.source_compressed, o.created_at, o.last_updated,
           o.dest_url, o.shared, o.refused, o.phase, o.outcome, o.dest_digest, o.dest_size,
           o.dest_compressed, o.content_sha256, o.content_size, o.attempts,
           o.journaled, o.seq, o.restores, o.row_digest, o.row_size, o.row_compressed,
           o.dest_last_updated AS row_last_updated,
           (o.restores AND o.phase = 'committed' AND o.committed_at IS NULL) AS left_over,
           (NOT o.superseded AND {AS_PLANNED}) AS row_as_planned,
           EXISTS (SELECT 1 FROM archive_metadata s
                    WHERE s.bucket = o.bucket AND s."archiveId" = o.archive_id
                      AND s."userId" = o.user_id AND s."documentName" <> o.document_name
                      AND s.content_url = o.dest_url) AS dest_in_use
      FROM windlass_objects o {JOIN_ROW} WHERE o.task_id = $1 AND o.idx BETWEEN $2 AND $3
       AND {which} ORDER BY o.idx"#
    )
}

/// Those that have something left to do.
const OPEN: &str = "o.phase <> 'source-deleted' AND (o.outcome IS NULL OR o.outcome = 'failed')";

/// Those that this task has committed, and whose sources it has left.
const COMMITTED: &str = "o.phase = 'committed' AND o.outcome = 'source-kept'";

impl Catalog {
    /// Objects that the database has as committed while the journal is not known to have it: a
    /// crash fell between the two. They are in shards that are not done; a worker's are in its own: whoever
    /// takes one over between two looks has commits of its own there.
    pub async fn unjournaled_commits(&self, writer: &Writer) -> Result<Vec<Loaded>, CatalogError> {
        let dialect = dialect(&self.db);
        let of_task =
            |which| Statement::new(dialect.objects_of_open_shards(which)).bind(writer.task_id);
        let commits = match writer.is_alone() {
            true => of_task("NOT o.journaled"),
            false => of_task("NOT o.journaled AND s.owner = $2").bind(writer.executor.to_string()),
        };
        self.commits(writer.task_id, commits).await
    }

    /// Objects that this task has committed and that are not yet at their end, whatever the
    /// journal has of them. Those that it began with as committed were committed by another.
    pub async fn open_commits(&self, task_id: i64) -> Result<Vec<Loaded>, CatalogError> {
        let open = "o.phase = 'committed' AND o.committed_at IS NOT NULL";
        let open = Statement::new(dialect(&self.db).objects_of_open_shards(open));
        self.commits(task_id, open.bind(task_id)).await
    }

    /// The last entry of an epoch that an object names whose shard is not done; 0 if none does.
    pub async fn last_entry(&self, task_id: i64, epoch: i32) -> Result<u64, CatalogError> {
        let (seq,): (i64,) = self
            .one(
                "look for the last entry", // By each shard's range: a planner that still takes all shards for open reads the
                // whole table instead.
                Statement::new(
                    "SELECT coalesce(max((
                            SELECT max(o.seq) FROM windlass_objects o
                             WHERE o.task_id = s.task_id
                               AND o.idx BETWEEN s.first_idx AND s.last_idx AND o.epoch = $2)), 0)
                   FROM windlass_shards s WHERE s.task_id = $1 AND NOT s.done",
                )
                .bind(task_id)
                .bind(epoch),
            )
            .await?;
        Ok(seq as u64)
    }

    async fn commits(&self, task_id: i64, commits: Statement) -> Result<Vec<Loaded>, CatalogError> {
        // In both, each open shard's range is looked up by itself; see `last_entry`.
        let found: Vec<(i64,)> = self
            .all("look for commits without an entry", commits)
            .await?;
        let mut loaded = Vec::new();
        for (idx,) in found {
            loaded.extend(self.load(task_id, idx as u64, idx as u64).await?);
        }
        Ok(loaded)
    }

    /// The objects of a task that it has left alone since their rows had changed, each with its
    /// destination, as far as no row points there.
    pub async fn unused_destinations_of_skipped(
        &self,
        task_id: i64,
    ) -> Result<Vec<(u64, String)>, CatalogError> {
        let skipped = Statement::new(
            "SELECT idx, dest_url FROM windlass_objects o
              WHERE task_id = $1 AND (outcome = 'skipped' OR superseded) AND refused IS NULL
                AND phase IN ('pending', 'copied', 'verified')
                AND NOT EXISTS (SELECT 1 FROM windlass_objects l
                                 WHERE l.task_id = o.task_id AND l.dest_url = o.dest_url
                                   AND l.idx <> o.idx AND NOT l.superseded)
                AND NOT EXISTS (SELECT 1 FROM archive_metadata m
                                 WHERE m.content_url = o.dest_url)
              ORDER BY idx",
        );
        self.destinations("look for what was skipped", skipped.bind(task_id))
            .await
    }

    /// The objects of a shard that were never committed, each with its destination.
    pub async fn uncommitted(
        &self,
        task_id: i64,
        shard: Shard,
    ) -> Result<Vec<(u64, String)>, CatalogError> {
        let uncommitted = Statement::new(
            "SELECT idx, dest_url FROM windlass_objects
              WHERE task_id = $1 AND idx BETWEEN $2 AND $3 AND refused IS NULL
                AND phase IN ('pending', 'copied', 'verified')
                AND coalesce(outcome, '') <> 'skipped' AND NOT superseded
              ORDER BY idx",
        )
        .bind(task_id)
        .bind(shard.first_idx as i64)
        .bind(shard.last_idx as i64);
        self.destinations("look for what was not committed", uncommitted)
            .await
    }

    async fn destinations(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Vec<(u64, String)>, CatalogError> {
        let found: Vec<(i64, String)> = self.all(what, statement).await?;
        let found = found.into_iter();
        Ok(found.map(|(idx, url)| (idx as u64, url)).collect())
    }

    /// The objects of a range that are not at their end, each with its row as it is now.
    pub async fn load(
        &self,
        task_id: i64,
        first_idx: u64,
        last_idx: u64,
    ) -> Result<Vec<Loaded>, CatalogError> {
        self.load_those(task_id, first_idx, last_idx, OPEN).await
    }

    /// An object that is committed, and whose source was left, with its row as it is now.
    pub async fn load_committed(
        &self,
        task_id: i64,
        idx: u64,
    ) -> Result<Option<Loaded>, CatalogError> {
        let loaded = self.load_those(task_id, idx, idx, COMMITTED).await?;
        Ok(loaded.into_iter().next())
    }

    async fn load_those(
        &self,
        task_id: i64,
        first_idx: u64,
        last_idx: u64,
        which: &'static str,
    ) -> Result<Vec<Loaded>, CatalogError> {
        let rows: Vec<RawObject> = self
            .all(
                "load a shard",
                Statement::new(load_sql(which))
                    .bind(task_id)
                    .bind(first_idx as i64)
                    .bind(last_idx as i64),
            )
            .await?;
        rows.into_iter().map(Loaded::try_from).collect()
    }
}

impl RawObject {
    /// What is known of the copy, where all of it is.
    fn copy(&self) -> Option<Facts> {
        Some(Facts {
            url: self.dest_url.clone(),
            digest: self.dest_digest.clone()?,
            size: self.dest_size? as u64,
            compressed: self.dest_compressed?,
            content_sha256: self.content_sha256.clone()?,
            content_size: self.content_size.unwrap_or(0) as u64,
        })
    }
}

impl TryFrom<RawObject> for Loaded {
    type Error = CatalogError;

    fn try_from(raw: RawObject) -> Result<Self, CatalogError> {
        let unreadable = |error: crate::model::UnknownWord| {
            CatalogError::Unreadable(format!("object {}: {error}", raw.idx))
        };
        let phase: Phase = raw.phase.parse().map_err(unreadable)?;
        let outcome: Option<Outcome> = raw
            .outcome
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(unreadable)?;
        let copy = raw.copy();
        let restore = raw.restores.then_some(Restore {
            digest: raw.row_digest,
            size: raw.row_size,
            compressed: raw.row_compressed,
            last_updated: raw.row_last_updated,
            content_sha256: raw.content_sha256,
        });
        if phase > Phase::Pending && copy.is_none() {
            return Err(CatalogError::Unreadable(format!(
                "object {} is {phase} but the facts of its copy are missing from windlass_objects",
                raw.idx
            )));
        }
        let key = ObjectKey {
            user: raw.user_id,
            bucket: raw.bucket,
            id: raw.archive_id,
            document: raw.document_name,
        };
        let source = RowImage {
            url: raw.source_url,
            digest: raw.source_digest,
            size: raw.source_size,
            compressed: raw.source_compressed,
            created_at: raw.created_at,
            last_updated: raw.last_updated,
        };
        let object = Object {
            idx: raw.idx as u64,
            key,
            source,
            dest_url: raw.dest_url,
            restore,
            shared: raw.shared,
            state: State {
                phase,
                outcome,
                proven: false,
            },
            copy,
            attempts: raw.attempts as u32,
        };
        Ok(Self {
            object,
            refused: raw.refused,
            row_as_planned: raw.row_as_planned,
            dest_in_use: raw.dest_in_use,
            journaled: raw.journaled,
            left_over: raw.left_over,
            seq: raw.seq as u64,
        })
    }
}
