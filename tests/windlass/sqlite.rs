//! The main job on SQLite, the embedded default: between all drivers that need no server.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use md5::{Digest as _, Md5};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::support::config_file::{Compression, StoreSpec, config};
use crate::support::deployment::{DocumentKey, stored_text};
use crate::support::journal_checker::check_journal;
use crate::support::program::Program;
use crate::support::random::Random;

const SCHEMA: &str = include_str!("../../fixtures/anchore/schema.sqlite.sql");

#[tokio::test(flavor = "multi_thread")]
async fn documents_go_round_through_kills() {
    let world = World::new(240).await;
    for (from, to, scheme) in [
        ("db", "localfs", "file"),
        ("localfs", "db2", "db2"),
        ("db2", "db", "db"),
    ] {
        world.migrate_through_kills(from, to).await;
        let task = world.task().await.to_string();
        world.expect_all_at(scheme).await;
        assert_eq!(world.stored_at(from).await, 0, "{from} is empty again");
        let journal = world.journal(&task).await;
        journal.expect_sound();
        assert_eq!(journal.count("source-deleted"), 240);
        assert!(journal.count("resumed") >= 3);
        let again = world.program.run(&["resume", &task]).await.expect_code(0);
        assert!(again.stdout.contains("is complete"), "{}", again.stdout);
    }
    let listed = world.program.run(&["list-migrations", "--json"]).await;
    let listed = listed.expect_code(0).json();
    let listed = listed["migrations"].as_array().expect("a list");
    assert_eq!(listed.len(), 3);
    for migration in listed {
        assert_eq!(migration["state"], "complete");
        assert_eq!(migration["archive_documents_migrated"], 240);
        assert_eq!(migration["resumable"], serde_json::Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodelete_leaves_both_copies() {
    let world = World::new(40).await;
    let done = world.migrate("db", "localfs", &["--nodelete"]).await;
    let done = done.expect_code(0).stdout;
    assert!(done.contains("0 deleted, 40 kept"), "{done}");
    world.expect_all_at("file").await;
    assert_eq!(world.stored_at("db").await, 40);
    assert_eq!(world.journal("1").await.count("source-kept"), 40);
    let status = world.program.run(&["status", "1", "--json"]).await;
    let status = status.expect_code(0).json();
    assert_eq!(status["source_kept"], 40);
    assert_eq!(status["state"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_alone() {
    let world = World::new(30).await;
    let key = world.expected.keys().next().expect("a document").clone();
    world.set_text(&key, "damaged").await;
    let failed = world.migrate("db", "localfs", &[]).await.expect_code(3);
    assert!(
        failed
            .stdout
            .contains("planned 30 = committed 29 + skipped 0 + failed 1"),
        "{}",
        failed.stdout
    );
    assert_eq!(world.stored_at("db").await, 1, "its source is kept");
    let listed = world.program.run(&["list-migrations"]).await.expect_code(0);
    assert!(
        listed
            .stdout
            .contains("task 1 has failed objects: windlass resume 1"),
        "{}",
        listed.stdout
    );
    let (text, _) = stored_text(&world.expected[&key]);
    world.set_text(&key, &text).await;
    world.program.run(&["resume", "1"]).await.expect_code(0);
    world.expect_all_at("file").await;
    assert_eq!(world.journal("1").await.count("copied"), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_is_at_work() {
    let world = World::new(300).await;
    let mut first = world.program.spawn(&world.args("db", "localfs", &SLOWLY));
    while world.moved().await < 20 {
        assert!(!first.has_ended(), "{}", first.stderr());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    first.freeze();
    let holder = format!("held by windlass, process {}", first.pid());
    for args in [
        world.args("db", "localfs", &[]),
        vec!["resume".into(), "1".into()],
    ] {
        let second = world.program.run(&args).await.expect_code(2);
        assert!(second.stderr.contains(&holder), "{}", second.stderr);
        assert_eq!(second.stderr.trim_end().lines().count(), 1);
    }
    let listed = world.program.run(&["list-migrations"]).await.expect_code(0);
    assert!(!listed.stdout.contains("resume"), "{}", listed.stdout);
    first.go_on();
    first.wait().await.expect_code(0);
    world.expect_all_at("file").await;
    let tasks: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks")
        .fetch_one(&world.pool)
        .await
        .expect("Anchore's table");
    assert_eq!(tasks, 1, "the refused ones leave no task");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_task_shows_as_resumable_at_once() {
    let world = World::new(200).await;
    world.kill_when_moved("db", "localfs", 30).await;
    let listed = world.program.run(&["list-migrations"]).await.expect_code(0);
    assert!(
        listed.stdout.contains("is no more: windlass resume 1"),
        "{}",
        listed.stdout
    );
    let signs_of_life: bool = sqlx::query_scalar("SELECT last_updated > started_at FROM tasks")
        .fetch_one(&world.pool)
        .await
        .expect("Anchore's table");
    assert!(signs_of_life, "commits show in Anchore's own row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_url_is_found_again_from_anywhere() {
    let world = World::new(20).await;
    let url = "sqlite:///anchore.db";
    // The program's working directory is where the database lies.
    let mut args = world.args("db", "localfs", &["--db-connect", url]);
    let done = world.program.run(&args).await.expect_code(0);
    assert!(done.stdout.contains("task 1 complete"), "{}", done.stdout);
    for args in [
        &["list-migrations", "--db-connect", url][..],
        &["status", "1"],
        &["resume", "1"],
    ] {
        world.program.run(args).await.expect_code(0);
    }
    args[4] = "sqlite:///nowhere.db".into();
    let missing = world.program.run(&args).await.expect_code(2);
    assert!(missing.stderr.contains("nowhere.db"), "{}", missing.stderr);
    assert!(!world.program.home().join("nowhere.db").exists());
}

const SLOWLY: [&str; 2] = ["--concurrency", "1"];

/// A deployment on SQLite, and a configuration for each driver.
struct World {
    program: Program,
    pool: SqlitePool,
    expected: BTreeMap<DocumentKey, Vec<u8>>,
}

impl World {
    async fn new(documents: usize) -> Self {
        let program = Program::new();
        let home = program.home();
        let path = home.join("anchore.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePool::connect_with(options).await.expect("SQLite");
        sqlx::raw_sql(SCHEMA).execute(&pool).await.expect("tables");
        let url = format!("sqlite:///{}", path.display());
        let compression = Compression::default();
        let db = config(&url, &StoreSpec::Db { compression }, None);
        let local = StoreSpec::LocalFs {
            dir: home.join("store"),
            compression: Compression::above_kbytes(1),
        };
        for (name, text) in [
            ("db2", db.replace("name: db\n", "name: db2\n")),
            ("db", db),
            ("localfs", config(&url, &local, None)),
        ] {
            std::fs::write(home.join(format!("{name}.yaml")), text).expect("a configuration");
        }
        let mut world = Self {
            program,
            pool,
            expected: BTreeMap::new(),
        };
        world.seed(documents).await;
        world
    }

    async fn seed(&mut self, documents: usize) {
        let mut random = Random::seeded(7);
        let mut transaction = self.pool.begin().await.expect("a transaction");
        for number in 0..documents {
            let size = random.within(0..6_000);
            let content = match number % 8 {
                0 => random.bytes(size),
                _ => "{\"document\": \"naïve 漢字\"} "
                    .repeat(size / 30)
                    .into_bytes(),
            };
            let id = format!("{number:04}-{:08x}?#%/x", random.next() as u32);
            let key = DocumentKey {
                user: "admin".into(),
                bucket: ["analysis_data", "policy_bundles"][number % 2].into(),
                document: format!("{id}.json"),
                id,
            };
            let (text, encoded) = stored_text(&content);
            sqlx::query(
                r#"INSERT INTO archive_document ("userId", bucket, "archiveId", "documentName",
                       created_at, last_updated, jsondata, b64_encoded)
                   VALUES ($1, $2, $3, $4, 1600000000, 1600000000, $5, $6)"#,
            )
            .bind(&key.user)
            .bind(&key.bucket)
            .bind(&key.id)
            .bind(&key.document)
            .bind(text)
            .bind(encoded)
            .execute(&mut *transaction)
            .await
            .expect("a document");
            sqlx::query(
                r#"INSERT INTO archive_metadata ("userId", bucket, "archiveId", "documentName",
                       content_url, is_compressed, digest, size, created_at, last_updated)
                   VALUES ($1, $2, $3, $4, $5, false, $6, $7, 1600000000, 1600000000)"#,
            )
            .bind(&key.user)
            .bind(&key.bucket)
            .bind(&key.id)
            .bind(&key.document)
            .bind(format!("db://{}/{}/{}", key.user, key.bucket, key.id))
            .bind(hex::encode(Md5::digest(&content)))
            .bind(content.len() as i64)
            .execute(&mut *transaction)
            .await
            .expect("a row");
            self.expected.insert(key, content);
        }
        transaction.commit().await.expect("committed");
    }

    fn args(&self, from: &str, to: &str, more: &[&str]) -> Vec<String> {
        let path = |name: &str| {
            let path: PathBuf = self.program.home().join(format!("{name}.yaml"));
            path.display().to_string()
        };
        let mut args = vec!["migrate".into(), path(from), path(to)];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args.push("--dontask".into());
        args
    }

    async fn migrate(
        &self,
        from: &str,
        to: &str,
        more: &[&str],
    ) -> crate::support::program::Outcome {
        self.program.run(&self.args(from, to, more)).await
    }

    /// Kills the migration when so many rows are moved.
    async fn kill_when_moved(&self, from: &str, to: &str, moved: i64) {
        let before = self.task().await;
        let args = self.args(from, to, &SLOWLY);
        let mut running = self.program.spawn(&args);
        while self.task().await == before || self.moved().await < moved {
            assert!(!running.has_ended(), "{}", running.stderr());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.kill();
        assert_eq!(running.wait().await.code, None);
    }

    async fn migrate_through_kills(&self, from: &str, to: &str) {
        let quarter = self.expected.len() as i64 / 4;
        self.kill_when_moved(from, to, quarter).await;
        self.every_row_leads_to_its_document().await;
        let task = self.task().await.to_string();
        for moved in [2 * quarter, 3 * quarter] {
            let mut running = self.program.spawn(&["resume", &task, SLOWLY[0], SLOWLY[1]]);
            while self.moved().await < moved {
                assert!(!running.has_ended(), "{}", running.stderr());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            running.kill();
            assert_eq!(running.wait().await.code, None);
            self.every_row_leads_to_its_document().await;
        }
        let done = self.program.run(&["resume", &task]).await.expect_code(0);
        let counts = format!("planned {0} = committed {0} ", self.expected.len());
        assert!(done.stdout.contains(&counts), "{}", done.stdout);
    }

    /// The latest task; 0 where there is none.
    async fn task(&self) -> i64 {
        sqlx::query_scalar("SELECT coalesce(max(task_id), 0) FROM windlass_tasks")
            .fetch_one(&self.pool)
            .await
            // The table is made on first use.
            .unwrap_or(0)
    }

    async fn moved(&self) -> i64 {
        sqlx::query_scalar("SELECT moved FROM windlass_tasks ORDER BY task_id DESC LIMIT 1")
            .fetch_one(&self.pool)
            .await
            .unwrap_or(0)
    }

    async fn journal(&self, task: &str) -> crate::support::journal_checker::JournalReport {
        let export = ["journal", task, "--format", "jsonl"];
        check_journal(&self.program.run(&export).await.expect_code(0).stdout)
    }

    async fn set_text(&self, key: &DocumentKey, text: &str) {
        let encoded = stored_text(&self.expected[key]).1;
        sqlx::query(
            r#"UPDATE archive_document SET jsondata = $2, b64_encoded = $3
               WHERE "archiveId" = $1"#,
        )
        .bind(&key.id)
        .bind(text)
        .bind(encoded && text != "damaged")
        .execute(&self.pool)
        .await
        .expect("the text is written");
    }

    /// Documents that lie in a driver's place, pointed at or not.
    async fn stored_at(&self, driver: &str) -> i64 {
        let sql = match driver {
            "db" => "SELECT count(*) FROM archive_document",
            "db2" => "SELECT count(*) FROM object_storage",
            _ => return files_below(&self.program.home().join("store")),
        };
        sqlx::query_scalar(sql)
            .fetch_one(&self.pool)
            .await
            .expect("Anchore's table")
    }

    async fn expect_all_at(&self, scheme: &str) {
        let by_scheme = self.every_row_leads_to_its_document().await;
        assert_eq!(by_scheme, [(scheme.to_owned(), self.expected.len())].into());
    }

    /// Reads every row's document by Anchore's rules alone.
    async fn every_row_leads_to_its_document(&self) -> BTreeMap<String, usize> {
        type Row = (String, String, String, String, String, bool, String, i64);
        let rows: Vec<Row> = sqlx::query_as(
            r#"SELECT "userId", bucket, "archiveId", "documentName", content_url, is_compressed,
                      digest, size FROM archive_metadata"#,
        )
        .fetch_all(&self.pool)
        .await
        .expect("archive_metadata");
        assert_eq!(rows.len(), self.expected.len());
        let mut by_scheme = BTreeMap::new();
        for (user, bucket, id, document, url, compressed, digest, size) in rows {
            let (scheme, place) = url.split_once("://").expect("a URL");
            let key = DocumentKey {
                user,
                bucket,
                id,
                document,
            };
            let stored = match scheme {
                "file" => std::fs::read(place).expect(&url),
                _ => self.read_row(scheme, &key).await,
            };
            assert_eq!(stored.len() as i64, size, "{url}");
            assert_eq!(hex::encode(Md5::digest(&stored)), digest, "{url}");
            let mut plain = Vec::new();
            match compressed {
                true => drop(
                    flate2::read::ZlibDecoder::new(&*stored)
                        .read_to_end(&mut plain)
                        .expect("zlib"),
                ),
                false => plain = stored,
            }
            assert!(plain == self.expected[&key], "{url}: other bytes");
            *by_scheme.entry(scheme.to_owned()).or_default() += 1;
        }
        by_scheme
    }

    async fn read_row(&self, scheme: &str, key: &DocumentKey) -> Vec<u8> {
        if scheme == "db2" {
            return sqlx::query_scalar(
                r#"SELECT content FROM object_storage
                   WHERE "userId" = $1 AND bucket = $2 AND "key" = $3 AND version = ''"#,
            )
            .bind(&key.user)
            .bind(&key.bucket)
            .bind(&key.id)
            .fetch_one(&self.pool)
            .await
            .expect("a row of object_storage");
        }
        let (text, encoded): (String, bool) = sqlx::query_as(
            r#"SELECT jsondata, b64_encoded FROM archive_document
               WHERE "userId" = $1 AND bucket = $2 AND "archiveId" = $3 AND "documentName" = $4"#,
        )
        .bind(&key.user)
        .bind(&key.bucket)
        .bind(&key.id)
        .bind(&key.document)
        .fetch_one(&self.pool)
        .await
        .expect("a row of archive_document");
        match encoded {
            true => base64::engine::general_purpose::STANDARD
                .decode(text.lines().collect::<String>())
                .expect("base64"),
            false => text.into_bytes(),
        }
    }
}

fn files_below(dir: &std::path::Path) -> i64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths
        .map(|path| match path.is_dir() {
            true => files_below(&path),
            false => 1,
        })
        .sum()
}
