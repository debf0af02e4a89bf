//! Services at work through three passes that are killed at random, then the cut-over, killed as well; and
//! an eye that knows nothing of windlass compares with what the services have last stored.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::services::{Content, Services};
use crate::support::checker::Checker;
use crate::support::deployment::{Compression, Deployment, Expected, S3Spec, StoreSpec};
use crate::support::program::{Outcome, Program};
use crate::support::random::{Random, drawn_seed};
use crate::support::tables::Tables;

/// What a storm goes over: a deployment with its two configurations.
pub struct Ground {
    pub program: Program,
    pub tables: Tables,
    pub content: Content,
    pub documents: Expected,
    pub from: PathBuf,
    pub to: PathBuf,
    pub checker: Checker,
    /// Where all rows have to lead in the end.
    pub scheme: &'static str,
    /// What counts the sources that are left.
    pub sources: &'static str,
}

impl Ground {
    pub fn of(deployment: &Deployment) -> (Tables, Expected) {
        (deployment.tables().clone(), deployment.expected().clone())
    }

    /// As if what was killed had been silent for long, so that nobody waits for it.
    async fn let_time_pass(&self) {
        let (long_ago, has_tables) = match &self.tables {
            Tables::Postgres(_) => (
                "now() - interval '1 day'",
                "SELECT count(*) FROM information_schema.tables
                  WHERE table_name = 'windlass_executors'",
            ),
            Tables::Sqlite(_) => (
                "'2020-01-01T00:00:00.000Z'",
                "SELECT count(*) FROM sqlite_master WHERE name = 'windlass_executors'",
            ),
        };
        if self.tables.count(has_tables).await == 0 {
            return;
        }
        self.tables
            .execute(&format!(
                "UPDATE windlass_executors SET heartbeat = {long_ago}"
            ))
            .await;
    }

    /// Runs a command to its end, through kills.
    async fn through_kills(&self, command: &[&str], kills: usize, random: &mut Random) {
        for _ in 0..kills {
            let mut running = self.program.spawn(command);
            let pause = Duration::from_millis(random.within(50..900) as u64);
            tokio::time::sleep(pause).await;
            if !running.has_ended() {
                running.kill();
                running.wait().await;
                self.let_time_pass().await;
                continue;
            }
            let outcome = running.wait().await;
            let is_held = outcome.stderr.contains("the migration lock is held");
            if !is_held {
                outcome.expect_code(0);
            }
        }
        self.run(command).await.expect_code(0);
    }

    /// The latest task: one that a kill has rolled back may have taken a number.
    async fn task(&self) -> String {
        let latest = "SELECT CAST(max(task_id) AS bigint) FROM windlass_tasks";
        self.tables.count(latest).await.to_string()
    }

    /// The server takes a moment to notice that a process is gone which held the lock.
    async fn run(&self, command: &[&str]) -> Outcome {
        for _ in 0..20 {
            let outcome = self.program.run(command).await;
            let is_held = outcome.stderr.contains("the migration lock is held");
            if outcome.code != Some(2) || !is_held {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.program.run(command).await
    }

    /// Every row leads to what the services have last stored, but for those they have died at.
    async fn expect_as_stored(&self, services: &Services) {
        let seen = self.checker.check(&services.documents).await;
        let is_torn = |wrong: &&String| services.torn.iter().any(|key| wrong.contains(&key.id));
        let wrong: Vec<_> = seen.wrong.iter().filter(|wrong| !is_torn(wrong)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    pub async fn go_through(self) {
        let mut random = Random::seeded(drawn_seed());
        let services = Services::new(
            &self.tables,
            self.content.clone(),
            self.documents.clone(),
            random.next(),
        );
        let path = |path: &PathBuf| path.display().to_string();
        let (from, to) = (path(&self.from), path(&self.to));
        let migrate = ["migrate", &from, &to, "--online", "--dontask"];
        let few = ["--concurrency", "4"];
        let services = at_work(services, async {
            let first: Vec<&str> = migrate.iter().chain(&few).copied().collect();
            self.through_kills(&first, 2, &mut random).await;
            let task = self.task().await;
            for _ in 0..2 {
                let sync = ["sync", &task, few[0], few[1]];
                self.through_kills(&sync, 1, &mut random).await;
            }
        })
        .await;
        let mut services = services;
        services.mend().await;
        self.expect_as_stored(&services).await;
        let task = &*self.task().await;
        let cutover = ["cutover", task, "--dontask", few[0], few[1]];
        self.through_kills(&cutover, 2, &mut random).await;
        let seen = self.checker.check(&services.documents).await;
        seen.expect_nothing_lost();
        let count = services.documents.len() as u64;
        assert_eq!(seen.right, [(self.scheme.to_owned(), count)].into());
        self.program
            .run(&["journal", "verify", task])
            .await
            .expect_code(0);

        let delete = ["delete-source", task, "--dontask"];
        self.program.run(&delete).await.expect_code(0);
        assert_eq!(self.tables.count(self.sources).await, 0, "sources are left");
        let seen = self.checker.check(&services.documents).await;
        seen.expect_nothing_lost();
        assert!(seen.doubled.is_empty(), "{:?}", seen.doubled);
        // A kill may come while a place is tried out: at Anchore's own key, or in a folder of its own.
        let is_probe = |stray: &String| {
            stray.contains("__anchore_s3_key_self_check__") || stray.contains("/.windlass-")
        };
        let strays: Vec<_> = seen.strays.iter().filter(|s| !is_probe(s)).collect();
        assert!(strays.is_empty(), "{strays:?}");
    }
}

/// Lets the services work for as long as something else lasts.
async fn at_work(mut services: Services, meanwhile: impl Future<Output = ()>) -> Services {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let working = tokio::spawn(async move {
        while !over.load(Ordering::Relaxed) {
            services.act().await;
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        services
    });
    meanwhile.await;
    is_over.store(true, Ordering::Relaxed);
    working.await.expect("the services")
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_nothing_is_lost_and_nothing_comes_back() {
    let world = crate::sqlite::World::new(120).await;
    let home = world.program.home().to_owned();
    let (tables, documents) = Ground::of(&world.deployment);
    let ground = Ground {
        checker: Checker::new(&tables).local_dir(&home.join("store")),
        program: world.program,
        tables,
        documents,
        content: Content::Db,
        from: home.join("db.yaml"),
        to: home.join("localfs.yaml"),
        scheme: "file",
        sources: "SELECT count(*) FROM archive_document",
    };
    ground.go_through().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postgres_to_s3_nothing_is_lost_and_nothing_comes_back() {
    let mut world = crate::world::db_to_s3().await;
    world.deployment.seed_db_documents(300, 10..6_000, 31).await;
    let (tables, documents) = Ground::of(&world.deployment);
    let ground = Ground {
        checker: world.checker().await,
        tables,
        documents,
        content: Content::Db,
        from: world.from.clone(),
        to: world.to.clone(),
        scheme: "s3",
        sources: "SELECT count(*) FROM archive_document",
        program: world.program,
    };
    ground.go_through().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_s3_into_rows_nothing_is_lost_and_nothing_comes_back() {
    let mut world = crate::world::db_to_s3().await;
    let client = crate::support::s3::server().await.client();
    for n in 0..150 {
        let content = format!("{{\"n\": {n}, \"document\": \"{}\"}}", "y".repeat(n * 11));
        let key = ("admin", "analysis_data", &*format!("doc-{n:04}"));
        let place = (world.bucket.as_str(), "");
        let content = content.as_bytes();
        let deployment = &mut world.deployment;
        deployment
            .add_s3_document(&client, place, key, content)
            .await;
    }
    let compression = Compression::default();
    let from = S3Spec {
        compression,
        ..world.s3_spec().await
    };
    let from = world.write_config("plain", StoreSpec::S3(from));
    let to = world.write_config("db2", StoreSpec::Db2 { compression });
    let (tables, documents) = Ground::of(&world.deployment);
    let ground = Ground {
        checker: world.checker().await,
        tables,
        documents,
        content: Content::S3 {
            client,
            bucket: world.bucket.clone(),
        },
        from,
        to,
        scheme: "db2",
        // In the bucket: the checker finds what is left.
        sources: "SELECT count(*) FROM archive_document",
        program: world.program,
    };
    ground.go_through().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_directories_to_s3_nothing_is_lost_and_nothing_comes_back() {
    let (mut world, dir) = crate::world::localfs_to_s3().await;
    for n in 0..150 {
        let content = format!("{{\"n\": {n}, \"document\": \"{}\"}}", "x".repeat(n * 13));
        let key = ("admin", "analysis_data", &*format!("doc-{n:04}"));
        world
            .deployment
            .add_localfs_document(&dir, key, content.as_bytes())
            .await;
    }
    let (tables, documents) = Ground::of(&world.deployment);
    let ground = Ground {
        checker: world.checker().await.local_dir(&dir),
        tables,
        documents,
        content: Content::LocalFs(dir),
        from: world.from.clone(),
        to: world.to.clone(),
        scheme: "s3",
        // Files: the checker finds what is left.
        sources: "SELECT count(*) FROM archive_document",
        program: world.program,
    };
    ground.go_through().await;
}
