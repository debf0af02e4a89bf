//! The plans of `reverse` and `delete-source`: made from the mirror of the task that they follow.
//! They need nothing that only one of the databases has.

use sqlx::{FromRow, Row as _};

use super::plan::{COUNT_MARKS, FollowUp, MARK_SHARED, PlanNotices};
use super::sql::{idx_list, join_row};
use crate::database::SessionConnection;
use crate::model::TaskKind;

/// What a plan that follows another task found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, FromRow)]
pub struct FollowUpNotices {
    /// Rows that have been changed since: they are left alone and reported.
    pub changed_since: i64,
    /// Documents that still stood at the place they came from when the task before ended: where
    /// they still do, no data moves.
    pub still_there: i64,
    /// Objects that were never committed, and something lies where their copy would: the task before
    /// was cut off before their commit.
    pub left_over: i64,
    /// The later task that has moved most of the changed rows on, where one has.
    #[sqlx(skip)]
    pub moved_on_by: Option<i64>,
}

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
macro_rules! left_over {
    () => {
        "
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
     WHERE task_id = $3 AND phase IN ('pending', 'copied', 'verified') AND idx IN "
    };
}
const LEFT_OVER_POSTGRES: &str = concat!(left_over!(), idx_list!(postgres));
const LEFT_OVER_SQLITE: &str = concat!(left_over!(), idx_list!(sqlite));

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
const COUNT: &str = concat!(
    r#"
    SELECT count(CASE WHEN o.phase = 'pending' AND NOT (
                 m.content_url IS NOT DISTINCT FROM o.source_url
                 AND m.digest IS NOT DISTINCT FROM o.source_digest
                 AND m.size IS NOT DISTINCT FROM o.source_size
                 AND m.is_compressed IS NOT DISTINCT FROM o.source_compressed
                 AND m.last_updated IS NOT DISTINCT FROM o.last_updated) THEN 1 END)
               AS changed_since,
           (SELECT count(*) FROM windlass_objects
             WHERE task_id = $2 AND phase = 'committed' AND committed_at IS NOT NULL)
               AS still_there,
           count(CASE WHEN o.restores AND o.phase = 'committed' THEN 1 END) AS left_over
      FROM windlass_objects o"#,
    join_row!(),
    r#"     WHERE o.task_id = $1"#
);

/// Which later task has brought the rows to where they point now.
const MOVED_ON_BY: &str = concat!(
    r#"
    SELECT CAST(later.task_id AS bigint), count(*)
      FROM windlass_objects o"#,
    join_row!(),
    r#"      JOIN windlass_objects later ON later.dest_url = m.content_url
     WHERE o.task_id = $1 AND o.phase = 'pending' AND m.content_url <> o.source_url
       AND later.task_id > $2 AND later.task_id <> $1 AND later.committed_at IS NOT NULL
     GROUP BY later.task_id ORDER BY 2 DESC, 1 DESC LIMIT 1"#
);

pub(super) async fn plan(
    connection: &mut SessionConnection,
    task_id: i64,
    kind: TaskKind,
    after: &FollowUp,
) -> Result<(PlanNotices, FollowUpNotices), sqlx::Error> {
    let (insert, is_reverse) = match kind {
        TaskKind::DeleteSource => (DELETE_SOURCE, false),
        TaskKind::Forward | TaskKind::Reverse => (REVERSE, true),
    };
    macro_rules! plan_on {
        ($connection:expr, $left_over:expr, $before_marks:expr) => {{
            sqlx::query(insert)
                .bind(task_id)
                .bind(after.task_id)
                .execute(&mut *$connection)
                .await?;
            if is_reverse {
                sqlx::query($left_over)
                    .bind(task_id)
                    .bind(format!("{:?}", after.left))
                    .bind(after.task_id)
                    .execute(&mut *$connection)
                    .await?;
            }
            for statement in $before_marks {
                sqlx::query(*statement).execute(&mut *$connection).await?;
            }
            for mark in [MARK_SHARED, MARK_LEFT_OVER_IN_USE] {
                sqlx::query(mark)
                    .bind(task_id)
                    .execute(&mut *$connection)
                    .await?;
            }
            let marks = sqlx::query(COUNT_MARKS)
                .bind(task_id)
                .fetch_one(&mut *$connection)
                .await?;
            let mut counts: FollowUpNotices = sqlx::query_as(COUNT)
                .bind(task_id)
                .bind(after.task_id)
                .fetch_one(&mut *$connection)
                .await?;
            if counts.changed_since > 0 {
                let found: Option<(i64, i64)> = sqlx::query_as(MOVED_ON_BY)
                    .bind(task_id)
                    .bind(after.task_id)
                    .fetch_optional(&mut *$connection)
                    .await?;
                counts.moved_on_by = found.map(|(task, _)| task);
            }
            (marks.get::<i64, _>(1) as u64, counts)
        }};
    }
    let none: &[&str] = &[];
    let (shared, counts) = match connection {
        SessionConnection::Postgres(pg) => {
            plan_on!(pg, LEFT_OVER_POSTGRES, super::plan_postgres::BEFORE_MARKS)
        }
        SessionConnection::Sqlite(sqlite) => plan_on!(sqlite, LEFT_OVER_SQLITE, none),
    };
    let notices = PlanNotices {
        shared,
        ..PlanNotices::default()
    };
    Ok((notices, counts))
}
