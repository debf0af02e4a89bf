//! The swap on PostgreSQL: one statement for all rows of a batch.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgConnection;

use crate::catalog::request::{Batch, SWAP};
use crate::catalog::sql::{CHECKED, Connection, Statement, Value};
use crate::crash;

/// A division by zero, by which a message that has found something amiss undoes itself.
const AMISS: &str = "22012";

/// Without the tokens of all its shards a batch changes nothing; with them the shards stay as they are
/// until the transaction ends. A claim that is under way is waited for, and then seen.
const MOVE: &str = r#"
    held AS (
        SELECT s.shard FROM windlass_shards s
         WHERE s.task_id = $1 AND s.owner = $3 AND s.shard = ANY($4::bigint[])
           AND EXISTS (SELECT 1 FROM unnest($4::bigint[], $5::int[]) AS t(shard, lease)
                        WHERE t.shard = s.shard AND t.lease = s.lease_epoch)
           FOR SHARE OF s),
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
           AND (SELECT count(*) FROM held) = cardinality($4::bigint[])
        RETURNING w.*),
    marked AS (
        UPDATE windlass_objects o
           SET phase = 'committed', outcome = NULL, failure_class = NULL, last_error = NULL,
               dest_digest = moved.dest_digest, dest_size = moved.dest_size,
               dest_compressed = moved.dest_compressed, row_digest = moved.row_digest,
               row_size = moved.row_size, row_compressed = moved.row_compressed,
               dest_last_updated = moved.row_last_updated,
               content_sha256 = moved.content_sha256, content_size = moved.content_size,
               copied_at = coalesce(moved.copied_at::timestamptz, o.copied_at),
               verified_at = coalesce(moved.verified_at::timestamptz, o.verified_at),
               committed_at = now(), journaled = false, epoch = $2, lease = moved.lease,
               seq = moved.seq
          FROM moved
         WHERE o.task_id = $1 AND o.idx = moved.idx
        RETURNING o.idx),
    counted AS (
        UPDATE archive_migration_tasks
           SET archive_documents_migrated =
               coalesce(archive_documents_migrated, 0) + (SELECT count(*) FROM moved)
         WHERE id = $1 AND EXISTS (SELECT 1 FROM moved)),
    counted_here AS (
        UPDATE windlass_tasks t SET moved = t.moved + (SELECT count(*) FROM moved)
         WHERE task_id = $1 AND EXISTS (SELECT 1 FROM moved)),
    touched AS (
        UPDATE tasks SET last_updated = now() AT TIME ZONE 'utc'
         WHERE id = $1 AND EXISTS (SELECT 1 FROM moved))
    "#;

/// The rows that were swapped, each with whether the mirror has it.
const MOVED: &str = "SELECT idx, idx IN (SELECT idx FROM marked) FROM moved";

/// The rows that were swapped; an error where the mirror has not one of them.
const MOVED_AND_MARKED: &str = "SELECT idx / (idx IN (SELECT idx FROM marked))::int FROM moved";

/// The rows that were swapped, each with whether the mirror has it.
pub(in crate::catalog) async fn move_rows(
    pg: &mut PgConnection,
    batch: &Batch<'_>,
) -> Result<HashMap<u64, bool>, sqlx::Error> {
    let mut connection = Connection::Postgres(pg);
    let moved: Vec<(i64, bool)> = connection.all(statement(batch, MOVED)).await?;
    let moved = moved.into_iter();
    Ok(moved
        .map(|(idx, is_marked)| (idx as u64, is_marked))
        .collect())
}

/// The rows that were swapped, where all are marked and `look` finds nothing amiss; else none, and nothing
/// has changed. One message, and so one transaction: over a long way each costs as much as the way.
pub(in crate::catalog) async fn move_at_once(
    pg: &mut PgConnection,
    batch: &Batch<'_>,
    look: Statement,
) -> Result<Option<HashSet<u64>>, sqlx::Error> {
    let statements = [
        Statement::new(CHECKED),
        statement(batch, MOVED_AND_MARKED),
        look,
    ];
    // Between its statements nobody can come.
    crash::point("swap-before-commit");
    let answers = Connection::Postgres(pg).several(statements.into()).await;
    let mut answers = match answers {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(AMISS) => {
            return Ok(None);
        }
        answers => answers?.into_iter().rev(),
    };
    // The look is the last of them, and what has begun them are several.
    let moved = answers.nth(1).ok_or(sqlx::Error::RowNotFound)?;
    let moved: Vec<(i64,)> = moved.all()?;
    Ok(Some(moved.into_iter().map(|(idx,)| idx as u64).collect()))
}

/// All of it in one statement, counters, too: each is a round trip.
fn statement(batch: &Batch<'_>, answer: &str) -> Statement {
    let want = SWAP.unnest("w", 6);
    let sql = format!("WITH want AS (SELECT * FROM {want}), {MOVE} {answer}");
    let (writer, tokens) = (batch.writer, batch.tokens());
    let shards = tokens
        .iter()
        .map(|token| Some(token.shard as i64))
        .collect();
    let leases = tokens.iter().map(|token| Some(token.lease)).collect();
    let statement = Statement::new(sql)
        .bind(writer.task_id)
        .bind(writer.epoch)
        .bind(writer.executor.to_string())
        .bind(Value::Int8s(shards))
        .bind(Value::Int4s(leases));
    SWAP.bind_arrays(statement, batch.swaps)
}
