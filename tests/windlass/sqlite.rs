//! The main job on SQLite, the embedded default: between all drivers that need no server.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqlitePool;

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, Deployment, DocumentKey, StoreSpec, stored_text};
use crate::support::journal_checker::{JournalReport, check_journal};
use crate::support::program::{Outcome, Program};
use crate::support::random::Random;
use crate::support::tables::{fresh_sqlite, latest_task};

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
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right, [("file".to_owned(), 40)].into());
    assert_eq!(seen.doubled.len(), 40, "the sources");
    assert_eq!(world.journal("1").await.count("source-kept"), 40);
    let status = world.program.run(&["status", "1", "--json"]).await;
    let status = status.expect_code(0).json();
    assert_eq!(status["source_kept"], 40);
    assert_eq!(status["state"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_tried_again_alone() {
    let world = World::new(30).await;
    let key = world.a_document();
    world.set_text(&key, "damaged").await;
    let failed = world.migrate("db", "localfs", &[]).await.expect_code(3);
    assert!(
        failed
            .stdout
            .contains("planned 30 = committed 29 + skipped 0 + failed 1"),
        "{}",
        failed.stdout
    );
    let kept = "SELECT count(*) FROM archive_document";
    let kept = world.deployment.tables().count(kept).await;
    assert_eq!(kept, 1, "its source is kept");
    let listed = world.program.run(&["list-migrations"]).await.expect_code(0);
    assert!(
        listed
            .stdout
            .contains("task 1 has failed objects: windlass resume 1"),
        "{}",
        listed.stdout
    );
    let (text, _) = stored_text(&world.deployment.expected()[&key]);
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

pub const SLOWLY: [&str; 2] = ["--concurrency", "1"];
/// Of which `SLOWLY` allows so many.
const IN_FLIGHT: usize = 1;

/// A deployment on SQLite, and a configuration for each driver.
pub struct World {
    pub program: Program,
    pub pool: SqlitePool,
    pub deployment: Deployment,
    kills: AtomicUsize,
}

/// Texts and bytes of all small sizes, with ids that URLs trip over.
fn mixed(documents: usize) -> Vec<(&'static str, &'static str, String, Vec<u8>)> {
    let mut random = Random::seeded(7);
    let numbers = 0..documents;
    numbers
        .map(|number| {
            let size = random.within(0..6_000);
            let content = match number % 8 {
                0 => random.bytes(size),
                _ => "{\"document\": \"naïve 漢字\"} "
                    .repeat(size / 30)
                    .into_bytes(),
            };
            let id = format!("{number:04}-{:08x}?#%/x", random.next() as u32);
            let bucket = ["analysis_data", "policy_bundles"][number % 2];
            ("admin", bucket, id, content)
        })
        .collect()
}

impl World {
    pub async fn new(documents: usize) -> Self {
        let program = Program::new();
        let home = program.home();
        let (pool, url) = fresh_sqlite(home).await;
        let mut deployment = Deployment::on_sqlite(&pool, &url);
        let compression = Compression::default();
        let local = StoreSpec::LocalFs {
            dir: home.join("store"),
            compression: Compression::above_kbytes(1),
        };
        for (name, store) in [
            ("db", StoreSpec::Db { compression }),
            ("db2", StoreSpec::Db2 { compression }),
            ("localfs", local),
        ] {
            deployment.write_config(home, name, store);
        }
        deployment.add_db_documents(&mixed(documents)).await;
        Self {
            program,
            pool,
            deployment,
            kills: AtomicUsize::new(0),
        }
    }

    pub fn args(&self, from: &str, to: &str, more: &[&str]) -> Vec<String> {
        let path = |name: &str| {
            let path: PathBuf = self.program.home().join(format!("{name}.yaml"));
            path.display().to_string()
        };
        let mut args = vec!["migrate".into(), path(from), path(to)];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args.push("--dontask".into());
        args
    }

    pub async fn migrate(&self, from: &str, to: &str, more: &[&str]) -> Outcome {
        self.program.run(&self.args(from, to, more)).await
    }

    /// Kills the migration when so many rows are moved.
    pub async fn kill_when_moved(&self, from: &str, to: &str, moved: i64) {
        let before = self.task().await;
        let args = self.args(from, to, &SLOWLY);
        let mut running = self.program.spawn(&args);
        while self.task().await == before || self.moved().await < moved {
            assert!(!running.has_ended(), "{}", running.stderr());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.kill();
        self.kills.fetch_add(1, Ordering::Relaxed);
        assert_eq!(running.wait().await.code, None);
    }

    pub async fn migrate_through_kills(&self, from: &str, to: &str) {
        let quarter = self.deployment.expected().len() as i64 / 4;
        self.kill_when_moved(from, to, quarter).await;
        self.look().await.expect_nothing_lost();
        let task = self.task().await.to_string();
        for moved in [2 * quarter, 3 * quarter] {
            let mut running = self.program.spawn(&["resume", &task, SLOWLY[0], SLOWLY[1]]);
            while self.moved().await < moved {
                assert!(!running.has_ended(), "{}", running.stderr());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            running.kill();
            self.kills.fetch_add(1, Ordering::Relaxed);
            assert_eq!(running.wait().await.code, None);
            self.look().await.expect_nothing_lost();
            self.program.expect_journal_verified(&task).await;
        }
        let done = self.program.run(&["resume", &task]).await.expect_code(0);
        let counts = format!(
            "planned {0} = committed {0} ",
            self.deployment.expected().len()
        );
        assert!(done.stdout.contains(&counts), "{}", done.stdout);
        self.let_time_pass().await;
    }

    /// As if what was killed had been silent for long: no other task has to wait for it.
    pub async fn let_time_pass(&self) {
        let long_ago = "UPDATE windlass_executors SET heartbeat = '2020-01-01T00:00:00.000Z'";
        self.deployment.tables().execute(long_ago).await;
    }

    /// The latest task; 0 where there is none.
    pub async fn task(&self) -> i64 {
        latest_task(&self.pool).await
    }

    pub async fn moved(&self) -> i64 {
        sqlx::query_scalar("SELECT moved FROM windlass_tasks ORDER BY task_id DESC LIMIT 1")
            .fetch_one(&self.pool)
            .await
            .unwrap_or(0)
    }

    pub async fn journal(&self, task: &str) -> JournalReport {
        let export = ["journal", task, "--format", "jsonl"];
        check_journal(&self.program.run(&export).await.expect_code(0).stdout)
    }

    pub fn a_document(&self) -> DocumentKey {
        let mut keys = self.deployment.expected().keys();
        keys.next().expect("a document").clone()
    }

    pub async fn set_text(&self, key: &DocumentKey, text: &str) {
        let encoded = stored_text(&self.deployment.expected()[key]).1;
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

    pub async fn look(&self) -> Report {
        let checker = Checker::new(&self.pool).local_dir(&self.program.home().join("store"));
        let mut seen = checker.check(self.deployment.expected()).await;
        // What a killed process had not yet published: one file for each write in flight.
        let mut unpublished = self.kills.load(Ordering::Relaxed) * IN_FLIGHT;
        seen.strays.retain(|stray| {
            let is_allowed = unpublished > 0 && stray.contains("/.windlass-");
            unpublished -= usize::from(is_allowed);
            !is_allowed
        });
        seen
    }

    pub async fn expect_all_at(&self, scheme: &str) {
        let count = self.deployment.expected().len();
        self.look().await.expect_all_at(scheme, count);
    }
}
