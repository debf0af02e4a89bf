//! Swift behind a network that fails and a balancer that refuses, cuts and damages.

use std::path::{Path, PathBuf};

use super::{patient, rough, tell, to_the_end};
use crate::support::checker::{Checker, Report};
use crate::support::counting_proxy::{CountingProxy, Fault};
use crate::support::deployment::{Compression, StoreSpec, SwiftSpec};
use crate::support::faulty_net::{FaultyNet, Weather};
use crate::support::place::{Kind, Place};
use crate::support::random::{Random, seed};
use crate::support::swift;
use crate::world::{World, db_to_s3, seeded};

const DOCUMENTS: usize = 40;
const OPTIONS: [&str; 4] = ["--concurrency", "4", "--max-outage", "0.5"];

/// windlass → net → balancer → Swift.
struct Behind {
    net: FaultyNet,
    balancer: CountingProxy,
    container: String,
    config: PathBuf,
}

impl Behind {
    async fn start(world: &World, container: String, seed: u64) -> Self {
        let server = swift::server().await;
        let upstream = server.auth_url.trim_end_matches("/auth/v1.0");
        let balancer = CountingProxy::start(upstream).await;
        let net = FaultyNet::start(balancer.url().trim_start_matches("http://"), seed).await;
        let root = format!("http://127.0.0.1:{}", net.port);
        let mut options = server.tempauth_options(swift::USER);
        options.retain(|(name, _)| *name != "auth");
        options.push(("auth", format!("{root}/auth/v1.0")));
        // The login's answer would lead past the network.
        let account = format!("{root}/v1/AUTH_{}", swift::ACCOUNT);
        options.push(("os_storage_url", account));
        let spec = SwiftSpec {
            options,
            container: container.clone(),
            compression: Compression::above_kbytes(1),
            ..SwiftSpec::default()
        };
        let config = world.write_config("swift", StoreSpec::Swift(spec));
        Self {
            net,
            balancer,
            container,
            config,
        }
    }

    fn turn_bad(&self) {
        self.net.set_weather(rough(60_000));
        self.balancer.set_fault(Fault::rough());
    }

    fn turn_fair(&self) {
        self.net.set_weather(Weather::Fair);
        self.balancer.set_fault(Fault::None);
    }

    async fn look(&self, world: &World, dir: Option<&Path>) -> Report {
        let client = swift::server().await.client().await;
        let mut checker = Checker::new(&world.database.pool).swift(client, &self.container, "");
        if let Some(dir) = dir {
            checker = checker.local_dir(dir);
        }
        let mut seen = checker.check(world.deployment.expected()).await;
        // Where nobody answers, an empty probe can't be taken away again.
        seen.strays
            .retain(|stray| !stray.contains("__windlass_self_check__"));
        seen
    }

    /// All there, once, in the one place, and a journal that says how.
    async fn expect_end(&self, world: &World, dir: Option<&Path>, scheme: &str) {
        self.turn_fair();
        self.look(world, dir).await.expect_all_at(scheme, DOCUMENTS);
        let task = world.task().await;
        world.program.expect_journal_verified(&task).await;
        let journal = world.journal(&task).await;
        journal.expect_sound();
        assert!(
            journal.unproved_deletes.is_empty(),
            "{:?}",
            journal.unproved_deletes
        );
    }
}

fn expect_whole(seen: &Report) {
    assert_eq!(seen.total_right(), DOCUMENTS as u64, "{:?}", seen.wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn into_swift_through_a_rough_network_every_document_arrives() {
    let seed = seed(41);
    let mut world = patient(seeded(DOCUMENTS).await);
    let behind = Behind::start(&world, swift::fresh_container().await, seed).await;
    world.to = behind.config.clone();
    behind.turn_bad();
    let ends = to_the_end(&world, &OPTIONS, async || {
        expect_whole(&behind.look(&world, None).await);
    })
    .await;
    tell(&ends, &[&behind.net]);
    let said: String = ends.iter().map(|ended| ended.stderr.as_str()).collect();
    assert!(said.contains("attempt="), "tries are told: {said}");
    behind.expect_end(&world, None, "swift").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_swift_through_a_rough_network_every_document_arrives() {
    let seed = seed(42);
    let mut world = patient(db_to_s3().await);
    let here = Place::fresh(Kind::Swift, &world.program, "", "").await;
    let there = Place::fresh(Kind::LocalFs, &world.program, "there", "").await;
    let mut random = Random::seeded(seed);
    for index in 0..DOCUMENTS {
        let size = random.within(1..30_000);
        let (id, content) = (format!("document-{index}"), random.bytes(size));
        let key = ("admin", "analysis_data", id.as_str());
        here.seed(&mut world.deployment, key, &content).await;
    }
    let behind = Behind::start(&world, here.name.clone(), seed).await;
    let to = there.spec(Compression::default()).await;
    world.from = behind.config.clone();
    world.to = world.write_config("directory", to);
    let dir = PathBuf::from(&there.name);
    behind.turn_bad();
    let ends = to_the_end(&world, &OPTIONS, async || {
        expect_whole(&behind.look(&world, Some(&dir)).await);
    })
    .await;
    tell(&ends, &[&behind.net]);
    behind.expect_end(&world, Some(&dir), "file").await;
}
