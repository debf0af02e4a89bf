//! Many documents of the `db` driver, inserted together.

use md5::{Digest, Md5};
use sqlx::PgPool;
use sqlx::sqlite::SqlitePool;

use super::super::tables::Tables;
use super::stored_text;

/// Rows wait here until they go to the database together.
#[derive(Default)]
pub(super) struct Batch {
    users: Vec<String>,
    buckets: Vec<String>,
    pub(super) ids: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
    digests: Vec<String>,
    sizes: Vec<i64>,
    times: Vec<i32>,
    texts: Vec<String>,
    encoded: Vec<bool>,
}

impl Batch {
    pub(super) fn push(&mut self, user: &str, bucket: &str, id: &str, content: &[u8], time: i32) {
        let (text, encoded) = stored_text(content);
        self.users.push(user.to_owned());
        self.buckets.push(bucket.to_owned());
        self.ids.push(id.to_owned());
        self.names.push(format!("{id}.json"));
        self.urls.push(format!("db://{user}/{bucket}/{id}"));
        // Digest and size are of the content, before base64.
        self.digests.push(hex::encode(Md5::digest(content)));
        self.sizes.push(content.len() as i64);
        self.times.push(time);
        self.texts.push(text);
        self.encoded.push(encoded);
    }

    /// In one transaction.
    pub(super) async fn insert(self, tables: &Tables) {
        match tables {
            Tables::Postgres(pool) => self.insert_into_postgres(pool).await,
            Tables::Sqlite(pool) => self.insert_into_sqlite(pool).await,
        }
    }

    async fn insert_into_postgres(self, pool: &PgPool) {
        let mut transaction = pool.begin().await.expect("a transaction");
        sqlx::query(
            r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName",
                   content_url, is_compressed, digest, size, document_metadata, created_at,
                   last_updated, record_state_key, record_state_val)
               SELECT b, i, u, n, url, false, d, s, NULL, t, t, 'active', NULL
               FROM UNNEST($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[],
                   $5::varchar[], $6::varchar[], $7::bigint[], $8::int[])
                   AS rows (b, i, u, n, url, d, s, t)"#,
        )
        .bind(&self.buckets)
        .bind(&self.ids)
        .bind(&self.users)
        .bind(&self.names)
        .bind(&self.urls)
        .bind(&self.digests)
        .bind(&self.sizes)
        .bind(&self.times)
        .execute(&mut *transaction)
        .await
        .expect("metadata rows are inserted");
        sqlx::query(
            r#"INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName",
                   created_at, last_updated, record_state_key, record_state_val, jsondata,
                   b64_encoded)
               SELECT b, i, u, n, t, t, 'active', NULL, text, encoded
               FROM UNNEST($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::int[],
                   $6::varchar[], $7::bool[]) AS rows (b, i, u, n, t, text, encoded)"#,
        )
        .bind(&self.buckets)
        .bind(&self.ids)
        .bind(&self.users)
        .bind(&self.names)
        .bind(&self.times)
        .bind(&self.texts)
        .bind(&self.encoded)
        .execute(&mut *transaction)
        .await
        .expect("documents are inserted");
        transaction.commit().await.expect("committed");
    }
    /// Row by row: SQLite has no arrays, and its files no round trips to save.
    async fn insert_into_sqlite(self, pool: &SqlitePool) {
        let mut transaction = pool.begin().await.expect("a transaction");
        for at in 0..self.ids.len() {
            sqlx::query(
                r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName",
                       content_url, is_compressed, digest, size, created_at, last_updated,
                       record_state_key)
                   VALUES ($1, $2, $3, $4, $5, false, $6, $7, $8, $8, 'active')"#,
            )
            .bind(&self.buckets[at])
            .bind(&self.ids[at])
            .bind(&self.users[at])
            .bind(&self.names[at])
            .bind(&self.urls[at])
            .bind(&self.digests[at])
            .bind(self.sizes[at])
            .bind(self.times[at])
            .execute(&mut *transaction)
            .await
            .expect("a metadata row is inserted");
            sqlx::query(
                r#"INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName",
                       created_at, last_updated, record_state_key, jsondata, b64_encoded)
                   VALUES ($1, $2, $3, $4, $5, $5, 'active', $6, $7)"#,
            )
            .bind(&self.buckets[at])
            .bind(&self.ids[at])
            .bind(&self.users[at])
            .bind(&self.names[at])
            .bind(self.times[at])
            .bind(&self.texts[at])
            .bind(self.encoded[at])
            .execute(&mut *transaction)
            .await
            .expect("a document is inserted");
        }
        transaction.commit().await.expect("committed");
    }
}
