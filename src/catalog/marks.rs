//! Marks on planned objects: what may not be moved, and what is shared. Each is one pass over the
//! whole table; `archive_metadata` has no index on `content_url`.

use super::sql::{Connection, Statement};

/// Sources that another row points at as well.
pub(super) const MARK_SHARED: &str = "
    UPDATE windlass_objects SET shared = true
     WHERE task_id = $1 AND source_url IN (
           SELECT content_url FROM archive_metadata WHERE content_url IS NOT NULL
            GROUP BY content_url HAVING count(*) > 1)";

/// Different sources that meet at one destination key, or rows that disagree on how their common
/// source is to be read: nobody can say which is right.
pub(super) const REFUSE_MEETING: &str = "
    UPDATE windlass_objects
       SET refused = 'another object of this task, from another source or read in another way, '
                     || 'goes to the same place: ' || dest_url
     WHERE task_id = $1 AND dest_url IN (
           SELECT dest_url FROM windlass_objects WHERE task_id = $1
            GROUP BY dest_url HAVING min(source_url) <> max(source_url)
                OR count(DISTINCT coalesce(source_compressed, false)) > 1)";

/// A row of another key that points at the destination already.
pub(super) const REFUSE_TAKEN: &str = r#"
    UPDATE windlass_objects
       SET refused = 'another document is stored at its destination: ' || dest_url
     WHERE task_id = $1 AND refused IS NULL AND EXISTS (
           SELECT 1 FROM archive_metadata m
            WHERE m.content_url = windlass_objects.dest_url
              AND (m."userId" <> windlass_objects.user_id
                   OR m.bucket <> windlass_objects.bucket
                   OR m."archiveId" <> windlass_objects.archive_id))"#;

/// The two counts that the marks left.
const COUNT_MARKS: &str = "
    SELECT count(CASE WHEN refused IS NOT NULL THEN 1 END) AS refused,
           count(CASE WHEN shared THEN 1 END) AS shared
      FROM windlass_objects WHERE task_id = $1";

/// Planned objects with a mark.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(super) struct Marked {
    pub refused: i64,
    pub shared: i64,
}

/// Carries out marks, each for the task `$1`, and counts what they left.
pub(super) async fn mark(
    connection: &mut Connection<'_>,
    task_id: i64,
    marks: &[&'static str],
) -> Result<Marked, sqlx::Error> {
    for mark in marks {
        let statement = Statement::new(*mark).bind(task_id);
        connection.execute(statement).await?;
    }
    connection
        .one(Statement::new(COUNT_MARKS).bind(task_id))
        .await
}
