//! The mirror's batches on PostgreSQL: one statement for all updates.

use sqlx::postgres::PgConnection;

use crate::catalog::request::{MirrorUpdate, UPDATE, Writer};
use crate::catalog::sql::{Connection, Statement};

const SET: &str = "
    UPDATE windlass_objects o
       SET phase = coalesce(u.phase, o.phase), outcome = u.outcome,
           attempts = coalesce(u.attempts, o.attempts),
           failure_class = u.failure_class, last_error = u.last_error, cause = u.cause,
           dest_digest = coalesce(u.dest_digest, o.dest_digest),
           dest_size = coalesce(u.dest_size, o.dest_size),
           dest_compressed = coalesce(u.dest_compressed, o.dest_compressed),
           content_sha256 = coalesce(u.content_sha256, o.content_sha256),
           content_size = coalesce(u.content_size, o.content_size),
           dest_tag = CASE WHEN u.copied_at IS NULL THEN coalesce(u.dest_tag, o.dest_tag)
                           ELSE u.dest_tag END,
           copied_at = coalesce(u.copied_at::timestamptz, o.copied_at),
           verified_at = coalesce(u.verified_at::timestamptz, o.verified_at),
           source_deleted_at = coalesce(u.source_deleted_at::timestamptz, o.source_deleted_at),
           journaled = true, epoch = $2, lease = u.lease, seq = u.seq";

/// What was told before there were leases is ordered by executor.
const WHERE: &str = "
     WHERE o.task_id = $1 AND o.idx = u.idx
       AND CASE WHEN o.lease = 0 THEN (o.epoch, o.seq) < ($2, u.seq)
                ELSE (o.lease, o.seq) < (u.lease, u.seq) END
       AND (u.phase IS NULL OR (o.phase IN ('committed', 'source-deleted'))
                               = (u.phase IN ('committed', 'source-deleted')))";

/// Applies updates that are newer than what stands there, and says `behind` in the same message: as long as
/// this takes, commits wait.
pub(in crate::catalog) async fn update(
    pg: &mut PgConnection,
    writer: &Writer,
    updates: &[&MirrorUpdate],
    behind: Statement,
) -> Result<(), sqlx::Error> {
    let sql = format!("{SET} FROM {} {WHERE}", UPDATE.unnest("u", 3));
    let statement = Statement::new(sql).bind(writer.task_id).bind(writer.epoch);
    let updating = UPDATE.bind_arrays(statement, updates);
    let statements = match updates.is_empty() {
        true => vec![behind],
        false => vec![updating, behind],
    };
    let mut connection = Connection::Postgres(pg);
    connection.several(statements).await.map(drop)
}
