//! The stored forms of ANCHORE's drivers, written down by hand in `fixtures/forms`: what windlass
//! reads, and what it writes, is held to them byte by byte.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use serde::Deserialize;

use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec, SwiftSpec};
use crate::support::program::Program;
use crate::support::{postgres, s3, swift};

#[derive(Deserialize)]
struct Forms {
    user: String,
    bucket: String,
    documents: Vec<Document>,
}

#[derive(Deserialize)]
struct Document {
    id: String,
    plain_base64: String,
    digest: String,
    size: i64,
    db: DbForm,
    db2: Form,
    localfs: Form,
    s3: Form,
    swift: Form,
    compressed: Option<Blob>,
}

impl Document {
    fn form(&self, driver: &str) -> &Form {
        match driver {
            "db2" => &self.db2,
            "localfs" => &self.localfs,
            "s3" => &self.s3,
            _ => &self.swift,
        }
    }
}

#[derive(Deserialize)]
struct DbForm {
    content_url: String,
    #[serde(rename = "documentName")]
    document_name: String,
    jsondata: String,
    b64_encoded: bool,
}

#[derive(Deserialize)]
struct Form {
    content_url: String,
    #[serde(default, alias = "name")]
    key: String,
}

/// Made by stock zlib.
#[derive(Deserialize)]
struct Blob {
    blob_base64: String,
    digest: String,
    size: i64,
}

fn forms() -> Forms {
    serde_json::from_str(include_str!("../../fixtures/forms/forms.json")).expect("the fixture")
}

fn decode(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).expect("base64 in the fixture")
}

struct Bench {
    database: postgres::Database,
    deployment: Deployment,
    program: Program,
    bucket: String,
    container: String,
}

impl Bench {
    async fn new() -> Self {
        let database = postgres::fresh_database().await;
        let program = Program::new();
        std::fs::create_dir(program.home().join("dir")).unwrap();
        Self {
            deployment: Deployment::new(&database),
            database,
            program,
            bucket: s3::fresh_bucket().await,
            container: swift::fresh_container().await,
        }
    }

    async fn config(&self, driver: &str, compression: Compression) -> String {
        let server = s3::server().await;
        let prefix = Some("pre".to_owned());
        let store = match driver {
            "db" => StoreSpec::Db { compression },
            "db2" => StoreSpec::Db2 { compression },
            "localfs" => StoreSpec::LocalFs {
                dir: self.program.home().join("dir"),
                compression,
            },
            "s3" => StoreSpec::S3(S3Spec {
                url: server.url.clone(),
                access_key: server.access_key.clone(),
                secret_key: server.secret_key.clone(),
                bucket: self.bucket.clone(),
                prefix,
                compression,
                ..S3Spec::default()
            }),
            _ => StoreSpec::Swift(SwiftSpec {
                options: swift::tempauth_options(swift::USER).await,
                container: self.container.clone(),
                prefix,
                compression,
                ..SwiftSpec::default()
            }),
        };
        let path = self
            .deployment
            .write_config(self.program.home(), driver, store);
        path.display().to_string()
    }

    fn url(&self, form: &str) -> String {
        let dir = self.program.home().join("dir");
        form.replace("@DIR@", &dir.display().to_string())
            .replace("@BUCKET@", &self.bucket)
            .replace("@CONTAINER@", &self.container)
    }

    async fn add_row(
        &self,
        forms: &Forms,
        id: &str,
        url: &str,
        (digest, size): (&str, i64),
        compressed: bool,
    ) {
        sqlx::query(
            r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName",
                   content_url, is_compressed, digest, size, created_at, last_updated)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1600000000, 1600000000)"#,
        )
        .bind(&forms.bucket)
        .bind(id)
        .bind(&forms.user)
        .bind(format!("{id}.json"))
        .bind(url)
        .bind(compressed)
        .bind(digest)
        .bind(size)
        .execute(&self.database.pool)
        .await
        .expect("the row is inserted");
    }

    async fn migrate(&self, from: &str, to: &str) {
        let args = ["migrate", from, to, "--dontask"];
        self.program.run(&args).await.expect_code(0);
    }

    async fn rows(&self) -> BTreeMap<String, (String, bool, String, i64)> {
        let rows: Vec<(String, String, bool, String, i64)> = sqlx::query_as(
            r#"SELECT "archiveId", content_url, is_compressed, digest, size FROM archive_metadata"#,
        )
        .fetch_all(&self.database.pool)
        .await
        .expect("the rows");
        rows.into_iter()
            .map(|(id, url, compressed, digest, size)| (id, (url, compressed, digest, size)))
            .collect()
    }

    /// The row, and what is stored: compressed where the fixture has a blob.
    async fn put_by_hand(&self, forms: &Forms, driver: &str, document: &Document) {
        let form = document.form(driver);
        let url = self.url(&form.content_url);
        let (stored, row) = match &document.compressed {
            Some(blob) => (decode(&blob.blob_base64), (blob.digest.as_str(), blob.size)),
            None => (
                decode(&document.plain_base64),
                (document.digest.as_str(), document.size),
            ),
        };
        let compressed = document.compressed.is_some();
        self.add_row(forms, &document.id, &url, row, compressed)
            .await;
        match driver {
            "db2" => drop(
                sqlx::query(
                    r#"INSERT INTO object_storage ("userId", bucket, key, version, content)
                       VALUES ($1, $2, $3, '', $4)"#,
                )
                .bind(&forms.user)
                .bind(&forms.bucket)
                .bind(&form.key)
                .bind(&stored)
                .execute(&self.database.pool)
                .await
                .expect("the object is inserted"),
            ),
            "localfs" => {
                let path = Path::new(url.strip_prefix("file://").unwrap());
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, &stored).unwrap();
            }
            "s3" => {
                let client = s3::server().await.client();
                client.put(&self.bucket, &form.key, &*stored).await;
            }
            _ => {
                let client = swift::server().await.client().await;
                client.put(&self.container, &form.key, &stored).await;
            }
        }
    }

    /// What stands in `archive_document` is the fixture's, byte by byte.
    async fn expect_db_form(&self, forms: &Forms, document: &Document) {
        let row: (String, bool) = sqlx::query_as(
            r#"SELECT jsondata, b64_encoded FROM archive_document
               WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3 AND "documentName" = $4"#,
        )
        .bind(&forms.user)
        .bind(&forms.bucket)
        .bind(&document.id)
        .bind(&document.db.document_name)
        .fetch_one(&self.database.pool)
        .await
        .expect("the document");
        assert_eq!(row, (document.db.jsondata.clone(), document.db.b64_encoded));
    }

    /// The stored bytes of a document, fetched without windlass.
    async fn stored(&self, forms: &Forms, driver: &str, document: &Document) -> Vec<u8> {
        match driver {
            "db2" => {
                let row: (Vec<u8>,) = sqlx::query_as(
                    r#"SELECT content FROM object_storage WHERE "userId" = $1 AND bucket = $2
                          AND key = $3 AND version = '' AND object_metadata IS NULL"#,
                )
                .bind(&forms.user)
                .bind(&forms.bucket)
                .bind(&document.db2.key)
                .fetch_one(&self.database.pool)
                .await
                .expect("the object");
                row.0
            }
            "localfs" => {
                let url = self.url(&document.localfs.content_url);
                let path = url.strip_prefix("file://").expect("a file");
                std::fs::read(Path::new(path)).expect("the file")
            }
            "s3" => {
                let client = s3::server().await.client();
                let got = client.try_get(&self.bucket, &document.s3.key).await;
                got.expect("an answer").expect("the object")
            }
            _ => {
                let client = swift::server().await.client().await;
                let got = client.try_get(&self.container, &document.swift.key).await;
                got.expect("an answer").expect("the object")
            }
        }
    }
}

/// Through all five in turn: each form is written as the fixture has it, and read by the next.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_written_and_read_as_anchore_has_it() {
    let (bench, forms) = (Bench::new().await, forms());
    for document in &forms.documents {
        let row = (document.digest.as_str(), document.size);
        bench
            .add_row(&forms, &document.id, &document.db.content_url, row, false)
            .await;
        sqlx::query(
            r#"INSERT INTO archive_document (bucket, "archiveId", "userId", "documentName",
                   created_at, last_updated, jsondata, b64_encoded)
               VALUES ($1, $2, $3, $4, 1600000000, 1600000000, $5, $6)"#,
        )
        .bind(&forms.bucket)
        .bind(&document.id)
        .bind(&forms.user)
        .bind(&document.db.document_name)
        .bind(&document.db.jsondata)
        .bind(document.db.b64_encoded)
        .execute(&bench.database.pool)
        .await
        .expect("the document is inserted");
    }
    let mut from = bench.config("db", Compression::default()).await;
    for driver in ["db2", "localfs", "s3", "swift"] {
        let to = bench.config(driver, Compression::above_kbytes(1)).await;
        bench.migrate(&from, &to).await;
        let rows = bench.rows().await;
        for document in &forms.documents {
            let form = document.form(driver);
            let (url, compressed, digest, size) = &rows[&document.id];
            assert_eq!(*url, bench.url(&form.content_url), "{driver}");
            assert_eq!(*compressed, document.compressed.is_some(), "{driver} {url}");
            let stored = bench.stored(&forms, driver, document).await;
            assert_eq!(*digest, hex::encode(Md5::digest(&stored)), "{driver} {url}");
            assert_eq!(*size, stored.len() as i64, "{driver} {url}");
            match compressed {
                // Another zlib may make other bytes of it; the head tells the level.
                true => {
                    assert_eq!(stored[..2], [0x78, 0x5e]);
                    let mut plain = Vec::new();
                    let mut inflate = flate2::read::ZlibDecoder::new(&*stored);
                    std::io::Read::read_to_end(&mut inflate, &mut plain).expect("zlib");
                    assert_eq!(plain, decode(&document.plain_base64));
                }
                false => assert_eq!(stored, decode(&document.plain_base64), "{driver} {url}"),
            }
        }
        from = to;
    }
    let to = bench.config("db", Compression::above_kbytes(1)).await;
    bench.migrate(&from, &to).await;
    let rows = bench.rows().await;
    for document in &forms.documents {
        bench.expect_db_form(&forms, document).await;
        let url = document.db.content_url.clone();
        let row = (url, false, document.digest.clone(), document.size);
        assert_eq!(rows[&document.id], row, "never compressed in the db driver");
    }
}

/// What was put there by hand is read from each form: plain files, keys and rows, and blobs that
/// another zlib has compressed.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_there_by_hand_is_read() {
    let forms = forms();
    for driver in ["db2", "localfs", "s3", "swift"] {
        let bench = Bench::new().await;
        for document in &forms.documents {
            bench.put_by_hand(&forms, driver, document).await;
        }
        let from = bench.config(driver, Compression::default()).await;
        let verified = bench.program.run(&["verify", &from, "--json"]).await;
        let verified = verified.expect_code(0).json();
        assert_eq!(verified["ok"], forms.documents.len(), "{driver}");
        let to = bench.config("db", Compression::default()).await;
        bench.migrate(&from, &to).await;
        let mut rows = bench.rows().await;
        for document in &forms.documents {
            let row = rows.remove(&document.id).expect("a row");
            let url = document.db.content_url.clone();
            let expected = (url, false, document.digest.clone(), document.size);
            assert_eq!(row, expected, "{driver}");
            bench.expect_db_form(&forms, document).await;
        }
    }
}
