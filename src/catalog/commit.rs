//! The commit: rows of `archive_metadata` swapped, on the connection that holds the lock.

use std::collections::{HashMap, HashSet};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use super::sql::idx_list;
use super::{Catalog, CatalogError};
use crate::crash;
use crate::database::{Session, SessionConnection};
use crate::model::{Facts, ObjectKey, RowImage};

/// A row to swap: from the planned tuple to the copy.
#[derive(Debug, Clone)]
pub struct Swap {
    /// The object.
    pub idx: u64,
    /// Its key.
    pub key: ObjectKey,
    /// The row as it must still be.
    pub from: RowImage,
    /// The copy that it will point at.
    pub to: Facts,
    /// What becomes of the row.
    pub row: RowImage,
    /// The journal entry that proved the copy.
    pub seq: u64,
    /// When it was copied and verified, for the mirror, RFC 3339.
    pub copied_at: Option<String>,
    /// See `copied_at`.
    pub verified_at: Option<String>,
}

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// The row points at the copy now, or did since an earlier try whose answer was lost.
    Moved,
    /// The row is no longer the planned one, and not ours.
    Superseded,
}

/// Whether the source of a committed object may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletable {
    /// The row points at the copy, durably, and no other row at the source.
    Yes,
    /// Another row points at the source.
    Shared,
    /// The row has been changed since the commit.
    RowChanged,
}

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
        RETURNING w.idx)
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
    RETURNING o.idx"#;

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

/// Both counters, by rows really moved. `last_updated` is Anchore's sign of life.
const COUNT: [&str; 2] = [
    "UPDATE archive_migration_tasks
        SET archive_documents_migrated = coalesce(archive_documents_migrated, 0) + $2
      WHERE id = $1",
    "UPDATE windlass_tasks SET moved = moved + $2 WHERE task_id = $1",
];

const DELETABLE: &str = r#"
    SELECT o.idx,
           EXISTS (SELECT 1 FROM archive_metadata m
                    WHERE m.bucket = o.bucket AND m."archiveId" = o.archive_id
                      AND m."userId" = o.user_id AND m."documentName" = o.document_name
                      AND m.content_url = o.dest_url
                      AND m.digest IS NOT DISTINCT FROM o.row_digest
                      AND m.size IS NOT DISTINCT FROM o.row_size
                      AND m.is_compressed IS NOT DISTINCT FROM o.row_compressed
                      AND m.last_updated IS NOT DISTINCT FROM o.dest_last_updated) AS ours,
           (EXISTS (SELECT 1 FROM archive_metadata s
                     WHERE s.bucket = o.bucket AND s."archiveId" = o.archive_id
                       AND s."userId" = o.user_id AND s.content_url = o.source_url)
            OR (o.shared AND EXISTS (SELECT 1 FROM archive_metadata x
                                      WHERE x.content_url = o.source_url))) AS shared
      FROM windlass_objects o
     WHERE o.task_id = $1 AND o.phase = 'committed' AND o.idx IN "#;

impl Catalog {
    /// Swaps rows in one transaction on the locked session: all that are still as planned. The
    /// mirror's rows and the counters go with them.
    ///
    /// An answer that was lost is no harm: asked again, a row that moved is found by the mirror,
    /// which is right because it is written in the same transaction.
    pub async fn swap(
        &self,
        session: &Session,
        task_id: i64,
        epoch: i32,
        swaps: &[Swap],
    ) -> Result<Vec<Swapped>, CatalogError> {
        let mut guard = session.lock().await?;
        let _many_rows = self.many_rows.lock().await;
        let batch = Batch {
            task_id,
            epoch,
            swaps,
        };
        crash::point("swap-before");
        let statements = async {
            match &mut *guard {
                SessionConnection::Postgres(pg) => batch.swap_postgres(pg).await,
                SessionConnection::Sqlite(sqlite) => batch.swap_sqlite(sqlite).await,
            }
        };
        let moved = session
            .watch(statements)
            .await
            .map_err(CatalogError::of("commit"))?;
        let outcome = |swap: &Swap| match moved.contains(&(swap.idx as i64)) {
            true => Swapped::Moved,
            false => Swapped::Superseded,
        };
        Ok(swaps.iter().map(outcome).collect())
    }

    /// Which sources may be deleted, asked over the locked session, so that the answer is of a
    /// time at which the lock was held.
    pub async fn deletable(
        &self,
        session: &Session,
        task_id: i64,
        idxs: &[u64],
    ) -> Result<Vec<Deletable>, CatalogError> {
        let mut guard = session.lock().await?;
        let idxs: Vec<i64> = idxs.iter().map(|idx| *idx as i64).collect();
        let statement = async {
            match &mut *guard {
                SessionConnection::Postgres(pg) => {
                    let sql = format!("{DELETABLE} (SELECT unnest($2::bigint[]))");
                    sqlx::query_as::<_, (i64, bool, bool)>(sqlx::AssertSqlSafe(sql))
                        .bind(task_id)
                        .bind(&idxs)
                        .fetch_all(pg)
                        .await
                }
                SessionConnection::Sqlite(sqlite) => {
                    let sql = format!("{DELETABLE} {}", idx_list!(sqlite));
                    let list = format!("{idxs:?}");
                    sqlx::query_as::<_, (i64, bool, bool)>(sqlx::AssertSqlSafe(sql))
                        .bind(task_id)
                        .bind(list)
                        .fetch_all(sqlite)
                        .await
                }
            }
        };
        let rows = session
            .watch(statement)
            .await
            .map_err(CatalogError::of("ask whether sources may be deleted"))?;
        let known: HashMap<i64, Deletable> = rows
            .into_iter()
            .map(|(idx, ours, shared)| match (ours, shared) {
                (false, _) => (idx, Deletable::RowChanged),
                (true, true) => (idx, Deletable::Shared),
                (true, false) => (idx, Deletable::Yes),
            })
            .collect();
        // An object that the mirror does not have as committed is not ours to delete.
        let answer = |idx| known.get(idx).copied().unwrap_or(Deletable::RowChanged);
        Ok(idxs.iter().map(answer).collect())
    }
}

struct Batch<'a> {
    task_id: i64,
    epoch: i32,
    swaps: &'a [Swap],
}

impl Batch<'_> {
    fn column<T>(&self, of: impl Fn(&Swap) -> T) -> Vec<T> {
        self.swaps.iter().map(of).collect()
    }

    async fn swap_postgres(&self, pg: &mut PgConnection) -> Result<HashSet<i64>, sqlx::Error> {
        let mut transaction = pg.begin().await?;
        let moved: Vec<(i64,)> = sqlx::query_as(SWAP_POSTGRES)
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
        let mut moved: HashSet<i64> = moved.into_iter().map(|(idx,)| idx).collect();
        if !moved.is_empty() {
            for count in COUNT {
                sqlx::query(count)
                    .bind(self.task_id)
                    .bind(moved.len() as i64)
                    .execute(&mut *transaction)
                    .await?;
            }
            sqlx::query("UPDATE tasks SET last_updated = now() AT TIME ZONE 'utc' WHERE id = $1")
                .bind(self.task_id)
                .execute(&mut *transaction)
                .await?;
        }
        if moved.len() < self.swaps.len() {
            let before: Vec<(i64,)> = sqlx::query_as(
                "SELECT idx FROM windlass_objects
                  WHERE task_id = $1 AND idx = ANY($2) AND phase IN ('committed', 'source-deleted')",
            )
            .bind(self.task_id)
            .bind(self.column(|s| s.idx as i64))
            .fetch_all(&mut *transaction)
            .await?;
            moved.extend(before.into_iter().map(|(idx,)| idx));
        }
        crash::point("swap-before-commit");
        transaction.commit().await?;
        crash::point("swap-after-commit");
        Ok(moved)
    }

    async fn swap_sqlite(
        &self,
        sqlite: &mut SqliteConnection,
    ) -> Result<HashSet<i64>, sqlx::Error> {
        let mut transaction = sqlite.begin_with("BEGIN IMMEDIATE").await?;
        let mut moved = HashSet::new();
        for swap in self.swaps {
            if self.swap_one(&mut transaction, swap).await? {
                moved.insert(swap.idx as i64);
            }
        }
        if !moved.is_empty() {
            for count in COUNT {
                sqlx::query(count)
                    .bind(self.task_id)
                    .bind(moved.len() as i64)
                    .execute(&mut *transaction)
                    .await?;
            }
            sqlx::query(
                "UPDATE tasks SET last_updated = strftime('%Y-%m-%d %H:%M:%f000', 'now')
                  WHERE id = $1",
            )
            .bind(self.task_id)
            .execute(&mut *transaction)
            .await?;
        }
        for swap in self
            .swaps
            .iter()
            .filter(|swap| !moved.contains(&(swap.idx as i64)))
            .collect::<Vec<_>>()
        {
            let before: Option<(i64,)> = sqlx::query_as(
                "SELECT idx FROM windlass_objects
                  WHERE task_id = $1 AND idx = $2 AND phase IN ('committed', 'source-deleted')",
            )
            .bind(self.task_id)
            .bind(swap.idx as i64)
            .fetch_optional(&mut *transaction)
            .await?;
            moved.extend(before.map(|(idx,)| idx));
        }
        crash::point("swap-before-commit");
        transaction.commit().await?;
        crash::point("swap-after-commit");
        Ok(moved)
    }

    async fn swap_one(
        &self,
        sqlite: &mut SqliteConnection,
        swap: &Swap,
    ) -> Result<bool, sqlx::Error> {
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
            return Ok(false);
        }
        sqlx::query(MARK_SQLITE)
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
        Ok(true)
    }
}
