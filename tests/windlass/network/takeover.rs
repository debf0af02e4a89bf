//! A lost lock that somebody else takes: nothing is committed or deleted until it is held again, and
//! whoever has lost a task to another leaves it alone.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::{FaultyNet, database_behind};
use crate::support::counting_proxy::Fault;
use crate::support::faulty_net::Weather;
use crate::support::program::{Program, Running};
use crate::world::{World, seeded, seeded_on, until};

const DOCUMENTS: usize = 80;

/// Ours to be patient with, and quick to connect again.
const OPTIONS: [&str; 4] = ["--db-retries", "0", "--max-outage", "1"];

/// Anchore's own tool, or anybody else who takes the lock as it does.
async fn take_the_lock(world: &World) -> PgConnection {
    let mut connection = PgConnection::connect(&world.direct_url())
        .await
        .expect("the database answers");
    sqlx::query("SELECT pg_advisory_lock(2, 1)")
        .execute(&mut connection)
        .await
        .expect("the lock");
    connection
}

/// A migration that has lost its lock with its way to the database, and somebody who has it.
async fn robbed(seed: u64) -> (FaultyNet, World, Running, PgConnection) {
    let (net, database) = database_behind(seed).await;
    let world = seeded_on(database, DOCUMENTS).await;
    let running = world.spawn_slowly(&OPTIONS, 10).await;
    net.set_weather(Weather::Away);
    let holder = take_the_lock(&world).await;
    net.set_weather(Weather::Fair);
    (net, world, running, holder)
}

/// What must not change while another holds the lock.
async fn moved_and_left(world: &World) -> (i64, i64) {
    let moved = "SELECT count(*) FROM archive_metadata WHERE content_url LIKE 's3:%'";
    let left = "SELECT count(*) FROM archive_document";
    (world.count(moved).await, world.count(left).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_or_deleted_while_another_holds_the_lock() {
    let (_net, world, running, holder) = robbed(51).await;
    let before = moved_and_left(&world).await;
    // It goes on copying, reads back, and would commit now.
    until("it has met the other holder, twice", async || {
        running.stderr().matches("is held by").count() >= 2
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(moved_and_left(&world).await, before);
    world.expect_every_row_whole().await;
    holder.close().await.expect("the lock is given back");
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("resumed"), 1, "a tenure of its own");
}

/// Another machine goes on with the task. Its state directory knows nothing of it.
async fn other_machine(world: &World, args: &[&str]) -> (Program, Running) {
    let program = Program::new();
    let url = world.direct_url();
    let mut full = vec!["--db-connect", url.as_str()];
    full.extend(args);
    let running = program.spawn(&full);
    (program, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_task_another_machine_has_taken_over_yields() {
    let (_net, world, mut first, holder) = robbed(52).await;
    // Stands still while the other comes: a machine that hangs.
    first.freeze();
    holder.close().await.expect("the lock is given back");
    let task = world.task().await;
    let (_other, second) = other_machine(&world, &["resume", &task, "--concurrency", "4"]).await;
    until("the other has taken it over", async || {
        world.count("SELECT count(*) FROM windlass_executors").await == 2
    })
    .await;
    first.go_on();
    world.proxy.set_fault(Fault::None);
    let second = second.wait().await.expect_code(0);
    let first = first.wait().await.expect_code(130);
    assert!(
        first.stdout.contains("another process has taken task") || first.stdout.contains("held by"),
        "{}",
        first.stdout
    );
    assert!(
        second.stderr.contains("going on from the mirror"),
        "{}",
        second.stderr
    );
    world.look().await.expect_all_at("s3", DOCUMENTS);
    let again = world.resume(&task).await.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_task_was_reversed_meanwhile_yields() {
    let (_net, world, mut first, holder) = robbed(53).await;
    first.freeze();
    holder.close().await.expect("the lock is given back");
    // As long ago as a different task has to wait for.
    world
        .sql("UPDATE windlass_executors SET heartbeat = heartbeat - interval '1 hour'")
        .await;
    world.proxy.set_fault(Fault::None);
    let task = world.task().await;
    let (_other, second) = other_machine(&world, &["reverse", &task, "--dontask"]).await;
    second.wait().await.expect_code(0);
    first.go_on();
    let first = first.wait().await.expect_code(130);
    assert!(
        first.stdout.contains("has been reversed by task"),
        "{}",
        first.stdout
    );
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right.get("db"), Some(&(DOCUMENTS as u64)), "{seen:?}");
    let refused = world.resume(&task).await.expect_code(2);
    assert!(
        refused.stderr.contains("has been reversed"),
        "{}",
        refused.stderr
    );
}

/// Ends every connection that windlass has, as a server does that takes its client for dead.
async fn end_connections(world: &World) {
    world
        .sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE 'windlass%'",
        )
        .await;
}

/// All that executors write there.
async fn mirrored(world: &World) -> String {
    sqlx::query_scalar(
        "SELECT (SELECT string_agg(e::text, '\n' ORDER BY epoch) FROM windlass_executors e)
                || (SELECT string_agg(o::text, '\n' ORDER BY idx) FROM windlass_objects o)
                || (SELECT string_agg(s::text, '\n' ORDER BY shard) FROM windlass_shards s)",
    )
    .fetch_one(&world.database.pool)
    .await
    .expect("the mirror")
}

/// A migration that stands still in the middle, and has lost its connections. Each of its objects
/// waits for the store: none has been told that it may write and has not written yet.
async fn standing_still() -> (World, Running) {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(500)));
    loop {
        until("each object waits for the store", async || {
            world.proxy.under_way() == 4
        })
        .await;
        running.freeze();
        if world.proxy.under_way() == 4 {
            break;
        }
        running.go_on();
    }
    world.proxy.at_rest().await;
    end_connections(&world).await;
    world.proxy.set_fault(Fault::None);
    (world, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stood_still_while_another_went_on_leaves_the_mirror_alone() {
    let (world, mut first) = standing_still().await;
    let task = world.task().await;
    let (other, second) = other_machine(&world, &["resume", &task]).await;
    second.wait().await.expect_code(0);
    let before = mirrored(&world).await;
    first.go_on();
    let first = first.wait().await.expect_code(130);
    let yields = format!("another process has taken task {task} over");
    assert!(first.stdout.contains(&yields), "{}", first.stdout);
    assert_eq!(mirrored(&world).await, before);
    world.look().await.expect_all_at("s3", DOCUMENTS);
    // Both journals are sound: the second's goes on behind what the database had of the first's.
    let url = world.direct_url();
    let verify = ["--db-connect", &url, "journal", "verify", &task];
    let there = other.run(&verify).await.expect_code(0);
    assert!(there.stdout.contains("fits"), "{}", there.stdout);
    let here = world.program.run(&verify).await.expect_code(0);
    for says in ["fits", "was taken over by executor", "an abandoned tail: "] {
        assert!(here.stdout.contains(says), "{}", here.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stood_still_while_it_was_undone_writes_nothing_when_it_wakes() {
    let (world, mut first) = standing_still().await;
    world
        .sql("UPDATE windlass_executors SET heartbeat = heartbeat - interval '1 hour'")
        .await;
    let task = world.task().await;
    let (_other, second) = other_machine(&world, &["reverse", &task, "--dontask"]).await;
    second.wait().await.expect_code(0);
    world.look().await.expect_all_at("db", DOCUMENTS);
    let puts = world.total_document_puts();
    first.go_on();
    let first = first.wait().await.expect_code(130);
    assert_eq!(world.total_document_puts(), puts, "{}", first.stderr);
    world.look().await.expect_all_at("db", DOCUMENTS);
}

/// The head of the first executor.
const HEAD: &str = "SELECT seq FROM windlass_executors WHERE epoch = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_comes_while_a_batch_is_under_way_is_seen() {
    let world = seeded(DOCUMENTS).await;
    let running = world.spawn_slowly(&[], 10).await;
    let mut other = PgConnection::connect(&world.direct_url())
        .await
        .expect("the database answers");
    let mut takeover = other.begin().await.expect("a transaction");
    sqlx::raw_sql(
        "UPDATE windlass_executors SET epoch = epoch;
         INSERT INTO windlass_executors (task_id, executor, epoch, host, pid, version, seq, head)
         SELECT task_id, 'b9c3b6bc-0000-4000-8000-000000000000', 2, 'elsewhere', 1, version, 0, head
           FROM windlass_executors",
    )
    .execute(&mut *takeover)
    .await
    .expect("a later executor");
    let before = world.count(HEAD).await;
    until("its next batch waits", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                          AND datname = current_database() AND application_name LIKE 'windlass%'";
        world.count(waiting).await > 0
    })
    .await;
    takeover.commit().await.expect("it is taken over");
    let ended = running.wait().await.expect_code(130);
    assert!(
        ended.stdout.contains("another process has taken task"),
        "{}",
        ended.stdout
    );
    assert_eq!(world.count(HEAD).await, before);
}

/// Whoever has claimed a shard says so in the database, and what another still has under way for its
/// objects does not pass.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_shards_that_another_has_claimed_are_left_alone() {
    let world = seeded(DOCUMENTS).await;
    let running = world.spawn_slowly(&[], 10).await;
    world
        .sql(
            "UPDATE windlass_shards
                SET owner = 'b9c3b6bc-0000-4000-8000-000000000000', lease_epoch = lease_epoch + 1",
        )
        .await;
    let before = (moved_and_left(&world).await, world.count(HEAD).await);
    world.proxy.set_fault(Fault::None);
    let ended = running.wait().await.expect_code(130);
    assert!(
        ended.stdout.contains("another process has taken task"),
        "{}",
        ended.stdout
    );
    let after = (moved_and_left(&world).await, world.count(HEAD).await);
    assert_eq!(after, before);
    world.expect_every_row_whole().await;
    let task = world.task().await;
    world.resume(&task).await.expect_code(0);
    world.look().await.expect_all_at("s3", DOCUMENTS);
}
