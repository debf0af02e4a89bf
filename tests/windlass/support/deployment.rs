//! An Anchore deployment to migrate: documents in the database as Anchore stores them, and the
//! `config.yaml` files that an operator would have.

mod batch;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine;
use md5::{Digest, Md5};
use sqlx::sqlite::SqlitePool;

use super::config_file::config;
pub use super::config_file::{Compression, S3Spec, StoreSpec, SwiftSpec};
use super::postgres::Database;
use super::random::Random;
use super::s3_client::Client;
use super::tables::{Tables, on_either};
use batch::Batch;

/// A row's key in `archive_metadata`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    pub user: String,
    pub bucket: String,
    pub id: String,
    pub document: String,
}

/// The plain bytes that every row must lead to, before and after any migration.
pub type Expected = BTreeMap<DocumentKey, Vec<u8>>;

pub struct Deployment {
    tables: Tables,
    db_url: String,
    expected: Expected,
}

impl Deployment {
    pub fn new(database: &Database) -> Self {
        Self {
            tables: Tables::from(&database.pool),
            db_url: database.url.clone(),
            expected: Expected::new(),
        }
    }

    /// On a file of `tables::fresh_sqlite`.
    pub fn on_sqlite(pool: &SqlitePool, db_url: &str) -> Self {
        Self {
            tables: Tables::from(pool),
            db_url: db_url.to_owned(),
            expected: Expected::new(),
        }
    }

    /// Anchore's tables, for a checker or for SQL of the test's own.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Documents stored by the `db` driver, all at once: user, bucket, id and content of each.
    pub async fn add_db_documents(&mut self, documents: &[(&str, &str, String, Vec<u8>)]) {
        let mut batch = Batch::default();
        for (user, bucket, id, content) in documents {
            batch.push(user, bucket, id, content, 1_600_000_000);
            self.remember(user, bucket, id, content.clone());
        }
        batch.insert(&self.tables).await;
    }

    /// What every row must lead to.
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// One document stored by the `db` driver: its row and its text.
    pub async fn add_db_document(&mut self, user: &str, bucket: &str, id: &str, content: &[u8]) {
        let mut batch = Batch::default();
        batch.push(user, bucket, id, content, 1_600_000_000);
        batch.insert(&self.tables).await;
        self.remember(user, bucket, id, content.to_vec());
    }

    /// `count` documents of random sizes, the same ones for the same seed: mostly JSON as Anchore
    /// writes it, one in 8 not ASCII, one in 16 binary (and so base64 in the database).
    pub async fn seed_db_documents(&mut self, count: usize, sizes: Range<usize>, seed: u64) {
        const BATCH_ROWS: usize = 1000;
        const BATCH_BYTES: usize = 16 << 20;
        const BUCKETS: [&str; 3] = ["analysis_data", "image_content_data", "policy_bundles"];
        let mut random = Random::seeded(seed);
        let mut batch = Batch::default();
        let mut bytes = 0;
        for index in 0..count {
            let user = if index % 5 == 4 { "tenant-b" } else { "admin" };
            let bucket = BUCKETS[index % BUCKETS.len()];
            let id = format!("{seed:x}-{index:07}-{:016x}", random.next());
            let size = random.within(sizes.clone());
            let content = document(&mut random, size);
            bytes += content.len();
            batch.push(
                user,
                bucket,
                &id,
                &content,
                1_600_000_000 + (index % 86_400) as i32,
            );
            self.remember(user, bucket, &id, content);
            if batch.ids.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
                std::mem::take(&mut batch).insert(&self.tables).await;
                bytes = 0;
            }
        }
        batch.insert(&self.tables).await;
    }

    fn remember(&mut self, user: &str, bucket: &str, id: &str, content: Vec<u8>) {
        let key = DocumentKey {
            user: user.to_owned(),
            bucket: bucket.to_owned(),
            id: id.to_owned(),
            document: format!("{id}.json"),
        };
        self.expected.insert(key, content);
    }

    /// One document stored by the `localfs` driver below `dir`.
    pub async fn add_localfs_document(
        &mut self,
        dir: &Path,
        (user, bucket, id): (&str, &str, &str),
        content: &[u8],
    ) {
        let path = localfs_path(dir, (user, bucket, id));
        fs::write(&path, content).expect("the document is written");
        let url = format!("file://{}", path.display());
        self.add_row((user, bucket, id), &url, content, false).await;
        self.remember(user, bucket, id, content.to_vec());
    }

    /// Many large documents stored by the `localfs` driver, all with this content, which is on the
    /// disk only once. A checker does not know of them: that would be too much memory.
    pub async fn add_localfs_links(
        &self,
        dir: &Path,
        (user, bucket): (&str, &str),
        ids: &[String],
        content: &[u8],
    ) {
        let mut first = None;
        for id in ids {
            let path = localfs_path(dir, (user, bucket, id));
            match &first {
                None => fs::write(&path, content).expect("the document is written"),
                Some(first) => fs::hard_link(first, &path).expect("a link to it"),
            }
            let url = format!("file://{}", path.display());
            self.add_row((user, bucket, id), &url, content, false).await;
            first = Some(path);
        }
    }

    /// One document stored by the `s3` driver.
    pub async fn add_s3_document(
        &mut self,
        client: &Client,
        (s3_bucket, prefix): (&str, &str),
        (user, bucket, id): (&str, &str, &str),
        content: &[u8],
    ) {
        let key = format!("{prefix}{user}/{bucket}/{id}");
        client.put(s3_bucket, &key, content).await;
        let url = format!("s3://{s3_bucket}/{key}");
        self.add_row((user, bucket, id), &url, content, false).await;
        self.remember(user, bucket, id, content.to_vec());
    }

    /// One document stored by the `db2` driver.
    pub async fn add_db2_document(&mut self, user: &str, bucket: &str, id: &str, content: &[u8]) {
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"INSERT INTO object_storage ("userId", bucket, key, version, object_metadata,
                       content, created_at, last_updated)
                   VALUES ($1, $2, $3, '', NULL, $4, 1600000000, 1600000000)"#,
            )
            .bind(user)
            .bind(bucket)
            .bind(id)
            .bind(content)
                .execute(pool)
                .await
                .map(drop)
        })
        .expect("the object is inserted");
        let url = format!("db2://{user}/{bucket}/{id}");
        self.add_row((user, bucket, id), &url, content, false).await;
        self.remember(user, bucket, id, content.to_vec());
    }

    /// One document stored by the `swift` driver.
    pub async fn add_swift_document(
        &mut self,
        client: &super::swift::Client,
        (container, prefix): (&str, &str),
        (user, bucket, id): (&str, &str, &str),
        content: &[u8],
    ) {
        let name = format!("{prefix}{user}/{bucket}/{id}");
        client.put(container, &name, content).await;
        let url = format!("swift://{container}/{name}");
        self.add_row((user, bucket, id), &url, content, false).await;
        self.remember(user, bucket, id, content.to_vec());
    }

    /// A row of `archive_metadata` alone, for stored bytes that lie at `url` (or should).
    pub async fn add_row(
        &self,
        (user, bucket, id): (&str, &str, &str),
        url: &str,
        stored: &[u8],
        compressed: bool,
    ) {
        let told = (hex::encode(Md5::digest(stored)), stored.len() as u64);
        self.add_row_of((user, bucket, id), url, told, compressed)
            .await;
    }

    /// The same for bytes of which only the MD5 and the length are known.
    pub async fn add_row_of(
        &self,
        (user, bucket, id): (&str, &str, &str),
        url: &str,
        (digest, len_bytes): (String, u64),
        compressed: bool,
    ) {
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName",
                       content_url, is_compressed, digest, size, created_at, last_updated,
                       record_state_key)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1600000000, 1600000000, 'active')"#,
            )
            .bind(bucket)
            .bind(id)
            .bind(user)
            .bind(format!("{id}.json"))
            .bind(url)
            .bind(compressed)
            .bind(digest.as_str())
            .bind(len_bytes as i64)
                .execute(pool)
                .await
                .map(drop)
        })
        .expect("the row is inserted");
    }

    /// Replaces the text in `archive_document`: it no longer has the row's digest.
    pub async fn damage_db_document(&self, key: &DocumentKey) {
        self.set_db_text(key, "not what was stored", false).await;
    }

    /// As it was, after `damage_db_document` or `remove_db_document`.
    pub async fn repair_db_document(&self, key: &DocumentKey) {
        let (text, encoded) = stored_text(&self.expected[key]);
        self.set_db_text(key, &text, encoded).await;
    }

    /// The row in `archive_metadata` stays and leads nowhere.
    pub async fn remove_db_document(&self, key: &DocumentKey) {
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"DELETE FROM archive_document
                   WHERE bucket = $1 AND "archiveId" = $2 AND "userId" = $3"#,
            )
            .bind(&key.bucket)
            .bind(&key.id)
            .bind(&key.user)
                .execute(pool)
                .await
                .map(drop)
        })
        .expect("the document is deleted");
    }

    async fn set_db_text(&self, key: &DocumentKey, text: &str, encoded: bool) {
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName",
                       created_at, last_updated, record_state_key, jsondata, b64_encoded)
                   VALUES ($1, $2, $3, $4, 1600000000, 1600000000, 'active', $5, $6)
                   ON CONFLICT (bucket, "archiveId", "userId", "documentName")
                       DO UPDATE SET jsondata = EXCLUDED.jsondata, b64_encoded = EXCLUDED.b64_encoded"#,
            )
            .bind(&key.bucket)
            .bind(&key.id)
            .bind(&key.user)
            .bind(format!("{}.json", key.id))
            .bind(text)
            .bind(encoded)
                .execute(pool)
                .await
                .map(drop)
        })
        .expect("the document is written");
    }

    /// What a test changed by its own SQL: this row must lead to these bytes (or, for None, be gone).
    pub fn expect(&mut self, key: DocumentKey, content: Option<Vec<u8>>) {
        match content {
            Some(content) => self.expected.insert(key, content),
            None => self.expected.remove(&key),
        };
    }

    /// Writes `dir/NAME.yaml`, shaped as Anchore's own config.yaml, and returns its path.
    pub fn write_config(&self, dir: &Path, name: &str, store: StoreSpec) -> PathBuf {
        self.write_split_config(dir, name, store, None)
    }

    /// The same, with an analysis archive beside the object store.
    pub fn write_split_config(
        &self,
        dir: &Path,
        name: &str,
        store: StoreSpec,
        analysis_archive: Option<StoreSpec>,
    ) -> PathBuf {
        let path = dir.join(format!("{name}.yaml"));
        fs::create_dir_all(dir).expect("the configurations' directory");
        fs::write(
            &path,
            config(&self.db_url, &store, analysis_archive.as_ref()),
        )
        .expect("the configuration is written");
        path
    }
}

/// The `db` driver's text: as it is where it is UTF-8 (and free of NUL, which PostgreSQL can't
/// hold), else as Python's `base64.encodebytes`.
pub fn stored_text(content: &[u8]) -> (String, bool) {
    match std::str::from_utf8(content) {
        Ok(text) if !text.contains('\0') => (text.to_owned(), false),
        _ => (encodebytes(content), true),
    }
}

fn encodebytes(content: &[u8]) -> String {
    // 57 bytes make a line of 76 characters.
    content
        .chunks(57)
        .map(|line| base64::engine::general_purpose::STANDARD.encode(line) + "\n")
        .collect()
}

/// A document of about `size` bytes.
fn document(random: &mut Random, size: usize) -> Vec<u8> {
    match random.within(0..16) {
        0 => random.bytes(size),
        kind => {
            let word = if kind <= 2 {
                "naïve “漢字” 🚢 "
            } else {
                "package "
            };
            let mut text = String::with_capacity(size + 64);
            text.push_str("{\"document\": \"");
            while text.len() + 2 < size {
                text.push_str(word);
                text.push_str(&format!("{:x} ", random.next()));
            }
            text.push_str("\"}");
            text.into_bytes()
        }
    }
}

/// Where the `localfs` driver keeps a document; the directories are made.
pub(super) fn localfs_path(dir: &Path, (user, bucket, id): (&str, &str, &str)) -> PathBuf {
    let (user_hash, id_hash) = (hex::encode(Md5::digest(user)), hex::encode(Md5::digest(id)));
    let path = dir.join(user_hash).join(bucket).join(&id_hash[..2]);
    fs::create_dir_all(&path).expect("the store's directories");
    path.join(format!("{id_hash}.json"))
}
