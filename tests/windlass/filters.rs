//! Filters that match nothing: what there is is said, and nothing is done in silence.

use crate::sqlite::World;
use crate::support::program::Outcome;

async fn world() -> World {
    let mut world = World::new(0).await;
    for (user, bucket, id) in [
        ("admin", "analysis_data", "one"),
        ("admin", "analysis_data", "two"),
        ("admin", "policy_bundles", "three"),
        ("tenant", "policy_bundles", "four"),
    ] {
        let content = format!("{{\"document\": \"{id}\"}}").into_bytes();
        let deployment = &mut world.deployment;
        deployment.add_db_document(user, bucket, id, &content).await;
    }
    world
}

#[track_caller]
fn expect_said(said: &Outcome, words: &[&str]) {
    for word in words {
        assert!(said.stderr.contains(word), "no {word:?}: {}", said.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_or_user_that_is_not_there_is_refused_with_those_that_are() {
    let world = world().await;
    let buckets = "analysis_data (2), policy_bundles (2)";
    for (more, words) in [
        (
            &["--bucket", "nosuch"][..],
            &["--bucket nosuch", buckets][..],
        ),
        // Also beside one that is there: half of what was asked for would be missing.
        (
            &["--bucket", "analysis_data", "--bucket", "analysis"],
            &["--bucket analysis ", buckets],
        ),
        (
            &["--bucket", "nosuch", "--dry-run"],
            &["--bucket nosuch", buckets],
        ),
        (
            &["--user", "root"],
            &["--user root", "admin (3), tenant (1)"],
        ),
        (
            &["--user", "tenant", "--bucket", "analysis_data"],
            &["--user tenant", "policy_bundles (1)"],
        ),
    ] {
        let said = world.migrate("db", "localfs", more).await.expect_code(2);
        expect_said(&said, words);
        assert_eq!(world.task().await, 0, "nothing was planned");
    }
    // All of it has moved: that is no mistake.
    let some = ["--bucket", "policy_bundles"];
    world.migrate("db", "localfs", &some).await.expect_code(0);
    world.migrate("db", "localfs", &some).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_without_what_is_asked_for_says_what_it_has() {
    let world = world().await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    let url = format!(
        "sqlite:///{}",
        world.program.home().join("anchore.db").display()
    );
    for (more, words) in [
        (
            &["--object", "nosuch"][..],
            &[
                "--object nosuch",
                "USER/BUCKET/ID",
                "admin/analysis_data",
                "tenant/policy_bundles",
            ][..],
        ),
        (
            &["--event", "failed"],
            &["--event failed", "copied (4)", "source-deleted (4)"],
        ),
        (
            &["--phase", "pending"],
            &["--phase pending", "committed (4)"],
        ),
        (&["--since", "2999-01-01"], &["--since", "from 20"]),
        (&["--until", "1999-01-01"], &["--until", "from 20"]),
        (
            &["--event", "copied", "--phase", "committed"],
            &["each of these matches something"],
        ),
    ] {
        for format in ["table", "csv", "jsonl"] {
            let args = [&["journal", "1", "--format", format], more].concat();
            let said = world.program.run(&args).await.expect_code(0);
            expect_said(&said, words);
            assert!(said.stdout.lines().count() <= 1, "{}", said.stdout);
        }
    }
    // Without the checkpoint too; and in silence where something matches.
    world.program.lose_state();
    let mirror = ["journal", "1", "--db-connect", &url, "--object", "a/b/c"];
    let said = world.program.run(&mirror).await.expect_code(0);
    expect_said(&said, &["--object a/b/c", "admin/analysis_data"]);
    let found = [
        "journal",
        "1",
        "--db-connect",
        &url,
        "--object",
        "admin/analysis_data/one",
    ];
    let said = world.program.run(&found).await.expect_code(0);
    assert!(!said.stderr.contains("--object"), "{}", said.stderr);
}
