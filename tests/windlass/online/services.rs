//! A little engine: it stores, rewrites, touches and deletes documents as Anchore's services do, and dies
//! at it. A write stores the content, then the row; a delete removes the row, then the content.

use std::collections::BTreeSet;
use std::path::PathBuf;

use md5::{Digest, Md5};

use crate::support::deployment::{DocumentKey, Expected, stored_text};
use crate::support::random::Random;
use crate::support::s3_client::Client;
use crate::support::tables::{Tables, on_either};

/// Where the engine keeps content.
#[derive(Clone)]
pub enum Content {
    Db,
    LocalFs(PathBuf),
    S3 { client: Client, bucket: String },
}

pub struct Services {
    tables: Tables,
    content: Content,
    random: Random,
    /// What each row was last made to lead to.
    pub documents: Expected,
    /// Rows whose content is another than they say: a service died between the two.
    pub torn: BTreeSet<DocumentKey>,
    /// The engine's clock: whole seconds, and often the same one.
    now_s: i64,
    made: usize,
}

/// How a write ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Lives,
    /// Between the content and the row.
    Dies,
}

impl Services {
    pub fn new(tables: &Tables, content: Content, documents: Expected, seed: u64) -> Self {
        Self {
            tables: tables.clone(),
            content,
            random: Random::seeded(seed),
            documents,
            torn: BTreeSet::new(),
            now_s: 1_700_000_000,
            made: 0,
        }
    }

    /// Does something, to a document of its choice. Dying is rare, and the next write to that document
    /// makes it whole.
    pub async fn act(&mut self) {
        self.now_s += i64::from(self.random.chance(0.5));
        let keys: Vec<DocumentKey> = self.documents.keys().cloned().collect();
        let some = (!keys.is_empty()).then(|| keys[self.random.within(0..keys.len())].clone());
        match (self.random.within(0..20), some) {
            (0..=5, _) | (_, None) => {
                self.made += 1;
                let key = DocumentKey {
                    user: "admin".into(),
                    bucket: "image_content_data".into(),
                    id: format!("made-{:05}", self.made),
                    document: format!("made-{:05}.json", self.made),
                };
                let content = self.some_content(None);
                self.put(&key, content, Fate::Lives).await;
            }
            (6..=13, Some(key)) => {
                let content = self.some_content(Some(&key));
                self.put(&key, content, Fate::Lives).await;
            }
            (14, Some(key)) => {
                let content = self.some_content(Some(&key));
                self.put(&key, content, Fate::Dies).await;
            }
            (15..=16, Some(key)) => self.touch(&key).await,
            (_, Some(key)) => self.delete(&key).await,
        }
    }

    /// Writes whole again what a service has died at.
    pub async fn mend(&mut self) {
        for key in std::mem::take(&mut self.torn) {
            let content = self.some_content(Some(&key));
            self.put(&key, content, Fate::Lives).await;
        }
    }

    /// New content; now and then as long as the old one.
    pub fn some_content(&mut self, instead_of: Option<&DocumentKey>) -> Vec<u8> {
        let old = instead_of.and_then(|key| self.documents.get(key));
        let size = match (old, self.random.chance(0.3)) {
            (Some(old), true) => old.len().max(20),
            _ => 20 + self.random.within(0..4_000),
        };
        let mut text = format!("{{\"n\": {}, \"document\": \"", self.random.next());
        while text.len() + 2 < size {
            text.push_str("package ");
        }
        text.truncate(size.saturating_sub(2));
        text.push_str("\"}");
        text.into_bytes()
    }

    pub async fn put(&mut self, key: &DocumentKey, content: Vec<u8>, fate: Fate) {
        let url = self.store(key, &content).await;
        if fate == Fate::Dies {
            self.torn.insert(key.clone());
            return;
        }
        let digest = hex::encode(Md5::digest(&content));
        self.put_row(key, &url, Some(&digest), content.len()).await;
        self.torn.remove(key);
        self.documents.insert(key.clone(), content);
    }

    /// A row as an old Anchore has written it: without a digest.
    pub async fn forget_digest(&self, key: &DocumentKey) {
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"UPDATE archive_metadata SET digest = NULL
                   WHERE bucket = $1 AND "archiveId" = $2 AND "userId" = $3"#,
            )
            .bind(&key.bucket).bind(&key.id).bind(&key.user)
            .execute(pool).await.map(drop)
        })
        .expect("the digest is forgotten");
    }

    /// The same content of a row without a digest replaced, in the second of its last change.
    pub async fn rewrite_unnoticed(&mut self, key: &DocumentKey) {
        let old = self.documents[key].len();
        let mut content = self.some_content(Some(key));
        content.resize(old, b' ');
        self.store(key, &content).await;
        self.documents.insert(key.clone(), content);
    }

    pub async fn touch(&mut self, key: &DocumentKey) {
        self.now_s += 1;
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"UPDATE archive_metadata SET document_metadata = 'touched', last_updated = $4
                   WHERE bucket = $1 AND "archiveId" = $2 AND "userId" = $3"#,
            )
            .bind(&key.bucket).bind(&key.id).bind(&key.user).bind(self.now_s as i32)
            .execute(pool).await.map(drop)
        })
        .expect("a row is touched");
    }

    pub async fn delete(&mut self, key: &DocumentKey) {
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"DELETE FROM archive_metadata
                   WHERE bucket = $1 AND "archiveId" = $2 AND "userId" = $3"#,
            )
            .bind(&key.bucket).bind(&key.id).bind(&key.user)
            .execute(pool).await.map(drop)
        })
        .expect("a row is deleted");
        match &self.content {
            Content::Db => on_either!(&self.tables, pool => {
                sqlx::query(
                    r#"DELETE FROM archive_document
                       WHERE bucket = $1 AND "archiveId" = $2 AND "userId" = $3"#,
                )
                .bind(&key.bucket).bind(&key.id).bind(&key.user)
                .execute(pool).await.map(drop)
            })
            .expect("a document is deleted"),
            Content::S3 { client, bucket } => client.delete(bucket, &object_key(key)).await,
            Content::LocalFs(dir) => {
                let path = super::localfs_path(dir, key);
                std::fs::remove_file(path).expect("a file is deleted");
            }
        }
        self.documents.remove(key);
        self.torn.remove(key);
    }

    /// The content alone; its URL.
    async fn store(&self, key: &DocumentKey, content: &[u8]) -> String {
        match &self.content {
            Content::Db => {
                let (text, encoded) = stored_text(content);
                on_either!(&self.tables, pool => {
                    sqlx::query(
                        r#"INSERT INTO archive_document (bucket, "archiveId", "userId",
                               "documentName", created_at, last_updated, record_state_key,
                               jsondata, b64_encoded)
                           VALUES ($1, $2, $3, $4, $5, $5, 'active', $6, $7)
                           ON CONFLICT (bucket, "archiveId", "userId", "documentName")
                           DO UPDATE SET jsondata = EXCLUDED.jsondata,
                                         b64_encoded = EXCLUDED.b64_encoded"#,
                    )
                    .bind(&key.bucket).bind(&key.id).bind(&key.user).bind(&key.document)
                    .bind(self.now_s as i32).bind(&text).bind(encoded)
                    .execute(pool).await.map(drop)
                })
                .expect("a document is stored");
                format!("db://{}/{}/{}", key.user, key.bucket, key.id)
            }
            Content::S3 { client, bucket } => {
                client.put(bucket, &object_key(key), content).await;
                format!("s3://{bucket}/{}", object_key(key))
            }
            Content::LocalFs(dir) => {
                let path = super::localfs_path(dir, key);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
                // As Anchore's driver does: in place.
                std::fs::write(&path, content).expect("a file is written");
                format!("file://{}", path.display())
            }
        }
    }

    async fn put_row(&self, key: &DocumentKey, url: &str, digest: Option<&str>, size: usize) {
        on_either!(&self.tables, pool => {
            sqlx::query(
                r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName",
                       content_url, is_compressed, digest, size, created_at, last_updated,
                       record_state_key)
                   VALUES ($1, $2, $3, $4, $5, false, $6, $7, $8, $8, 'active')
                   ON CONFLICT (bucket, "archiveId", "userId", "documentName")
                   DO UPDATE SET content_url = EXCLUDED.content_url, digest = EXCLUDED.digest,
                                 is_compressed = EXCLUDED.is_compressed,
                                 size = EXCLUDED.size, last_updated = EXCLUDED.last_updated"#,
            )
            .bind(&key.bucket).bind(&key.id).bind(&key.user).bind(&key.document)
            .bind(url).bind(digest).bind(size as i64).bind(self.now_s as i32)
            .execute(pool).await.map(drop)
        })
        .expect("a row is stored");
    }
}

/// Where Anchore's `s3` driver keeps a document.
fn object_key(key: &DocumentKey) -> String {
    format!("{}/{}/{}", key.user, key.bucket, key.id)
}
