//! Keys that somebody chose with care: they lead out of no directory, into no statement, into no
//! header and to no other object's document. What a store can't keep apart is refused by name, and
//! stays where it was.

use std::fs;
use std::path::Path;

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, Deployment, StoreSpec};
use crate::support::place::{Kind, Place};
use crate::support::postgres;
use crate::support::program::Program;

const COMPRESSION: Compression = Compression {
    enabled: false,
    min_size_kbytes: 100,
};

/// What a user, a bucket or an id can be, where nobody minds.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "..",
        ".",
        "../../../../../../tmp/windlass-was-here",
        "/etc/passwd",
        "a/b",
        "a//b",
        "a/./b",
        "a/../b",
        "a/",
        "a\\..\\b",
        "%2e%2e%2fup",
        "%00",
        "%0d%0aX-Injected: 1",
        "a\r\nX-Injected: 1\r\n\r\nDELETE /all",
        "a\nb",
        "a\tb",
        " a ",
        "-rf",
        "--force",
        "x'; DROP TABLE archive_metadata; --",
        "x\"; DELETE FROM archive_document; --",
        "x') OR 1=1 --",
        "$1",
        "x\\'; DROP TABLE windlass_objects; --",
        "x\\\\'; DROP TABLE windlass_objects; --",
        "\\",
        "%s%n",
        "_",
        "*",
        "a?versionId=1",
        "a#b",
        "a&b=c",
        "<Key>a</Key>",
        "&amp;",
        "~",
        "$HOME",
        "`id`",
        // One letter, composed and not; and one that turns the rest around.
        "\u{e9}",
        "e\u{301}",
        "a\u{202e}b",
        "\u{feff}a",
        "A",
        "\u{1f4a5}",
    ]
    .map(str::to_owned)
    .into();
    texts.push("n".repeat(254));
    texts.push("m".repeat(300));
    texts.push("é".repeat(330));
    texts
}

struct Jail {
    database: postgres::Database,
    deployment: Deployment,
    program: Program,
    place: Place,
    db: String,
    there: String,
}

async fn jail(kind: Kind) -> Jail {
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    let program = Program::new();
    fs::create_dir(program.home().join("jail")).expect("a directory");
    let place = Place::fresh(kind, &program, "jail/store", "").await;
    let mut documents = Vec::new();
    for (number, text) in hostile().into_iter().enumerate() {
        let content = |what: &str| format!("{{\"{what}\": {number}}}").into_bytes();
        let plain = number.to_string();
        let (admin, b) = ("admin".to_owned(), "b".to_owned());
        let is_split = text.contains('/');
        documents.push((admin.clone(), b.clone(), text.clone(), content("id")));
        // `db://` could not tell where a user or a bucket with a slash ends, nor could Anchore.
        if !is_split {
            documents.push((admin, text.clone(), plain.clone(), content("bucket")));
            documents.push((text, b, plain, content("user")));
        }
    }
    let documents: Vec<_> = documents
        .iter()
        .map(|(user, bucket, id, content)| {
            (user.as_str(), bucket.as_str(), id.clone(), content.clone())
        })
        .collect();
    deployment.add_db_documents(&documents).await;
    let write = |name: &str, store| {
        let path = deployment.write_config(program.home(), name, store);
        path.display().to_string()
    };
    let compression = COMPRESSION;
    let db = write("db", StoreSpec::Db { compression });
    let there = write("there", place.spec(compression).await);
    Jail {
        database,
        deployment,
        program,
        place,
        db,
        there,
    }
}

impl Jail {
    async fn look(&self) -> Report {
        let checker = Checker::new(&self.database.pool);
        let checker = self.place.seen_by(checker).await;
        checker.check(self.deployment.expected()).await
    }

    async fn migrate(&self, from: &str, to: &str) -> serde_json::Value {
        // Few at once: then their keys are written into statements, and not bound to them.
        let few = ["--concurrency", "4"];
        let args = [&["migrate", from, to, "--dontask", "--json"][..], &few].concat();
        let ended = self.program.run(&args).await;
        assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
        ended.json()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn expect_kept_apart(kind: Kind, at_least: u64) {
    expect_kept_apart_in(jail(kind).await, kind, at_least).await;
}

async fn expect_kept_apart_in(jail: Jail, kind: Kind, at_least: u64) {
    let all = jail.deployment.expected().len() as u64;
    let report = jail.migrate(&jail.db, &jail.there).await;
    let (moved, failed) = (report["committed"].as_u64(), report["failed"].as_u64());
    let (moved, failed) = (moved.expect("a count"), failed.expect("a count"));
    assert_eq!((moved + failed, &report["remaining"]), (all, &0.into()));
    assert!(
        moved >= at_least,
        "{kind:?}: only {moved} of {all}: {report}"
    );
    let told = report["failures"].as_array().expect("a list");
    assert_eq!(told.len() as u64, failed);
    for failure in told {
        assert_eq!(failure["class"], "permanent", "{failure}");
        assert!(!failure["object"].as_str().expect("a key").is_empty());
    }
    let seen = jail.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right.get(jail.place.scheme()), Some(&moved));
    assert!(
        seen.strays.is_empty() && seen.doubled.is_empty(),
        "{seen:?}"
    );
    assert_eq!(
        names(&jail.program.home().join("jail")).len(),
        usize::from(kind == Kind::LocalFs)
    );
    assert!(!Path::new("/tmp/windlass-was-here").exists());
    // The auditor's side of it: a journal that holds, and a page that is one.
    jail.program.expect_journal_verified("1").await;
    // And all the way back.
    let back = jail.migrate(&jail.there, &jail.db).await;
    assert_eq!(back["committed"], moved, "{back}");
    let seen = jail.look().await;
    seen.expect_all_at("db", all as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_directory_hostile_keys_stay_inside_and_apart() {
    expect_kept_apart(Kind::LocalFs, 95).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_s3_hostile_keys_stay_apart() {
    expect_kept_apart(Kind::S3, 90).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_swift_hostile_keys_stay_apart() {
    expect_kept_apart(Kind::Swift, 90).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_database_hostile_keys_stay_text() {
    expect_kept_apart(Kind::Db2, 90).await;
}

/// As all servers once had it, and some still have: there a backslash in a text may mean something else.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_keys_stay_text_whatever_a_backslash_means() {
    let jail = jail(Kind::LocalFs).await;
    for setting in ["standard_conforming_strings = off", "backslash_quote = on"] {
        let name = &jail.database.name;
        let set = format!("ALTER DATABASE {name} SET {setting}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set))
            .execute(&jail.database.pool)
            .await
            .expect("set");
    }
    expect_kept_apart_in(jail, Kind::LocalFs, 95).await;
}
