//! Passes and the cut-over on SQLite, between drivers that need no server.

use super::services::{Content, Fate, Services};
use crate::sqlite::World;

/// The engine that has its documents in the database.
fn services(world: &World, seed: u64) -> Services {
    let documents = world.deployment.expected().clone();
    Services::new(world.deployment.tables(), Content::Db, documents, seed)
}

async fn expect_as_stored(world: &mut World, services: &Services, scheme: &str) {
    let gone: Vec<_> = world.deployment.expected().keys().cloned().collect();
    gone.into_iter()
        .for_each(|key| world.deployment.expect(key, None));
    for (key, content) in &services.documents {
        let content = Some(content.clone());
        world.deployment.expect(key.clone(), content);
    }
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(
        seen.right,
        [(scheme.to_owned(), services.documents.len() as u64)].into()
    );
}

fn expect_times(window: &serde_json::Value) {
    let time = |name: &str| window[name].as_u64().expect("a number");
    assert!(time("at_least_ms") > 0, "{window}");
    assert!(time("at_least_ms") < time("expected_ms"), "{window}");
    assert!(time("expected_ms") < time("at_most_ms"), "{window}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_take_what_has_changed_and_the_cutover_brings_the_rows_over() {
    let mut world = World::new(60).await;
    let mut services = services(&world, 1);
    let keys: Vec<_> = services.documents.keys().cloned().collect();
    services.forget_digest(&keys[0]).await;

    let first = world.migrate("db", "localfs", &["--online"]).await;
    let first = first.expect_code(0);
    assert!(first.stdout.contains("task 1 staged"), "{}", first.stdout);
    assert!(
        first.stdout.contains("59 documents staged"),
        "{}",
        first.stdout
    );
    expect_as_stored(&mut world, &services, "db").await;
    let sources = "SELECT count(*) FROM archive_document";
    assert_eq!(world.deployment.tables().count(sources).await, 60);
    let rows = "SELECT count(*) FROM archive_metadata WHERE content_url NOT LIKE 'db:%'";
    assert_eq!(world.deployment.tables().count(rows).await, 0);

    // Rewritten, touched, deleted, new, and one at which a service has died.
    let content = services.some_content(Some(&keys[1]));
    services.put(&keys[1], content, Fate::Lives).await;
    services.touch(&keys[2]).await;
    services.delete(&keys[3]).await;
    let mut new = keys[4].clone();
    (new.id, new.document) = ("new".into(), "new.json".into());
    services
        .put(&new, b"{\"document\": 1}".to_vec(), Fate::Lives)
        .await;
    let content = services.some_content(Some(&keys[5]));
    services.put(&keys[5], content, Fate::Dies).await;
    services.touch(&keys[5]).await;

    // Four of these, and one without a digest, of which only the cut-over can tell.
    let status = world.program.run(&["status", "1", "--json"]).await;
    let window = status.expect_code(0).json()["window"].clone();
    assert_eq!(
        (&window["staged"], &window["changed"]),
        (&59.into(), &5.into())
    );
    expect_times(&window);

    let dry = world
        .program
        .run(&["sync", "1", "--dry-run", "--json"])
        .await;
    let dry = dry.expect_code(0).json();
    assert_eq!(dry["added"], 4, "{dry}");
    assert_eq!(dry["superseded"], 4, "{dry}");
    let second = world.program.run(&["sync", "1"]).await.expect_code(0);
    assert!(
        second.stdout.contains("1 document waiting"),
        "{}",
        second.stdout
    );
    assert!(
        second.stdout.contains("58 documents staged"),
        "{}",
        second.stdout
    );
    expect_as_stored_but_torn(&mut world, &services).await;

    // Nothing has changed: nothing is copied.
    let copied = world.journal("1").await.count("copied");
    let third = world.program.run(&["sync", "1"]).await.expect_code(0);
    assert!(third.stdout.contains("copied 0 B"), "{}", third.stdout);
    assert_eq!(world.journal("1").await.count("copied"), copied);

    services.mend().await;
    services.rewrite_unnoticed(&keys[0]).await;
    let dry = ["cutover", "1", "--dry-run", "--json"];
    let dry = world.program.run(&dry).await.expect_code(0).json();
    expect_times(&dry["window"]);
    let done = world.program.run(&["cutover", "1", "--dontask"]).await;
    let done = done.expect_code(0);
    assert!(done.stdout.contains("task 1 complete"), "{}", done.stdout);
    assert!(done.stdout.contains("outage so far"), "{}", done.stdout);
    assert!(done.stdout.contains("delete-source 1"), "{}", done.stdout);
    expect_as_stored(&mut world, &services, "file").await;
    assert_eq!(world.deployment.tables().count(sources).await, 60);
    world.program.expect_journal_verified("1").await;
    let journal = world.journal("1").await;
    journal.expect_sound();
    for (event, times) in [
        ("pass-began", 4),
        ("pass-ended", 3),
        ("cutover-began", 1),
        ("cutover-committed", 1),
        ("completed", 1),
        ("committed", 60),
    ] {
        assert_eq!(journal.count(event), times, "{event}");
    }
    let status = world.program.run(&["status", "1", "--json"]).await;
    let status = status.expect_code(0).json();
    assert_eq!(status["state"], "complete");
    let online = "SELECT count(*) FROM archive_migration_tasks WHERE online_migration";
    assert_eq!(world.deployment.tables().count(online).await, 1);
    let again = world.program.run(&["cutover", "1", "--dontask"]).await;
    assert!(again.expect_code(0).stdout.contains("complete"));

    world
        .program
        .run(&["delete-source", "1", "--dontask"])
        .await
        .expect_code(0);
    assert_eq!(world.deployment.tables().count(sources).await, 0);
    expect_as_stored(&mut world, &services, "file").await;
    let strays = world.look().await.strays;
    assert!(strays.is_empty(), "{strays:?}");
    world.program.expect_journal_verified("2").await;
    world
        .program
        .run(&["report", "1", "-o", "-"])
        .await
        .expect_code(0);
}

/// All rows still lead to the database, and what a service died at is not looked at.
async fn expect_as_stored_but_torn(world: &mut World, services: &Services) {
    for (key, content) in &services.documents {
        world.deployment.expect(key.clone(), Some(content.clone()));
    }
    let seen = world.look().await;
    let torn = |wrong: &&String| !services.torn.iter().any(|key| wrong.contains(&key.id));
    let wrong: Vec<_> = seen.wrong.iter().filter(torn).collect();
    assert!(
        wrong.iter().all(|wrong| wrong.contains("its row is gone")),
        "{wrong:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_died_at_fails_in_the_cutover_and_is_taken_when_it_is_whole() {
    let mut world = World::new(20).await;
    let mut services = services(&world, 2);
    let keys: Vec<_> = services.documents.keys().cloned().collect();
    world
        .migrate("db", "localfs", &["--online"])
        .await
        .expect_code(0);
    let content = services.some_content(Some(&keys[0]));
    services.put(&keys[0], content, Fate::Dies).await;
    services.touch(&keys[0]).await;
    let failed = world.program.run(&["cutover", "1", "--dontask"]).await;
    let failed = failed.expect_code(3);
    assert!(failed.stdout.contains("failed 1"), "{}", failed.stdout);
    let sync = world.program.run(&["sync", "1"]).await.expect_code(2);
    assert!(
        sync.stderr.contains("windlass cutover 1"),
        "{}",
        sync.stderr
    );
    services.mend().await;
    world.program.run(&["resume", "1"]).await.expect_code(0);
    expect_as_stored(&mut world, &services, "file").await;
    world.program.expect_journal_verified("1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_task_is_taken_back_without_a_trace() {
    let mut world = World::new(30).await;
    let services = services(&world, 3);
    world
        .migrate("db", "localfs", &["--online"])
        .await
        .expect_code(0);
    world
        .program
        .run(&["reverse", "1", "--dontask"])
        .await
        .expect_code(0);
    expect_as_stored(&mut world, &services, "db").await;
    world.expect_all_at("db").await;
    let sync = world.program.run(&["sync", "1"]).await.expect_code(2);
    assert!(sync.stderr.contains("has been reversed"), "{}", sync.stderr);
}

/// Also of documents that were rewritten, deleted or made since, whether or not a pass has seen it.
#[tokio::test(flavor = "multi_thread")]
async fn a_staged_task_whose_documents_have_changed_leaves_nothing_either() {
    let mut world = World::new(30).await;
    let mut services = services(&world, 5);
    let keys: Vec<_> = services.documents.keys().cloned().collect();
    let mut change = async |from: usize| {
        let content = services.some_content(Some(&keys[from]));
        services.put(&keys[from], content, Fate::Lives).await;
        services.touch(&keys[from + 1]).await;
        services.delete(&keys[from + 2]).await;
    };
    world
        .migrate("db", "localfs", &["--online"])
        .await
        .expect_code(0);
    change(0).await;
    world.program.run(&["sync", "1"]).await.expect_code(0);
    change(10).await;
    world
        .program
        .run(&["reverse", "1", "--dontask"])
        .await
        .expect_code(0);
    expect_as_stored(&mut world, &services, "db").await;
    let seen = world.look().await;
    assert!(
        seen.strays.is_empty() && seen.doubled.is_empty(),
        "{seen:?}"
    );
    let journal = world.journal("2").await;
    journal.expect_sound();
    assert_eq!(journal.count("leftovers-cleared"), 1);
    world.program.expect_journal_verified("2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_is_taken_back_and_no_byte_moves() {
    let mut world = World::new(30).await;
    let services = services(&world, 4);
    world
        .migrate("db", "localfs", &["--online"])
        .await
        .expect_code(0);
    world
        .program
        .run(&["cutover", "1", "--dontask"])
        .await
        .expect_code(0);
    let back = world
        .program
        .run(&["reverse", "1", "--dontask", "--json"])
        .await;
    assert_eq!(back.expect_code(0).json()["copied_bytes"], 0);
    expect_as_stored(&mut world, &services, "db").await;
    world.expect_all_at("db").await;
}
