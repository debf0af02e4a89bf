//! How fast a task goes, and what it fails on, as the mirror tells.

use serde::Serialize;

use super::backend::dialect;
use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::Statement;

/// What was committed lately.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, sqlx::FromRow)]
pub struct Recent {
    /// Objects.
    pub objects: i64,
    /// Their stored size at the destination.
    pub bytes: i64,
    /// Seconds since the first of them was committed.
    pub seconds: f64,
}

/// Failures of one cause and class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct FailureCount {
    /// Why, in one word.
    pub cause: String,
    /// The class.
    pub class: String,
    /// Objects that failed so and stay where they are.
    pub objects: i64,
    /// `user/bucket/id` of the first.
    pub example: String,
    /// Its error.
    pub error: String,
}

const FAILURES: &str = "
    SELECT f.cause, f.class, f.objects, o.user_id || '/' || o.bucket || '/' || o.archive_id AS example,
           coalesce(o.last_error, '') AS error
      FROM (SELECT coalesce(cause, 'other') AS cause, coalesce(failure_class, '') AS class,
                   count(*) AS objects, min(idx) AS first
              FROM windlass_objects WHERE task_id = $1 AND outcome = 'failed'
             GROUP BY coalesce(cause, 'other'), coalesce(failure_class, '')) f
      JOIN windlass_objects o ON o.task_id = $1 AND o.idx = f.first
     ORDER BY f.objects DESC, f.cause, f.class";

impl Catalog {
    /// What was committed within the last `window_s` seconds.
    pub async fn recent(&self, task_id: i64, window_s: u32) -> Result<Recent, CatalogError> {
        let dialect = dialect(&self.db);
        let (since, age) = (
            dialect.seconds_ago(window_s),
            dialect.exact_age_s("min(committed_at)"),
        );
        let sql = format!(
            "SELECT count(*) AS objects, CAST(coalesce(sum(dest_size), 0) AS bigint) AS bytes,
                    coalesce({age}, 0.0) AS seconds
               FROM windlass_objects WHERE task_id = $1 AND committed_at >= {since}"
        );
        self.one(
            "measure how fast the task is",
            Statement::new(sql).bind(task_id),
        )
        .await
    }

    /// The failures of a task by cause and class, the most frequent first.
    pub async fn failure_counts(&self, task_id: i64) -> Result<Vec<FailureCount>, CatalogError> {
        self.all("count the failures", Statement::new(FAILURES).bind(task_id))
            .await
    }
}
