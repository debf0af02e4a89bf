//! A small Anchore deployment: its database, its documents, and two configurations.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use sqlx::SqlitePool;

use crate::database::{ConnectOptions, Database, DatabaseUrl};
use crate::digest::md5_hex;

const SCHEMA: &str = include_str!("../../../fixtures/anchore/schema.sqlite.sql");
const CONFIG: &str = include_str!("../../../fixtures/demo/config.yaml");
const NEW_CONFIG: &str = include_str!("../../../fixtures/demo/new.yaml");

const USERS: [&str; 2] = ["admin", "tenant-b"];

/// Buckets as Anchore has them, with how many packages a document there names.
const BUCKETS: [(&str, u32); 4] = [
    ("analysis_data", 400),
    ("image_content_data", 120),
    ("manifest_data", 12),
    ("policy_bundles", 3),
];

/// Whose document it is: user, bucket, id.
pub type Key = (String, String, String);

/// The deployment, and what each document holds.
pub struct Deployment {
    pub pool: SqlitePool,
    pub expected: BTreeMap<Key, Vec<u8>>,
    store: PathBuf,
    binary: Key,
}

impl Deployment {
    /// Makes it below `dir`. The same number of documents is the same documents.
    pub async fn make(dir: &Path, documents: u32) -> anyhow::Result<Self> {
        let path = dir.join("anchore.db");
        let url = DatabaseUrl::Sqlite { path: path.clone() };
        let options = ConnectOptions {
            create: true,
            ..ConnectOptions::default()
        };
        let Database::Sqlite(pool) = Database::connect(&url, &options).await? else {
            bail!("{} is no SQLite database", path.display());
        };
        let mut deployment = Self {
            pool,
            expected: BTreeMap::new(),
            store: dir.join("store"),
            binary: Key::default(),
        };
        deployment.store_documents(documents).await?;
        for (name, text) in [("config.yaml", CONFIG), ("new.yaml", NEW_CONFIG)] {
            let text = text
                .replace("@DATABASE@", &yaml_string(&url.redacted()))
                .replace(
                    "@STORE@",
                    &yaml_string(&deployment.store.display().to_string()),
                );
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(deployment)
    }

    pub fn documents(&self) -> u64 {
        self.expected.len() as u64
    }

    /// Where the `localfs` driver will put documents.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The document whose bytes are no text, as `journal --object` wants it.
    pub fn binary_document(&self) -> String {
        let (user, bucket, id) = &self.binary;
        format!("{user}/{bucket}/{id}")
    }

    /// Whether it is the document whose bytes are no text.
    pub fn is_binary(&self, key: &Key) -> bool {
        *key == self.binary
    }

    /// A service stores a new document: its content, then its row.
    pub async fn add(&mut self, key: Key, content: Vec<u8>) -> anyhow::Result<()> {
        let time = jiff::Timestamp::now().as_second();
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, &key, &content, time).await?;
        self.expected.insert(key, content);
        Ok(())
    }

    /// A service stores other content of a document, then says so in its row.
    pub async fn rewrite(&mut self, key: &Key, content: Vec<u8>) -> anyhow::Result<()> {
        let (user, bucket, id) = key;
        sqlx::query(
            r#"UPDATE archive_document SET jsondata = $4, b64_encoded = false
                WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3"#,
        )
        .bind(user)
        .bind(bucket)
        .bind(id)
        .bind(String::from_utf8_lossy(&content).into_owned())
        .execute(&self.pool)
        .await?;
        sqlx::query(
            r#"UPDATE archive_metadata SET digest = $4, size = $5, last_updated = $6
                WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3"#,
        )
        .bind(user)
        .bind(bucket)
        .bind(id)
        .bind(md5_hex(&content))
        .bind(content.len() as i64)
        .bind(jiff::Timestamp::now().as_second())
        .execute(&self.pool)
        .await?;
        self.expected.insert(key.clone(), content);
        Ok(())
    }

    /// A service deletes a document: its row, then its content.
    pub async fn delete(&mut self, key: &Key) -> anyhow::Result<()> {
        let (user, bucket, id) = key;
        for delete in [
            r#"DELETE FROM archive_metadata
                WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3"#,
            r#"DELETE FROM archive_document
                WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3"#,
        ] {
            let delete = sqlx::query(delete).bind(user).bind(bucket).bind(id);
            delete.execute(&self.pool).await?;
        }
        self.expected.remove(key);
        Ok(())
    }

    /// How many rows the task has moved so far; none while there is no task.
    pub async fn moved(&self) -> u64 {
        let moved: Option<i64> = sqlx::query_scalar("SELECT moved FROM windlass_tasks")
            .fetch_optional(&self.pool)
            .await
            // Before the first use the table is not there.
            .unwrap_or_default();
        moved.unwrap_or(0).try_into().unwrap_or(0)
    }

    async fn store_documents(&mut self, documents: u32) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        for number in 0..documents {
            let is_binary = number == documents / 2;
            let (key, content) = document(number, is_binary);
            let time = 1_600_000_000 + i64::from(number);
            insert(&mut transaction, &key, &content, time).await?;
            if is_binary {
                self.binary = key.clone();
            }
            self.expected.insert(key, content);
        }
        Ok(transaction.commit().await?)
    }
}

/// As Anchore's `db` driver stores it: text, or Python's base64 where the bytes are no text.
async fn insert(
    connection: &mut sqlx::SqliteConnection,
    (user, bucket, id): &Key,
    content: &[u8],
    time: i64,
) -> Result<(), sqlx::Error> {
    let (text, is_base64) = match std::str::from_utf8(content) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (encodebytes(content), true),
    };
    sqlx::query(
        r#"INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName", created_at,
               last_updated, record_state_key, jsondata, b64_encoded)
           VALUES ($1, $2, $3, $4, $5, $5, 'active', $6, $7)"#,
    )
    .bind(bucket)
    .bind(id)
    .bind(user)
    .bind(format!("{id}.json"))
    .bind(time)
    .bind(text)
    .bind(is_base64)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName",
               content_url, is_compressed, digest, size, created_at, last_updated,
               record_state_key)
           VALUES ($1, $2, $3, $4, $5, false, $6, $7, $8, $8, 'active')"#,
    )
    .bind(bucket)
    .bind(id)
    .bind(user)
    .bind(format!("{id}.json"))
    .bind(format!("db://{user}/{bucket}/{id}"))
    .bind(md5_hex(content))
    .bind(content.len() as i64)
    .bind(time)
    .execute(connection)
    .await?;
    Ok(())
}

fn document(number: u32, is_binary: bool) -> (Key, Vec<u8>) {
    let seed = hex::encode(Sha256::digest(number.to_be_bytes()));
    let (bucket, packages) = BUCKETS[number as usize % BUCKETS.len()];
    let user = USERS[usize::from(number % 5 == 4)];
    let key = (user.to_owned(), bucket.to_owned(), seed[..16].to_owned());
    let content = match is_binary {
        true => (0..256)
            .flat_map(|n| Sha256::digest(format!("{seed}{n}")))
            .collect(),
        false => json(&seed, packages),
    };
    (key, content)
}

/// As the engine writes documents: `json.dumps({"document": …})`.
fn json(seed: &str, packages: u32) -> Vec<u8> {
    let package = |number: u32| {
        let hash = hex::encode(&Sha256::digest(format!("{seed}{number}"))[..6]);
        format!(
            "\"/usr/lib/naïve-{number}\": {{\"version\": \"{}.{hash}\", \"license\": \"Apache-2.0\"}}",
            number % 7
        )
    };
    let packages: Vec<_> = (0..packages).map(package).collect();
    format!(
        "{{\"document\": {{\"imageDigest\": \"sha256:{seed}\", \"packages\": {{{}}}}}}}",
        packages.join(", ")
    )
    .into_bytes()
}

/// Python's `base64.encodebytes`.
fn encodebytes(content: &[u8]) -> String {
    let line = |bytes| base64::engine::general_purpose::STANDARD.encode(bytes) + "\n";
    content.chunks(57).map(line).collect()
}

/// A JSON string is a YAML string, whatever the path holds.
fn yaml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
