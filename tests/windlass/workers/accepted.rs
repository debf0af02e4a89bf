//! Failed objects of a task that several machines have shared, left as they are by a person's word.

use super::Workers;
use crate::support::counting_proxy::Fault;
use crate::support::program::Program;

const ACCEPTED: &str = "SELECT count(*) FROM windlass_objects
     WHERE outcome = 'accepted' AND phase = 'pending' AND last_error IS NOT NULL";

/// Damages documents: they stay where they are, and no machine can move them.
async fn damage(workers: &Workers, documents: u32) {
    let sql = format!(
        r#"UPDATE archive_document SET jsondata = 'damaged' WHERE "archiveId" IN
           (SELECT "archiveId" FROM archive_document ORDER BY "archiveId" LIMIT {documents})"#
    );
    workers.world.sql(&sql).await;
}

/// Crashes before each word to the mirror in turn, until there is none left.
async fn accept_crashing(workers: &Workers, machine: &Program, options: &[&str]) {
    for words in 0.. {
        let crash = format!("mirror-before={words}*off->return");
        let args = workers.typed("accept", options);
        let ended = machine.run_with(&args, &[("FAILPOINTS", &crash)]).await;
        let Some(code) = ended.code else {
            continue;
        };
        // Where the mirror has been told, there is nothing left to accept.
        let is_done = code == 0 || ended.stderr.contains("nothing was accepted");
        assert!(is_done, "{}", ended.stderr);
        assert!(words > 1, "it has told the mirror");
        return;
    }
}

/// One machine accepts what others have left, another one what the first has not: each takes over the shards
/// in which they lie, and the journals of all of them tell one history.
#[tokio::test(flavor = "multi_thread")]
async fn any_machine_accepts_what_has_failed_on_others() {
    let workers = Workers::planned(60).await;
    damage(&workers, 5).await;
    let machines = [(); 4].map(|()| Program::new());
    let [first, second, third, last] = &machines;
    workers.slow();
    let running = [first, second].map(|machine| workers.start(machine, "worker"));
    workers.until_moved(4).await;
    let early = workers.command(third, "accept", &[]).await.expect_code(2);
    assert!(early.stderr.contains("is at work"), "{}", early.stderr);
    workers.world.proxy.set_fault(Fault::None);
    for one in running {
        one.wait().await;
    }
    assert_eq!(workers.state().await, "failed");
    assert_eq!(workers.world.moved().await, 55);

    let name: String = sqlx::query_scalar(
        "SELECT user_id || '/' || bucket || '/' || archive_id FROM windlass_objects
          WHERE outcome = 'failed' ORDER BY idx LIMIT 1",
    )
    .fetch_one(&workers.world.database.pool)
    .await
    .expect("a failed object");
    let why = ["--why", "lost in 2023", "--object", &name];
    accept_crashing(&workers, third, &why).await;
    workers.world.let_time_pass().await;
    assert_eq!(workers.world.count(ACCEPTED).await, 1);
    // A resume tries the others again, and this one no more.
    let resumed = workers.start(second, "resume").wait().await.expect_code(3);
    let left = "failed 4 + accepted 1";
    assert!(resumed.stdout.contains(left), "{}", resumed.stdout);

    let rest = workers.command(last, "accept", &[]).await.expect_code(0);
    assert!(rest.stdout.contains("complete"), "{}", rest.stdout);
    assert_eq!(workers.state().await, "complete");
    assert_eq!(workers.world.count(ACCEPTED).await, 5);
    let open = "SELECT count(*) FROM windlass_shards WHERE NOT done";
    assert_eq!(workers.world.count(open).await, 0);
    let said = workers.world.anchore_says(&workers.task).await;
    assert_eq!(said.0, "complete");
    let at_source = "SELECT count(*) FROM archive_document";
    assert_eq!(workers.world.count(at_source).await, 5, "they are kept");
    workers
        .expect_one_history(&[first, second, third, last])
        .await;
    let again = workers.start(first, "worker").wait().await.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
}
