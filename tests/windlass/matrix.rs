//! Every direction, on real servers: 5 drivers × 5, where a driver moves to another place of its
//! own and the two that keep documents in the database have no other place.

use std::path::PathBuf;

use md5::{Digest as _, Md5};
use sqlx::Row as _;

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec, SwiftSpec};
use crate::support::program::Program;
use crate::support::{postgres, s3, swift};

/// Compression begins above this many bytes.
const THRESHOLD: usize = 1024;
const SEEDED_AT: i32 = 1_600_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Db,
    Db2,
    LocalFs,
    S3,
    Swift,
}

const KINDS: [Kind; 5] = [Kind::Db, Kind::Db2, Kind::LocalFs, Kind::S3, Kind::Swift];

/// A store that documents are in, or go to.
struct Place {
    kind: Kind,
    /// Directory, bucket or container.
    name: String,
    prefix: &'static str,
}

impl Place {
    async fn fresh(kind: Kind, program: &Program, name: &str, prefix: &'static str) -> Self {
        let name = match kind {
            Kind::Db | Kind::Db2 => String::new(),
            Kind::LocalFs => {
                let dir = program.home().join(name);
                std::fs::create_dir(&dir).expect("a directory");
                dir.display().to_string()
            }
            Kind::S3 => s3::fresh_bucket().await,
            Kind::Swift => swift::fresh_container().await,
        };
        Self { kind, name, prefix }
    }

    async fn spec(&self, compression: Compression) -> StoreSpec {
        let prefix = Some(self.prefix.to_owned());
        match self.kind {
            Kind::Db => StoreSpec::Db { compression },
            Kind::Db2 => StoreSpec::Db2 { compression },
            Kind::LocalFs => StoreSpec::LocalFs {
                dir: PathBuf::from(&self.name),
                compression,
            },
            Kind::S3 => {
                let server = s3::server().await;
                StoreSpec::S3(S3Spec {
                    url: server.url.clone(),
                    access_key: server.access_key.clone(),
                    secret_key: server.secret_key.clone(),
                    bucket: self.name.clone(),
                    prefix,
                    compression,
                    ..S3Spec::default()
                })
            }
            Kind::Swift => StoreSpec::Swift(SwiftSpec {
                options: swift::tempauth_options(swift::USER).await,
                container: self.name.clone(),
                prefix,
                compression,
                ..SwiftSpec::default()
            }),
        }
    }

    /// As ANCHORE.md has it, and not as windlass makes it.
    fn url(&self, (user, bucket, id): (&str, &str, &str)) -> String {
        let (name, prefix) = (&self.name, self.prefix);
        match self.kind {
            Kind::Db => format!("db://{user}/{bucket}/{id}"),
            Kind::Db2 => format!("db2://{user}/{bucket}/{id}"),
            Kind::LocalFs => {
                let (user, id) = (hex::encode(Md5::digest(user)), hex::encode(Md5::digest(id)));
                format!("file://{name}/{user}/{bucket}/{}/{id}.json", &id[..2])
            }
            Kind::S3 => format!("s3://{name}/{prefix}{user}/{bucket}/{id}"),
            Kind::Swift => format!("swift://{name}/{prefix}{user}/{bucket}/{id}"),
        }
    }

    fn scheme(&self) -> &'static str {
        match self.kind {
            Kind::Db => "db",
            Kind::Db2 => "db2",
            Kind::LocalFs => "file",
            Kind::S3 => "s3",
            Kind::Swift => "swift",
        }
    }

    async fn seed(
        &self,
        deployment: &mut Deployment,
        key @ (user, bucket, id): (&str, &str, &str),
        content: &[u8],
    ) {
        let at = (self.name.as_str(), self.prefix);
        match self.kind {
            Kind::Db => deployment.add_db_document(user, bucket, id, content).await,
            Kind::Db2 => deployment.add_db2_document(user, bucket, id, content).await,
            Kind::LocalFs => {
                let dir = PathBuf::from(&self.name);
                deployment.add_localfs_document(&dir, key, content).await;
            }
            Kind::S3 => {
                let client = s3::server().await.client();
                deployment.add_s3_document(&client, at, key, content).await;
            }
            Kind::Swift => {
                let client = swift::server().await.client().await;
                deployment
                    .add_swift_document(&client, at, key, content)
                    .await;
            }
        }
    }

    async fn seen_by(&self, checker: Checker) -> Checker {
        match self.kind {
            Kind::Db | Kind::Db2 => checker,
            Kind::LocalFs => checker.local_dir(&PathBuf::from(&self.name)),
            Kind::S3 => checker.s3(s3::server().await.client(), &self.name, self.prefix),
            Kind::Swift => {
                let client = swift::server().await.client().await;
                checker.swift(client, &self.name, self.prefix)
            }
        }
    }
}

/// A row of `archive_metadata`, but for its `last_updated`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: String,
    url: String,
    compressed: bool,
    digest: String,
    size: i64,
    created_at: i32,
    state: Option<String>,
}

async fn rows(database: &postgres::Database) -> (Vec<Row>, Vec<i32>) {
    let rows = sqlx::query(
        r#"SELECT "archiveId", content_url, is_compressed, digest, size, created_at,
                  record_state_key, last_updated
             FROM archive_metadata ORDER BY "archiveId" COLLATE "C""#,
    );
    let rows = rows.fetch_all(&database.pool).await.expect("the rows");
    let read = rows.iter().map(|row| {
        let read = Row {
            id: row.get(0),
            url: row.get(1),
            compressed: row.get(2),
            digest: row.get(3),
            size: row.get(4),
            created_at: row.get(5),
            state: row.get(6),
        };
        (read, row.get::<i32, _>(7))
    });
    read.unzip()
}

fn documents() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a small", b"{\"document\": {}}".to_vec()),
        ("b empty", Vec::new()),
        ("c binary", [0, 255, 1, 254].repeat(700)),
        ("d at the threshold", vec![b'x'; THRESHOLD]),
        ("e above the threshold", vec![b'x'; THRESHOLD + 1]),
        (
            "f text/sha256:ü",
            "naïve “漢字” ".repeat(9_000).into_bytes(),
        ),
    ]
}

async fn move_and_back(from: Kind, to: Kind) {
    let name = format!("{from:?} to {to:?}");
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    let program = Program::new();
    let here = Place::fresh(from, &program, "here", "").await;
    let there = Place::fresh(to, &program, "there", "some/prefix-").await;
    let key = |id| ("admin", "analysis_data", id);
    for (id, content) in documents() {
        here.seed(&mut deployment, key(id), &content).await;
    }
    let home = program.home();
    let off = here.spec(Compression::default()).await;
    let on = there.spec(Compression::above_kbytes(1)).await;
    let off = deployment
        .write_config(home, "off", off)
        .display()
        .to_string();
    let on = deployment
        .write_config(home, "on", on)
        .display()
        .to_string();
    let look = async || -> Report {
        let checker = here.seen_by(Checker::new(&database.pool)).await;
        let checker = there.seen_by(checker).await;
        checker.check(deployment.expected()).await
    };
    let count = documents().len();
    let (before, _) = rows(&database).await;

    // Compression off → on.
    let done = program
        .run(&["migrate", &off, &on, "--dontask", "--json"])
        .await;
    let done = done.expect_code(0).json();
    assert_eq!(done["committed"], count, "{name}: {done}");
    assert_eq!(done["source_deleted"], count, "{name}: {done}");
    look().await.expect_all_at(there.scheme(), count);
    let (moved, updated) = rows(&database).await;
    for ((row, was), (id, content)) in moved.iter().zip(&before).zip(documents()) {
        assert_eq!(row.url, there.url(key(id)), "{name}");
        // Strictly above the threshold, and never in the db driver.
        let compressed = content.len() > THRESHOLD && to != Kind::Db;
        assert_eq!(row.compressed, compressed, "{name}: {id}");
        assert_eq!(row.created_at, SEEDED_AT, "{name}: {id}");
        assert_eq!(row.state, was.state, "{name}: {id}");
    }
    assert!(
        updated.iter().all(|at| *at > SEEDED_AT),
        "{name}: {updated:?}"
    );

    // Back, on → off: each row as it was.
    let done = program
        .run(&["migrate", &on, &off, "--dontask", "--json"])
        .await;
    let done = done.expect_code(0).json();
    assert_eq!(done["source_deleted"], count, "{name}, back: {done}");
    look().await.expect_all_at(here.scheme(), count);
    assert_eq!(rows(&database).await.0, before, "{name}, back");

    // And with the sources kept.
    let kept = ["migrate", &off, &on, "--dontask", "--nodelete", "--json"];
    let done = program.run(&kept).await.expect_code(0).json();
    assert_eq!(done["committed"], count, "{name}, kept: {done}");
    assert_eq!(done["source_deleted"], 0, "{name}, kept: {done}");
    let seen = look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right.get(there.scheme()), Some(&(count as u64)));
    let mut doubled = seen.doubled.clone();
    doubled.sort();
    let mut sources: Vec<_> = documents()
        .iter()
        .map(|(id, _)| here.url(key(id)))
        .collect();
    sources.sort();
    assert_eq!(doubled, sources, "{name}, kept");
    assert!(seen.strays.is_empty(), "{name}, kept: {:?}", seen.strays);
}

/// A database has one place for documents, so these have nowhere to go.
async fn is_refused(kind: Kind) {
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    let program = Program::new();
    let place = Place::fresh(kind, &program, "here", "").await;
    place
        .seed(&mut deployment, ("admin", "b", "i"), b"stays")
        .await;
    let off = place.spec(Compression::default()).await;
    let on = place.spec(Compression::above_kbytes(0)).await;
    let off = deployment.write_config(program.home(), "off", off);
    let on = deployment.write_config(program.home(), "on", on);
    let (off, on) = (off.display().to_string(), on.display().to_string());
    let refused = program.run(&["migrate", &off, &on, "--dontask"]).await;
    let refused = refused.expect_code(2);
    assert!(refused.stderr.contains("same place"), "{}", refused.stderr);
    let checker = place.seen_by(Checker::new(&database.pool)).await;
    let seen = checker.check(deployment.expected()).await;
    seen.expect_all_at(place.scheme(), 1);
}

async fn every_direction_from(from: Kind) {
    for to in KINDS {
        match (from, to) {
            (Kind::Db, Kind::Db) | (Kind::Db2, Kind::Db2) => is_refused(from).await,
            _ => move_and_back(from, to).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_db_to_every_driver_and_back() {
    every_direction_from(Kind::Db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_db2_to_every_driver_and_back() {
    every_direction_from(Kind::Db2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_localfs_to_every_driver_and_back() {
    every_direction_from(Kind::LocalFs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_s3_to_every_driver_and_back() {
    every_direction_from(Kind::S3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_swift_to_every_driver_and_back() {
    every_direction_from(Kind::Swift).await;
}
