//! Where a story is played, again and again from the same beginning: a small deployment on SQLite
//! and directories, put back before each take.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;

use super::stories::{Before, DOCUMENTS, ROWS, Story};
use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, Deployment, DocumentKey, Expected, StoreSpec};
use crate::support::journal_checker::{JournalReport, Phase, check_journal};
use crate::support::program::{Outcome, Program};
use crate::support::tables::fresh_sqlite;
use crate::support::tree::{copy_content, damage, find, put_back};

/// Above what is held in memory, so that it is streamed.
const LARGE_BYTES: usize = 9 << 20;

pub struct Stage {
    pub story: Story,
    program: Program,
    url: String,
    expected: Expected,
    /// Beside the program's home, which is put back from here.
    beginning: TempDir,
    /// Each row as it was at the very beginning.
    rows: Vec<String>,
}

impl Stage {
    pub async fn set(story: Story) -> Self {
        let program = Program::below(&in_memory());
        let home = program.home().to_owned();
        let (pool, url) = fresh_sqlite(&home).await;
        let mut deployment = Deployment::on_sqlite(&pool, &url);
        write_configs(&deployment, &home);
        seed(&mut deployment, &pool, story.large).await;
        let rows = every_column(&pool).await;
        let expected = deployment.expected().clone();
        pool.close().await;
        let stage = Self {
            story,
            program,
            url,
            expected,
            beginning: TempDir::with_prefix_in("windlass-beginning-", in_memory())
                .expect("a directory"),
            rows,
        };
        for before in story.before {
            stage.go_through(before).await;
        }
        copy_content(&home, stage.beginning.path());
        stage
    }

    async fn go_through(&self, before: &Before) {
        match before {
            Before::Run(command) => drop(self.run(command, "").await.expect_code(0)),
            Before::Crash(command, failpoints) => {
                assert!(has_crashed(&self.run(command, failpoints).await));
                self.let_time_pass().await;
            }
            Before::Damage => {
                let log = find(self.program.state_dir(), "db").expect("sled's log");
                damage(&log);
            }
            Before::Sql(statement) => {
                let pool = self.pool().await;
                sqlx::raw_sql(*statement).execute(&pool).await.expect("SQL");
                pool.close().await;
            }
        }
    }

    /// As if the dead process had been silent for long.
    async fn let_time_pass(&self) {
        let pool = self.pool().await;
        sqlx::query("UPDATE windlass_executors SET heartbeat = '2020-01-01T00:00:00.000Z'")
            .execute(&pool)
            .await
            .expect("the executors");
        pool.close().await;
    }

    /// Everything as it was before the story's own command.
    pub fn put_back(&self) {
        put_back(self.beginning.path(), self.program.home());
    }

    async fn run(&self, command: &str, failpoints: &str) -> Outcome {
        self.run_with(command, &[("FAILPOINTS", failpoints)]).await
    }

    async fn run_with(&self, command: &str, environment: &[(&str, &str)]) -> Outcome {
        let home = self.program.home().display();
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => format!("{home}/{name}.yaml"),
            None => word.to_owned(),
        };
        let mut args: Vec<String> = command.split(' ').map(word).collect();
        args.extend(["--db-connect".to_owned(), self.url.clone()]);
        self.program.run_with(&args, environment).await
    }

    /// How often the story's command passes each point when nothing happens to it.
    pub async fn passages(&self) -> BTreeMap<String, usize> {
        self.put_back();
        let notes = self.program.home().join("passages");
        let notes_path = notes.display().to_string();
        let environment = [
            ("FAILPOINTS", self.story.limits),
            ("WINDLASS_CRASH_POINTS_PASSED", notes_path.as_str()),
        ];
        let done = self.run_with(self.story.command, &environment).await;
        done.expect_code(0);
        let mut passages = BTreeMap::new();
        for point in fs::read_to_string(notes).expect("the notes").lines() {
            *passages.entry(point.to_owned()).or_default() += 1;
        }
        passages
    }

    /// The story's command, or, where its task is there already, taking that up again; with a crash
    /// at one passage of a point. Whether it came to that.
    pub async fn play(&self, crash: Option<&Crash>) -> bool {
        let limits = self.story.limits;
        let failpoints = match crash {
            Some(crash) => format!("{limits};{crash}"),
            None => limits.to_owned(),
        };
        let command = match self.has_task().await {
            false => self.story.command.to_owned(),
            true if !self.story.again.is_empty() => self.story.again.to_owned(),
            true => format!("resume {} --concurrency 1", self.story.task),
        };
        if !self.story.again.is_empty() {
            // What may be another version is waited for.
            self.let_time_pass().await;
        }
        let outcome = self.run(&command, &failpoints).await;
        let crashed = has_crashed(&outcome);
        if !crashed {
            outcome.expect_code(0);
        }
        crashed
    }

    async fn has_task(&self) -> bool {
        let pool = self.pool().await;
        let found = sqlx::query("SELECT 1 FROM windlass_tasks WHERE task_id = $1")
            .bind(self.story.task)
            .fetch_optional(&pool)
            .await;
        pool.close().await;
        // The table is made on first use.
        found.is_ok_and(|row| row.is_some())
    }

    /// What holds at every instant: each row leads to its document, and the journal fits.
    pub async fn expect_nothing_lost(&self) {
        let pool = self.pool().await;
        let seen = self.look(&pool).await;
        seen.expect_nothing_lost();
        assert_eq!(seen.total_right(), self.expected.len() as u64);
        pool.close().await;
        if self.has_task().await && !self.begins_with_damage() {
            self.expect_verified().await;
        }
    }

    fn begins_with_damage(&self) -> bool {
        let before = self.story.before.iter();
        before.into_iter().any(|b| matches!(b, Before::Damage))
    }

    async fn expect_verified(&self) {
        let verify = format!("journal verify {}", self.story.task);
        self.run(&verify, "").await.expect_code(0);
    }

    /// How the story must end, whatever has happened to it `crashes` times.
    pub async fn expect_the_end(&self, crashes: usize) {
        if !self.story.goes_on_with.is_empty() {
            self.let_time_pass().await;
            self.run(self.story.goes_on_with, "").await.expect_code(0);
        }
        let pool = self.pool().await;
        let mut seen = self.look(&pool).await;
        let unpublished = seen.strays.len();
        seen.strays.retain(|stray| !stray.contains("/.windlass-"));
        let unpublished = unpublished - seen.strays.len();
        let most = self.story.in_flight * crashes;
        assert!(unpublished <= most, "{unpublished} files left half-written");
        assert_eq!(seen.doubled.len(), self.story.leaves, "{:?}", seen.doubled);
        seen.doubled.clear();
        seen.expect_all_at(self.story.ends_at, self.expected.len());
        if self.story.undoes {
            assert_eq!(every_column(&pool).await, self.rows);
        }
        let export = format!("journal {} --format jsonl", self.story.task);
        let export = self.run(&export, "").await.expect_code(0).stdout;
        let journal = check_journal(&export);
        journal.expect_sound();
        let unproved = &journal.unproved_deletes;
        assert!(unproved.is_empty(), "{unproved:?}");
        self.expect_mirrored(&pool, &journal, &export).await;
        pool.close().await;
        self.expect_verified().await;
    }

    /// The mirror against the journal, and Anchore's own rows, by SQL of the test's own.
    async fn expect_mirrored(&self, pool: &SqlitePool, journal: &JournalReport, export: &str) {
        let task = self.story.task;
        let said: (String, String, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT w.state, t.state, a.archive_documents_migrated,
                    a.archive_documents_to_migrate, w.planned, w.moved
               FROM windlass_tasks w JOIN tasks t ON t.id = w.task_id
               JOIN archive_migration_tasks a ON a.id = w.task_id WHERE w.task_id = $1",
        )
        .bind(task)
        .fetch_one(pool)
        .await
        .expect("the task's rows");
        assert_eq!((said.0.as_str(), said.1.as_str()), ("complete", "complete"));
        // Of what had crashed, a reverse finds rows that never left: it only clears up behind them.
        assert!(self.story.undoes || said.2 == said.3, "{said:?}");
        assert_eq!(said.2, said.5, "moved, as Anchore has it and as we do");
        let objects: Vec<(String, String, Option<String>, bool)> = sqlx::query_as(
            "SELECT user_id || '/' || bucket || '/' || archive_id || '/' || document_name,
                    phase, outcome, journaled FROM windlass_objects WHERE task_id = $1",
        )
        .bind(task)
        .fetch_all(pool)
        .await
        .expect("the mirror");
        assert_eq!(objects.len() as i64, said.4, "all that were planned");
        for (key, phase, outcome, journaled) in objects {
            assert!(journaled, "{key}: the mirror has not seen its last entry");
            if outcome.as_deref() == Some("skipped") && self.story.leaves > 0 {
                // Planned anew by a later pass, under the same key.
                continue;
            }
            let mirrored = match (phase.as_str(), outcome.as_deref()) {
                ("source-deleted", None) => Phase::SourceDeleted,
                ("committed", Some("source-kept")) => Phase::SourceKept,
                other => panic!("{key} ends as {other:?}"),
            };
            // A journal that was made anew has only what came after.
            let of_journal = journal.phases.get(&key).copied().unwrap_or(mirrored);
            assert_eq!(of_journal, mirrored, "{key}");
        }
        let (seq, head): (i64, String) = sqlx::query_as(
            "SELECT seq, head FROM windlass_executors WHERE task_id = $1
              ORDER BY epoch DESC LIMIT 1",
        )
        .bind(task)
        .fetch_one(pool)
        .await
        .expect("the executor");
        let last: serde_json::Value =
            serde_json::from_str(export.lines().last().expect("an entry")).expect("JSON");
        assert_eq!(last["entry"]["seq"], seq, "the mirror's head");
        assert_eq!(last["hash"], head.as_str());
    }

    async fn look(&self, pool: &SqlitePool) -> Report {
        let home = self.program.home();
        let checker = Checker::new(pool)
            .local_dir(&home.join("store"))
            .local_dir(&home.join("other"));
        checker.check(&self.expected).await
    }

    async fn pool(&self) -> SqlitePool {
        let path = self.program.home().join("anchore.db");
        SqlitePool::connect_with(SqliteConnectOptions::new().filename(path))
            .await
            .expect("SQLite")
    }
}

/// A crash at one passage of a point, as FAILPOINTS has it.
#[derive(Clone, Debug)]
pub struct Crash {
    pub point: String,
    /// From 1 on.
    pub passage: usize,
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.passage {
            1 => write!(f, "{}=return", self.point),
            passage => write!(f, "{}={}*off->return", self.point, passage - 1),
        }
    }
}

/// SIGABRT, and nothing else.
pub fn has_crashed(outcome: &Outcome) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    outcome.status.signal() == Some(6)
}

/// A process that crashes leaves what it has written whether or not it was synced, so that nothing
/// is gained by waiting for a disk some thousand times.
fn in_memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}

fn write_configs(deployment: &Deployment, home: &Path) {
    let compression = Compression::default();
    let local = |name: &str, above_kbytes| {
        let dir = home.join(name);
        fs::create_dir(&dir).expect("a store's directory");
        StoreSpec::LocalFs {
            dir,
            compression: Compression::above_kbytes(above_kbytes),
        }
    };
    for (name, store) in [
        ("db", StoreSpec::Db { compression }),
        ("db2", StoreSpec::Db2 { compression }),
        ("localfs", local("store", 1)),
        ("other", local("other", 4)),
    ] {
        deployment.write_config(home, name, store);
    }
}

/// Documents of mixed kinds: text and bytes, empty and above the threshold of compression, without a
/// digest, and one that two rows share.
async fn seed(deployment: &mut Deployment, pool: &SqlitePool, large: bool) {
    let user = ("admin", "analysis_data");
    let more = if large { 1 } else { DOCUMENTS - 3 };
    deployment.seed_db_documents(more, 0..5_000, 11).await;
    for (id, content) in [
        ("empty", Vec::new()),
        ("no digest", b"{\"digest\": null}".repeat(100)),
        ("twin", b"one document, two rows ".repeat(90)),
    ] {
        deployment
            .add_db_document(user.0, user.1, id, &content)
            .await;
    }
    if large {
        let content: Vec<u8> = (0..LARGE_BYTES)
            .map(|at| b'a' + (at / 7 % 23) as u8)
            .collect();
        deployment
            .add_db_document(user.0, user.1, "large", &content)
            .await;
    }
    for statement in [
        r#"UPDATE archive_metadata SET digest = NULL WHERE "archiveId" = 'no digest'"#,
        r#"INSERT INTO archive_metadata
           SELECT bucket, "archiveId", "userId", 'other name', content_url, is_compressed, digest,
                  size, document_metadata, created_at, last_updated, record_state_key,
                  record_state_val
             FROM archive_metadata WHERE "archiveId" = 'twin'"#,
    ] {
        sqlx::query(statement).execute(pool).await.expect("a row");
    }
    let twin = DocumentKey {
        user: user.0.into(),
        bucket: user.1.into(),
        id: "twin".into(),
        document: "other name".into(),
    };
    deployment.expect(twin, Some(b"one document, two rows ".repeat(90)));
    assert!(large || deployment.expected().len() == ROWS);
}

async fn every_column(pool: &SqlitePool) -> Vec<String> {
    sqlx::query_scalar(
        r#"SELECT quote("archiveId") || quote("documentName") || quote(content_url)
                  || quote(is_compressed) || quote(digest) || quote(size) || quote(created_at)
                  || quote(last_updated) FROM archive_metadata ORDER BY 1"#,
    )
    .fetch_all(pool)
    .await
    .expect("the rows")
}
