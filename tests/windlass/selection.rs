//! What is moved: by place, not by scheme; with the analysis archive as Anchore's guide has it.

use std::path::PathBuf;

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use crate::support::program::Program;
use crate::support::{postgres, s3};

const ARCHIVE: &str = "analysis_archive";

struct Split {
    database: postgres::Database,
    deployment: Deployment,
    program: Program,
    main: String,
    archive: String,
}

async fn s3_spec(bucket: &str) -> StoreSpec {
    let server = s3::server().await;
    StoreSpec::S3(S3Spec {
        url: server.url.clone(),
        access_key: server.access_key.clone(),
        secret_key: server.secret_key.clone(),
        bucket: bucket.to_owned(),
        ..S3Spec::default()
    })
}

fn db() -> StoreSpec {
    StoreSpec::Db {
        compression: Compression::default(),
    }
}

impl Split {
    async fn new() -> Self {
        let database = postgres::fresh_database().await;
        Self {
            deployment: Deployment::new(&database),
            database,
            program: Program::new(),
            main: s3::fresh_bucket().await,
            archive: s3::fresh_bucket().await,
        }
    }

    fn config(&self, name: &str, store: StoreSpec, archive: Option<StoreSpec>) -> String {
        let home = self.program.home();
        let path: PathBuf = self
            .deployment
            .write_split_config(home, name, store, archive);
        path.display().to_string()
    }

    async fn add_db(&mut self, bucket: &str, n: usize) {
        let (id, content) = (format!("id{n}"), format!("{bucket} {n}"));
        let deployment = &mut self.deployment;
        deployment
            .add_db_document("admin", bucket, &id, content.as_bytes())
            .await;
    }

    async fn add_s3(&mut self, s3_bucket: &str, bucket: &str, id: &str) {
        let client = s3::server().await.client();
        let content = format!("{{\"document\": \"{bucket} {id}\"}}");
        self.deployment
            .add_s3_document(
                &client,
                (s3_bucket, ""),
                ("admin", bucket, id),
                content.as_bytes(),
            )
            .await;
    }

    async fn look(&self) -> Report {
        let client = s3::server().await.client();
        Checker::new(&self.database.pool)
            .s3(client.clone(), &self.main, "")
            .s3(client, &self.archive, "")
            .check(self.deployment.expected())
            .await
    }

    async fn count_at(&self, start: &str) -> i64 {
        let row: (i64,) = sqlx::query_as(
            "SELECT count(*) FROM archive_metadata WHERE starts_with(content_url, $1)",
        )
        .bind(start)
        .fetch_one(&self.database.pool)
        .await
        .expect("a count");
        row.0
    }
}

/// The guide's first example: everything in one backend, the analysis archive goes to its own.
#[tokio::test(flavor = "multi_thread")]
async fn one_backend_is_split() {
    let mut split = Split::new().await;
    for n in 0..3 {
        for bucket in ["analysis_data", "policy_bundles", ARCHIVE] {
            split.add_db(bucket, n).await;
        }
    }
    let one = split.config("config", db(), None);
    let two = split.config("config-split", db(), Some(s3_spec(&split.archive).await));
    let args = [
        "objectstorage",
        "migrate",
        &one,
        &two,
        "--to-analysis-archive",
        "--bucket",
        ARCHIVE,
    ];
    let done = split.program.run_with_input(&args, "y\n").await;
    done.expect_code(0);
    split.look().await.expect_nothing_lost();
    let archive = format!("s3://{}/admin/{ARCHIVE}/", split.archive);
    assert_eq!(split.count_at(&archive).await, 3);
    assert_eq!(split.count_at("db://").await, 6);
    let seen = split.look().await;
    assert!(
        seen.doubled.is_empty() && seen.strays.is_empty(),
        "{seen:?}"
    );
}

/// The same two ways, and back, each by two workers beside each other.
#[tokio::test(flavor = "multi_thread")]
async fn workers_split_a_backend_and_join_it_again() {
    let mut split = Split::new().await;
    for n in 0..12 {
        for bucket in ["analysis_data", ARCHIVE] {
            split.add_db(bucket, n).await;
        }
    }
    let one = split.config("config", db(), None);
    let two = split.config("config-split", db(), Some(s3_spec(&split.archive).await));
    let archive = format!("s3://{}/admin/{ARCHIVE}/", split.archive);
    let there = [
        one.as_str(),
        &two,
        "--to-analysis-archive",
        "--bucket",
        ARCHIVE,
    ];
    let back = [two.as_str(), &one, "--from-analysis-archive"];
    for (way, task, in_archive) in [(&there[..], "1", 12), (&back[..], "2", 0)] {
        let plan = [&["migrate", "--plan-only", "--dontask"], way].concat();
        let few = [("FAILPOINTS", "shard-objects=return(3)")];
        split.program.run_with(&plan, &few).await.expect_code(0);
        let url = &split.database.url;
        let worker = ["--db-connect", url, "worker", task];
        let beside = Program::new();
        let (first, second) = tokio::join!(split.program.run(&worker), beside.run(&worker));
        first.expect_code(0);
        second.expect_code(0);
        assert_eq!(split.count_at(&archive).await, in_archive);
        assert_eq!(split.count_at("db://").await, 24 - in_archive);
        let seen = split.look().await;
        seen.expect_nothing_lost();
        assert!(
            seen.doubled.is_empty() && seen.strays.is_empty(),
            "{seen:?}"
        );
    }
}

/// The guide's second example: two backends, of which the analysis archive joins the other. Both
/// are S3: only what lies in the archive's bucket moves, where Anchore would take every `s3://`.
#[tokio::test(flavor = "multi_thread")]
async fn two_backends_become_one() {
    let mut split = Split::new().await;
    let (main, archive) = (split.main.clone(), split.archive.clone());
    for n in 0..3 {
        split
            .add_s3(&main, "analysis_data", &format!("id{n}"))
            .await;
        split.add_s3(&archive, ARCHIVE, &format!("id{n}")).await;
    }
    let two = split.config(
        "config",
        s3_spec(&main).await,
        Some(s3_spec(&archive).await),
    );
    let one = split.config("config-one", s3_spec(&main).await, None);
    let args = [
        "migrate",
        &two,
        &one,
        "--from-analysis-archive",
        "--dontask",
    ];
    let done = split.program.run(&args).await.expect_code(0);
    assert!(done.stderr.contains("3 objects"), "{}", done.stderr);
    // What is at the destination already is nothing to ask about.
    assert!(
        !done.stderr.contains("include-elsewhere"),
        "{}",
        done.stderr
    );
    split.look().await.expect_all_at("s3", 6);
    assert_eq!(split.count_at(&format!("s3://{main}/")).await, 6);
    let left = s3::server().await.client().list(&archive, "").await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_elsewhere_is_told_and_taken_only_when_asked_for() {
    let mut split = Split::new().await;
    let (main, old) = (split.main.clone(), split.archive.clone());
    split.add_s3(&main, "analysis_data", "here").await;
    for n in 0..4 {
        split
            .add_s3(&old, "analysis_data", &format!("old{n}"))
            .await;
    }
    let from = split.config("from", s3_spec(&main).await, None);
    let to = split.config("to", db(), None);
    let args = ["migrate", &from, &to, "--dontask"];
    let dry = split
        .program
        .run(&[&args[..], &["--dry-run", "--json"]].concat())
        .await;
    let dry = dry.expect_code(0).json();
    assert_eq!(
        (&dry["planned"], &dry["notices"]["elsewhere"]),
        (&1.into(), &4.into())
    );
    let done = split.program.run(&args).await.expect_code(0);
    assert!(
        done.stderr
            .contains("4 objects of the same driver are not in s3://")
            && done.stderr.contains("--include-elsewhere takes them"),
        "{}",
        done.stderr
    );
    split.look().await.expect_nothing_lost();
    assert_eq!(split.count_at(&format!("s3://{old}/")).await, 4);

    let taken = [&args[..], &["--include-elsewhere", "--json"]].concat();
    let done = split.program.run(&taken).await.expect_code(0).json();
    assert_eq!(
        (&done["committed"], &done["source_deleted"]),
        (&4.into(), &4.into())
    );
    split.look().await.expect_all_at("db", 5);
}

/// A row that lies at its destination already is not its own source: it would be deleted.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_its_destination_already_stays() {
    let mut split = Split::new().await;
    let (main, there) = (split.main.clone(), split.archive.clone());
    split.add_s3(&main, "analysis_data", "moves").await;
    split.add_s3(&there, "analysis_data", "stays").await;
    let from = split.config("from", s3_spec(&main).await, None);
    let to = split.config("to", s3_spec(&there).await, None);
    let args = [
        "migrate",
        &from,
        &to,
        "--dontask",
        "--include-elsewhere",
        "--json",
    ];
    let done = split.program.run(&args).await.expect_code(0).json();
    assert_eq!(done["committed"], 1, "{done}");
    split.look().await.expect_all_at("s3", 2);
    assert_eq!(split.count_at(&format!("s3://{there}/")).await, 2);
}
