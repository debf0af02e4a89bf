//! windlass on S3 servers from other hands: what the drivers' suite asks, and the whole path there and
//! back.

use std::path::PathBuf;
use std::time::Duration;

use windlass::config::{DriverConfig, EndpointUrl, S3Auth, S3Config, Secret};
use windlass::driver::conformance::{Spared, conform_but};
use windlass::model::{ObjectKey, Unfinished};

use crate::conformance::open;
use crate::support::checker::{Checker, Report};
use crate::support::counting_proxy::{CountingProxy, Fault};
use crate::support::deployment::{Compression, Deployment, S3Spec, StoreSpec};
use crate::support::memory_s3::{FaultReply, MemoryS3};
use crate::support::other_s3::{self, Kind};
use crate::support::postgres;
use crate::support::program::{Program, Running};
use crate::support::random::Random;
use crate::support::s3::S3Server;
use crate::world::{World, until};

const SMALL: usize = 60;
/// Two parts.
const LARGE_BYTES: usize = 12 << 20;
const LARGE_PARTS: u64 = 2;

fn config(server: &S3Server, bucket: &str) -> DriverConfig {
    DriverConfig::S3(S3Config {
        auth: S3Auth::Keys {
            access_key: Secret::new(&server.access_key),
            secret_key: Secret::new(&server.secret_key),
        },
        url: Some(EndpointUrl::new(&server.url)),
        region: None,
        bucket: bucket.into(),
        create_bucket: false,
        prefix: "pre".into(),
        ca_bundle: None,
    })
}

async fn conforms(kind: Kind, spared: Spared) {
    if other_s3::is_left_out() {
        return;
    }
    let (server, bucket) = (kind.server().await, kind.fresh_bucket().await);
    conform_but(&*open(config(server, &bucket)).await, spared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_conforms() {
    let spared = Spared {
        // Under load it answers some of them with 500.
        writes_at_once: true,
        ..Spared::default()
    };
    conforms(Kind::Moto, spared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3rver_conforms() {
    let spared = Spared {
        // Each part of a key is a file's name, and one that is too long ends the whole server: an
        // error that nobody there listens for. To a client it looks like a store that is away.
        long_parts: true,
        // An object's file is written in place.
        reads_beside_writes: true,
        // Two that both find their directory empty both remove it, and one of them can't any more.
        deletes_at_once: true,
        ..Spared::default()
    };
    conforms(Kind::S3rver, spared).await;
}

/// What the server does not list is known by its id all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_parts_are_not_told_is_aborted_by_its_id() {
    const BUCKET: &str = "memory";
    let memory = MemoryS3::start().await;
    let server = memory.server();
    server.client().create_bucket(BUCKET).await;
    let driver = open(config(server, BUCKET)).await;
    let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
    let key = url.strip_prefix(&format!("s3://{BUCKET}/"));
    let key = key.expect("it lies in the bucket");
    let id = server.client().begin_upload(BUCKET, key).await;
    memory.set_hook(|operation, _| {
        let lists = operation.starts_with("List");
        lists.then_some(FaultReply::Error(403, "AccessDenied"))
    });
    let uploads = driver.resumable().expect("uploads that go on");
    let found = uploads.still_has(&url, Unfinished::new(&id)).await;
    assert_eq!(found.expect("an answer"), None);
    let left = memory.with_store(|store| store.uploads(BUCKET).unwrap().len());
    assert_eq!(left, 0, "its parts would stay for good");
}

/// Documents in the database, and a bucket at such a server.
struct Journey {
    kind: Kind,
    world: World,
}

impl Journey {
    async fn new(kind: Kind) -> Self {
        let server = kind.server().await;
        let database = postgres::fresh_database().await;
        let proxy = CountingProxy::start(&server.url).await;
        let bucket = kind.fresh_bucket().await;
        let mut deployment = Deployment::new(&database);
        let large = Random::seeded(11).bytes(LARGE_BYTES);
        let key = ("admin", "analysis_data");
        deployment
            .add_db_document(key.0, key.1, "large", &large)
            .await;
        deployment.add_db_document(key.0, key.1, "empty", b"").await;
        deployment.seed_db_documents(SMALL, 100..200_000, 12).await;
        let program = Program::new();
        let db = StoreSpec::Db {
            compression: Compression::default(),
        };
        let from = deployment.write_config(program.home(), "config", db);
        let spec = StoreSpec::S3(S3Spec {
            url: proxy.url().to_owned(),
            access_key: server.access_key.clone(),
            secret_key: server.secret_key.clone(),
            bucket: bucket.clone(),
            compression: Compression::above_kbytes(1),
            ..S3Spec::default()
        });
        let to = deployment.write_config(program.home(), "new", spec);
        let world = World {
            database,
            deployment,
            program,
            bucket,
            proxy,
            from,
            to,
        };
        Self { kind, world }
    }

    fn documents(&self) -> usize {
        self.world.deployment.expected().len()
    }

    fn parts_sent(&self) -> u64 {
        self.world.proxy.counts().parts.values().sum()
    }

    /// Each row, to its last column.
    async fn rows(&self) -> String {
        let rows = r#"SELECT string_agg(to_jsonb(m)::text, E'\n' ORDER BY "archiveId")
            FROM archive_metadata m"#;
        let rows = sqlx::query_scalar(rows).fetch_one(&self.world.database.pool);
        rows.await.expect("the rows")
    }

    /// What an eye that knows nothing of windlass sees.
    async fn look(&self) -> Report {
        let client = self.kind.server().await.client();
        let checker = Checker::new(&self.world.database.pool).s3(client, &self.world.bucket, "");
        checker.check(self.world.deployment.expected()).await
    }

    fn slowly(&self) {
        let pause = Duration::from_millis(300);
        self.world.proxy.set_fault(Fault::Stall(pause));
    }

    async fn kill(&self, mut running: Running) {
        running.kill();
        running.wait().await;
        self.world.proxy.at_rest().await;
        self.look().await.expect_nothing_lost();
    }

    async fn run(&self, args: &[&str]) {
        self.world.program.run(args).await.expect_code(0);
    }
}

/// Killed while its large document is half sent, and again with half of the others moved; resumed,
/// looked at, and taken back.
async fn there_and_back(kind: Kind) {
    if other_s3::is_left_out() {
        return;
    }
    let journey = Journey::new(kind).await;
    let (world, documents) = (&journey.world, journey.documents());
    let path = |path: &PathBuf| path.display().to_string();
    journey.run(&["check", &path(&world.to)]).await;
    world.proxy.reset_counts();
    let before = journey.rows().await;

    journey.slowly();
    let mut running = world.spawn(&["--concurrency", "4"]);
    until("parts have arrived", async || {
        assert!(!running.has_ended(), "{}", running.stderr());
        journey.parts_sent() > 0
    })
    .await;
    journey.kill(running).await;
    assert!(world.moved().await < documents as u64, "in the middle");
    let task = world.task().await;
    let mut running = world.program.spawn(&["resume", &task]);
    until("rows have moved", async || {
        assert!(!running.has_ended(), "{}", running.stderr());
        world.moved().await >= 20
    })
    .await;
    journey.kill(running).await;

    world.proxy.set_fault(Fault::None);
    world.resume(&task).await.expect_code(0);
    journey.look().await.expect_all_at("s3", documents);
    let sent = journey.parts_sent();
    println!("{kind:?}: {sent} parts sent, {LARGE_PARTS} needed");
    assert!(sent > LARGE_PARTS, "no upload was broken off");
    if kind == Kind::Moto {
        // s3rver can't tell.
        let client = kind.server().await.client();
        assert_eq!(client.uploads(&world.bucket).await, [], "left behind");
    }
    journey.run(&["journal", "verify", &task]).await;
    journey.run(&["verify", "--task", &task]).await;
    let journal = world.journal(&task).await;
    journal.expect_sound();
    assert!(journal.unproved_deletes.is_empty());

    world.let_time_pass().await;
    journey.run(&["reverse", &task, "--dontask"]).await;
    journey.look().await.expect_all_at("db", documents);
    assert_eq!(journey.rows().await, before, "rows as they were");
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_takes_the_whole_path() {
    there_and_back(Kind::Moto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3rver_takes_the_whole_path() {
    there_and_back(Kind::S3rver).await;
}
