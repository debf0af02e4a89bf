//! The main job, where nothing goes wrong.

use crate::world::db_to_s3;

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_example_moves_and_reads_back() {
    let mut world = db_to_s3().await;
    for (id, content) in [
        ("small", b"{\"document\": {}}".to_vec()),
        ("empty", Vec::new()),
        ("binary", [0, 255, 1, 254].repeat(700)),
        ("text", "naïve “漢字” ".repeat(500).into_bytes()),
        ("at the threshold", vec![b'x'; 1024]),
        ("above the threshold", vec![b'x'; 1025]),
        ("sha256:with/slash and #hash?", b"odd".to_vec()),
    ] {
        world
            .deployment
            .add_db_document("admin", "analysis_data", id, &content)
            .await;
    }
    let done = world.migrate(&[]).await.expect_code(0);
    assert!(
        done.stdout
            .contains("planned 7 = committed 7 + skipped 0 + failed 0"),
        "{}",
        done.stdout
    );
    let seen = world.look().await;
    seen.expect_nothing_lost().expect_all_at("s3", 7);
    let task = world.task().await;
    assert_eq!(world.anchore_says(&task).await, ("complete".into(), 7, 7));
    let left: (i64,) = sqlx::query_as("SELECT count(*) FROM archive_document")
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
    assert_eq!(left.0, 0, "the sources are deleted");
    let compressed: Vec<(String, bool)> =
        sqlx::query_as(r#"SELECT "archiveId", is_compressed FROM archive_metadata ORDER BY 1"#)
            .fetch_all(&world.database.pool)
            .await
            .unwrap();
    let compressed: Vec<_> = compressed
        .iter()
        .filter(|row| row.1)
        .map(|row| &*row.0)
        .collect();
    assert_eq!(compressed, ["above the threshold", "binary", "text"]);
    world.journal(&task).await.expect_sound();
    assert_eq!(world.journal(&task).await.count("source-deleted"), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_documents_are_written_once_each() {
    let mut world = db_to_s3().await;
    world
        .deployment
        .seed_db_documents(2_000, 100..8_000, 1)
        .await;
    let done = world.migrate(&["--json"]).await.expect_code(0);
    // The commits and the mirror write the same rows: they must not meet in different orders.
    assert!(!done.stderr.contains("deadlock"), "{}", done.stderr);
    let done = done.json();
    assert_eq!(done["planned"], 2_000);
    assert_eq!(done["source_deleted"], 2_000);
    world
        .look()
        .await
        .expect_nothing_lost()
        .expect_all_at("s3", 2_000);
    let puts = world.proxy.puts();
    let of_documents = puts
        .iter()
        .filter(|(key, _)| !key.contains("__anchore") && !key.contains("windlass-probe"));
    let twice: Vec<_> = of_documents.filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let task = world.task().await;
    let journal = world.journal(&task).await;
    journal.expect_sound();
    assert_eq!(journal.count("copied"), 2_000);
}
