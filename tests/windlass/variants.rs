//! `migrate` with its options, between other stores, and on rows that are out of the ordinary.

use std::fs;
use std::path::Path;

use crate::support::checker::{Checker, Report};
use crate::support::deployment::{Compression, DocumentKey, StoreSpec};
use crate::support::program::Outcome;
use crate::support::s3;
use crate::world::{World, seeded};

fn key(user: &str, bucket: &str, id: &str, document: &str) -> DocumentKey {
    DocumentKey {
        user: user.into(),
        bucket: bucket.into(),
        id: id.into(),
        document: document.into(),
    }
}

async fn with_document(world: &mut World, id: &str, content: &[u8]) -> DocumentKey {
    world
        .deployment
        .add_db_document("admin", "special", id, content)
        .await;
    key("admin", "special", id, &format!("{id}.json"))
}

/// A second row beside the one with this id: the same but for these columns.
async fn add_twin(world: &World, id: &str, columns: &str) {
    let insert = format!(
        r#"INSERT INTO archive_metadata SELECT (m).* FROM (
             SELECT jsonb_populate_record(a, '{columns}') AS m
               FROM archive_metadata a WHERE "archiveId" = '{id}') t"#
    );
    world.sql(&insert).await;
}

async fn documents_left(world: &World) -> i64 {
    world.count("SELECT count(*) FROM archive_document").await
}

fn localfs(dir: &Path) -> StoreSpec {
    StoreSpec::LocalFs {
        dir: dir.into(),
        compression: Compression::above_kbytes(1),
    }
}

async fn migrate_between(world: &World, from: &Path, to: &Path) -> Outcome {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    world
        .program
        .run(&["migrate", &from, &to, "--dontask"])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodelete_leaves_the_sources() {
    let world = seeded(20).await;
    let done = world
        .migrate(&["--nodelete", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(done["state"], "complete");
    assert_eq!(
        (&done["committed"], &done["source_deleted"]),
        (&20.into(), &0.into())
    );
    assert_eq!(done["source_kept"], 20);
    assert_eq!(documents_left(&world).await, 20);
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right.get("s3"), Some(&20));
    assert_eq!(seen.doubled.len(), 20, "the sources");
    let task = world.task().await;
    let journal = world.journal(&task).await;
    journal.expect_sound();
    assert_eq!(journal.count("source-kept"), 20);
    let kept = "SELECT count(*) FROM windlass_objects WHERE outcome = 'source-kept'";
    assert_eq!(world.count(kept).await, 20);
    let again = world.resume(&task).await.expect_code(0);
    assert!(again.stdout.contains("is complete"), "{}", again.stdout);
    assert_eq!(documents_left(&world).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_and_users_are_chosen() {
    let world = seeded(30).await;
    let done = world
        .migrate(&["--bucket", "policy_bundles", "--json"])
        .await
        .expect_code(0);
    assert_eq!(done.json()["planned"], 10);
    let args = [
        "--user",
        "tenant-b",
        "--bucket",
        "analysis_data",
        "--bucket",
        "image_content_data",
    ];
    world.migrate(&args).await.expect_code(0);
    let moved = r#"SELECT count(*) FROM archive_metadata WHERE (content_url LIKE 's3://%')
        <> (bucket = 'policy_bundles' OR "userId" = 'tenant-b')"#;
    assert_eq!(world.count(moved).await, 0);
    world.expect_every_row_whole().await;
    // No wildcard, and so no bucket that there is.
    let nothing = world.migrate(&["--bucket", "policy_"]).await.expect_code(2);
    let said = nothing.stderr;
    assert!(
        said.contains("--bucket policy_ matches no document"),
        "{said}"
    );
    world.migrate(&[]).await.expect_code(0);
    world.look().await.expect_all_at("s3", 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_leaves_no_trace() {
    let world = seeded(12).await;
    let done = world.migrate(&["--dry-run"]).await.expect_code(0);
    assert!(done.stdout.contains("12 objects"), "{}", done.stdout);
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 0);
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'windlass%'";
    assert_eq!(world.count(tables).await, 0, "no table is made");
    assert_eq!(world.proxy.total_puts(), 0);
    assert!(!world.program.state_dir().exists(), "no checkpoint");
    world
        .migrate(&["--bucket", "policy_bundles"])
        .await
        .expect_code(0);
    let tasks = world.count("SELECT count(*) FROM tasks").await;
    let done = world
        .migrate(&["--dry-run", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(
        (&done["planned"], &done["dry_run"]),
        (&8.into(), &true.into())
    );
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, tasks);
    assert_eq!(world.count("SELECT count(*) FROM windlass_tasks").await, 1);
    world.expect_every_row_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_do_says_so_and_makes_no_task() {
    let world = seeded(0).await;
    let done = world.migrate(&[]).await.expect_code(0);
    assert!(done.stdout.contains("nothing to do"), "{}", done.stdout);
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 0);
    let left = world.look().await;
    assert!(left.strays.is_empty(), "{:?}", left.strays);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_proves_without_reading_back() {
    let world = seeded(20).await;
    world
        .migrate(&["--verify", "checksum"])
        .await
        .expect_code(0);
    world.expect_moved_and_sound().await;
    let gets = world
        .proxy
        .gets()
        .into_keys()
        .filter(|key| !key.contains("__anchore"));
    assert_eq!(gets.count(), 0);
    let export = world
        .program
        .run(&[
            "journal",
            &world.task().await,
            "--format",
            "jsonl",
            "--event",
            "verified",
        ])
        .await;
    assert_eq!(export.stdout.matches("\"method\":\"checksum\"").count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_at_the_destination_is_taken_or_left() {
    let mut world = seeded(6).await;
    let equal = with_document(&mut world, "equal", b"the same bytes").await;
    with_document(&mut world, "other", b"what the row says").await;
    let client = s3::server().await.client();
    let other = "admin/special/other";
    client
        .put(&world.bucket, "admin/special/equal", "the same bytes")
        .await;
    client.put(&world.bucket, other, "of somebody else!").await;
    let done = world.migrate(&[]).await.expect_code(3);
    assert!(done.stdout.contains("--overwrite"), "{}", done.stdout);
    let puts = world.document_puts();
    assert_eq!(puts.len(), 6, "{puts:?}");
    assert!(!puts.keys().any(|put| put.ends_with(&equal.id)), "{puts:?}");
    assert_eq!(
        client.get(&world.bucket, other).await.as_deref(),
        Some(&b"of somebody else!"[..])
    );
    world.expect_every_row_whole().await;
    assert_eq!(documents_left(&world).await, 1);
    world.migrate(&["--overwrite"]).await.expect_code(0);
    world.look().await.expect_all_at("s3", 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_share_a_source_move_together() {
    let mut world = seeded(3).await;
    with_document(&mut world, "twin", b"one document, two rows").await;
    add_twin(&world, "twin", r#"{"documentName": "other name"}"#).await;
    let other = key("admin", "special", "twin", "other name");
    world
        .deployment
        .expect(other, Some(b"one document, two rows".to_vec()));
    let done = world.migrate(&["--json"]).await.expect_code(0).json();
    assert_eq!(
        (&done["planned"], &done["committed"]),
        (&5.into(), &5.into())
    );
    world.look().await.expect_all_at("s3", 5);
    assert_eq!(documents_left(&world).await, 0, "deleted after the last");
    let journal = world.journal(&world.task().await).await;
    journal.expect_sound();
    assert_eq!(
        journal.count("source-deleted") + journal.count("source-kept"),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_an_unplanned_row_points_at_is_kept() {
    let mut world = seeded(0).await;
    with_document(&mut world, "wanted", b"two users, one document").await;
    // A row of another user with the same URL: not in the source's place by its own key.
    add_twin(&world, "wanted", r#"{"userId": "tenant-b"}"#).await;
    let other = key("tenant-b", "special", "wanted", "wanted.json");
    world
        .deployment
        .expect(other, Some(b"two users, one document".to_vec()));
    world.migrate(&[]).await.expect_code(0);
    assert_eq!(documents_left(&world).await, 1);
    world.expect_every_row_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_disagree_about_one_source_are_not_moved() {
    let mut world = seeded(3).await;
    with_document(&mut world, "twin", b"plain, or zlib?").await;
    add_twin(
        &world,
        "twin",
        r#"{"documentName": "b", "is_compressed": true, "digest": null}"#,
    )
    .await;
    world.migrate(&[]).await.expect_code(3);
    assert_eq!(documents_left(&world).await, 1);
    let still = "SELECT count(*) FROM archive_metadata WHERE content_url LIKE 'db://%'";
    assert_eq!(world.count(still).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn different_sources_that_meet_at_one_key_are_refused() {
    let mut world = seeded(0).await;
    let dir = world.program.home().join("documents");
    fs::create_dir(&dir).unwrap();
    for (id, content) in [
        (("a", "b", "c/d"), "one"),
        (("a", "b/c", "d"), "another"),
        (("a", "b", "alone"), "alone"),
    ] {
        world
            .deployment
            .add_localfs_document(&dir, id, content.as_bytes())
            .await;
    }
    let from = world.write_config("localfs", localfs(&dir));
    let done = migrate_between(&world, &from, &world.to)
        .await
        .expect_code(3);
    assert!(done.stdout.contains("same place"), "{}", done.stdout);
    assert!(done.stdout.contains("committed 1 "), "{}", done.stdout);
    let seen = look_at(&world, &dir).await;
    seen.expect_nothing_lost();
    assert_eq!(
        (seen.right.get("file"), seen.right.get("s3")),
        (Some(&2), Some(&1))
    );
}

async fn look_at(world: &World, dir: &Path) -> Report {
    Checker::new(&world.database.pool)
        .local_dir(dir)
        .s3(s3::server().await.client(), &world.bucket, "")
        .check(world.deployment.expected())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_nulls_move_and_those_without_a_url_stay() {
    let mut world = seeded(4).await;
    for (id, column) in [
        ("a", "digest"),
        ("b", "size"),
        ("c", "is_compressed"),
        ("d", "last_updated"),
    ] {
        with_document(&mut world, id, format!("no {column}").as_bytes()).await;
        world
            .sql(&format!(
                r#"UPDATE archive_metadata SET {column} = NULL WHERE "archiveId" = '{id}'"#
            ))
            .await;
    }
    world
        .sql(
            r#"INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName")
               VALUES ('special', 'nowhere', 'admin', 'nowhere.json')"#,
        )
        .await;
    let done = world.migrate(&[]).await.expect_code(0);
    assert!(
        done.stderr.contains("1 row without a content_url"),
        "{}",
        done.stderr
    );
    world
        .sql(r#"DELETE FROM archive_metadata WHERE "archiveId" = 'nowhere'"#)
        .await;
    world.look().await.expect_all_at("s3", 8);
    let null = "SELECT count(*) FROM archive_metadata WHERE digest IS NULL OR size IS NULL
        OR is_compressed IS NULL OR last_updated IS NULL";
    assert_eq!(world.count(null).await, 0, "the new facts are known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_another_document_name_is_updated_by_its_whole_key() {
    let mut world = seeded(0).await;
    let was = with_document(&mut world, "odd", b"stored as odd.json").await;
    world
        .sql(
            r#"UPDATE archive_metadata SET "documentName" = 'a name of its own',
                document_metadata = 'kept'"#,
        )
        .await;
    world.deployment.expect(was, None);
    let now = key("admin", "special", "odd", "a name of its own");
    world
        .deployment
        .expect(now, Some(b"stored as odd.json".to_vec()));
    world.migrate(&[]).await.expect_code(0);
    world.look().await.expect_all_at("s3", 1);
    assert_eq!(
        world.count("SELECT count(*) FROM archive_metadata").await,
        1
    );
    let kept = "SELECT count(*) FROM archive_metadata WHERE document_metadata = 'kept'
        AND created_at = 1600000000 AND record_state_key = 'active' AND last_updated > 1700000000";
    assert_eq!(world.count(kept).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_changes_meanwhile_is_skipped_and_nothing_of_it_deleted() {
    let mut world = seeded(80).await;
    let changed = with_document(&mut world, "changed", b"before").await;
    let removed = with_document(&mut world, "removed", b"soon gone").await;
    let running = world.spawn_slowly(&[], 5).await;
    // Anchore, or a person, at work in spite of everything.
    let still = "SELECT count(*) FROM archive_metadata WHERE content_url LIKE 'db://%/special/%'";
    assert_eq!(world.count(still).await, 2, "they were reached too soon");
    world
        .sql(
            r#"UPDATE archive_document SET jsondata = 'after!' WHERE "archiveId" = 'changed';
               UPDATE archive_metadata SET digest = md5('after!'), last_updated = last_updated + 1
                WHERE "archiveId" = 'changed';
               DELETE FROM archive_metadata WHERE "archiveId" = 'removed'"#,
        )
        .await;
    world.deployment.expect(changed, Some(b"after!".to_vec()));
    world.deployment.expect(removed, None);
    let done = running.wait().await.expect_code(0);
    assert!(
        done.stdout.contains("committed 80 + skipped 2"),
        "{}",
        done.stdout
    );
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(
        (seen.right.get("db"), seen.right.get("s3")),
        (Some(&1), Some(&80))
    );
    assert_eq!(documents_left(&world).await, 2);
    let export = world
        .program
        .run(&[
            "journal",
            &world.task().await,
            "--event",
            "skipped",
            "--format",
            "jsonl",
        ])
        .await;
    assert_eq!(
        export.stdout.matches("superseded").count(),
        2,
        "{}",
        export.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_over_three_stores() {
    let world = seeded(40).await;
    let dir = world.program.home().join("documents");
    fs::create_dir(&dir).unwrap();
    let files = world.write_config("localfs", localfs(&dir));
    for (from, to, scheme) in [
        (&world.from, &files, "file"),
        (&files, &world.to, "s3"),
        (&world.to, &files, "file"),
        (&files, &world.from, "db"),
        (&world.from, &world.to, "s3"),
        (&world.to, &world.from, "db"),
    ] {
        migrate_between(&world, from, to).await.expect_code(0);
        look_at(&world, &dir).await.expect_all_at(scheme, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_prefix_of_the_same_bucket_is_another_place() {
    let world = seeded(10).await;
    world.migrate(&[]).await.expect_code(0);
    let mut spec = world.s3_spec().await;
    spec.prefix = Some("archive/".into());
    spec.compression = Compression::default();
    let to = world.write_config("prefixed", StoreSpec::S3(spec));
    migrate_between(&world, &world.to, &to).await.expect_code(0);
    world.look().await.expect_nothing_lost();
    let client = s3::server().await.client();
    let keys = client.list(&world.bucket, "").await;
    assert_eq!(keys.len(), 10);
    assert!(
        keys.iter().all(|entry| entry.key.starts_with("archive/")),
        "{keys:?}"
    );
    // And what is in the prefix is not in the bucket's root.
    let nothing = migrate_between(&world, &world.to, &world.from)
        .await
        .expect_code(0);
    assert!(
        nothing.stdout.contains("10 objects of the same driver"),
        "{}",
        nothing.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_a_crash_left_half_made_are_made() {
    let world = seeded(3).await;
    // As sqlx leaves it when it is killed before the first migration.
    world.make_tables().await;
    world
        .sql(
            "DROP TABLE windlass_uploads, windlass_objects, windlass_shards, windlass_executors, windlass_tasks,
                 windlass_active, windlass_takeovers CASCADE;
             DELETE FROM windlass_migrations",
        )
        .await;
    let url = &world.database.url;
    for args in [
        vec!["list-migrations", "--db-connect", url],
        vec!["status", "1", "--db-connect", url],
    ] {
        let outcome = world.program.run(&args).await;
        assert!(!outcome.stderr.contains("relation"), "{}", outcome.stderr);
    }
    world.migrate(&["--dry-run"]).await.expect_code(0);
    world.migrate(&[]).await.expect_code(0);
    world.expect_moved_and_sound().await;
}
