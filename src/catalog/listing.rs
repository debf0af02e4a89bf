//! All of `archive_metadata`, a page at a time.

use super::error::CatalogError;
use super::handle::Catalog;
use super::sql::Statement;
use crate::model::ObjectKey;

/// What a row says of its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRow {
    /// Its key.
    pub key: ObjectKey,
    /// `content_url`.
    pub url: Option<String>,
    /// `digest`.
    pub digest: Option<String>,
    /// `size`.
    pub size: Option<i64>,
}

/// A user's rows in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct BucketUser {
    /// `bucket`.
    pub bucket: String,
    /// `userId`.
    pub user_id: String,
    /// How many there are.
    pub row_count: i64,
}

#[derive(sqlx::FromRow)]
struct RawRow {
    user_id: String,
    bucket: String,
    archive_id: String,
    document_name: String,
    content_url: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
}

/// By the primary key, so that a page costs the same wherever it is.
const PAGE: &str = r#"
    SELECT "userId" AS user_id, bucket, "archiveId" AS archive_id,
           "documentName" AS document_name, content_url, digest, size
      FROM archive_metadata
     WHERE $5 OR (bucket, "archiveId", "userId", "documentName") > ($1, $2, $3, $4)
     ORDER BY bucket, "archiveId", "userId", "documentName" LIMIT $6"#;

impl Catalog {
    /// The rows behind `after`, at most `limit` of them, in the order of their keys.
    pub async fn rows_after(
        &self,
        after: Option<&ObjectKey>,
        limit: u32,
    ) -> Result<Vec<ListedRow>, CatalogError> {
        let first = after.is_none();
        let part = |part: fn(&ObjectKey) -> &String| after.map(part).cloned().unwrap_or_default();
        let parts = [
            part(|key| &key.bucket),
            part(|key| &key.id),
            part(|key| &key.user),
            part(|key| &key.document),
        ];
        let rows: Vec<RawRow> = self
            .all(
                "list the documents",
                Statement::new(PAGE)
                    .bind(&parts[0])
                    .bind(&parts[1])
                    .bind(&parts[2])
                    .bind(&parts[3])
                    .bind(first)
                    .bind(i64::from(limit)),
            )
            .await?;
        Ok(rows.into_iter().map(ListedRow::from).collect())
    }
}

/// By the primary key.
const ROW: &str = r#"
    SELECT "userId" AS user_id, bucket, "archiveId" AS archive_id,
           "documentName" AS document_name, content_url, digest, size
      FROM archive_metadata
     WHERE bucket = $1 AND "archiveId" = $2 AND "userId" = $3 AND "documentName" = $4"#;

impl Catalog {
    /// One row, as it is now; `None` where there is none.
    pub async fn row(&self, key: &ObjectKey) -> Result<Option<ListedRow>, CatalogError> {
        let row: Option<RawRow> = self
            .optional(
                "look at a row",
                Statement::new(ROW)
                    .bind(&key.bucket)
                    .bind(&key.id)
                    .bind(&key.user)
                    .bind(&key.document),
            )
            .await?;
        Ok(row.map(ListedRow::from))
    }

    /// How many rows each user has in each bucket, the most first.
    pub async fn rows_by_bucket_and_user(&self) -> Result<Vec<BucketUser>, CatalogError> {
        self.all(
            "count the documents by bucket and user",
            Statement::new(
                r#"SELECT bucket, "userId" AS user_id, count(*) AS row_count
                     FROM archive_metadata GROUP BY bucket, "userId"
                    ORDER BY count(*) DESC, bucket, "userId""#,
            ),
        )
        .await
    }

    /// How many rows there are.
    pub async fn count_rows(&self) -> Result<u64, CatalogError> {
        let (rows,): (i64,) = self
            .one(
                "count the documents",
                Statement::new("SELECT count(*) FROM archive_metadata"),
            )
            .await?;
        Ok(rows as u64)
    }
}

impl From<RawRow> for ListedRow {
    fn from(row: RawRow) -> Self {
        Self {
            key: ObjectKey {
                user: row.user_id,
                bucket: row.bucket,
                id: row.archive_id,
                document: row.document_name,
            },
            url: row.content_url,
            digest: row.digest,
            size: row.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{ConnectOptions, Database, DatabaseUrl};

    #[tokio::test]
    async fn pages_hold_every_row_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchore.db");
        let options = ConnectOptions {
            create: true,
            ..ConnectOptions::default()
        };
        let url = DatabaseUrl::Sqlite { path };
        let db = Database::connect(&url, &options).await.unwrap();
        let Database::Sqlite(pool) = &db else {
            unreachable!("a SQLite URL")
        };
        let make = r#"
            CREATE TABLE tasks (id INTEGER); CREATE TABLE archive_migration_tasks (id INTEGER);
            CREATE TABLE archive_metadata (bucket VARCHAR, "archiveId" VARCHAR,
                "userId" VARCHAR, "documentName" VARCHAR, content_url VARCHAR, digest VARCHAR,
                size BIGINT, PRIMARY KEY (bucket, "archiveId", "userId", "documentName"));
            INSERT INTO archive_metadata VALUES
                ('b', 'i', 'u', 'd', 'x', 'm', 1), ('b', 'i', 'u', 'e', NULL, NULL, NULL),
                ('b', 'j', 'a', 'd', 'x', 'm', 1), ('a', 'z', 'z', 'z', 'x', 'm', 1),
                ('', '', '', '', 'x', 'm', 1);"#;
        sqlx::raw_sql(make).execute(pool).await.unwrap();
        let catalog = Catalog::open(db.clone()).await.unwrap();
        for limit in [1, 2, 5, 6] {
            let mut keys = Vec::new();
            loop {
                let page = catalog.rows_after(keys.last(), limit).await.unwrap();
                if page.is_empty() {
                    break;
                }
                keys.extend(page.into_iter().map(|row| row.key));
            }
            let names: Vec<_> = keys.iter().map(ObjectKey::to_string).collect();
            let expected = ["// ()", "z/a/z (z)", "u/b/i (d)", "u/b/i (e)", "a/b/j (d)"];
            assert_eq!(names, expected, "{limit}");
        }
    }
}
