//! A whole deployment with the program beside it: documents in PostgreSQL, an empty bucket, two
//! configurations.

use std::path::PathBuf;

use crate::support::checker::{Checker, Report};
use crate::support::counting_proxy::CountingProxy;
use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use crate::support::journal_checker::{JournalReport, check_journal};
use crate::support::program::{Outcome, Program};
use crate::support::{postgres, s3};

pub struct World {
    pub database: postgres::Database,
    pub deployment: Deployment,
    pub program: Program,
    pub bucket: String,
    /// Between windlass and the S3 server.
    pub proxy: CountingProxy,
    pub from: PathBuf,
    pub to: PathBuf,
}

/// The documents' driver before, and the bucket after, with compression above 1 KiB.
pub async fn db_to_s3() -> World {
    db_to_s3_on(postgres::fresh_database().await).await
}

pub async fn db_to_s3_on(database: postgres::Database) -> World {
    let server = s3::server().await;
    let proxy = CountingProxy::start(&server.url).await;
    let bucket = s3::fresh_bucket().await;
    let deployment = Deployment::new(&database);
    let program = Program::new();
    let db = StoreSpec::Db {
        compression: Compression::default(),
    };
    let from = deployment.write_config(program.home(), "config", db);
    let mut world = World {
        database,
        deployment,
        program,
        bucket,
        proxy,
        from,
        to: PathBuf::new(),
    };
    let spec = world.s3_spec().await;
    world.to = world.write_config("new", StoreSpec::S3(spec));
    world
}

/// A number from the environment: the real sizes take minutes, the usual ones seconds.
pub fn configured(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(usual, |number| number.parse().expect(name))
}

/// Documents in a directory, to go into the bucket as they are.
pub async fn localfs_to_s3() -> (World, PathBuf) {
    from_a_directory(db_to_s3().await).await
}

/// The same world with a directory as its source.
pub async fn from_a_directory(mut world: World) -> (World, PathBuf) {
    let dir = world.program.home().join("documents");
    std::fs::create_dir(&dir).expect("a directory");
    let compression = Compression::default();
    let from = StoreSpec::LocalFs {
        dir: dir.clone(),
        compression,
    };
    world.from = world.write_config("localfs", from);
    let to = S3Spec {
        compression,
        ..world.s3_spec().await
    };
    world.to = world.write_config("plain", StoreSpec::S3(to));
    (world, dir)
}

impl World {
    pub async fn s3_spec(&self) -> S3Spec {
        let server = s3::server().await;
        S3Spec {
            url: self.proxy.url().to_owned(),
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
            bucket: self.bucket.clone(),
            create_bucket: false,
            prefix: None,
            region: None,
            compression: Compression::above_kbytes(1),
        }
    }

    pub fn write_config(&self, name: &str, store: StoreSpec) -> PathBuf {
        self.deployment
            .write_config(self.program.home(), name, store)
    }

    pub fn migrate_args(&self) -> Vec<String> {
        let path = |path: &PathBuf| path.display().to_string();
        vec![
            "migrate".into(),
            path(&self.from),
            path(&self.to),
            "--dontask".into(),
        ]
    }

    pub async fn migrate(&self, more: &[&str]) -> Outcome {
        let mut args = self.migrate_args();
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        self.program.run(&args).await
    }

    /// Makes windlass's own tables and moves nothing: the destination has nothing to be moved back.
    pub async fn make_tables(&self) {
        let path = |path: &PathBuf| path.display().to_string();
        let args = ["migrate", &path(&self.to), &path(&self.from), "--dontask"];
        let done = self.program.run(&args).await.expect_code(0);
        assert!(done.stdout.contains("nothing to do"), "{}", done.stdout);
    }

    /// Of all that the world has: a test adds stores of its own.
    pub async fn checker(&self) -> Checker {
        let client = s3::server().await.client();
        Checker::new(&self.database.pool).s3(client, &self.bucket, "")
    }

    /// What an eye that knows nothing of windlass sees.
    pub async fn look(&self) -> Report {
        let mut seen = self.checker().await.check(self.deployment.expected()).await;
        // Anchore's driver, too, leaves its empty probe behind when it is killed at its start.
        seen.strays
            .retain(|stray| !stray.contains("__anchore_s3_key_self_check__"));
        seen
    }

    pub async fn journal(&self, task: &str) -> JournalReport {
        let export = self
            .program
            .run(&["journal", task, "--format", "jsonl"])
            .await;
        check_journal(&export.expect_code(0).stdout)
    }

    /// The only task, by its id.
    pub async fn task(&self) -> String {
        let (id,): (i32,) = sqlx::query_as("SELECT max(task_id) FROM windlass_tasks")
            .fetch_one(&self.database.pool)
            .await
            .expect("a task");
        id.to_string()
    }

    /// Whether a task was begun.
    pub async fn has_task(&self) -> bool {
        let there = "SELECT (to_regclass('windlass_tasks') IS NOT NULL)::int::bigint";
        self.count(there).await == 1 && self.count("SELECT count(*) FROM windlass_tasks").await > 0
    }

    /// The database's URL, whatever is between windlass and it.
    pub fn direct_url(&self) -> String {
        self.database.place.url(&self.database.name)
    }

    /// `tasks.state` and the two counters, as Anchore's own list-migrations reads them.
    pub async fn anchore_says(&self, task: &str) -> (String, i32, i32) {
        sqlx::query_as(
            "SELECT t.state::text, a.archive_documents_migrated, a.archive_documents_to_migrate
               FROM tasks t JOIN archive_migration_tasks a USING (id) WHERE t.id::text = $1",
        )
        .bind(task)
        .fetch_one(&self.database.pool)
        .await
        .expect("Anchore's row")
    }
}

/// A world with this many small documents in it.
pub async fn seeded(documents: usize) -> World {
    seeded_on(postgres::fresh_database().await, documents).await
}

/// The same on a database server that the test may stop and start again.
pub async fn seeded_on_own_server(documents: usize) -> (postgres::OwnServer, World) {
    let server = postgres::OwnServer::start().await;
    let world = seeded_on(server.fresh_database().await, documents).await;
    (server, world)
}

/// The same in a database that is there already.
pub async fn seeded_on(database: postgres::Database, documents: usize) -> World {
    let mut world = db_to_s3_on(database).await;
    world
        .deployment
        .seed_db_documents(documents, 100..3_000, 7)
        .await;
    world
}

/// Ends the session that holds the migration lock, as a server's operator would.
pub async fn end_the_locks_session(world: &World) -> bool {
    let ended: Option<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
          WHERE locktype = 'advisory' AND classid = 2 AND objid = 1 AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_optional(&world.database.pool)
    .await
    .expect("the database answers");
    ended == Some(true)
}

/// Waits for something to be so; a run that never gets there fails the test.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_so().await {
        assert!(
            started.elapsed() < std::time::Duration::from_secs(60),
            "waited in vain until {what}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

impl World {
    /// Starts the server again, and waits until the test's own connections go through, too.
    pub async fn restart(&self, server: &postgres::OwnServer) {
        server.restart().await;
        until("the pool has come back", async || {
            sqlx::query("SELECT 1")
                .execute(&self.database.pool)
                .await
                .is_ok()
        })
        .await;
    }

    pub fn spawn(&self, more: &[&str]) -> crate::support::program::Running {
        let mut args = self.migrate_args();
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        self.program.spawn(&args)
    }

    /// A migration that is slow enough to be caught in the act, with this many rows moved.
    pub async fn spawn_slowly(
        &self,
        more: &[&str],
        moved: u64,
    ) -> crate::support::program::Running {
        let pause = std::time::Duration::from_millis(20);
        self.proxy
            .set_fault(crate::support::counting_proxy::Fault::Stall(pause));
        let mut args = vec!["--concurrency", "4"];
        args.extend(more);
        let mut running = self.spawn(&args);
        until("rows have moved", async || {
            assert!(
                !running.has_ended(),
                "{}{}",
                running.stdout(),
                running.stderr()
            );
            self.moved().await >= moved
        })
        .await;
        running
    }

    /// As if what was killed had been silent for long: nothing of it can still arrive, and no other
    /// task has to wait for it.
    pub async fn let_time_pass(&self) {
        self.proxy.at_rest().await;
        self.sql("UPDATE windlass_executors SET heartbeat = heartbeat - interval '1 hour'")
            .await;
    }

    pub async fn resume(&self, task: &str) -> Outcome {
        self.program.run(&["resume", task]).await
    }

    /// Rows that point at the destination, by windlass's own counter.
    pub async fn moved(&self) -> u64 {
        let Ok(Some(moved)) = sqlx::query_scalar::<_, i64>("SELECT moved FROM windlass_tasks")
            .fetch_optional(&self.database.pool)
            .await
        else {
            return 0;
        };
        moved as u64
    }

    /// How often each document reached the store, by its key.
    pub fn document_puts(&self) -> std::collections::BTreeMap<String, u64> {
        let puts = self.proxy.puts().into_iter();
        puts.filter(|(key, _)| !key.contains("__anchore") && !key.contains("windlass-probe"))
            .collect()
    }

    pub fn total_document_puts(&self) -> u64 {
        self.document_puts().values().sum()
    }

    /// No row may ever lead nowhere, whatever else is going on.
    pub async fn expect_every_row_whole(&self) {
        let seen = self.look().await;
        assert_eq!(
            seen.total_right(),
            self.deployment.expected().len() as u64,
            "{:?}",
            seen.wrong
        );
    }

    /// The same while a run goes on: it stands still meanwhile, since a look takes its time, and
    /// what it sent to the database before that is let come to its end.
    pub async fn expect_every_row_whole_beside(
        &self,
        running: &mut crate::support::program::Running,
    ) {
        running.freeze();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        self.expect_every_row_whole().await;
        running.go_on();
    }

    /// The end of every story: all there, once, and a journal that says how.
    pub async fn expect_moved_and_sound(&self) -> JournalReport {
        let documents = self.deployment.expected().len();
        self.look().await.expect_all_at("s3", documents);
        let task = self.task().await;
        let said = self.anchore_says(&task).await;
        assert_eq!(
            said,
            ("complete".to_owned(), documents as i32, documents as i32)
        );
        self.program.expect_journal_verified(&task).await;
        let journal = self.journal(&task).await;
        journal.expect_sound();
        assert!(
            journal.unproved_deletes.is_empty(),
            "{:?}",
            journal.unproved_deletes
        );
        journal
    }

    pub async fn sql(&self, statement: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&self.database.pool)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    pub async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
            .fetch_one(&self.database.pool)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Nothing that is secret may be said by any command.
    #[track_caller]
    pub fn expect_no_secret(&self, outcome: &Outcome, s3_secret: &str) {
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        for secret in [s3_secret, self.database.place.password.as_str()] {
            assert!(!said.contains(secret), "a secret is told: {said}");
        }
    }
}
