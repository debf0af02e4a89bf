//! The objects of a task, with their rows as they are now, a page at a time.

use super::{Catalog, CatalogError, ListedRow, on_either};
use crate::model::ObjectKey;

/// An object of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its number within the task.
    pub idx: u64,
    /// Its key.
    pub key: ObjectKey,
    /// Where it was when the task was planned.
    pub source_url: String,
    /// Where the task brings it.
    pub dest_url: String,
    /// Its row; `None` where it has been removed since.
    pub row: Option<ListedRow>,
}

/// Where the rows of a task's objects point now, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct RowPlaces {
    /// At the source.
    pub source: i64,
    /// At the destination.
    pub destination: i64,
    /// At neither: something else has changed them since.
    pub elsewhere: i64,
    /// Removed since.
    pub removed: i64,
}

#[derive(sqlx::FromRow)]
struct Raw {
    idx: i64,
    user_id: String,
    bucket: String,
    archive_id: String,
    document_name: String,
    source_url: String,
    dest_url: String,
    has_row: bool,
    content_url: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
}

const PAGE: &str = r#"
    SELECT o.idx, o.user_id, o.bucket, o.archive_id, o.document_name, o.source_url, o.dest_url,
           m.bucket IS NOT NULL AS has_row, m.content_url, m.digest, m.size
      FROM windlass_objects o
      LEFT JOIN archive_metadata m
        ON m.bucket = o.bucket AND m."archiveId" = o.archive_id
       AND m."userId" = o.user_id AND m."documentName" = o.document_name
     WHERE o.task_id = $1 AND o.idx > $2
     ORDER BY o.idx LIMIT $3"#;

const PLACES: &str = r#"
    SELECT count(CASE WHEN m.content_url = o.source_url THEN 1 END) AS source,
           count(CASE WHEN m.content_url = o.dest_url THEN 1 END) AS destination,
           count(CASE WHEN m.bucket IS NOT NULL AND (m.content_url IS NULL
                 OR m.content_url NOT IN (o.source_url, o.dest_url)) THEN 1 END) AS elsewhere,
           count(CASE WHEN m.bucket IS NULL THEN 1 END) AS removed
      FROM windlass_objects o
      LEFT JOIN archive_metadata m
        ON m.bucket = o.bucket AND m."archiveId" = o.archive_id
       AND m."userId" = o.user_id AND m."documentName" = o.document_name
     WHERE o.task_id = $1"#;

impl Catalog {
    /// The objects of a task behind number `after`, at most `limit` of them, by number.
    pub async fn objects_after(
        &self,
        task_id: i64,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ListedObject>, CatalogError> {
        let after = after.map_or(-1, |idx| idx as i64);
        let rows: Vec<Raw> = on_either!(&self.db, pool => {
            sqlx::query_as(PAGE)
                .bind(task_id)
                .bind(after)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await
        })
        .map_err(CatalogError::of("list the objects of the task"))?;
        Ok(rows.into_iter().map(ListedObject::from).collect())
    }

    /// Where the rows of a task's objects point now.
    pub async fn row_places(&self, task_id: i64) -> Result<RowPlaces, CatalogError> {
        on_either!(&self.db, pool => {
            sqlx::query_as(PLACES).bind(task_id).fetch_one(pool).await
        })
        .map_err(CatalogError::of("see where the rows of the task point"))
    }
}

impl From<Raw> for ListedObject {
    fn from(raw: Raw) -> Self {
        let key = ObjectKey {
            user: raw.user_id,
            bucket: raw.bucket,
            id: raw.archive_id,
            document: raw.document_name,
        };
        let row = raw.has_row.then(|| ListedRow {
            key: key.clone(),
            url: raw.content_url,
            digest: raw.digest,
            size: raw.size,
        });
        Self {
            idx: raw.idx as u64,
            key,
            source_url: raw.source_url,
            dest_url: raw.dest_url,
            row,
        }
    }
}
