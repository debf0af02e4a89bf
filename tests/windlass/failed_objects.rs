//! Objects that cannot be moved: recorded, never deleted, in nobody's way, and taken again by a
//! resume once they are repaired.

use crate::support::deployment::DocumentKey;
use crate::world::{World, seeded};

fn nth(world: &World, n: usize) -> DocumentKey {
    world
        .deployment
        .expected()
        .keys()
        .nth(n)
        .expect("so many documents")
        .clone()
}

fn s3_key(world: &World, key: &DocumentKey) -> String {
    format!("{}/{}/{}/{}", world.bucket, key.user, key.bucket, key.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_damaged_documents_fail_alone_and_resume_takes_only_those() {
    let world = seeded(60).await;
    let (missing, damaged, flagged) = (nth(&world, 3), nth(&world, 20), nth(&world, 41));
    world.deployment.remove_db_document(&missing).await;
    world.deployment.damage_db_document(&damaged).await;
    // Its row says zlib, its bytes are none.
    world
        .sql(&format!(
            r#"UPDATE archive_metadata SET is_compressed = true WHERE "archiveId" = '{}'"#,
            flagged.id
        ))
        .await;
    let ended = world.migrate(&["--json"]).await.expect_code(3);
    let report = ended.json();
    assert_eq!(report["state"], "failed");
    assert_eq!(report["planned"], 60);
    assert_eq!(report["committed"], 57);
    assert_eq!(report["failed"], 3);
    let failures = report["failures"].as_array().expect("a list").clone();
    assert_eq!(failures.len(), 3, "{failures:?}");
    for (key, why) in [
        (&missing, "no such row"),
        (&damaged, "MD5"),
        (&flagged, "zlib"),
    ] {
        let told = failures
            .iter()
            .find(|failure| failure["object"].as_str().unwrap().contains(&key.id))
            .unwrap_or_else(|| panic!("no failure of {}", key.id));
        assert_eq!(told["phase"], "pending");
        assert_eq!(told["class"], "permanent");
        assert!(told["error"].as_str().unwrap().contains(why), "{told}");
    }
    let task = world.task().await;
    assert_eq!(world.anchore_says(&task).await, ("failed".into(), 57, 60));
    // The damaged ones were not deleted.
    assert_eq!(
        world.count("SELECT count(*) FROM archive_document").await,
        2
    );
    assert_eq!(
        world
            .count("SELECT count(*) FROM archive_metadata WHERE content_url LIKE 'db://%'")
            .await,
        3
    );

    // Not repaired: the same three, and nothing else is touched.
    world.proxy.reset_counts();
    let again = world.resume(&task).await.expect_code(3);
    assert!(again.stdout.contains("failed 3"), "{}", again.stdout);
    assert_eq!(world.total_document_puts(), 0);

    for key in [&missing, &damaged] {
        world.deployment.repair_db_document(key).await;
    }
    world.proxy.reset_counts();
    world.resume(&task).await.expect_code(3);
    let mut put: Vec<_> = world.document_puts().into_keys().collect();
    put.sort();
    let mut wanted = vec![s3_key(&world, &missing), s3_key(&world, &damaged)];
    wanted.sort();
    assert_eq!(put, wanted, "only what was repaired");

    // A row that was repaired is not the planned one: it is left to the next migration.
    world
        .sql(&format!(
            r#"UPDATE archive_metadata SET is_compressed = false WHERE "archiveId" = '{}'"#,
            flagged.id
        ))
        .await;
    world.resume(&task).await.expect_code(0);
    let says = world.anchore_says(&task).await;
    assert_eq!(says, ("complete".into(), 59, 60));
    world.expect_every_row_whole().await;
    world.migrate(&[]).await.expect_code(0);
    world.look().await.expect_all_at("s3", 60);
    let journal = world.journal(&task).await;
    journal.expect_sound();
    assert_eq!(journal.count("source-deleted"), 59);
    assert_eq!(journal.count("skipped"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn repaired_documents_end_the_task_complete() {
    let world = seeded(30).await;
    let (missing, damaged) = (nth(&world, 0), nth(&world, 29));
    world.deployment.remove_db_document(&missing).await;
    world.deployment.damage_db_document(&damaged).await;
    let ended = world.migrate(&[]).await.expect_code(3);
    let task = world.task().await;
    assert!(ended.stdout.contains(&missing.id), "{}", ended.stdout);
    assert!(
        ended.stdout.contains(&format!("resume {task}")),
        "{}",
        ended.stdout
    );
    world.deployment.repair_db_document(&missing).await;
    world.deployment.repair_db_document(&damaged).await;
    world.proxy.reset_counts();
    world.resume(&task).await.expect_code(0);
    assert_eq!(world.total_document_puts(), 2);
    world.expect_moved_and_sound().await;
    let says = world.resume(&task).await.expect_code(0);
    assert!(says.stdout.contains("complete"), "{}", says.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_gone_is_told_from_one_that_is_empty() {
    let mut world = seeded(0).await;
    world
        .deployment
        .add_db_document("admin", "bucket", "null", b"")
        .await;
    world
        .sql("UPDATE archive_document SET jsondata = NULL")
        .await;
    world.migrate(&[]).await.expect_code(0);
    world.expect_moved_and_sound().await;
}
