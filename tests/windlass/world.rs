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

    /// What an eye that knows nothing of windlass sees.
    pub async fn look(&self) -> Report {
        Checker::new(&self.database.pool)
            .s3(s3::server().await.client(), &self.bucket, "")
            .check(self.deployment.expected())
            .await
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
