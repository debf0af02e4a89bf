//! One try at swapping a batch of rows: one transaction, which stands only if every row in it has
//! become what it was to become.
//!
//! What a trigger makes of a row is known only by looking: the rows are read again within the
//! transaction, after whatever was put off to its end. A trigger that keeps the time of the last
//! change may do so, and the mirror takes over what it wrote; one that makes another address, digest,
//! size or form of the row would have it lead to what is not there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use super::CatalogError;
use super::commit::{Swap, Swapped};
use super::sql::{idx_list, join_row};
use crate::crash;
use crate::database::keep_count_after_failure;
use crate::model::RowImage;

const SWAP_POSTGRES: &str = r#"
    WITH want AS (
        SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::bigint[], $10::bool[], $11::bigint[],
            $12::text[], $13::text[], $14::bigint[], $15::bool[], $16::text[], $17::bigint[],
            $18::bigint[], $19::text[], $20::text[],
            $21::text[], $22::bigint[], $23::bool[], $24::bigint[])
        AS w(idx, user_id, bucket, archive_id, document_name,
             source_url, source_digest, source_size, source_compressed, last_updated,
             dest_url, dest_digest, dest_size, dest_compressed, content_sha256, content_size,
             seq, copied_at, verified_at,
             row_digest, row_size, row_compressed, row_last_updated)),
    moved AS (
        UPDATE archive_metadata m
           SET content_url = w.dest_url, digest = w.row_digest, size = w.row_size,
               is_compressed = w.row_compressed, last_updated = w.row_last_updated
          FROM want w
         WHERE m.bucket = w.bucket AND m."archiveId" = w.archive_id
           AND m."userId" = w.user_id AND m."documentName" = w.document_name
           AND m.content_url = w.source_url
           AND m.digest IS NOT DISTINCT FROM w.source_digest
           AND m.size IS NOT DISTINCT FROM w.source_size
           AND m.is_compressed IS NOT DISTINCT FROM w.source_compressed
           AND m.last_updated IS NOT DISTINCT FROM w.last_updated
        RETURNING w.idx),
    marked AS (
        UPDATE windlass_objects o
           SET phase = 'committed', outcome = NULL, failure_class = NULL, last_error = NULL,
               dest_digest = w.dest_digest, dest_size = w.dest_size,
               dest_compressed = w.dest_compressed, row_digest = w.row_digest,
               row_size = w.row_size, row_compressed = w.row_compressed,
               dest_last_updated = w.row_last_updated,
               content_sha256 = w.content_sha256, content_size = w.content_size,
               copied_at = coalesce(w.copied_at::timestamptz, o.copied_at),
               verified_at = coalesce(w.verified_at::timestamptz, o.verified_at),
               committed_at = now(), journaled = false, epoch = $25, seq = w.seq
          FROM moved JOIN want w USING (idx)
         WHERE o.task_id = $1 AND o.idx = moved.idx
        RETURNING o.idx)
    SELECT moved.idx, marked.idx IS NOT NULL FROM moved LEFT JOIN marked ON marked.idx = moved.idx"#;

const SWAP_SQLITE: &str = r#"
    UPDATE archive_metadata
       SET content_url = $5, digest = $6, size = $7, is_compressed = $8, last_updated = $9
     WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3 AND "documentName" = $4
       AND content_url = $10 AND digest IS NOT DISTINCT FROM $11
       AND size IS NOT DISTINCT FROM $12 AND is_compressed IS NOT DISTINCT FROM $13
       AND last_updated IS NOT DISTINCT FROM $14"#;

const MARK_SQLITE: &str = "
    UPDATE windlass_objects
       SET phase = 'committed', outcome = NULL, failure_class = NULL, last_error = NULL,
           dest_digest = $3, dest_size = $4, dest_compressed = $5, dest_last_updated = $6,
           content_sha256 = $7, content_size = $8, copied_at = coalesce($9, copied_at),
           verified_at = coalesce($10, verified_at),
           committed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), journaled = false,
           epoch = $11, seq = $12, row_digest = $13, row_size = $14, row_compressed = $15
     WHERE task_id = $1 AND idx = $2";

/// Rows that were swapped and are not what the mirror has just been told.
macro_rules! altered {
    ($db:ident) => {
        concat!(
            r#"SELECT o.idx, m.bucket IS NOT NULL AS is_there, m.content_url AS url, m.digest,
                      CAST(m.size AS bigint) AS size, m.is_compressed AS compressed
                 FROM windlass_objects o"#,
            join_row!(),
            "    WHERE o.task_id = $1
                  AND (m.content_url IS DISTINCT FROM o.dest_url
                       OR m.digest IS DISTINCT FROM o.row_digest
                       OR m.size IS DISTINCT FROM o.row_size
                       OR m.is_compressed IS DISTINCT FROM o.row_compressed
                       OR m.last_updated IS DISTINCT FROM o.dest_last_updated)
                  AND o.idx IN ",
            idx_list!($db)
        )
    };
}

/// The mirror takes over the time that a trigger has written.
macro_rules! retime {
    ($db:ident) => {
        concat!(
            r#"UPDATE windlass_objects
                  SET dest_last_updated = (
                      SELECT m.last_updated FROM archive_metadata m
                       WHERE m.bucket = windlass_objects.bucket
                         AND m."archiveId" = windlass_objects.archive_id
                         AND m."userId" = windlass_objects.user_id
                         AND m."documentName" = windlass_objects.document_name)
                WHERE task_id = $1 AND idx IN "#,
            idx_list!($db)
        )
    };
}

/// Rows that were not swapped: whether they had been before, and whether they still are as planned.
macro_rules! unmoved {
    ($db:ident) => {
        concat!(
            "SELECT o.idx, o.phase IN ('committed', 'source-deleted') AS is_committed,
                    (m.content_url IS NOT DISTINCT FROM o.source_url
                     AND m.digest IS NOT DISTINCT FROM o.source_digest
                     AND m.size IS NOT DISTINCT FROM o.source_size
                     AND m.is_compressed IS NOT DISTINCT FROM o.source_compressed
                     AND m.last_updated IS NOT DISTINCT FROM o.last_updated) AS is_as_planned
               FROM windlass_objects o",
            join_row!(),
            "    WHERE o.task_id = $1 AND o.idx IN ",
            idx_list!($db)
        )
    };
}

/// What follows the swap in its transaction, in each database's words.
struct Statements {
    altered: &'static str,
    retime: &'static str,
    unmoved: &'static str,
    touch: &'static str,
}

const POSTGRES: Statements = Statements {
    altered: altered!(postgres),
    retime: retime!(postgres),
    unmoved: unmoved!(postgres),
    touch: "UPDATE tasks SET last_updated = now() AT TIME ZONE 'utc' WHERE id = $1",
};

const SQLITE: Statements = Statements {
    altered: altered!(sqlite),
    retime: retime!(sqlite),
    unmoved: unmoved!(sqlite),
    touch: "UPDATE tasks SET last_updated = strftime('%Y-%m-%d %H:%M:%f000', 'now')
             WHERE id = $1",
};

/// Both counters, by rows really moved. `tasks.last_updated` is Anchore's sign of life.
const COUNT: [&str; 2] = [
    "UPDATE archive_migration_tasks
        SET archive_documents_migrated = coalesce(archive_documents_migrated, 0) + $2
      WHERE id = $1",
    "UPDATE windlass_tasks SET moved = moved + $2 WHERE task_id = $1",
];

/// What became of each row of a batch, by its number.
pub(super) type Answers<T> = HashMap<u64, T>;

/// What a try came to.
pub(super) enum Tried {
    /// It stands.
    Committed(Answers<Result<Swapped, Arc<CatalogError>>>),
    /// Nothing has changed: these rows would not have become what they were to become.
    RolledBack(Answers<Arc<CatalogError>>),
}

/// Rows to swap in one transaction.
pub(super) struct Batch<'a> {
    pub task_id: i64,
    pub epoch: i32,
    pub swaps: &'a [&'a Swap],
}

/// A swapped row as it stands, where that is not as it was to be.
#[derive(sqlx::FromRow)]
struct Altered {
    idx: i64,
    is_there: bool,
    url: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
    compressed: Option<bool>,
}

impl Altered {
    /// What it must not differ in; none where it is but the time.
    fn difference(&self, wanted: &RowImage) -> Option<String> {
        fn said<T: std::fmt::Debug>(value: &Option<T>) -> String {
            match value {
                Some(value) => format!("{value:?}"),
                None => "null".into(),
            }
        }
        fn one<T: PartialEq + std::fmt::Debug>(
            name: &str,
            now: &Option<T>,
            wanted: &Option<T>,
        ) -> Option<String> {
            (now != wanted).then(|| format!("{name} {}, not {}", said(now), said(wanted)))
        }
        if !self.is_there {
            return Some("it is gone from its key".into());
        }
        let all = [
            one("content_url", &self.url, &Some(wanted.url.clone())),
            one("digest", &self.digest, &wanted.digest),
            one("size", &self.size, &wanted.size),
            one("is_compressed", &self.compressed, &wanted.compressed),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Said once: it is the same for every row.
fn tell_that_times_are_kept() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "a trigger of the database sets last_updated of the rows in archive_metadata: they bear \
             its time, not the one that windlass gave them"
        );
    }
}

/// Looks at what the swap has made, counts it, and ends the transaction one way or the other.
/// `$moved` are rows that were swapped, each with whether the mirror has it.
macro_rules! conclude {
    ($batch:expr, $transaction:ident, $sql:expr, $moved:expr) => {{
        let batch: &Batch<'_> = $batch;
        let moved: HashMap<u64, bool> = $moved;
        let mut refused = Answers::new();
        for (idx, _) in moved.iter().filter(|(_, is_marked)| !**is_marked) {
            refused.insert(*idx, Arc::new(CatalogError::RowUnmoved("windlass_objects")));
        }
        if !moved.is_empty() {
            let altered: Vec<Altered> = sqlx::query_as($sql.altered)
                .bind(batch.task_id)
                .bind(format!("{:?}", moved.keys().collect::<Vec<_>>()))
                .fetch_all(&mut *$transaction)
                .await?;
            let retimed = batch.judge(altered, &mut refused);
            if !retimed.is_empty() {
                tell_that_times_are_kept();
                sqlx::query($sql.retime)
                    .bind(batch.task_id)
                    .bind(format!("{retimed:?}"))
                    .execute(&mut *$transaction)
                    .await?;
            }
        }
        if !refused.is_empty() {
            $transaction.rollback().await?;
            return Ok(Tried::RolledBack(refused));
        }
        if !moved.is_empty() {
            for count in COUNT {
                sqlx::query(count)
                    .bind(batch.task_id)
                    .bind(moved.len() as i64)
                    .execute(&mut *$transaction)
                    .await?;
            }
            sqlx::query($sql.touch)
                .bind(batch.task_id)
                .execute(&mut *$transaction)
                .await?;
        }
        let unmoved = batch.swaps.iter().map(|swap| swap.idx);
        let unmoved: Vec<u64> = unmoved.filter(|idx| !moved.contains_key(idx)).collect();
        let mut found: Vec<(i64, bool, bool)> = Vec::new();
        if !unmoved.is_empty() {
            found = sqlx::query_as($sql.unmoved)
                .bind(batch.task_id)
                .bind(format!("{unmoved:?}"))
                .fetch_all(&mut *$transaction)
                .await?;
        }
        crash::point("swap-before-commit");
        $transaction.commit().await?;
        crash::point("swap-after-commit");
        Ok(Tried::Committed(batch.answers(&moved, &found)))
    }};
}

impl Batch<'_> {
    fn column<T>(&self, of: impl Fn(&Swap) -> T) -> Vec<T> {
        self.swaps.iter().map(|swap| of(swap)).collect()
    }

    /// Sorts rows that are not as they were to be: those that can't stand go to `refused`, those of
    /// which only the time is another are returned.
    fn judge(&self, altered: Vec<Altered>, refused: &mut Answers<Arc<CatalogError>>) -> Vec<i64> {
        let mut retimed = Vec::new();
        for row in altered {
            let swap = self.swaps.iter().find(|swap| swap.idx == row.idx as u64);
            match swap.and_then(|swap| row.difference(&swap.row)) {
                Some(what) => {
                    let altered = Arc::new(CatalogError::RowAltered(what));
                    refused.entry(row.idx as u64).or_insert(altered);
                }
                None => retimed.push(row.idx),
            }
        }
        retimed
    }

    fn answers(
        &self,
        moved: &HashMap<u64, bool>,
        unmoved: &[(i64, bool, bool)],
    ) -> Answers<Result<Swapped, Arc<CatalogError>>> {
        let chosen = |of: fn(&(i64, bool, bool)) -> bool| {
            let chosen = unmoved.iter().filter(|row| of(row));
            chosen.map(|row| row.0 as u64).collect::<HashSet<u64>>()
        };
        let (before, as_planned) = (chosen(|row| row.1), chosen(|row| row.2));
        let answer = |idx: u64| match () {
            () if moved.contains_key(&idx) || before.contains(&idx) => Ok(Swapped::Moved),
            () if as_planned.contains(&idx) => {
                Err(Arc::new(CatalogError::RowUnmoved("archive_metadata")))
            }
            () => Ok(Swapped::Superseded),
        };
        let idxs = self.swaps.iter().map(|swap| swap.idx);
        idxs.map(|idx| (idx, answer(idx))).collect()
    }

    pub(super) async fn swap_postgres(&self, pg: &mut PgConnection) -> Result<Tried, sqlx::Error> {
        let mut transaction = pg.begin().await?;
        let moved: Vec<(i64, bool)> = sqlx::query_as(SWAP_POSTGRES)
            .bind(self.task_id)
            .bind(self.column(|s| s.idx as i64))
            .bind(self.column(|s| s.key.user.clone()))
            .bind(self.column(|s| s.key.bucket.clone()))
            .bind(self.column(|s| s.key.id.clone()))
            .bind(self.column(|s| s.key.document.clone()))
            .bind(self.column(|s| s.from.url.clone()))
            .bind(self.column(|s| s.from.digest.clone()))
            .bind(self.column(|s| s.from.size))
            .bind(self.column(|s| s.from.compressed))
            .bind(self.column(|s| s.from.last_updated))
            .bind(self.column(|s| s.to.url.clone()))
            .bind(self.column(|s| s.to.digest.clone()))
            .bind(self.column(|s| s.to.size as i64))
            .bind(self.column(|s| s.to.compressed))
            .bind(self.column(|s| s.to.content_sha256.clone()))
            .bind(self.column(|s| s.to.content_size as i64))
            .bind(self.column(|s| s.seq as i64))
            .bind(self.column(|s| s.copied_at.clone()))
            .bind(self.column(|s| s.verified_at.clone()))
            .bind(self.column(|s| s.row.digest.clone()))
            .bind(self.column(|s| s.row.size))
            .bind(self.column(|s| s.row.compressed))
            .bind(self.column(|s| s.row.last_updated))
            .bind(self.epoch)
            .fetch_all(&mut *transaction)
            .await?;
        let moved: HashMap<u64, bool> = moved
            .into_iter()
            .map(|(idx, is_marked)| (idx as u64, is_marked))
            .collect();
        if !moved.is_empty() {
            // What is put off to the end happens before the rows are looked at again.
            sqlx::query("SET CONSTRAINTS ALL IMMEDIATE")
                .execute(&mut *transaction)
                .await?;
        }
        conclude!(self, transaction, POSTGRES, moved)
    }

    pub(super) async fn swap_sqlite(
        &self,
        sqlite: &mut SqliteConnection,
    ) -> Result<Tried, sqlx::Error> {
        let mut transaction = sqlite.begin_with("BEGIN IMMEDIATE").await?;
        let mut moved = HashMap::new();
        for swap in self.swaps {
            match self.swap_one(&mut transaction, swap).await {
                Ok(None) => {}
                Ok(Some(is_marked)) => drop(moved.insert(swap.idx, is_marked)),
                Err(error) => {
                    keep_count_after_failure(&mut transaction).await;
                    return Err(error);
                }
            }
        }
        conclude!(self, transaction, SQLITE, moved)
    }

    /// Whether the row was swapped, and whether the mirror has it.
    async fn swap_one(
        &self,
        sqlite: &mut SqliteConnection,
        swap: &Swap,
    ) -> Result<Option<bool>, sqlx::Error> {
        let swapped = sqlx::query(SWAP_SQLITE)
            .bind(&swap.key.user)
            .bind(&swap.key.bucket)
            .bind(&swap.key.id)
            .bind(&swap.key.document)
            .bind(&swap.row.url)
            .bind(&swap.row.digest)
            .bind(swap.row.size)
            .bind(swap.row.compressed)
            .bind(swap.row.last_updated)
            .bind(&swap.from.url)
            .bind(&swap.from.digest)
            .bind(swap.from.size)
            .bind(swap.from.compressed)
            .bind(swap.from.last_updated)
            .execute(&mut *sqlite)
            .await?;
        if swapped.rows_affected() == 0 {
            return Ok(None);
        }
        let marked = sqlx::query(MARK_SQLITE)
            .bind(self.task_id)
            .bind(swap.idx as i64)
            .bind(&swap.to.digest)
            .bind(swap.to.size as i64)
            .bind(swap.to.compressed)
            .bind(swap.row.last_updated)
            .bind(&swap.to.content_sha256)
            .bind(swap.to.content_size as i64)
            .bind(&swap.copied_at)
            .bind(&swap.verified_at)
            .bind(self.epoch)
            .bind(swap.seq as i64)
            .bind(&swap.row.digest)
            .bind(swap.row.size)
            .bind(swap.row.compressed)
            .execute(sqlite)
            .await?;
        Ok(Some(marked.rows_affected() > 0))
    }
}
