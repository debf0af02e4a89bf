//! Every direction on both databases: 5 drivers × 5 on PostgreSQL, and on SQLite those that need no
//! server. A driver moves to another place of its own; the two that keep documents in the database
//! have no other place.

use md5::{Digest as _, Md5};

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, Deployment, DocumentKey};
use crate::support::place::{Kind, Place};
use crate::support::postgres;
use crate::support::program::Program;
use crate::support::tables::{fresh_sqlite, on_either};

/// Compression begins above this many bytes.
const THRESHOLD: usize = 1024;
const SEEDED_AT: i32 = 1_600_000_000;

const ALL: [Kind; 5] = [Kind::Db, Kind::Db2, Kind::LocalFs, Kind::S3, Kind::Swift];
const WITHOUT_SERVER: [Kind; 3] = [Kind::Db, Kind::Db2, Kind::LocalFs];

#[derive(Clone, Copy, Debug)]
enum Base {
    Postgres,
    Sqlite,
}

impl Base {
    async fn deployment(self, program: &Program) -> Deployment {
        match self {
            Self::Postgres => Deployment::new(&postgres::fresh_database().await),
            Self::Sqlite => {
                let (pool, url) = fresh_sqlite(program.home()).await;
                Deployment::on_sqlite(&pool, &url)
            }
        }
    }
}

struct Document {
    id: &'static str,
    /// Where it is not id + `.json`.
    name: Option<&'static str>,
    /// A column that its row says nothing in.
    null: Option<&'static str>,
    content: Vec<u8>,
}

impl Document {
    fn key(&self) -> DocumentKey {
        let usual = format!("{}.json", self.id);
        DocumentKey {
            user: USER.into(),
            bucket: BUCKET.into(),
            id: self.id.into(),
            document: self.name.map_or(usual, str::to_owned),
        }
    }
}

const USER: &str = "admin";
const BUCKET: &str = "analysis_data";
/// Of a row without a URL: it is nowhere, and stays there.
const NOWHERE: &str = "no url";

/// By id.
fn documents() -> Vec<Document> {
    let plain = |id, content: &[u8]| Document {
        id,
        name: None,
        null: None,
        content: content.to_vec(),
    };
    let silent = |id, column| Document {
        null: Some(column),
        ..plain(id, &[b'x'; 2 * THRESHOLD])
    };
    vec![
        plain("a small", b"{\"document\": {}}"),
        plain("b empty", b""),
        plain("c binary", &[0, 255, 1, 254].repeat(700)),
        plain("d at the threshold", &[b'x'; THRESHOLD]),
        plain("e above the threshold", &[b'x'; THRESHOLD + 1]),
        plain("f text/sha256:ü", "naïve “漢字” ".repeat(9_000).as_bytes()),
        silent("g no digest", "digest"),
        silent("h no size", "size"),
        silent("i not said to be compressed", "is_compressed"),
        Document {
            name: Some("a name of its own"),
            ..plain("j other name", b"not what id + .json says")
        },
    ]
}

/// A row of `archive_metadata`.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    url: Option<String>,
    compressed: Option<bool>,
    digest: Option<String>,
    size: Option<i64>,
    metadata: Option<String>,
    created_at: Option<i32>,
    last_updated: Option<i32>,
    state: Option<String>,
}

/// A deployment and two places: `here` does not compress, `there` does.
struct Bench {
    name: String,
    program: Program,
    deployment: Deployment,
    here: Place,
    off: String,
    there: Place,
    on: String,
}

impl Bench {
    async fn new(base: Base, from: Kind, to: Kind) -> Self {
        let program = Program::new();
        let mut deployment = base.deployment(&program).await;
        let here = Place::fresh(from, &program, "here", "").await;
        let there = Place::fresh(to, &program, "there", "some/prefix-").await;
        for document in documents() {
            seed(&mut deployment, &here, &document).await;
        }
        let tables = deployment.tables();
        tables
            .execute("UPDATE archive_metadata SET document_metadata = 'kept'")
            .await;
        let nowhere = format!(
            r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName")
               VALUES ('{BUCKET}', '{NOWHERE}', '{USER}', '{NOWHERE}.json')"#
        );
        tables.execute(&nowhere).await;
        let off = here.spec(Compression::default()).await;
        let off = deployment.write_config(program.home(), "off", off);
        let on = there.spec(Compression::above_kbytes(1)).await;
        let on = deployment.write_config(program.home(), "on", on);
        Self {
            name: format!("{from:?} to {to:?} on {base:?}"),
            program,
            deployment,
            here,
            off: off.display().to_string(),
            there,
            on: on.display().to_string(),
        }
    }

    /// All of it moves; `deleted` sources are gone afterwards. The task's id.
    async fn migrate(&self, from: &str, to: &str, more: &[&str], deleted: usize) -> String {
        let args = [&["migrate", from, to, "--dontask", "--json"], more].concat();
        let done = self.program.run(&args).await.expect_code(0);
        let notice = "1 row without a content_url";
        assert!(done.stderr.contains(notice), "{}", done.stderr);
        let done = done.json();
        assert_eq!(
            done["committed"],
            documents().len(),
            "{}: {done}",
            self.name
        );
        assert_eq!(done["source_deleted"], deleted, "{}: {done}", self.name);
        done["task_id"].to_string()
    }

    /// A task that follows another takes all of it; the report.
    async fn follow(&self, command: &str, task: &str) -> serde_json::Value {
        let args = [command, task, "--dontask", "--json"];
        let done = self.program.run(&args).await.expect_code(0).json();
        assert_eq!(
            done["source_deleted"],
            documents().len(),
            "{}: {done}",
            self.name
        );
        done
    }

    async fn look(&self) -> Report {
        let checker = Checker::new(self.deployment.tables());
        let checker = self.here.seen_by(checker).await;
        let checker = self.there.seen_by(checker).await;
        let mut seen = checker.check(self.deployment.expected()).await;
        let rows = seen.wrong.len();
        seen.wrong.retain(|wrong| !wrong.contains(NOWHERE));
        assert_eq!(rows, seen.wrong.len() + 1, "the row without a URL is there");
        seen
    }

    async fn rows(&self) -> Vec<Row> {
        let rows: Result<Vec<Row>, _> = on_either!(self.deployment.tables(), pool => {
            sqlx::query_as(
                r#"SELECT "archiveId" AS id, "documentName" AS name, content_url AS url,
                          is_compressed AS compressed, digest, size,
                          document_metadata AS metadata, created_at, last_updated,
                          record_state_key AS state
                     FROM archive_metadata"#,
            )
            .fetch_all(pool)
            .await
        });
        let mut rows = rows.expect("the rows");
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows
    }

    /// Nothing is anywhere else, and the rows say so.
    async fn expect_all_at(&self, place: &Place, compressing: bool) {
        let count = documents().len();
        self.look().await.expect_all_at(place.scheme(), count);
        self.expect_rows_of(place, compressing).await;
    }

    /// The checker has read what is stored, and held it against digest and size.
    async fn expect_rows_of(&self, place: &Place, compressing: bool) {
        let mut rows = self.rows().await;
        let nowhere = rows.pop().expect("the row without a URL");
        assert_eq!((nowhere.id.as_str(), nowhere.url), (NOWHERE, None));
        assert_eq!(nowhere.last_updated, None, "{}: untouched", self.name);
        assert_eq!(rows.len(), documents().len(), "{}", self.name);
        for (row, document) in rows.iter().zip(documents()) {
            let told = format!("{}: {row:?}", self.name);
            let key = document.key();
            assert_eq!((&row.id, &row.name), (&key.id, &key.document), "{told}");
            let url = place.url((USER, BUCKET, document.id));
            assert_eq!(row.url, Some(url), "{told}");
            // Strictly above the threshold, and never in the db driver.
            let compressed =
                compressing && place.kind != Kind::Db && document.content.len() > THRESHOLD;
            assert_eq!(row.compressed, Some(compressed), "{told}");
            let size = row.size.expect("a size");
            let digest = row.digest.as_deref().expect("a digest");
            let plain = hex::encode(Md5::digest(&document.content));
            assert_eq!(digest != plain, compressed, "{told}");
            assert_eq!(size != document.content.len() as i64, compressed, "{told}");
            assert_eq!(row.metadata.as_deref(), Some("kept"), "{told}");
            assert_eq!(row.created_at, Some(SEEDED_AT), "{told}");
            assert!(row.last_updated > Some(SEEDED_AT), "{told}");
            assert_eq!(row.state.as_deref(), Some("active"), "{told}");
        }
    }

    /// Every document is at both places, and nothing else at either.
    async fn expect_kept(&self) {
        let seen = self.look().await;
        seen.expect_nothing_lost();
        let count = documents().len() as u64;
        assert_eq!(seen.right.get(self.there.scheme()), Some(&count));
        let mut doubled = seen.doubled.clone();
        doubled.sort();
        let sources = documents().into_iter();
        let mut sources: Vec<_> = sources
            .map(|document| self.here.url((USER, BUCKET, document.id)))
            .collect();
        sources.sort();
        assert_eq!(doubled, sources, "{}, kept", self.name);
        assert!(seen.strays.is_empty(), "{}: {:?}", self.name, seen.strays);
    }
}

async fn seed(deployment: &mut Deployment, place: &Place, document: &Document) {
    let key = (USER, BUCKET, document.id);
    place.seed(deployment, key, &document.content).await;
    let changed = match (document.name, document.null) {
        (Some(name), _) => format!(r#""documentName" = '{name}'"#),
        (None, Some(column)) => format!("{column} = NULL"),
        (None, None) => return,
    };
    let id = document.id;
    let update = format!(r#"UPDATE archive_metadata SET {changed} WHERE "archiveId" = '{id}'"#);
    deployment.tables().execute(&update).await;
    let seeded = DocumentKey {
        document: format!("{id}.json"),
        ..document.key()
    };
    deployment.expect(seeded, None);
    deployment.expect(document.key(), Some(document.content.clone()));
}

/// A task and its reverse leave every row as it was, to the last NULL and the last second.
async fn undo(bench: &Bench) {
    let (off, on) = (bench.off.as_str(), bench.on.as_str());
    let count = documents().len();
    let before = bench.rows().await;
    let task = bench.migrate(off, on, &[], count).await;
    let moved = bench.rows().await;
    let reverse = bench.follow("reverse", &task).await["task_id"].to_string();
    assert_eq!(bench.rows().await, before, "{}, reversed", bench.name);
    bench.look().await.expect_all_at(bench.here.scheme(), count);

    // A reverse is a task like any other.
    let again = bench.follow("reverse", &reverse).await["task_id"].to_string();
    assert_eq!(bench.rows().await, moved, "{}, reversed twice", bench.name);
    bench
        .look()
        .await
        .expect_all_at(bench.there.scheme(), count);
    bench.follow("reverse", &again).await;
    assert_eq!(
        bench.rows().await,
        before,
        "{}, reversed thrice",
        bench.name
    );

    // Where the sources were kept, no data moves.
    let task = bench.migrate(off, on, &["--nodelete"], 0).await;
    let done = bench.follow("reverse", &task).await;
    assert_eq!(done["copied_bytes"], 0, "{}: {done}", bench.name);
    assert_eq!(
        bench.rows().await,
        before,
        "{}, kept and reversed",
        bench.name
    );
    bench.look().await.expect_all_at(bench.here.scheme(), count);

    // What was kept, deleted later; and the way back even then.
    let task = bench.migrate(off, on, &["--nodelete"], 0).await;
    let moved = bench.rows().await;
    bench.follow("delete-source", &task).await;
    assert_eq!(bench.rows().await, moved, "{}, cleaned up", bench.name);
    bench
        .look()
        .await
        .expect_all_at(bench.there.scheme(), count);
    bench.follow("reverse", &task).await;
    assert_eq!(bench.rows().await, before, "{}, brought back", bench.name);
    bench.look().await.expect_all_at(bench.here.scheme(), count);
}

async fn move_and_back(base: Base, from: Kind, to: Kind) {
    let bench = Bench::new(base, from, to).await;
    let (off, on) = (bench.off.as_str(), bench.on.as_str());
    let count = documents().len();
    undo(&bench).await;

    // Compression off → on, and back, on → off: each row as it was.
    bench.migrate(off, on, &[], count).await;
    bench.expect_all_at(&bench.there, true).await;
    let task = bench.migrate(on, off, &[], count).await;
    bench.expect_all_at(&bench.here, false).await;
    // Compressed again from what is plain now: the same bytes.
    bench.follow("reverse", &task).await;
    bench.expect_all_at(&bench.there, true).await;
    bench.migrate(on, off, &[], count).await;
    bench.expect_all_at(&bench.here, false).await;

    // With the sources kept, and back again onto them.
    bench.migrate(off, on, &["--nodelete"], 0).await;
    bench.expect_kept().await;
    bench.expect_rows_of(&bench.there, true).await;
    bench.migrate(on, off, &[], count).await;
    bench.expect_all_at(&bench.here, false).await;
}

/// A database has one place for documents, so these have nowhere to go.
async fn is_refused(base: Base, kind: Kind) {
    let bench = Bench::new(base, kind, kind).await;
    let before = bench.rows().await;
    let args = ["migrate", &bench.off, &bench.on, "--dontask"];
    let refused = bench.program.run(&args).await.expect_code(2);
    assert!(refused.stderr.contains("same place"), "{}", refused.stderr);
    let count = documents().len();
    let seen = bench.look().await;
    seen.expect_all_at(bench.here.scheme(), count);
    assert_eq!(bench.rows().await, before, "{}", bench.name);
}

async fn every_direction(base: Base, from: Kind, kinds: &[Kind]) {
    for &to in kinds {
        match (from, to) {
            (Kind::Db, Kind::Db) | (Kind::Db2, Kind::Db2) => is_refused(base, from).await,
            _ => move_and_back(base, from, to).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_db_to_every_driver_and_back() {
    every_direction(Base::Postgres, Kind::Db, &ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_db2_to_every_driver_and_back() {
    every_direction(Base::Postgres, Kind::Db2, &ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_localfs_to_every_driver_and_back() {
    every_direction(Base::Postgres, Kind::LocalFs, &ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_s3_to_every_driver_and_back() {
    every_direction(Base::Postgres, Kind::S3, &ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_swift_to_every_driver_and_back() {
    every_direction(Base::Postgres, Kind::Swift, &ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_from_db_to_every_driver_and_back() {
    every_direction(Base::Sqlite, Kind::Db, &WITHOUT_SERVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_from_db2_to_every_driver_and_back() {
    every_direction(Base::Sqlite, Kind::Db2, &WITHOUT_SERVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_from_localfs_to_every_driver_and_back() {
    every_direction(Base::Sqlite, Kind::LocalFs, &WITHOUT_SERVER).await;
}
