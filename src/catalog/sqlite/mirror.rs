//! The mirror's batches on SQLite: an update at a time.

use sqlx::sqlite::SqliteConnection;

use crate::catalog::request::{MirrorUpdate, UPDATE, Writer};
use crate::catalog::sql::{Connection, Statement};

const SET: &str = "
    UPDATE windlass_objects
       SET phase = coalesce(:phase, phase), outcome = :outcome,
           attempts = coalesce(:attempts, attempts),
           failure_class = :failure_class, last_error = :last_error, cause = :cause,
           dest_digest = coalesce(:dest_digest, dest_digest),
           dest_size = coalesce(:dest_size, dest_size),
           dest_compressed = coalesce(:dest_compressed, dest_compressed),
           content_sha256 = coalesce(:content_sha256, content_sha256),
           content_size = coalesce(:content_size, content_size),
           dest_tag = CASE WHEN :copied_at IS NULL THEN coalesce(:dest_tag, dest_tag)
                           ELSE :dest_tag END,
           copied_at = coalesce(:copied_at, copied_at),
           verified_at = coalesce(:verified_at, verified_at),
           source_deleted_at = coalesce(:source_deleted_at, source_deleted_at),
           journaled = true, epoch = :epoch, lease = :lease, seq = :seq
     WHERE task_id = :task_id AND idx = :idx
       AND CASE WHEN lease = 0 THEN (epoch, seq) < (:epoch, :seq)
                ELSE (lease, seq) < (:lease, :seq) END
       AND (:phase IS NULL OR (phase IN ('committed', 'source-deleted'))
                              = (:phase IN ('committed', 'source-deleted')))";

/// Applies updates that are newer than what stands there, and says `behind` last.
pub(in crate::catalog) async fn update(
    sqlite: &mut SqliteConnection,
    writer: &Writer,
    updates: &[&MirrorUpdate],
    behind: Statement,
) -> Result<(), sqlx::Error> {
    let mut connection = Connection::Sqlite(sqlite);
    for update in updates {
        let task = [
            ("task_id", writer.task_id.into()),
            ("epoch", writer.epoch.into()),
        ];
        let values = UPDATE.row(update).chain(task);
        connection.execute(Statement::named(SET, values)).await?;
    }
    connection.execute(behind).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_column_is_forgotten() {
        for (name, _) in UPDATE.0 {
            let parameter = format!(":{name}");
            let is_named = [SET].iter().any(|sql| sql.contains(&parameter));
            assert!(is_named, "{name}");
        }
    }
}
