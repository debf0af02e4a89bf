//! The objects of a task, with their rows as they are now, a page at a time.

use super::error::CatalogError;
use super::handle::Catalog;
use super::listing::ListedRow;
use super::sql::{JOIN_ROW, Statement};
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

fn page() -> String {
    format!(
        "
    SELECT o.idx, o.user_id, o.bucket, o.archive_id, o.document_name, o.source_url, o.dest_url,
           m.bucket IS NOT NULL AS has_row, m.content_url, m.digest, m.size
      FROM windlass_objects o {JOIN_ROW} WHERE o.task_id = $1 AND o.idx > $2
     ORDER BY o.idx LIMIT $3"
    )
}

fn places() -> String {
    format!(
        "
    SELECT count(CASE WHEN m.content_url = o.source_url THEN 1 END) AS source,
           count(CASE WHEN m.content_url = o.dest_url THEN 1 END) AS destination,
           count(CASE WHEN m.bucket IS NOT NULL AND (m.content_url IS NULL
                 OR m.content_url NOT IN (o.source_url, o.dest_url)) THEN 1 END) AS elsewhere,
           count(CASE WHEN m.bucket IS NULL THEN 1 END) AS removed
      FROM windlass_objects o {JOIN_ROW} WHERE o.task_id = $1"
    )
}

impl Catalog {
    /// The objects of a task behind number `after`, at most `limit` of them, by number.
    pub async fn objects_after(
        &self,
        task_id: i64,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ListedObject>, CatalogError> {
        let after = after.map_or(-1, |idx| idx as i64);
        let rows: Vec<Raw> = self
            .all(
                "list the objects of the task",
                Statement::new(page())
                    .bind(task_id)
                    .bind(after)
                    .bind(i64::from(limit)),
            )
            .await?;
        Ok(rows.into_iter().map(ListedObject::from).collect())
    }

    /// Where the rows of a task's objects point now.
    pub async fn row_places(&self, task_id: i64) -> Result<RowPlaces, CatalogError> {
        self.one(
            "see where the rows of the task point",
            Statement::new(places()).bind(task_id),
        )
        .await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{ConnectOptions, Database, DatabaseUrl};

    /// A task of five objects: at the source, at the destination, elsewhere, nowhere, and removed.
    const MAKE: &str = r#"
        INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName", content_url)
        VALUES ('b', '0', 'u', 'd', 's0'), ('b', '1', 'u', 'd', 'd1'),
               ('b', '2', 'u', 'd', 'other'), ('b', '3', 'u', 'd', NULL);
        INSERT INTO windlass_objects
               (task_id, idx, user_id, bucket, archive_id, document_name, source_url, dest_url)
        VALUES (7, 0, 'u', 'b', '0', 'd', 's0', 'd0'), (7, 1, 'u', 'b', '1', 'd', 's1', 'd1'),
               (7, 2, 'u', 'b', '2', 'd', 's2', 'd2'), (7, 3, 'u', 'b', '3', 'd', 's3', 'd3'),
               (7, 4, 'u', 'b', '4', 'd', 's4', 'd4'), (8, 0, 'u', 'b', '0', 'd', 's0', 'd0');"#;

    async fn task_of_five(dir: &std::path::Path) -> Catalog {
        let url = format!("sqlite:///{}", dir.join("anchore.db").display());
        let options = ConnectOptions {
            create: true,
            ..ConnectOptions::default()
        };
        let url = DatabaseUrl::parse(&url).unwrap();
        let db = Database::connect(&url, &options).await.unwrap();
        let Database::Sqlite(pool) = &db else {
            panic!("not SQLite")
        };
        let tables = include_str!("../../fixtures/anchore/schema.sqlite.sql");
        sqlx::raw_sql(tables).execute(pool).await.unwrap();
        let catalog = Catalog::open(db.clone()).await.unwrap();
        catalog.ensure_schema().await.unwrap();
        sqlx::raw_sql(MAKE).execute(pool).await.unwrap();
        catalog
    }

    #[tokio::test]
    async fn pages_hold_every_object_of_the_task_once() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = task_of_five(dir.path()).await;
        for limit in [1, 2, 5, 6] {
            let mut seen: Vec<ListedObject> = Vec::new();
            loop {
                let after = seen.last().map(|object| object.idx);
                let page = catalog.objects_after(7, after, limit).await.unwrap();
                if page.is_empty() {
                    break;
                }
                seen.extend(page);
            }
            let seen: Vec<_> = seen
                .iter()
                .map(|object| object.row.as_ref().map(|row| row.url.as_deref()))
                .collect();
            let urls = [
                Some(Some("s0")),
                Some(Some("d1")),
                Some(Some("other")),
                Some(None),
                None,
            ];
            assert_eq!(seen, urls, "{limit}");
        }
    }

    #[tokio::test]
    async fn every_object_is_counted_at_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = task_of_five(dir.path()).await;
        let places = RowPlaces {
            source: 1,
            destination: 1,
            elsewhere: 2,
            removed: 1,
        };
        assert_eq!(catalog.row_places(7).await.unwrap(), places);
        let none = RowPlaces::default();
        assert_eq!(catalog.row_places(9).await.unwrap(), none);
    }
}
