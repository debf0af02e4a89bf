//! Failures by cause, and `accept`: what can't be mended is left as it is by a person's word, and the
//! task comes to its end.

use crate::sqlite::World;
use crate::support::deployment::DocumentKey;
use crate::support::program::{Outcome, Program};

/// Twenty documents, of which three are damaged and two are missing; migrated as far as they go.
async fn half_mended() -> (World, Vec<DocumentKey>, Outcome) {
    let world = World::new(20).await;
    let keys: Vec<_> = world
        .deployment
        .expected()
        .keys()
        .take(5)
        .cloned()
        .collect();
    for key in &keys[..3] {
        world.set_text(key, "damaged").await;
    }
    for key in &keys[3..] {
        world.deployment.remove_db_document(key).await;
    }
    let ended = world.migrate("db", "localfs", &[]).await.expect_code(3);
    (world, keys, ended)
}

async fn accept(world: &World, more: &[&str]) -> Outcome {
    world.program.run(&[&["accept", "1"], more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_by_cause_and_the_next_command_comes_last() {
    let (world, keys, ended) = half_mended().await;
    let said = &ended.stdout;
    let at = |words: &str| {
        said.find(words)
            .unwrap_or_else(|| panic!("no {words}: {said}"))
    };
    let example = format!("such as {}/{}/{}", keys[0].user, keys[0].bucket, keys[0].id);
    let order = [
        at("failed, damaged-at-source: 3 objects\n"),
        at(&example),
        at("to mend: restore the documents as the rows have them"),
        at("failed, missing-at-source: 2 objects\n"),
        at("planned 20 = committed 15 + skipped 0 + failed 5 + remaining 0"),
        at("accept 1 --cause damaged-at-source\n"),
    ];
    assert!(order.is_sorted(), "{said}");
    assert!(said.trim_end().ends_with(" resume 1"), "{said}");
    assert!(said.lines().count() <= 23, "{said}");
    // The same for machines, and from the database of another machine.
    let status = world.program.run(&["status", "1", "--json"]).await.json();
    let causes: Vec<_> = status["failure_classes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|cause| {
            (
                cause["cause"].as_str().expect("a word"),
                cause["objects"].as_i64(),
            )
        })
        .collect();
    assert_eq!(
        causes,
        [
            ("damaged-at-source", Some(3)),
            ("missing-at-source", Some(2))
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_failures_of_one_cause_are_counted_and_not_said() {
    let world = World::new(60).await;
    let keys: Vec<_> = world.deployment.expected().keys().cloned().collect();
    for key in &keys[..50] {
        world.deployment.remove_db_document(key).await;
    }
    world.set_text(&keys[55], "damaged").await;
    let ended = world.migrate("db", "localfs", &[]).await.expect_code(3);
    let lines = |words: &str| ended.stderr.lines().filter(|l| l.contains(words)).count();
    assert_eq!(lines("no such row"), 5, "{}", ended.stderr);
    assert_eq!(lines("are counted and not said"), 1, "{}", ended.stderr);
    assert_eq!(
        lines(&keys[55].id),
        1,
        "another cause is said: {}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_journaled_and_not_tried_again() {
    let (world, _, _) = half_mended().await;
    let nothing = accept(&world, &["--cause", "copy-differs"])
        .await
        .expect_code(2);
    let there = "there are damaged-at-source (3), missing-at-source (2)";
    assert!(nothing.stderr.contains(there), "{}", nothing.stderr);
    let why = "lost in 2023: not needed";
    let some = accept(
        &world,
        &["--cause", "missing-at-source", "--why", why, "--json"],
    )
    .await;
    let some = some.expect_code(0).json();
    assert_eq!(some["state"], "failed");
    assert_eq!(
        (&some["accepted_now"], &some["failed"]),
        (&2.into(), &3.into())
    );
    let again = world
        .program
        .run(&["resume", "1", "--json"])
        .await
        .expect_code(3)
        .json();
    assert_eq!(
        (&again["accepted"], &again["failed"]),
        (&2.into(), &3.into())
    );
    let rest = accept(&world, &[]).await.expect_code(0).stdout;
    assert!(
        rest.contains("task 1 complete: 3 failed objects left as they are by "),
        "{rest}"
    );
    assert!(
        rest.contains(
            "planned 20 = committed 15 + skipped 0 + failed 0 + accepted 5 + remaining 0"
        ),
        "{rest}"
    );
    assert!(
        accept(&world, &[])
            .await
            .expect_code(0)
            .stdout
            .contains("no failed objects")
    );
    let resumed = world
        .program
        .run(&["resume", "1"])
        .await
        .expect_code(0)
        .stdout;
    assert!(resumed.contains("is complete"), "{resumed}");

    let journal = world.journal("1").await;
    journal.expect_sound();
    assert_eq!((journal.count("accepted"), journal.count("failed")), (5, 8));
    let shown = world
        .program
        .run(&["journal", "1", "--event", "accepted"])
        .await
        .stdout;
    assert_eq!(shown.matches(why).count(), 2, "{shown}");
    assert!(shown.contains(&format!("@{}", host())), "{shown}");
    world.program.expect_journal_verified("1").await;
    let page = world
        .program
        .run(&["report", "1", "-o", "-"])
        .await
        .expect_code(0)
        .stdout;
    assert!(
        page.contains("accepted as they are") && page.contains(why),
        "{page}"
    );
    let sources = "SELECT count(*) FROM archive_document";
    assert_eq!(
        world.deployment.tables().count(sources).await,
        3,
        "the damaged ones are kept"
    );
    let anchore: String = sqlx::query_scalar("SELECT state FROM tasks")
        .fetch_one(&world.pool)
        .await
        .expect("Anchore's table");
    assert_eq!(anchore, "complete");
    // The same migration again leaves them, too; asked to, it tries.
    let same = world
        .migrate("db", "localfs", &[])
        .await
        .expect_code(0)
        .stdout;
    assert!(same.contains("were accepted as they are"), "{same}");
    world
        .migrate("db", "localfs", &["--new-task"])
        .await
        .expect_code(3);
    // Undone as any: what was accepted has nothing to be undone.
    world
        .program
        .run(&["reverse", "1", "--dontask"])
        .await
        .expect_code(0);
}

fn host() -> String {
    let name = std::process::Command::new("uname").arg("-n").output();
    String::from_utf8(name.expect("uname").stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_accepts_by_the_mirror_alone() {
    let (world, keys, _) = half_mended().await;
    let url = format!(
        "sqlite:///{}",
        world.program.home().join("anchore.db").display()
    );
    let elsewhere = Program::new();
    let object = format!("{}/{}/{}", keys[1].user, keys[1].bucket, keys[1].id);
    let one = [
        "accept",
        "1",
        "--object",
        &object,
        "--json",
        "--db-connect",
        &url,
    ];
    let one = elsewhere.run(&one).await.expect_code(0).json();
    assert_eq!(
        (&one["accepted_now"], &one["state"]),
        (&1.into(), &"failed".into())
    );
    let all = ["accept", "1", "--json", "--db-connect", &url];
    let all = elsewhere.run(&all).await.expect_code(0).json();
    assert_eq!(
        (&all["accepted"], &all["state"]),
        (&5.into(), &"complete".into())
    );
    let verify = ["journal", "verify", "1", "--db-connect", &url];
    elsewhere.run(&verify).await.expect_code(0);
    // The mirror tells of it where the journal is not.
    let shown = ["journal", "1", "--event", "accepted", "--db-connect", &url];
    let shown = Program::new().run(&shown).await.expect_code(0).stdout;
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(shown.contains("missing-at-source"), "{shown}");
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_journal_and_mirror_accepts_all_the_same() {
    let (world, _, _) = half_mended().await;
    let crashed = world
        .program
        .run_with(&["accept", "1"], &[("FAILPOINTS", "mirror-before=return")])
        .await;
    assert_eq!(crashed.code, None, "{crashed:?}");
    world.program.run(&["resume", "1"]).await.expect_code(0);
    let status = world.program.run(&["status", "1", "--json"]).await.json();
    assert_eq!(
        (&status["accepted"], &status["state"]),
        (&5.into(), &"complete".into())
    );
    world.journal("1").await.expect_sound();
    world.program.expect_journal_verified("1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_at_work_is_not_accepted_beside() {
    let world = World::new(200).await;
    let args = world.args("db", "localfs", &crate::sqlite::SLOWLY);
    let mut first = world.program.spawn(&args);
    while world.moved().await < 5 {
        assert!(!first.has_ended(), "{}", first.stderr());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    first.freeze();
    let refused = accept(&world, &[]).await.expect_code(2).stderr;
    assert!(
        refused.contains(&format!("process {}", first.pid())),
        "{refused}"
    );
    first.kill();
    first.wait().await;
}
