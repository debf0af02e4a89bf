//! A failover of the database to a replica that had not got everything: commits are gone that were
//! acknowledged, journaled, and followed by the deletion of their sources.

use std::path::PathBuf;

use crate::support::checker::Checker;
use crate::support::counting_proxy::Fault;
use crate::support::program::Running;
use crate::support::s3;
use crate::world::{World, localfs_to_s3, until};

const DOCUMENTS: usize = 60;

/// Every column of every row.
const ROWS: &str =
    r#"SELECT coalesce(string_agg(m::text, E'\n' ORDER BY m::text), '') FROM archive_metadata m"#;

async fn documents_in_a_directory() -> (World, PathBuf) {
    let (mut world, dir) = localfs_to_s3().await;
    for index in 0..DOCUMENTS {
        let (id, content) = (format!("document-{index}"), format!("{{\"of\": {index}}}"));
        let key = ("admin", "analysis_data", id.as_str());
        world
            .deployment
            .add_localfs_document(&dir, key, content.as_bytes())
            .await;
    }
    (world, dir)
}

/// The rows, and windlass's own tables, as a replica had them that followed up to here.
async fn replica_of_a_run_under_way(world: &World) -> String {
    let mut running = world.spawn_slowly(&[], 10).await;
    running.kill();
    running.wait().await;
    world.database.snapshot().await
}

async fn resumed_until(world: &World, moved: u64) -> Running {
    let mut running = world
        .program
        .spawn(&["resume", &world.task().await, "--concurrency", "4"]);
    until("more rows have moved", async || {
        assert!(!running.has_ended(), "{}", running.stderr());
        world.moved().await >= moved
    })
    .await;
    running
}

async fn wrong_rows(world: &World, dir: &std::path::Path) -> u64 {
    let seen = Checker::new(&world.database.pool)
        .s3(s3::server().await.client(), &world.bucket, "")
        .local_dir(dir)
        .check(world.deployment.expected())
        .await;
    DOCUMENTS as u64 - seen.total_right()
}

/// A world whose database has lost commits, while its checkpoint knows of them.
async fn failed_over() -> (World, PathBuf) {
    let (world, dir) = documents_in_a_directory().await;
    let replica = replica_of_a_run_under_way(&world).await;
    let mut running = resumed_until(&world, 30).await;
    running.kill();
    running.wait().await;
    let moved = world.moved().await;
    world.database.fail_over_to(&replica).await;
    assert!(world.moved().await < moved, "commits are lost");
    assert!(
        wrong_rows(&world, &dir).await > 0,
        "rows lead to sources that are gone"
    );
    world.proxy.set_fault(Fault::None);
    (world, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_took_is_committed_again_by_a_resume() {
    let (world, dir) = failed_over().await;
    let ended = world.resume(&world.task().await).await.expect_code(0);
    assert!(
        ended.stderr.contains("the database has lost"),
        "{}",
        ended.stderr
    );
    let journal = world.expect_moved_and_sound().await;
    assert!(journal.count("returned") > 0, "{:?}", journal.events);
    assert_eq!(journal.count("failed"), 0);
    assert_eq!(wrong_rows(&world, &dir).await, 0);
}

/// The run itself lives through it. It can't set right what its objects have left behind, and stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_sees_a_failover_stops_and_its_resume_sets_it_right() {
    let (world, dir) = documents_in_a_directory().await;
    let replica = replica_of_a_run_under_way(&world).await;
    let mut running = resumed_until(&world, 30).await;
    running.freeze();
    world.database.fail_over_to(&replica).await;
    running.go_on();
    let ended = running.wait().await.expect_code(130);
    assert!(
        ended
            .stdout
            .contains("it has gone back to an earlier state"),
        "{}",
        ended.stdout
    );
    world.proxy.set_fault(Fault::None);
    world.resume(&world.task().await).await.expect_code(0);
    world.expect_moved_and_sound().await;
    assert_eq!(wrong_rows(&world, &dir).await, 0);
}

/// It would find the documents gone from where the rows say they are, and end the task that can
/// still make it good.
#[tokio::test(flavor = "multi_thread")]
async fn a_reverse_right_after_a_failover_is_refused_until_it_is_set_right() {
    let (world, dir) = failed_over().await;
    let task = world.task().await;
    world
        .sql("UPDATE windlass_executors SET heartbeat = heartbeat - interval '1 hour'")
        .await;
    let before = rows(&world).await;
    let reverse = ["reverse", task.as_str(), "--dontask"];
    let refused = world.program.run(&reverse).await.expect_code(2);
    assert!(
        refused.stderr.contains(&format!("windlass resume {task}")),
        "{}",
        refused.stderr
    );
    assert_eq!(rows(&world).await, before, "nothing was changed");
    assert_eq!(world.count("SELECT count(*) FROM windlass_tasks").await, 1);
    world.resume(&task).await.expect_code(0);
    world.expect_moved_and_sound().await;
    world.program.run(&reverse).await.expect_code(0);
    assert_eq!(wrong_rows(&world, &dir).await, 0);
    let back = world.count("SELECT count(*) FROM archive_metadata WHERE content_url LIKE 'file:%'");
    assert_eq!(back.await, DOCUMENTS as i64);
}

async fn rows(world: &World) -> String {
    sqlx::query_scalar(ROWS)
        .fetch_one(&world.database.pool)
        .await
        .expect("the rows")
}
