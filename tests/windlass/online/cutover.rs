//! What the cut-over asks before it begins, what it proves, and what it sets right.

use std::path::PathBuf;
use std::time::Duration;

use super::localfs_path;
use crate::sqlite::World;

async fn staged(documents: usize) -> (World, Vec<PathBuf>) {
    let world = World::new(documents).await;
    world
        .migrate("db", "localfs", &["--online"])
        .await
        .expect_code(0);
    let store = world.program.home().join("store");
    let keys = world.deployment.expected().keys();
    let copies = keys.map(|key| localfs_path(&store, key)).collect();
    (world, copies)
}

/// As if its bytes had rotten: other ones, of the same length.
fn damage(copy: &PathBuf) {
    let mut bytes = std::fs::read(copy).expect("a copy");
    bytes.iter_mut().for_each(|byte| *byte ^= 1);
    if bytes.is_empty() {
        bytes.push(b'x');
    }
    std::fs::write(copy, bytes).expect("written over");
}

const CUTOVER: [&str; 3] = ["cutover", "1", "--dontask"];

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_another_by_now_is_made_anew_before_its_row_goes_over() {
    let (world, copies) = staged(30).await;
    damage(&copies[3]);
    std::fs::remove_file(&copies[7]).expect("removed");
    let done = world.program.run(&CUTOVER).await.expect_code(0);
    assert!(done.stderr.contains("read back"), "{}", done.stderr);
    let journal = world.journal("1").await;
    assert_eq!(journal.count("returned"), 2);
    assert_eq!(journal.count("copied"), 32);
    world.look().await.expect_nothing_lost();
    let listed = world
        .program
        .run(&["journal", "1", "--format", "jsonl"])
        .await;
    let listed = listed.expect_code(0).stdout;
    let by_listing = listed.matches("\"method\":\"listing\"").count();
    assert_eq!(by_listing, 28, "the others were not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_copy_is_read_back_where_that_is_asked_for() {
    let (world, copies) = staged(20).await;
    let all = ["cutover", "1", "--dontask", "--verify", "full"];
    world.program.run(&all).await.expect_code(0);
    let listed = world
        .program
        .run(&["journal", "1", "--format", "jsonl"])
        .await;
    let listed = listed.expect_code(0).stdout;
    assert_eq!(
        listed.matches("\"method\":\"full\"").count(),
        2 * copies.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_copy_that_is_written_over_is_set_right_from_its_source() {
    let (world, copies) = staged(30).await;
    let crash = [("FAILPOINTS", "all-at-rest=return")];
    let crashed = world.program.run_with(&CUTOVER, &crash).await;
    assert_eq!(crashed.code, None, "{}", crashed.stderr);
    world.let_time_pass().await;
    damage(&copies[5]);
    std::fs::remove_file(&copies[6]).expect("removed");
    let done = world.program.run(&["resume", "1"]).await.expect_code(0);
    assert!(done.stderr.contains("written again"), "{}", done.stderr);
    let journal = world.journal("1").await;
    journal.expect_sound();
    assert_eq!(journal.count("repaired"), 2);
    world.look().await.expect_nothing_lost();
    world.program.expect_journal_verified("1").await;
    world
        .program
        .run(&["report", "1", "-o", "-"])
        .await
        .expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_a_service_died_at_is_kept() {
    let (world, _) = staged(20).await;
    world.program.run(&CUTOVER).await.expect_code(0);
    let key = world.a_document();
    world.set_text(&key, "newer, and in no row").await;
    let done = world
        .program
        .run(&["delete-source", "1", "--dontask"])
        .await;
    done.expect_code(0);
    let kept = "SELECT count(*) FROM archive_document";
    assert_eq!(world.deployment.tables().count(kept).await, 1);
    assert_eq!(world.journal("2").await.count("source-kept"), 1);
    world.look().await.expect_nothing_lost();
}

/// A service that tells of itself until this is dropped.
struct Beating(tokio::task::JoinHandle<()>);

impl Beating {
    async fn start(world: &World) -> Self {
        let tables = world.deployment.tables().clone();
        tables
            .execute(
                "INSERT INTO services (hostid, servicename, status, status_message, heartbeat)
                 VALUES ('host-1', 'catalog', true, 'available', 0)",
            )
            .await;
        Self(tokio::spawn(async move {
            loop {
                let now = "UPDATE services SET heartbeat = strftime('%s', 'now')";
                tables.execute(now).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }))
    }

    /// Its last word becomes an old one.
    async fn stop(self, world: &World) {
        self.0.abort();
        let _ = self.0.await;
        let old = "UPDATE services SET heartbeat = 0";
        world.deployment.tables().execute(old).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_let_in_beside_a_pass_and_keep_the_cutover_out() {
    let world = World::new(20).await;
    let services = Beating::start(&world).await;
    let online = world.migrate("db", "localfs", &["--online"]).await;
    online.expect_code(0);
    world.program.run(&["sync", "1"]).await.expect_code(0);
    world
        .program
        .run(&["cutover", "1", "--dry-run"])
        .await
        .expect_code(0);
    let refused = world.program.run(&CUTOVER).await.expect_code(2);
    assert!(
        refused.stderr.contains("catalog on host-1"),
        "{}",
        refused.stderr
    );
    services.stop(&world).await;
    assert_eq!(world.moved().await, 0);
}

/// The operator's word is enough for the sources; what lies at the destination stays, since a service may
/// store something there at any moment. A later run without services clears it away.
#[tokio::test(flavor = "multi_thread")]
async fn sources_go_beside_services_on_the_new_configuration_and_leftovers_without_them() {
    let mut world = World::new(20).await;
    world
        .migrate("db", "localfs", &["--online"])
        .await
        .expect_code(0);
    let gone = world.a_document();
    let copy = localfs_path(&world.program.home().join("store"), &gone);
    for table in ["archive_metadata", "archive_document"] {
        let delete = format!("DELETE FROM {table} WHERE \"archiveId\" = '{}'", gone.id);
        world.deployment.tables().execute(&delete).await;
    }
    world.deployment.expect(gone, None);
    world.program.run(&CUTOVER).await.expect_code(0);
    let services = Beating::start(&world).await;
    let delete = ["delete-source", "1", "--dontask"];
    let refused = world.program.run(&delete).await.expect_code(2);
    assert!(refused.stderr.contains("host-1"), "{}", refused.stderr);

    // Killed, it is gone on with as it was begun.
    let beside = [&delete[..], &["--services-on-new-config"]].concat();
    let crash = [("FAILPOINTS", "all-at-rest=return")];
    let crashed = world.program.run_with(&beside, &crash).await;
    assert_eq!(crashed.code, None, "{}", crashed.stderr);
    world.let_time_pass().await;
    let done = world.program.run(&["resume", "2"]).await.expect_code(0);
    assert!(done.stderr.contains("stay"), "{}", done.stderr);
    let sources = "SELECT count(*) FROM archive_document";
    assert_eq!(world.deployment.tables().count(sources).await, 0);
    assert!(copy.exists());
    world.look().await.expect_nothing_lost();

    services.stop(&world).await;
    world.program.run(&delete).await.expect_code(0);
    assert!(!copy.exists());
    let nothing = world.program.run(&delete).await.expect_code(0);
    assert!(
        nothing.stdout.contains("nothing to do"),
        "{}",
        nothing.stdout
    );
    world.look().await.expect_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_task_that_was_cut_over_has_its_sources_deleted_beside_services() {
    let world = World::new(5).await;
    let kept = world.migrate("db", "localfs", &["--nodelete"]).await;
    kept.expect_code(0);
    let beside = [
        "delete-source",
        "1",
        "--dontask",
        "--services-on-new-config",
    ];
    let refused = world.program.run(&beside).await.expect_code(2);
    assert!(refused.stderr.contains("--online"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_may_wake_keeps_the_cutover_out() {
    let (world, _) = staged(20).await;
    let asleep = "8c5dd2a0-9a3c-4b0e-8f4e-0d4b7a6f1c11";
    let executor = format!(
        "INSERT INTO windlass_executors (task_id, executor, epoch, host, pid, version, seq, head,
             heartbeat)
         VALUES (1, '{asleep}', 0, 'elsewhere', 17, '0', 0, '', '2020-01-01T00:00:00.000Z')"
    );
    world.deployment.tables().execute(&executor).await;
    let refused = world.program.run(&CUTOVER).await.expect_code(2);
    assert!(
        refused.stderr.contains("process 17 on elsewhere"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains(asleep), "{}", refused.stderr);
    assert_eq!(world.moved().await, 0);
    let dead = ["cutover", "1", "--dontask", "--dead", asleep];
    world.program.run(&dead).await.expect_code(0);
    let refused = world
        .program
        .run(&["delete-source", "1", "--dontask"])
        .await;
    assert!(refused.expect_code(2).stderr.contains("--dead"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_task_that_was_begun_so_has_passes() {
    let world = World::new(5).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    for command in ["sync", "cutover"] {
        let args: &[&str] = match command {
            "sync" => &["sync", "1"],
            _ => &CUTOVER,
        };
        let refused = world.program.run(args).await.expect_code(2);
        assert!(refused.stderr.contains("--online"), "{}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_migration_typed_again_is_the_next_pass() {
    let (world, _) = staged(20).await;
    let again = world.migrate("db", "localfs", &["--online"]).await;
    let again = again.expect_code(0);
    assert!(
        again
            .stderr
            .contains("task 1 is this very migration, staged")
    );
    assert!(again.stdout.contains("pass 2"), "{}", again.stdout);
    // Another way of moving the same documents is another migration.
    let other = world.migrate("db", "localfs", &[]).await.expect_code(2);
    assert!(
        other.stderr.contains("--online on, not off"),
        "{}",
        other.stderr
    );
    let listed = world.program.run(&["list-migrations", "--json"]).await;
    let listed = listed.expect_code(0).json();
    assert_eq!(listed["migrations"][0]["state"], "running");
    let status = world.program.run(&["status", "1", "--json"]).await;
    let status = status.expect_code(0).json();
    assert_eq!(
        (&status["state"], &status["staged"]),
        (&"staged".into(), &20.into())
    );
}

/// A thousand keys in one listing: nothing is read, and hardly anything asked for by itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_costs_listings_and_no_reading_back() {
    let mut world = crate::world::db_to_s3().await;
    world.deployment.seed_db_documents(400, 10..900, 5).await;
    world.migrate(&["--online"]).await.expect_code(0);
    world.proxy.reset_counts();
    world.program.run(&CUTOVER).await.expect_code(0);
    let counts = world.proxy.counts();
    let of_documents = |requests: &std::collections::HashMap<String, u64>| {
        let keys = requests.keys();
        keys.filter(|key| key.contains("/admin/") || key.contains("/tenant-b/"))
            .count()
    };
    assert_eq!(of_documents(&counts.gets), 0, "{:?}", counts.gets);
    assert_eq!(of_documents(&counts.puts), 0, "{:?}", counts.puts);
    assert!(of_documents(&counts.heads) <= 4, "{:?}", counts.heads);
    // A page before the rows go over, and a page behind them.
    assert!((2..=6).contains(&counts.lists), "{} listings", counts.lists);
    world.look().await.expect_nothing_lost();
}
