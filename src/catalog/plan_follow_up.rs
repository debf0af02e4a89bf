//! The plans of `reverse` and `delete-source`: made from the mirror of the task that they follow.
//! They need nothing that only one of the databases has.

use super::backend::dialect_of;
use super::marks::MARK_SHARED;
use super::request::{FollowUp, FollowUpNotices};
use super::sql::{AS_PLANNED, Connection, JOIN_ROW, Numbers, Objects, Statement, before_joins};
use crate::model::TaskKind;

/// Each row that was swapped goes back: what was the copy is the source, and the row gets what it
/// had.
const REVERSE: &str = "
    INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id, document_name,
        source_url, source_digest, source_size, source_compressed, created_at, last_updated,
        dest_url, restores, row_digest, row_size, row_compressed, dest_last_updated,
        content_sha256)
    SELECT $1, row_number() OVER (ORDER BY idx) - 1, user_id, bucket, archive_id, document_name,
        dest_url, row_digest, row_size, row_compressed, created_at, dest_last_updated,
        source_url, true, source_digest, source_size, source_compressed, last_updated,
        content_sha256
      FROM windlass_objects
     WHERE task_id = $2 AND phase IN ('committed', 'source-deleted') AND committed_at IS NOT NULL";

/// Copies whose row never left its place, whether or not an entry tells of them. To the state machine
/// they are committed already: the document is read where its row has it, and only then may the copy
/// go.
const LEFT_OVER: &str = "
    INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id, document_name,
        source_url, source_digest, source_size, source_compressed, created_at, last_updated,
        dest_url, phase, restores, row_digest, row_size, row_compressed, dest_last_updated,
        dest_digest, dest_size, dest_compressed, content_sha256, content_size)
    SELECT $1, (SELECT count(*) FROM windlass_objects WHERE task_id = $1)
               + row_number() OVER (ORDER BY idx) - 1,
        user_id, bucket, archive_id, document_name,
        dest_url, dest_digest, dest_size, dest_compressed, created_at, last_updated,
        source_url, 'committed', true, source_digest, source_size, source_compressed, last_updated,
        coalesce(lower(source_digest), ''), coalesce(source_size, 0),
        coalesce(source_compressed, false), coalesce(content_sha256, ''), coalesce(content_size, 0)
      FROM windlass_objects
     WHERE task_id = $3 AND phase IN ('pending', 'copied', 'verified') AND idx IN ";

/// What any row points at is nobody's leftover: marked, the whole table is asked again before it goes.
const MARK_LEFT_OVER_IN_USE: &str = "
    UPDATE windlass_objects SET shared = true
     WHERE task_id = $1 AND restores AND phase = 'committed' AND source_url IN (
           SELECT content_url FROM archive_metadata WHERE content_url IS NOT NULL)";

/// What is committed, and its source not deleted; unless an earlier clean-up has done it.
const DELETE_SOURCE: &str = "
    INSERT INTO windlass_objects (task_id, idx, user_id, bucket, archive_id, document_name,
        source_url, source_digest, source_size, source_compressed, created_at, last_updated,
        dest_url, phase, restores, row_digest, row_size, row_compressed, dest_last_updated,
        dest_digest, dest_size, dest_compressed, content_sha256, content_size)
    SELECT $1, row_number() OVER (ORDER BY idx) - 1, user_id, bucket, archive_id, document_name,
        source_url, source_digest, source_size, source_compressed, created_at, last_updated,
        dest_url, 'committed', restores, row_digest, row_size, row_compressed, dest_last_updated,
        dest_digest, dest_size, dest_compressed, content_sha256, content_size
      FROM windlass_objects p
     WHERE task_id = $2 AND phase = 'committed' AND committed_at IS NOT NULL
       AND NOT EXISTS (
           SELECT 1 FROM windlass_objects d
             JOIN windlass_tasks t ON t.task_id = d.task_id
            WHERE t.parent_uuid = (SELECT uuid FROM windlass_tasks WHERE task_id = $2)
              AND t.kind = 'delete-source' AND d.phase = 'source-deleted'
              AND d.user_id = p.user_id AND d.bucket = p.bucket
              AND d.archive_id = p.archive_id AND d.document_name = p.document_name)";

/// Counted over the new task's objects, against the rows as they are now.
fn count() -> String {
    format!(
        r#"
    SELECT count(CASE WHEN o.phase = 'pending' AND NOT {AS_PLANNED} THEN 1 END)
               AS changed_since,
           (SELECT count(*) FROM windlass_objects
             WHERE task_id = $2 AND phase = 'committed' AND committed_at IS NOT NULL)
               AS still_there,
           count(CASE WHEN o.restores AND o.phase = 'committed' THEN 1 END) AS left_over
      FROM windlass_objects o {JOIN_ROW} WHERE o.task_id = $1"#
    )
}

/// Which later task has brought the rows to where they point now.
fn moved_on_by() -> String {
    format!(
        r#"
    SELECT CAST(later.task_id AS bigint), count(*)
      FROM windlass_objects o {JOIN_ROW} JOIN windlass_objects later ON later.dest_url = m.content_url
     WHERE o.task_id = $1 AND o.phase = 'pending' AND m.content_url <> o.source_url
       AND later.task_id > $2 AND later.task_id <> $1 AND later.committed_at IS NOT NULL
     GROUP BY later.task_id ORDER BY 2 DESC, 1 DESC LIMIT 1"#
    )
}

pub(super) async fn plan(
    connection: &mut Connection<'_>,
    task_id: i64,
    kind: TaskKind,
    after: &FollowUp,
) -> Result<FollowUpNotices, sqlx::Error> {
    let of_both = |sql: &str| {
        Statement::new(sql.to_owned())
            .bind(task_id)
            .bind(after.task_id)
    };
    let dialect = dialect_of(connection);
    match kind {
        TaskKind::DeleteSource => drop(connection.execute(of_both(DELETE_SOURCE)).await?),
        TaskKind::Forward | TaskKind::Reverse => {
            connection.execute(of_both(REVERSE)).await?;
            let left_over = format!("{LEFT_OVER}{}", dialect.numbers());
            let left_over = Statement::new(left_over).bind(task_id);
            let left_over = left_over.bind(Numbers(&after.left)).bind(after.task_id);
            connection.execute(left_over).await?;
        }
    }
    let mut statements: Vec<Statement> = before_joins(dialect, Objects::New).collect();
    let marks = [MARK_SHARED, MARK_LEFT_OVER_IN_USE];
    statements.extend(marks.map(|mark| Statement::new(mark).bind(task_id)));
    statements.push(of_both(&count()));
    let counted = connection.several(statements).await?.pop();
    let mut counts: FollowUpNotices = counted.ok_or(sqlx::Error::RowNotFound)?.one()?;
    if counts.changed_since > 0 {
        let moved_on_by = of_both(&moved_on_by());
        let found: Option<(i64, i64)> = connection.optional(moved_on_by).await?;
        counts.moved_on_by = found.map(|(task, _)| task);
    }
    Ok(counts)
}
