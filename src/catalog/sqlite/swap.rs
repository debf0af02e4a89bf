//! The swap on SQLite: a row at a time.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;

use crate::catalog::request::{Batch, SWAP, Swap};
use crate::catalog::sql::{Connection, Statement};
use crate::database::keep_count_after_failure;

const MOVE: &str = r#"
    UPDATE archive_metadata
       SET content_url = :dest_url, digest = :row_digest, size = :row_size,
           is_compressed = :row_compressed, last_updated = :row_last_updated
     WHERE "userId" = :user_id AND bucket = :bucket AND "archiveId" = :archive_id
       AND "documentName" = :document_name
       AND content_url = :source_url AND digest IS NOT DISTINCT FROM :source_digest
       AND size IS NOT DISTINCT FROM :source_size
       AND is_compressed IS NOT DISTINCT FROM :source_compressed
       AND last_updated IS NOT DISTINCT FROM :last_updated"#;

const MARK: &str = "
    UPDATE windlass_objects
       SET phase = 'committed', outcome = NULL, failure_class = NULL, last_error = NULL,
           dest_digest = :dest_digest, dest_size = :dest_size,
           dest_compressed = :dest_compressed, row_digest = :row_digest,
           row_size = :row_size, row_compressed = :row_compressed,
           dest_last_updated = :row_last_updated,
           content_sha256 = :content_sha256, content_size = :content_size,
           copied_at = coalesce(:copied_at, copied_at),
           verified_at = coalesce(:verified_at, verified_at),
           committed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), journaled = false,
           epoch = :epoch, lease = :lease, seq = :seq
     WHERE task_id = :task_id AND idx = :idx";

/// Both counters, and Anchore's sign of life.
const COUNT: [&str; 3] = [
    "UPDATE archive_migration_tasks
        SET archive_documents_migrated = coalesce(archive_documents_migrated, 0) + :moved
      WHERE id = :task_id",
    "UPDATE windlass_tasks SET moved = moved + :moved WHERE task_id = :task_id",
    "UPDATE tasks SET last_updated = strftime('%Y-%m-%d %H:%M:%f000', 'now') WHERE id = :task_id",
];

/// The rows that were swapped, each with whether the mirror has it, and counted.
pub(in crate::catalog) async fn move_rows(
    sqlite: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<HashMap<u64, bool>, sqlx::Error> {
    let mut moved = HashMap::new();
    let question = batch.writer.question(batch.tokens());
    let mut connection = Connection::Sqlite(sqlite);
    let held: Vec<(i64, i32)> = connection.all(Statement::new(question.sql())).await?;
    if !question.lost(&held).is_empty() {
        return Ok(moved);
    }
    for swap in batch.swaps {
        match move_row(sqlite, batch, swap).await {
            Ok(None) => {}
            Ok(Some(is_marked)) => drop(moved.insert(swap.idx, is_marked)),
            Err(error) => {
                keep_count_after_failure(sqlite).await;
                return Err(error);
            }
        }
    }
    if !moved.is_empty() {
        let mut connection = Connection::Sqlite(sqlite);
        for count in COUNT {
            let values = [
                ("task_id", batch.writer.task_id.into()),
                ("moved", (moved.len() as i64).into()),
            ];
            connection.execute(Statement::named(count, values)).await?;
        }
    }
    Ok(moved)
}

/// Whether the row was swapped, and whether the mirror has it.
async fn move_row(
    sqlite: &mut SqliteConnection,
    batch: &Batch<'_>,
    swap: &Swap,
) -> Result<Option<bool>, sqlx::Error> {
    let mut connection = Connection::Sqlite(sqlite);
    let swapped = connection.execute(Statement::named(MOVE, SWAP.row(swap)));
    if swapped.await? == 0 {
        return Ok(None);
    }
    let task = [
        ("task_id", batch.writer.task_id.into()),
        ("epoch", batch.writer.epoch.into()),
    ];
    let values = SWAP.row(swap).chain(task);
    let marked = connection.execute(Statement::named(MARK, values)).await?;
    Ok(Some(marked > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_column_is_forgotten() {
        for (name, _) in SWAP.0 {
            let parameter = format!(":{name}");
            let is_named = [MOVE, MARK].iter().any(|sql| sql.contains(&parameter));
            assert!(is_named, "{name}");
        }
    }
}
