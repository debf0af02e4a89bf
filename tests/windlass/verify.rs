//! `windlass verify CONFIG`: the read-only look at every row.

use crate::support::deployment::DocumentKey;
use crate::world::db_to_s3;

fn key(id: &str) -> DocumentKey {
    DocumentKey {
        user: "admin".into(),
        bucket: "analysis_data".into(),
        id: id.into(),
        document: format!("{id}.json"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_counted_and_named() {
    let mut world = db_to_s3().await;
    world.deployment.seed_db_documents(2_500, 10..300, 5).await;
    for id in ["damaged", "gone", "without url"] {
        world
            .deployment
            .add_db_document("admin", "analysis_data", id, b"{\"document\": 1}")
            .await;
    }
    let (from, to) = (
        world.from.display().to_string(),
        world.to.display().to_string(),
    );
    let clean = world.program.run(&["verify", &from, "--json"]).await;
    let clean = clean.expect_code(0).json();
    assert_eq!(
        (&clean["rows"], &clean["ok"]),
        (&2_503.into(), &2_503.into())
    );

    world.deployment.damage_db_document(&key("damaged")).await;
    world.deployment.remove_db_document(&key("gone")).await;
    sqlx::query(
        r#"UPDATE archive_metadata SET content_url = NULL WHERE "archiveId" = 'without url'"#,
    )
    .execute(&world.database.pool)
    .await
    .unwrap();
    for (id, at) in [
        ("in the bucket", &*world.bucket),
        ("elsewhere", "another-bucket"),
    ] {
        let url = format!("s3://{at}/admin/analysis_data/{id}");
        let row = ("admin", "analysis_data", id);
        world.deployment.add_row(row, &url, b"x", false).await;
    }
    // The old configuration knows nothing of the bucket.
    let seen = world.program.run(&["verify", &from, "--json"]).await;
    let seen = seen.expect_code(3).json();
    for (outcome, count) in [
        ("rows", 2_505),
        ("ok", 2_500),
        ("missing", 1),
        ("differs", 1),
        ("unreadable", 1),
        ("elsewhere", 2),
    ] {
        assert_eq!(seen[outcome], count, "{outcome}: {seen}");
    }
    let found = seen["findings"].as_array().unwrap();
    let mut found: Vec<_> = found
        .iter()
        .map(|f| {
            format!(
                "{} {}",
                f["outcome"].as_str().unwrap(),
                f["object"].as_str().unwrap()
            )
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "differs admin/analysis_data/damaged",
            "missing admin/analysis_data/gone",
            "unreadable admin/analysis_data/without url",
        ]
    );
    // The new one looks into it, and into the database all the same.
    let seen = world.program.run(&["verify", &to, "--json"]).await;
    let seen = seen.expect_code(3).json();
    assert_eq!(
        (&seen["missing"], &seen["elsewhere"]),
        (&2.into(), &1.into())
    );
    let words = world.program.run(&["verify", &to]).await.expect_code(3);
    assert!(
        words.stdout.contains("missing 2 + differs 1"),
        "{}",
        words.stdout
    );

    // It is a look and nothing else.
    let tables: (bool,) = sqlx::query_as("SELECT to_regclass('windlass_tasks') IS NULL")
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
    assert!(tables.0, "no table is made");
}
