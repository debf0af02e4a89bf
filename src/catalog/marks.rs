//! Marks on planned objects: what may not be moved, and what is shared. Each is one pass over the
//! whole table; `archive_metadata` has no index on `content_url`.

use super::sql::Statement;

/// Sources that another row points at as well.
pub(super) const MARK_SHARED: &str = "
    UPDATE windlass_objects SET shared = true
     WHERE task_id = $1 AND NOT shared AND source_url IN (
           SELECT content_url FROM archive_metadata WHERE content_url IS NOT NULL
            GROUP BY content_url HAVING count(*) > 1)";

/// Different sources that meet at one destination key, or rows that disagree on how their common
/// source is to be read: nobody can say which is right.
const REFUSE_MEETING: &str = "
    UPDATE windlass_objects
       SET refused = 'another object of this task, from another source or read in another way, '
                     || 'goes to the same place: ' || dest_url
     WHERE task_id = $1 AND NOT superseded AND dest_url IN (
           SELECT dest_url FROM windlass_objects WHERE task_id = $1 AND NOT superseded
            GROUP BY dest_url HAVING count(*) > 1 AND (min(source_url) <> max(source_url)
                OR max(CASE WHEN source_compressed THEN 1 ELSE 0 END)
                   <> min(CASE WHEN source_compressed THEN 1 ELSE 0 END)))";

/// A row of another key that points at the destination already. `$2` is what every destination begins
/// with, which leaves few rows to be compared.
const REFUSE_TAKEN: &str = r#"
    UPDATE windlass_objects
       SET refused = 'another document is stored at its destination: ' || dest_url
     WHERE task_id = $1 AND refused IS NULL AND EXISTS (
           SELECT 1 FROM archive_metadata m
            WHERE substr(m.content_url, 1, length($2)) = $2
              AND m.content_url = windlass_objects.dest_url
              AND (m."userId" <> windlass_objects.user_id
                   OR m.bucket <> windlass_objects.bucket
                   OR m."archiveId" <> windlass_objects.archive_id))"#;

/// What marks the objects of a plan that can't be moved, and those whose source another row needs. `to` is
/// what every destination begins with.
pub(super) fn marks_forward(task_id: i64, to: &str) -> [Statement; 3] {
    let of_task = |mark: &'static str| Statement::new(mark).bind(task_id);
    [
        of_task(MARK_SHARED),
        of_task(REFUSE_MEETING),
        of_task(REFUSE_TAKEN).bind(to),
    ]
}
