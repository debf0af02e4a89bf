//! The independent checker: does every row lead to its document, and is nothing left over?
//!
//! Written against Anchore's stored forms alone. It shares no code with windlass, so that
//! one mistake can't hide in both.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use futures::StreamExt;
use md5::{Digest, Md5};

use super::deployment::{DocumentKey, Expected};
use super::s3_client::Client;
use super::swift;
use super::tables::{Tables, on_either};

const READS_AT_ONCE: usize = 16;

/// Where to look. Stores that are not named here are read by no row.
pub struct Checker {
    tables: Tables,
    s3: Option<Client>,
    /// (bucket, prefix): listed whole for strays.
    s3_places: Vec<(String, String)>,
    local_dirs: Vec<PathBuf>,
    swift: Option<swift::Client>,
    /// (container, prefix): listed whole for strays.
    swift_places: Vec<(String, String)>,
}

/// What was found. An empty `wrong`, `strays` and `doubled` is a clean bill.
#[derive(Debug, Default)]
pub struct Report {
    /// Rows that lead to a whole, right document, by the scheme of their URL.
    pub right: BTreeMap<String, u64>,
    /// Rows that do not, documents without a row, rows without a document.
    pub wrong: Vec<String>,
    /// Second copies of known documents that no row points at (sources that were kept, say).
    pub doubled: Vec<String>,
    /// Anything else in a store that no row points at.
    pub strays: Vec<String>,
}

struct MetadataRow {
    key: DocumentKey,
    url: Option<String>,
    compressed: bool,
    digest: Option<String>,
    size: Option<i64>,
}

impl Checker {
    /// `tables`: a pool of either database.
    pub fn new(tables: impl Into<Tables>) -> Self {
        Self {
            tables: tables.into(),
            s3: None,
            s3_places: Vec::new(),
            local_dirs: Vec::new(),
            swift: None,
            swift_places: Vec::new(),
        }
    }

    /// Reads `s3://` URLs through `client` and looks for strays in `bucket`. `prefix` as in the
    /// configuration, or empty.
    pub fn s3(mut self, client: Client, bucket: &str, prefix: &str) -> Self {
        self.s3 = Some(client);
        self.s3_places.push((bucket.to_owned(), prefix.to_owned()));
        self
    }

    pub fn local_dir(mut self, dir: &Path) -> Self {
        self.local_dirs.push(dir.to_owned());
        self
    }

    /// Reads `swift://` URLs through `client` and looks for strays in `container`.
    pub fn swift(mut self, client: swift::Client, container: &str, prefix: &str) -> Self {
        self.swift = Some(client);
        self.swift_places
            .push((container.to_owned(), prefix.to_owned()));
        self
    }

    pub async fn check(&self, expected: &Expected) -> Report {
        let rows = self.metadata_rows().await;
        let mut report = Report::default();
        let reads = rows.iter().map(|row| async move {
            let found = match expected.get(&row.key) {
                Some(plain) => self.check_row(row, plain).await,
                None => Err("nobody stored such a document".to_owned()),
            };
            (row, found)
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        while let Some((row, found)) = reads.next().await {
            match found {
                Ok(scheme) => *report.right.entry(scheme).or_default() += 1,
                Err(why) => report
                    .wrong
                    .push(format!("{:?} at {:?}: {why}", row.key, row.url)),
            }
        }
        let present: HashSet<&DocumentKey> = rows.iter().map(|row| &row.key).collect();
        let lost = expected.keys().filter(|key| !present.contains(key));
        report
            .wrong
            .extend(lost.map(|key| format!("{key:?}: its row is gone")));

        let pointed_at: HashSet<&str> = rows.iter().filter_map(|row| row.url.as_deref()).collect();
        let known = self.possible_places(expected);
        for url in self.everything_stored().await {
            if pointed_at.contains(url.as_str()) {
                continue;
            }
            if known.contains(&url) {
                report.doubled.push(url);
            } else {
                report.strays.push(url);
            }
        }
        report
    }

    async fn metadata_rows(&self) -> Vec<MetadataRow> {
        type Raw = (
            String,
            String,
            String,
            String,
            Option<String>,
            Option<bool>,
            Option<String>,
            Option<i64>,
        );
        let rows: Result<Vec<Raw>, _> = on_either!(&self.tables, pool => {
            sqlx::query_as(
                r#"SELECT "userId", bucket, "archiveId", "documentName", content_url,
                          is_compressed, digest, size FROM archive_metadata"#,
            )
            .fetch_all(pool)
            .await
        });
        let rows = rows.expect("archive_metadata is readable").into_iter();
        rows.map(
            |(user, bucket, id, document, url, compressed, digest, size)| MetadataRow {
                key: DocumentKey {
                    user,
                    bucket,
                    id,
                    document,
                },
                url,
                compressed: compressed.unwrap_or(false),
                digest,
                size,
            },
        )
        .collect()
    }

    /// The scheme, where all is well; else what is wrong.
    async fn check_row(&self, row: &MetadataRow, plain: &[u8]) -> Result<String, String> {
        let url = row.url.as_deref().ok_or("no content_url")?;
        let (scheme, place) = url.split_once("://").ok_or("not a URL")?;
        let stored = match scheme {
            "db" => self.read_db(place).await?,
            "db2" => self.read_db2(place).await?,
            "swift" => {
                let client = self
                    .swift
                    .as_ref()
                    .ok_or("a swift URL, and no client to read it")?;
                let (container, name) = place.split_once('/').ok_or("no name in the URL")?;
                client.try_get(container, name).await?.ok_or("missing")?
            }
            "file" => fs::read(place).map_err(|error| error.to_string())?,
            "s3" => {
                let client = self
                    .s3
                    .as_ref()
                    .ok_or("an s3 URL, and no client to read it")?;
                let (bucket, key) = place.split_once('/').ok_or("no key in the URL")?;
                client.try_get(bucket, key).await?.ok_or("missing")?
            }
            _ => return Err("a scheme that this checker does not know".to_owned()),
        };
        if row.size.is_some_and(|size| size != stored.len() as i64) {
            return Err(format!(
                "size is {:?}, {} bytes are stored",
                row.size,
                stored.len()
            ));
        }
        let digest = hex::encode(Md5::digest(&stored));
        if row
            .digest
            .as_ref()
            .is_some_and(|recorded| *recorded != digest)
        {
            return Err(format!(
                "digest is {:?}, that of the bytes {digest}",
                row.digest
            ));
        }
        let content = if row.compressed {
            inflate(&stored)?
        } else {
            stored
        };
        if content != plain {
            return Err(format!(
                "{} bytes that are not the document's",
                content.len()
            ));
        }
        Ok(scheme.to_owned())
    }

    async fn read_db(&self, place: &str) -> Result<Vec<u8>, String> {
        let mut segments = place.splitn(3, '/');
        let mut next = || {
            segments
                .next()
                .ok_or("fewer than three segments in the URL")
        };
        let (user, bucket, id) = (next()?, next()?, next()?);
        // Anchore looks at no name, and takes the first row: any that is not the document's own is
        // as good as wrong, unless all are the same.
        type Raw = (String, Option<String>, Option<bool>);
        let rows: Result<Vec<Raw>, _> = on_either!(&self.tables, pool => {
            sqlx::query_as(
                r#"SELECT "documentName", jsondata, b64_encoded FROM archive_document
                   WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3"#,
            )
            .bind(user)
            .bind(bucket)
            .bind(id)
            .fetch_all(pool)
            .await
        });
        let mut found = Vec::new();
        for (name, text, encoded) in rows.map_err(|error| error.to_string())? {
            let text = text.unwrap_or_default();
            let bytes = match encoded {
                Some(true) => base64::engine::general_purpose::STANDARD
                    .decode(text.lines().collect::<String>())
                    .map_err(|error| error.to_string())?,
                _ => text.into_bytes(),
            };
            if name == format!("{id}.json") {
                return Ok(bytes);
            }
            found.push(bytes);
        }
        found.dedup();
        match found.len() {
            0 => Err("missing".to_owned()),
            1 => Ok(found.remove(0)),
            several => Err(format!("{several} rows that differ")),
        }
    }

    async fn read_db2(&self, place: &str) -> Result<Vec<u8>, String> {
        let parts: Vec<&str> = place.splitn(3, '/').collect();
        let [user, bucket, key] = parts[..] else {
            return Err("fewer than three segments in the URL".to_owned());
        };
        let row: Result<Option<(Option<Vec<u8>>,)>, _> = on_either!(&self.tables, pool => {
            sqlx::query_as(
                r#"SELECT content FROM object_storage
                   WHERE "userId" = $1 AND bucket = $2 AND key = $3 AND version = ''"#,
            )
            .bind(user)
            .bind(bucket)
            .bind(key)
            .fetch_optional(pool)
            .await
        });
        let (content,) = row.map_err(|error| error.to_string())?.ok_or("missing")?;
        Ok(content.unwrap_or_default())
    }

    /// Each URL at which some driver in view would keep one of the documents.
    fn possible_places(&self, expected: &Expected) -> HashSet<String> {
        let mut places = HashSet::new();
        for DocumentKey {
            user, bucket, id, ..
        } in expected.keys()
        {
            places.insert(format!("db://{user}/{bucket}/{id}"));
            places.insert(format!("db2://{user}/{bucket}/{id}"));
            for (container, prefix) in &self.swift_places {
                places.insert(format!("swift://{container}/{prefix}{user}/{bucket}/{id}"));
            }
            for (s3_bucket, prefix) in &self.s3_places {
                places.insert(format!("s3://{s3_bucket}/{prefix}{user}/{bucket}/{id}"));
            }
            let (user, id) = (hex::encode(Md5::digest(user)), hex::encode(Md5::digest(id)));
            for dir in &self.local_dirs {
                let dir = dir.display();
                places.insert(format!(
                    "file://{dir}/{user}/{bucket}/{}/{id}.json",
                    &id[..2]
                ));
            }
        }
        places
    }

    /// The URLs of all that lies in the stores in view.
    async fn everything_stored(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for select in [
            r#"SELECT 'db://' || "userId" || '/' || bucket || '/' || "archiveId"
               FROM archive_document"#,
            r#"SELECT 'db2://' || "userId" || '/' || bucket || '/' || key FROM object_storage"#,
        ] {
            let rows: Result<Vec<String>, _> = on_either!(&self.tables, pool => {
                sqlx::query_scalar(select).fetch_all(pool).await
            });
            urls.extend(rows.expect("Anchore's tables are readable"));
        }
        for (container, _) in &self.swift_places {
            let client = self.swift.as_ref().expect("a place comes with its client");
            let names = client.list(container).await;
            let names = names.iter();
            urls.extend(names.map(|name| format!("swift://{container}/{name}")));
        }
        let mut buckets: Vec<&str> = self
            .s3_places
            .iter()
            .map(|(bucket, _)| bucket.as_str())
            .collect();
        buckets.sort_unstable();
        buckets.dedup();
        for bucket in buckets {
            let client = self.s3.as_ref().expect("a place comes with its client");
            let listed = client.list(bucket, "").await;
            urls.extend(
                listed
                    .iter()
                    .map(|entry| format!("s3://{bucket}/{}", entry.key)),
            );
        }
        for dir in &self.local_dirs {
            files_below(dir, &mut urls);
        }
        urls
    }
}

impl Report {
    pub fn total_right(&self) -> u64 {
        self.right.values().sum()
    }

    /// Every row leads to its document (what may lie about beside it is not looked at).
    #[track_caller]
    pub fn expect_nothing_lost(&self) -> &Self {
        assert!(
            self.wrong.is_empty(),
            "{} wrong: {:#?}",
            self.wrong.len(),
            first(&self.wrong)
        );
        self
    }

    /// Nothing lost, nothing doubled, nothing left over, and all of it at this scheme.
    #[track_caller]
    pub fn expect_all_at(&self, scheme: &str, count: usize) -> &Self {
        self.expect_nothing_lost();
        let wanted: BTreeMap<String, u64> = [(scheme.to_owned(), count as u64)].into();
        assert_eq!(self.right, wanted);
        assert!(
            self.doubled.is_empty(),
            "doubled: {:#?}",
            first(&self.doubled)
        );
        assert!(self.strays.is_empty(), "strays: {:#?}", first(&self.strays));
        self
    }
}

fn first(of: &[String]) -> &[String] {
    &of[..of.len().min(10)]
}

fn inflate(stored: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(stored);
    decoder
        .read_to_end(&mut plain)
        .map_err(|error| format!("not zlib: {error}"))?;
    // Bytes behind the stream's end would be lost to the next reader.
    if decoder.total_in() != stored.len() as u64 {
        return Err("bytes behind the end of the zlib stream".to_owned());
    }
    Ok(plain)
}

fn files_below(dir: &Path, urls: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.path().is_dir() {
            files_below(&entry.path(), urls);
        } else {
            urls.push(format!("file://{}", entry.path().display()));
        }
    }
}
