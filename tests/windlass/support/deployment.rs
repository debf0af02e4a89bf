//! An Anchore deployment to migrate: documents in the database as Anchore stores them, and the
//! `config.yaml` files that an operator would have.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine;
use md5::{Digest, Md5};
use sqlx::PgPool;

use super::postgres::Database;
use super::random::Random;

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
    pool: PgPool,
    db_url: String,
    expected: Expected,
}

/// The `object_store` section of a configuration.
#[derive(Clone, Debug)]
pub enum StoreSpec {
    Db {
        compression: Compression,
    },
    LocalFs {
        dir: PathBuf,
        compression: Compression,
    },
    S3(S3Spec),
}

#[derive(Clone, Debug, Default)]
pub struct S3Spec {
    pub url: String,
    pub access_key: String,
    pub secret_key: String,
    pub bucket: String,
    pub create_bucket: bool,
    pub prefix: Option<String>,
    pub region: Option<String>,
    pub compression: Compression,
}

/// Anchore's defaults: off, 100 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Compression {
    pub enabled: bool,
    pub min_size_kbytes: u32,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            enabled: false,
            min_size_kbytes: 100,
        }
    }
}

impl Compression {
    pub fn above_kbytes(min_size_kbytes: u32) -> Self {
        Self {
            enabled: true,
            min_size_kbytes,
        }
    }
}

/// Rows wait here until they go to the database together.
#[derive(Default)]
struct Batch {
    users: Vec<String>,
    buckets: Vec<String>,
    ids: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
    digests: Vec<String>,
    sizes: Vec<i64>,
    times: Vec<i32>,
    texts: Vec<String>,
    encoded: Vec<bool>,
}

impl Deployment {
    pub fn new(database: &Database) -> Self {
        Self {
            pool: database.pool.clone(),
            db_url: database.url.clone(),
            expected: Expected::new(),
        }
    }

    /// What every row must lead to.
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// One document stored by the `db` driver: its row and its text.
    pub async fn add_db_document(&mut self, user: &str, bucket: &str, id: &str, content: &[u8]) {
        let mut batch = Batch::default();
        batch.push(user, bucket, id, content, 1_600_000_000);
        batch.insert(&self.pool).await;
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
                std::mem::take(&mut batch).insert(&self.pool).await;
                bytes = 0;
            }
        }
        batch.insert(&self.pool).await;
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

    /// Writes `dir/NAME.yaml`, shaped as Anchore's own config.yaml, and returns its path.
    pub fn write_config(&self, dir: &Path, name: &str, store: StoreSpec) -> PathBuf {
        let path = dir.join(format!("{name}.yaml"));
        fs::create_dir_all(dir).expect("the configurations' directory");
        fs::write(&path, config(&self.db_url, &store)).expect("the configuration is written");
        path
    }
}

impl Batch {
    fn push(&mut self, user: &str, bucket: &str, id: &str, content: &[u8], time: i32) {
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

    async fn insert(self, pool: &PgPool) {
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

fn config(db_url: &str, store: &StoreSpec) -> String {
    // JSON strings are YAML strings: the one quoting that fits every password.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (driver, compression) = match store {
        StoreSpec::Db { compression } => (
            "          name: db\n          config: {}\n".to_owned(),
            compression,
        ),
        StoreSpec::LocalFs { dir, compression } => {
            let dir = quoted(&dir.display().to_string());
            let driver = format!(
                "          name: localfs\n          config:\n            archive_data_dir: {dir}\n"
            );
            (driver, compression)
        }
        StoreSpec::S3(s3) => (s3_section(s3, quoted), &s3.compression),
    };
    TEMPLATE
        .replace("@DB_CONNECT@", &quoted(db_url))
        .replace(
            "@ENABLED@",
            if compression.enabled { "True" } else { "False" },
        )
        .replace("@MIN_SIZE@", &compression.min_size_kbytes.to_string())
        .replace("@DRIVER@", driver.trim_end())
}

fn s3_section(s3: &S3Spec, quoted: impl Fn(&str) -> String) -> String {
    let mut options = vec![
        ("access_key", quoted(&s3.access_key)),
        ("secret_key", quoted(&s3.secret_key)),
        ("url", quoted(&s3.url)),
        (
            "region",
            s3.region.as_deref().map_or("null".to_owned(), &quoted),
        ),
        ("bucket", quoted(&s3.bucket)),
        ("create_bucket", s3.create_bucket.to_string()),
    ];
    if let Some(prefix) = &s3.prefix {
        options.push(("prefix", quoted(prefix)));
    }
    let lines: String = options
        .iter()
        .map(|(name, value)| format!("            {name}: {value}\n"))
        .collect();
    format!("          name: s3\n          config:\n{lines}")
}

/// As in Anchore's guide: much that a migration does not need, and must not stumble over.
const TEMPLATE: &str = r#"service_dir: /anchore_service
tmp_dir: /analysis_scratch
log_level: INFO
cleanup_images: true
allow_awsecr_iam_auto: true
host_id: anchore-quickstart
internal_ssl_verify: true
auto_restart_services: false
metrics:
  enabled: false
default_admin_password: foobar
default_admin_email: admin@myanchore
keys:
  secret: null
  public_key_path: null
user_authentication:
  oauth:
    enabled: false
  hashed_passwords: false
credentials:
  database:
    db_connect: @DB_CONNECT@
    db_connect_args:
      timeout: 120
      ssl: false
    db_pool_size: 30
    db_pool_max_overflow: 100
services:
  apiext:
    enabled: true
    endpoint_hostname: engine-api
    listen: 0.0.0.0
    port: 8228
  catalog:
    enabled: true
    require_auth: true
    endpoint_hostname: engine-catalog
    listen: 0.0.0.0
    port: 8228
    cycle_timer_seconds: 1
    cycle_timers:
      image_watcher: 3600
      policy_eval: 3600
    event_log:
      notification:
        enabled: false
    object_store:
      compression:
        enabled: @ENABLED@
        min_size_kbytes: @MIN_SIZE@
      storage_driver:
@DRIVER@
  policy_engine:
    enabled: true
    endpoint_hostname: engine-policy-engine
    listen: 0.0.0.0
    port: 8228
"#;
