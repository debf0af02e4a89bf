//! The mirror's rows beside those of `archive_metadata`, as an auditor reads them: nothing is
//! changed, nothing is taken for granted, words that no windlass wrote come out as they are.

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::{Dialect, JOIN_ROW, Numbers, Statement};
use crate::model::{EntryObject, RowImage};

/// What the mirror says of an object, and what its row says now.
#[derive(Debug, Clone, PartialEq)]
pub struct MirroredRow {
    /// The object.
    pub object: EntryObject,
    /// Its row as it was planned.
    pub source: RowImage,
    /// `phase`, as it stands there.
    pub phase: String,
    /// `outcome`, as it stands there.
    pub outcome: Option<String>,
    /// The copy; its URL is there from the plan on.
    pub dest: RowTuple,
    /// What the commit has made of the row.
    pub written: RowTuple,
    /// SHA-256 of the plain content.
    pub content_sha256: Option<String>,
    /// Its length.
    pub content_size: Option<i64>,
    /// When it was copied, RFC 3339 in UTC. So with the others.
    pub copied_at: Option<String>,
    /// When it was last verified.
    pub verified_at: Option<String>,
    /// When its row was swapped.
    pub committed_at: Option<String>,
    /// When its source was deleted.
    pub source_deleted_at: Option<String>,
    /// False: committed, and the entry was not seen yet.
    pub journaled: bool,
    /// Steps that failed so far.
    pub attempts: i32,
    /// The class of its last failure.
    pub failure_class: Option<String>,
    /// Its last failure, or why it was skipped, kept or accepted.
    pub last_error: Option<String>,
    /// Why it failed, in one word, as it stands there.
    pub cause: Option<String>,
    /// The checkpoint that `seq` counts in.
    pub epoch: i32,
    /// The last entry that was applied.
    pub seq: i64,
    /// Its row in `archive_metadata` as it is now; none where it is gone.
    pub row: Option<RowTuple>,
}

/// What a commit writes into a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowTuple {
    /// `content_url`.
    pub url: Option<String>,
    /// `digest`.
    pub digest: Option<String>,
    /// `size`.
    pub size: Option<i64>,
    /// `is_compressed`.
    pub compressed: Option<bool>,
    /// `last_updated`, in seconds since 1970.
    pub last_updated: Option<i64>,
}

/// What a later task has made of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedOn {
    /// The object's number in the task that was asked about.
    pub idx: u64,
    /// The newest later task that has committed it.
    pub task_id: i64,
    /// What that task wrote.
    pub dest: RowTuple,
}

/// Which of a task's objects to read.
#[derive(Debug, Clone, Copy)]
pub struct MirrorQuery<'a> {
    /// The task.
    pub task_id: i64,
    /// Only objects behind this one.
    pub after_idx: Option<u64>,
    /// Only `user/bucket/id`, or `user/bucket/id/document`.
    pub object: Option<&'a str>,
    /// At most so many.
    pub limit: u32,
}

#[derive(sqlx::FromRow)]
struct Raw {
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
    phase: String,
    outcome: Option<String>,
    dest_url: String,
    dest_digest: Option<String>,
    dest_size: Option<i64>,
    dest_compressed: Option<bool>,
    dest_last_updated: Option<i64>,
    written_digest: Option<String>,
    written_size: Option<i64>,
    written_compressed: Option<bool>,
    content_sha256: Option<String>,
    content_size: Option<i64>,
    copied_at: Option<String>,
    verified_at: Option<String>,
    committed_at: Option<String>,
    source_deleted_at: Option<String>,
    journaled: bool,
    attempts: i32,
    failure_class: Option<String>,
    cause: Option<String>,
    last_error: Option<String>,
    epoch: i32,
    seq: i64,
    row_found: bool,
    row_url: Option<String>,
    row_digest: Option<String>,
    row_size: Option<i64>,
    row_compressed: Option<bool>,
    row_last_updated: Option<i64>,
}

/// A page costs the same wherever it is: both joins go through primary keys.
fn page_sql(dialect: &dyn Dialect) -> String {
    let times = [
        "copied_at",
        "verified_at",
        "committed_at",
        "source_deleted_at",
    ];
    let times = times.map(|name| format!("{} AS {name}", dialect.rfc3339(&format!("o.{name}"))));
    format!(
        "SELECT o.idx, o.user_id, o.bucket, o.archive_id, o.document_name, o.source_url,
                o.source_digest, o.source_size, o.source_compressed, o.created_at,
                o.last_updated, o.phase, o.outcome, o.dest_url, o.dest_digest, o.dest_size,
                o.dest_compressed, o.dest_last_updated, o.row_digest AS written_digest,
                o.row_size AS written_size, o.row_compressed AS written_compressed,
                o.content_sha256, o.content_size,
                {}, o.journaled, o.attempts, o.failure_class, o.last_error, o.cause, o.epoch, o.seq,
                (m.bucket IS NOT NULL) AS row_found, m.content_url AS row_url,
                m.digest AS row_digest, CAST(m.size AS bigint) AS row_size,
                m.is_compressed AS row_compressed,
                CAST(m.last_updated AS bigint) AS row_last_updated
           FROM windlass_objects o {JOIN_ROW}
          WHERE o.task_id = $1 AND o.idx > $2
            AND ($3 = '' OR o.user_id || '/' || o.bucket || '/' || o.archive_id = $3
                 OR o.user_id || '/' || o.bucket || '/' || o.archive_id || '/'
                    || o.document_name = $3)
          ORDER BY o.idx LIMIT $4",
        times.join(", ")
    )
}

const MOVED_ON: &str = "
    SELECT o.idx, CAST(l.task_id AS bigint), l.dest_url, l.row_digest, l.row_size,
           l.row_compressed, l.dest_last_updated
      FROM windlass_objects o
      JOIN windlass_objects l
        ON l.user_id = o.user_id AND l.bucket = o.bucket AND l.archive_id = o.archive_id
       AND l.document_name = o.document_name AND l.task_id > o.task_id
       AND l.phase IN ('committed', 'source-deleted')
     WHERE o.task_id = $1 AND o.idx IN ";

impl Catalog {
    /// A page of a task's objects, by their numbers, each with its row as it is now.
    pub async fn mirrored_rows(
        &self,
        query: MirrorQuery<'_>,
    ) -> Result<Vec<MirroredRow>, CatalogError> {
        let sql = page_sql(dialect(&self.db));
        let rows: Vec<Raw> = self
            .all(
                "read the mirror",
                Statement::new(sql)
                    .bind(query.task_id)
                    .bind(query.after_idx.map_or(-1, |idx| idx as i64))
                    .bind(query.object.unwrap_or_default())
                    .bind(i64::from(query.limit)),
            )
            .await?;
        Ok(rows.into_iter().map(MirroredRow::from).collect())
    }

    /// Which of these objects a later task has committed since, and what it wrote: of several
    /// tasks the newest.
    pub async fn moved_on(&self, task_id: i64, idxs: &[u64]) -> Result<Vec<MovedOn>, CatalogError> {
        type Raw = (
            i64,
            i64,
            String,
            Option<String>,
            Option<i64>,
            Option<bool>,
            Option<i64>,
        );
        let set = dialect(&self.db).numbers();
        let sql = format!("{MOVED_ON} {set} ORDER BY o.idx, l.task_id DESC");
        let rows: Vec<Raw> = self
            .all(
                "look for later tasks",
                Statement::new(sql).bind(task_id).bind(Numbers(idxs)),
            )
            .await?;
        let mut moved: Vec<MovedOn> = rows
            .into_iter()
            .map(
                |(idx, task_id, url, digest, size, compressed, last_updated)| MovedOn {
                    idx: idx as u64,
                    task_id,
                    dest: RowTuple {
                        url: Some(url),
                        digest,
                        size,
                        compressed,
                        last_updated,
                    },
                },
            )
            .collect();
        moved.dedup_by_key(|moved| moved.idx);
        Ok(moved)
    }
}

impl From<Raw> for MirroredRow {
    fn from(raw: Raw) -> Self {
        let row = raw.row_found.then_some(RowTuple {
            url: raw.row_url,
            digest: raw.row_digest,
            size: raw.row_size,
            compressed: raw.row_compressed,
            last_updated: raw.row_last_updated,
        });
        Self {
            object: EntryObject {
                idx: raw.idx as u64,
                user: raw.user_id,
                bucket: raw.bucket,
                id: raw.archive_id,
                document: raw.document_name,
            },
            source: RowImage {
                url: raw.source_url,
                digest: raw.source_digest,
                size: raw.source_size,
                compressed: raw.source_compressed,
                created_at: raw.created_at,
                last_updated: raw.last_updated,
            },
            phase: raw.phase,
            outcome: raw.outcome,
            written: RowTuple {
                url: Some(raw.dest_url.clone()),
                digest: raw.written_digest,
                size: raw.written_size,
                compressed: raw.written_compressed,
                last_updated: raw.dest_last_updated,
            },
            dest: RowTuple {
                url: Some(raw.dest_url),
                digest: raw.dest_digest,
                size: raw.dest_size,
                compressed: raw.dest_compressed,
                last_updated: raw.dest_last_updated,
            },
            content_sha256: raw.content_sha256,
            content_size: raw.content_size,
            copied_at: raw.copied_at,
            verified_at: raw.verified_at,
            committed_at: raw.committed_at,
            source_deleted_at: raw.source_deleted_at,
            journaled: raw.journaled,
            attempts: raw.attempts,
            failure_class: raw.failure_class,
            cause: raw.cause,
            last_error: raw.last_error,
            epoch: raw.epoch,
            seq: raw.seq,
            row,
        }
    }
}
