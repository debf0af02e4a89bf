//! `windlass verify CONFIG` and `verify --task TASK`: the read-only looks.

use std::time::Duration;

use serde_json::Value;

use crate::support::counting_proxy::Fault;
use crate::support::deployment::DocumentKey;
use crate::support::s3;
use crate::world::{World, db_to_s3, seeded};

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

/// Stopped half-way: some rows point at the destination, the others at the source.
async fn half_moved(documents: usize) -> (World, String) {
    let world = seeded(documents).await;
    let mut running = world.spawn_slowly(&[], documents as u64 / 4).await;
    running.interrupt();
    running.wait().await.expect_code(130);
    world.proxy.set_fault(Fault::None);
    let task = world.task().await;
    (world, task)
}

impl World {
    async fn verify_task(&self, task: &str, code: i32) -> Value {
        let seen = self
            .program
            .run(&["verify", "--task", task, "--json"])
            .await;
        seen.expect_code(code).json()
    }

    /// An `archiveId` whose row points into this place.
    async fn one_at(&self, start: &str) -> DocumentKey {
        let row: (String, String, String, String) = sqlx::query_as(
            r#"SELECT "userId", bucket, "archiveId", "documentName" FROM archive_metadata
                WHERE starts_with(content_url, $1) ORDER BY "archiveId" LIMIT 1"#,
        )
        .bind(start)
        .fetch_one(&self.database.pool)
        .await
        .expect("such a row");
        DocumentKey {
            user: row.0,
            bucket: row.1,
            id: row.2,
            document: row.3,
        }
    }
}

#[track_caller]
fn expect_counts(seen: &Value, counts: &[(&str, i64)]) {
    for (name, count) in counts {
        assert_eq!(seen[name], *count, "{name}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_of_a_task_are_looked_at_where_their_rows_point_now() {
    let (world, task) = half_moved(60).await;
    let seen = world.verify_task(&task, 0).await;
    expect_counts(&seen, &[("rows", 60), ("ok", 60), ("removed", 0)]);
    let (there, here) = (&seen["at_destination"], &seen["at_source"]);
    let (there, here) = (there.as_i64().unwrap(), here.as_i64().unwrap());
    assert!(there > 0 && here > 0 && there + here == 60, "{seen}");

    // One of each side is spoilt: the moved one is gone from the bucket, the other from its text.
    let moved = world.one_at("s3://").await;
    let DocumentKey {
        user, bucket, id, ..
    } = &moved;
    let object = format!("{user}/{bucket}/{id}");
    let client = s3::server().await.client();
    let stored = client.get(&world.bucket, &object).await.expect("the copy");
    client.delete(&world.bucket, &object).await;
    let waiting = world.one_at("db://").await;
    world.deployment.damage_db_document(&waiting).await;
    let seen = world.verify_task(&task, 3).await;
    expect_counts(&seen, &[("ok", 58), ("missing", 1), ("differs", 1)]);
    let found = seen["findings"].as_array().unwrap();
    let url_of = |outcome: &str| {
        let finding = found.iter().find(|finding| finding["outcome"] == outcome);
        finding.expect(outcome)["url"].as_str().unwrap().to_owned()
    };
    assert_eq!(url_of("missing"), format!("s3://{}/{object}", world.bucket));
    assert!(url_of("differs").starts_with("db://"));

    client.put(&world.bucket, &object, stored).await;
    world.deployment.repair_db_document(&waiting).await;
    world.resume(&task).await.expect_code(0);
    let seen = world.verify_task(&task, 0).await;
    expect_counts(
        &seen,
        &[("ok", 60), ("at_destination", 60), ("at_source", 0)],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_have_gone_their_own_way_are_counted_apart() {
    let world = seeded(12).await;
    world.migrate(&[]).await.expect_code(0);
    let task = world.task().await;
    let away = "UPDATE archive_metadata SET content_url = 's3://another/' || \"archiveId\"
                 WHERE \"archiveId\" = '{}'";
    let away = away.replace("{}", &world.one_at("s3://").await.id);
    world.sql(&away).await;
    let last = "(SELECT max(\"archiveId\") FROM archive_metadata)";
    let remove = format!("DELETE FROM archive_metadata WHERE \"archiveId\" = {last}");
    world.sql(&remove).await;
    let seen = world.verify_task(&task, 0).await;
    let counts = [("rows", 12), ("ok", 10), ("elsewhere", 1), ("removed", 1)];
    expect_counts(&seen, &counts);
    let words = world.program.run(&["verify", "--task", &task]).await;
    let words = words.expect_code(0).stdout;
    assert!(words.contains("12 objects = ok 10 + "), "{words}");
    assert!(
        words.contains("1 row neither at the task's source"),
        "{words}"
    );
}

/// The guide's last step puts the new configuration into the old one's place.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_needed_only_where_rows_still_point() {
    let (world, task) = half_moved(40).await;
    let old = std::fs::read(&world.from).unwrap();
    std::fs::copy(&world.to, &world.from).unwrap();
    let refused = world.program.run(&["verify", "--task", &task]).await;
    let refused = refused.expect_code(2).stderr;
    assert!(refused.contains("no longer means"), "{refused}");
    let kept = world.program.home().join("kept.yaml");
    std::fs::write(&kept, old).unwrap();
    let kept = kept.display().to_string();
    let found = ["verify", "--task", &task, "--from-config", &kept];
    world.program.run(&found).await.expect_code(0);
    let resumed = ["resume", &task, "--from-config", &kept];
    world.program.run(&resumed).await.expect_code(0);
    let seen = world.verify_task(&task, 0).await;
    expect_counts(&seen, &[("ok", 40)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_amiss_while_the_task_is_at_work() {
    let world = seeded(150).await;
    let mut running = world.spawn_slowly(&[], 5).await;
    let task = world.task().await;
    let mut looks = 0;
    while !running.has_ended() {
        let seen = world.verify_task(&task, 0).await;
        expect_counts(&seen, &[("ok", 150)]);
        looks += 1;
    }
    running.wait().await.expect_code(0);
    assert!(looks > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_takes_long_says_how_far_it_is() {
    let world = seeded(14).await;
    world.migrate(&[]).await.expect_code(0);
    let task = world.task().await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(500)));
    let to = world.to.display().to_string();
    for args in [vec!["verify", &to], vec!["verify", "--task", &task]] {
        let args = [&args[..], &["--concurrency", "1"]].concat();
        let seen = world.program.run(&args).await.expect_code(0);
        assert!(seen.stderr.contains(" of 14 objects, "), "{}", seen.stderr);
        assert!(!seen.stdout.contains(" of 14 objects, "), "{}", seen.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_or_a_task_but_not_both() {
    let world = seeded(0).await;
    let to = world.to.display().to_string();
    for (args, word) in [
        (vec!["verify"], "<CONFIG>"),
        (vec!["verify", &to, "--task", "1"], "cannot be used with"),
        (
            vec!["verify", "--task", "1", "--analysis-archive"],
            "cannot be used with",
        ),
        (vec!["verify", &to, "--from-config", &to], "go with --task"),
    ] {
        let refused = world.program.run(&args).await.expect_code(2);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    let unknown = world.program.run(&["verify", "--task", "9"]).await;
    assert!(unknown.expect_code(2).stderr.contains("no task 9"));
}
