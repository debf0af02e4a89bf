//! The way back, and the clean-up of what was kept: whatever happens on the way, each row ends as it
//! was, and nothing is deleted that is not proven.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sqlite;
use crate::support::counting_proxy::Fault;
use crate::support::deployment::DocumentKey;
use crate::support::program::Outcome;
use crate::support::random::{Random, seed};
use crate::world::{World, seeded, until};

/// Every column of every row.
const ROWS: &str = r#"
    SELECT coalesce(string_agg(m::text, E'\n' ORDER BY m::text), '') FROM archive_metadata m"#;

impl World {
    async fn rows(&self) -> String {
        sqlx::query_scalar(ROWS)
            .fetch_one(&self.database.pool)
            .await
            .expect("the rows")
    }

    async fn follow(&self, command: &str, task: &str) -> Outcome {
        self.program.run(&[command, task, "--dontask"]).await
    }

    /// The document whose key comes first.
    fn a_document(&self) -> DocumentKey {
        let mut documents = self.deployment.expected().keys();
        documents.next().expect("a document").clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_cut_off_is_undone_without_finishing_it() {
    let world = seeded(200).await;
    let before = world.rows().await;
    let mut running = world.spawn_slowly(&[], 40).await;
    running.kill();
    running.wait().await;
    world.let_time_pass().await;
    world.proxy.set_fault(Fault::None);
    let done = world.follow("reverse", &world.task().await).await;
    let done = done.expect_code(0);
    assert_eq!(world.rows().await, before);
    let seen = world.look().await;
    // What was replayed of the dead process is no sign of its life.
    assert!(!done.stderr.contains("waiting"), "{}", done.stderr);
    seen.expect_all_at("db", 200);
    for task in ["1", "2"] {
        let verify = ["journal", "verify", task];
        world.program.run(&verify).await.expect_code(0);
    }
}

/// A migration that has moved some rows, and then has written more than so many copies of which it
/// never heard: no entry tells of one.
async fn cut_off_from_its_answers(world: &World, moved: u64, copies: usize) {
    let mut running = world.spawn_slowly(&[], moved).await;
    world
        .proxy
        .set_fault_on(hyper::Method::PUT, Fault::LoseAnswers(1.0));
    let before = world.document_puts().len();
    until("copies are there of which it has not heard", async || {
        world.document_puts().len() > before + copies
    })
    .await;
    running.kill();
    running.wait().await;
    world.let_time_pass().await;
    world.proxy.set_fault(Fault::None);
}

/// A key that nothing lies under in the bucket, of a document whose row was not moved.
async fn a_free_key(world: &World) -> (DocumentKey, String) {
    let client = crate::support::s3::server().await.client();
    for key in world.deployment.expected().keys() {
        let place = format!("{}/{}/{}", key.user, key.bucket, key.id);
        let found = client.try_get(&world.bucket, &place).await;
        if found.expect("the store answers").is_none() {
            return (key.clone(), place);
        }
    }
    panic!("each document has a copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_no_entry_tells_of_go_and_what_another_has_stored_stays_and_is_named() {
    let world = seeded(120).await;
    let before = world.rows().await;
    cut_off_from_its_answers(&world, 10, 2).await;
    // A deployment cloned from this one has stored the same document under the same key.
    let (key, place) = a_free_key(&world).await;
    let document = world.deployment.expected()[&key].clone();
    let client = crate::support::s3::server().await.client();
    client.put(&world.bucket, &place, document).await;

    let done = world.follow("reverse", "1").await.expect_code(0);
    assert_eq!(world.rows().await, before);
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right, BTreeMap::from([("db".to_owned(), 120)]));
    let theirs = format!("s3://{}/{place}", world.bucket);
    assert_eq!(seen.doubled, vec![theirs.clone()]);
    assert!(seen.strays.is_empty(), "{:?}", seen.strays);
    let named = format!("{theirs} is kept: it does not bear the mark");
    assert!(done.stderr.contains(&named), "{}", done.stderr);
    assert!(done.stdout.contains("1 kept"), "{}", done.stdout);
    for task in ["1", "2"] {
        let verify = ["journal", "verify", task];
        world.program.run(&verify).await.expect_code(0);
    }
}

/// A copy whose document was changed before the commit can be proven against nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_documents_that_changed_meanwhile_are_kept_and_named() {
    let world = seeded(60).await;
    cut_off_from_its_answers(&world, 10, 2).await;
    world
        .sql("UPDATE archive_metadata SET last_updated = last_updated + 5 WHERE content_url LIKE 'db:%'")
        .await;
    world.proxy.set_fault(Fault::None);
    world.resume("1").await.expect_code(0);
    let left = world.look().await.doubled;
    assert!(left.len() >= 2, "{left:?}");
    world.let_time_pass().await;

    let done = world.follow("reverse", "1").await;
    let named = format!("{} copies of documents that were changed", left.len());
    assert!(done.stderr.contains(&named), "{}", done.stderr);
    assert!(left.iter().any(|url| done.stderr.contains(url)));
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.doubled.len(), left.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_place_without_marks_that_held_documents_before_copies_are_kept_and_named() {
    let world = sqlite::World::new(80).await;
    let before = world.rows().await;
    let another = "store/0123456789abcdef0123456789abcdef/bucket/01";
    let another = world.program.home().join(another);
    std::fs::create_dir_all(&another).expect("a directory of another deployment");
    std::fs::write(another.join("x.json"), "its document").expect("its document");
    world.kill_when_moved("db", "localfs", 5).await;
    world.let_time_pass().await;
    // The last document is far from being copied; somebody else has stored it there.
    let (url, id): (String, String) = sqlx::query_as(
        "SELECT dest_url, archive_id FROM windlass_objects ORDER BY idx DESC LIMIT 1",
    )
    .fetch_one(&world.pool)
    .await
    .expect("a planned destination");
    let path = std::path::Path::new(url.strip_prefix("file://").expect("a file's URL"));
    assert!(!path.exists(), "it was not copied yet");
    let expected = world.deployment.expected().iter();
    let (_, document) = expected
        .clone()
        .find(|(key, _)| key.id == id)
        .expect("a document");
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("its directory");
    std::fs::write(path, document).expect("its file");

    let reverse = ["reverse", "1", "--dontask"];
    let done = world.program.run(&reverse).await.expect_code(0);
    assert_eq!(world.rows().await, before);
    let named = format!("{url} is kept: its place held documents before task 1");
    assert!(done.stderr.contains(&named), "{}", done.stderr);
    assert!(path.exists());
    world.look().await.expect_nothing_lost();
}

#[tokio::test(flavor = "multi_thread")]
async fn undone_from_another_machine_it_leaves_no_copy_either() {
    let world = seeded(120).await;
    let before = world.rows().await;
    cut_off_from_its_answers(&world, 10, 2).await;
    let other = crate::support::program::Program::new();
    let url = world.direct_url();
    let reverse = ["--db-connect", &url, "reverse", "1", "--dontask"];
    other.run(&reverse).await.expect_code(0);
    assert_eq!(world.rows().await, before);
    world.look().await.expect_all_at("db", 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_since_is_left_alone_and_said() {
    let world = seeded(30).await;
    world.migrate(&[]).await.expect_code(0);
    let key = world.a_document();
    // Anchore has written it anew, to the same place.
    world
        .sql(&format!(
            r#"UPDATE archive_metadata SET last_updated = last_updated + 5
                WHERE "archiveId" = '{}'"#,
            key.id
        ))
        .await;
    let plan = ["reverse", "1", "--dry-run"];
    let plan = world.program.run(&plan).await.expect_code(0);
    let changed = "1 object have been changed since";
    assert!(plan.stdout.contains(changed), "{}", plan.stdout);
    let done = world.follow("reverse", "1").await.expect_code(0);
    let counts = "planned 30 = committed 29 + skipped 1 + failed 0";
    assert!(done.stdout.contains(counts), "{}", done.stdout);
    assert!(done.stderr.contains(&key.id), "{}", done.stderr);
    let seen = world.look().await;
    seen.expect_nothing_lost();
    assert_eq!(seen.right.get("s3"), Some(&1), "its copy is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_holds_something_else_now_is_not_overwritten() {
    let world = seeded(30).await;
    world.migrate(&["--nodelete"]).await.expect_code(0);
    let key = world.a_document();
    let set = async |text: &str| {
        let id = &key.id;
        let set =
            format!(r#"UPDATE archive_document SET jsondata = {text} WHERE "archiveId" = '{id}'"#);
        world.sql(&set).await;
    };
    set("jsondata || ' and more'").await;
    let refused = world.follow("reverse", "1").await.expect_code(3);
    assert!(
        refused.stdout.contains("other-content-at-destination"),
        "{}",
        refused.stdout
    );
    assert!(
        refused
            .stdout
            .contains("committed 29 + skipped 0 + failed 1"),
        "{}",
        refused.stdout
    );
    world.expect_every_row_whole().await;
    set("replace(jsondata, ' and more', '')").await;
    world.resume("2").await.expect_code(0);
    world.look().await.expect_all_at("db", 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_reversed_is_at_its_end() {
    let world = seeded(20).await;
    world.migrate(&["--nodelete"]).await.expect_code(0);
    world.follow("reverse", "1").await.expect_code(0);
    for command in ["reverse", "delete-source"] {
        let refused = world.follow(command, "1").await.expect_code(2);
        let why = "task 1 has been reversed by task 2";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("windlass reverse 2"),
            "{}",
            refused.stderr
        );
    }
    let rows = world.rows().await;
    let listed = world.program.run(&["list-migrations"]).await.expect_code(0);
    assert!(!listed.stdout.contains("resume"), "{}", listed.stdout);
    let by = "task 1 was reversed by task 2";
    assert!(listed.stdout.contains(by), "{}", listed.stdout);
    let header = listed.stdout.lines().next().unwrap_or_default();
    assert!(header.ends_with("kind     parent"), "{header}");
    let listed = ["list-migrations", "--json"];
    let listed = world.program.run(&listed).await.expect_code(0).json();
    let [forward, back] = [0, 1].map(|n| &listed["migrations"][n]);
    assert_eq!(
        (&forward["kind"], &forward["reversed_by"]),
        (&"forward".into(), &2.into())
    );
    assert_eq!(
        (&back["kind"], &back["parent"]),
        (&"reverse".into(), &1.into())
    );
    let by = "reversed by task 2 (complete)";
    for command in ["resume", "status"] {
        let said = world.program.run(&[command, "1"]).await.expect_code(0);
        assert!(said.stdout.contains(by), "{}", said.stdout);
        let said = world.program.run(&[command, "1", "--json"]).await.json();
        assert_eq!(said["reversed_by"][0]["task_id"], 2, "{said}");
    }
    let said = world.program.run(&["status", "2"]).await.expect_code(0);
    assert!(said.stdout.contains("reverse of task 1"), "{}", said.stdout);
    let page = world.program.home().join("report.html");
    let report = ["report", "1", "-o", &page.display().to_string()];
    world.program.run(&report).await.expect_code(0);
    let page = std::fs::read_to_string(page).expect("the report");
    let top = page.split("<nav").next().unwrap_or_default();
    assert!(top.contains("reversed by"), "{top}");
    // And there and back again.
    world.follow("reverse", "2").await.expect_code(0);
    let said = world.program.run(&["status", "1"]).await.expect_code(0);
    let chain = "reversed by task 2 (complete), which was reversed by task 3 (complete)";
    assert!(said.stdout.contains(chain), "{}", said.stdout);
    assert_ne!(world.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_task_that_was_reversed_cannot_be_resumed() {
    let world = seeded(100).await;
    let mut running = world.spawn_slowly(&[], 20).await;
    running.interrupt();
    running.wait().await.expect_code(130);
    world.proxy.set_fault(Fault::None);
    let unfinished = world.follow("delete-source", "1").await.expect_code(2);
    assert!(
        unfinished.stderr.contains("windlass resume 1"),
        "{}",
        unfinished.stderr
    );
    world.follow("reverse", "1").await.expect_code(0);
    let refused = world.resume("1").await.expect_code(2);
    assert!(
        refused.stderr.contains("has been reversed by task 2"),
        "{}",
        refused.stderr
    );
    let listed = world.program.run(&["list-migrations"]).await.expect_code(0);
    assert!(!listed.stdout.contains("resume 1"), "{}", listed.stdout);
    world.look().await.expect_all_at("db", 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let world = seeded(20).await;
    world.migrate(&["--nodelete"]).await.expect_code(0);
    let (rows, puts) = (world.rows().await, world.total_document_puts());
    for (command, says) in [
        ("reverse", "would take 20 objects"),
        ("delete-source", "would take 20 objects"),
    ] {
        let plan = world.program.run(&[command, "1", "--dry-run"]).await;
        let plan = plan.expect_code(0);
        assert!(plan.stdout.contains(says), "{}", plan.stdout);
    }
    assert_eq!(
        (world.rows().await, world.total_document_puts()),
        (rows, puts)
    );
    assert_eq!(world.task().await, "1", "no task is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_proven_is_deleted_later() {
    let world = seeded(40).await;
    world.migrate(&["--nodelete"]).await.expect_code(0);
    let keys: Vec<_> = world.deployment.expected().keys().cloned().collect();
    let (damaged, changed, shared) = (&keys[0], &keys[1], &keys[2]);
    let server = crate::support::s3::server().await;
    let key = format!("{}/{}/{}", damaged.user, damaged.bucket, damaged.id);
    let client = server.client();
    let good = client.get(&world.bucket, &key).await.expect("the copy");
    client.put(&world.bucket, &key, b"damaged").await;
    world
        .sql(&format!(
            r#"UPDATE archive_metadata SET last_updated = 7 WHERE "archiveId" = '{}';
               INSERT INTO archive_metadata (bucket, "archiveId", "userId", "documentName", content_url)
               SELECT bucket, "archiveId", "userId", 'another name', 'db://' || "userId" || '/'
                      || bucket || '/' || "archiveId"
                 FROM archive_metadata WHERE "archiveId" = '{}'"#,
            changed.id, shared.id
        ))
        .await;
    let done = world.follow("delete-source", "1").await.expect_code(3);
    let counts = "sources: 37 deleted, 2 kept, 1 not deleted";
    assert!(done.stdout.contains(counts), "{}", done.stdout);
    let left = world.count("SELECT count(*) FROM archive_document").await;
    assert_eq!(left, 3);
    client.put(&world.bucket, &key, good).await;
    world.resume("2").await.expect_code(0);
    let left = world.count("SELECT count(*) FROM archive_document").await;
    assert_eq!(left, 2);
    // Nothing is tried again that is done.
    let again = world.follow("delete-source", "1").await.expect_code(0);
    assert!(again.stdout.contains("planned 2 ="), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_both_halves_leave_each_row_as_it_was() {
    let mut random = Random::seeded(seed(31));
    let world = sqlite::World::new(120).await;
    world.forget_some(&mut random).await;
    for (from, to) in [("db", "localfs"), ("localfs", "db2"), ("db2", "db")] {
        let before = world.rows().await;
        // To its end, and back.
        world.migrate_through_kills(from, to).await;
        let moved = world.rows().await;
        world.follow_through_kills("reverse", &mut random).await;
        assert_eq!(world.rows().await, before, "{from} to {to} and back");
        // Cut off somewhere, and back from there.
        let some = random.within(5..100) as i64;
        world.kill_when_moved(from, to, some).await;
        world.let_time_pass().await;
        world.follow_through_kills("reverse", &mut random).await;
        assert_eq!(
            world.rows().await,
            before,
            "{from} to {to}, cut off, and back"
        );
        assert_ne!(moved, before);
        // Kept, and deleted later.
        let kept = world.args(from, to, &["--nodelete"]);
        world.program.run(&kept).await.expect_code(0);
        world
            .follow_through_kills("delete-source", &mut random)
            .await;
        let scheme = if to == "localfs" { "file" } else { to };
        let seen = world.look().await;
        seen.expect_nothing_lost();
        assert_eq!(seen.right, BTreeMap::from([(scheme.to_owned(), 120)]));
        assert!(seen.doubled.is_empty(), "{:?}", seen.doubled);
    }
}

impl sqlite::World {
    async fn rows(&self) -> String {
        sqlx::query_scalar(
            r#"SELECT group_concat(line, char(10)) FROM (
                   SELECT quote(bucket) || quote("archiveId") || quote("userId")
                          || quote("documentName") || quote(content_url) || quote(digest)
                          || quote(size) || quote(is_compressed) || quote(created_at)
                          || quote(last_updated) || quote(document_metadata) AS line
                     FROM archive_metadata ORDER BY 1)"#,
        )
        .fetch_one(&self.pool)
        .await
        .expect("the rows")
    }

    /// What old rows do not say.
    async fn forget_some(&self, random: &mut Random) {
        for key in self.deployment.expected().keys() {
            let column = [
                "digest",
                "size",
                "is_compressed",
                "document_metadata",
                "last_updated",
            ];
            let column = column[random.within(0..column.len())];
            if random.chance(0.5) {
                let forget = format!(
                    r#"UPDATE archive_metadata SET {column} = NULL WHERE "archiveId" = '{}'"#,
                    key.id
                );
                self.deployment.tables().execute(&forget).await;
            }
        }
    }

    /// Follows the latest task, killed again and again, and looks at every document each time.
    async fn follow_through_kills(&self, command: &str, random: &mut Random) {
        let parent = self.task().await;
        let mut args = vec![
            command.to_owned(),
            parent.to_string(),
            "--dontask".to_owned(),
        ];
        args.extend(["--concurrency".to_owned(), "2".to_owned()]);
        for _ in 0..4 {
            let mut running = self.program.spawn(&args);
            tokio::time::sleep(Duration::from_millis(random.within(20..350) as u64)).await;
            running.kill();
            running.wait().await;
            self.look().await.expect_nothing_lost();
            let task = self.task().await;
            if task > parent {
                args = vec!["resume".to_owned(), task.to_string()];
            }
        }
        self.program.run(&args).await.expect_code(0);
        for task in [parent, self.task().await] {
            let verify = ["journal", "verify", &task.to_string()];
            self.program.run(&verify).await.expect_code(0);
        }
        until("the last task is complete", async || {
            let complete = "SELECT count(*) FROM windlass_tasks WHERE state = 'complete'
                             AND task_id = (SELECT max(task_id) FROM windlass_tasks)";
            self.deployment.tables().count(complete).await == 1
        })
        .await;
        self.let_time_pass().await;
    }
}
