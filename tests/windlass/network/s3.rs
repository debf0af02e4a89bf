//! An S3 server behind a network that fails and a balancer that refuses, cuts and damages: both
//! ways, and with an object that goes in parts.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::{patient, rough, tell, to_the_end};
use crate::support::counting_proxy::Fault;
use crate::support::deployment::{Compression, S3Spec, StoreSpec};
use crate::support::faulty_net::{FaultyNet, Weather};
use crate::support::place::{Kind, Place};
use crate::support::random::{Random, seed};
use crate::support::s3;
use crate::world::{World, db_to_s3, seeded};

const DOCUMENTS: usize = 40;
/// More than one part.
const LARGE_BYTES: usize = 9 << 20;
const OPTIONS: [&str; 4] = ["--concurrency", "4", "--max-outage", "0.5"];

/// windlass → net → balancer (the world's own proxy) → S3. The configuration for it.
async fn behind(world: &World, seed: u64) -> (FaultyNet, PathBuf) {
    let balancer = world.proxy.url().trim_start_matches("http://");
    let net = FaultyNet::start(balancer, seed).await;
    let spec = S3Spec {
        url: format!("http://127.0.0.1:{}", net.port),
        ..world.s3_spec().await
    };
    let config = world.write_config("behind", StoreSpec::S3(spec));
    (net, config)
}

/// Far enough that small objects mostly pass, and large ones mostly do not.
fn turn_bad(world: &World, net: &FaultyNet) {
    net.set_weather(rough(4 << 20));
    world.proxy.set_fault(Fault::rough());
}

fn turn_fair(world: &World, net: &FaultyNet) {
    net.set_weather(Weather::Fair);
    world.proxy.set_fault(Fault::None);
    assert!(
        net.done().dropped.load(Ordering::Relaxed) > 0,
        "the faults were met"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn into_s3_through_a_rough_network_every_document_arrives() {
    let seed = seed(51);
    let mut world = patient(seeded(DOCUMENTS - 1).await);
    let large = Random::seeded(seed).bytes(LARGE_BYTES);
    world
        .deployment
        .add_db_document("admin", "analysis_data", "large", &large)
        .await;
    let (net, config) = behind(&world, seed).await;
    world.to = config;
    turn_bad(&world, &net);
    let ends = to_the_end(&world, &OPTIONS, async || {
        world.expect_every_row_whole().await;
    })
    .await;
    tell(&ends, &[&net]);
    turn_fair(&world, &net);
    world.expect_moved_and_sound().await;
    let uploads = s3::server().await.client().uploads(&world.bucket).await;
    assert_eq!(uploads, [], "unfinished uploads");
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_s3_through_a_rough_network_every_document_arrives() {
    let seed = seed(52);
    let mut world = patient(db_to_s3().await);
    let there = Place::fresh(Kind::LocalFs, &world.program, "there", "").await;
    let client = s3::server().await.client();
    let mut random = Random::seeded(seed);
    for index in 0..DOCUMENTS {
        let size = match index {
            0 => LARGE_BYTES,
            _ => random.within(1..30_000),
        };
        let (id, content) = (format!("document-{index}"), random.bytes(size));
        let key = ("admin", "analysis_data", id.as_str());
        world
            .deployment
            .add_s3_document(&client, (&world.bucket, ""), key, &content)
            .await;
    }
    let (net, config) = behind(&world, seed).await;
    world.from = config;
    let to = there.spec(Compression::default()).await;
    world.to = world.write_config("directory", to);
    let dir = PathBuf::from(&there.name);
    turn_bad(&world, &net);
    let ends = to_the_end(&world, &OPTIONS, async || {
        let seen = look(&world, &dir).await;
        assert_eq!(seen.total_right(), DOCUMENTS as u64, "{:?}", seen.wrong);
    })
    .await;
    tell(&ends, &[&net]);
    turn_fair(&world, &net);
    look(&world, &dir).await.expect_all_at("file", DOCUMENTS);
    let task = world.task().await;
    world.program.expect_journal_verified(&task).await;
}

async fn look(world: &World, dir: &Path) -> crate::support::checker::Report {
    let checker = world.checker().await.local_dir(dir);
    let mut seen = checker.check(world.deployment.expected()).await;
    // Where nobody answers, an empty probe can't be taken away again.
    seen.strays.retain(|stray| !stray.contains("self_check__"));
    seen
}
