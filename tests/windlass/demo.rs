//! The README's first command: it must show what it says, on a machine with no server at all.

use crate::support::journal_checker::check_journal;
use crate::support::program::Program;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_crashes_half_way_and_loses_nothing() {
    let program = Program::new();
    let demo = program
        .run(&["demo", "here", "--documents", "120"])
        .await
        .expect_code(0);
    let said = &demo.stdout;
    assert!(
        said.contains("demo passed: 120 of 120 documents readable"),
        "{said}"
    );
    for shown in [
        "$ windlass check config.yaml",
        "$ windlass check new.yaml",
        "$ windlass migrate config.yaml new.yaml --dry-run",
        "would move 120 objects",
        "$ windlass migrate config.yaml new.yaml --dontask",
        "$ windlass list-migrations",
        "is no more: windlass resume 1",
        "$ windlass status 1",
        "$ windlass resume 1",
        "task 1 complete",
        "$ windlass journal 1 --object ",
    ] {
        assert!(said.contains(shown), "no {shown:?} in:\n{said}");
    }
    // What it printed can be repeated there, and the crash was a real one.
    let state = program.home().join("here/state");
    let args = ["journal", "1", "--format", "jsonl", "--state-dir"];
    let args = args.map(str::to_owned);
    let export = program
        .run(&[&args[..], &[state.display().to_string()]].concat())
        .await
        .expect_code(0);
    let journal = check_journal(&export.stdout);
    journal.expect_sound();
    for (event, count) in [
        ("created", 1),
        ("resumed", 1),
        ("interrupted", 0),
        ("completed", 1),
        ("committed", 120),
        ("source-deleted", 120),
    ] {
        assert_eq!(journal.count(event), count, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_copies_while_services_write_and_loses_nothing() {
    let program = Program::new();
    let demo = ["demo", "here", "--documents", "120", "--online"];
    let demo = program.run(&demo).await.expect_code(0);
    let said = &demo.stdout;
    for shown in [
        "demo passed: ",
        "0 left in the old store, 0 doubled or stray in the new",
        "$ windlass migrate config.yaml new.yaml --online --dontask",
        "$ windlass sync 1",
        "$ windlass cutover 1 --dry-run",
        "outage so far",
        "$ windlass delete-source 1 --dontask",
    ] {
        assert!(said.contains(shown), "no {shown:?} in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_reports_as_one_json_document() {
    let program = Program::new();
    let demo = program
        .run(&["demo", "here", "--documents", "60", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(demo["ok"], true);
    assert_eq!(demo["right"], 60);
    let killed_at = demo["killed_at"].as_u64().expect("a number");
    assert!((30..60).contains(&killed_at), "{demo}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_touches_no_directory_that_holds_something() {
    let program = Program::new();
    let here = program.home().join("here");
    std::fs::create_dir(&here).expect("a directory");
    std::fs::write(here.join("mine"), "precious").expect("a file");
    let demo = program.run(&["demo", "here"]).await.expect_code(2);
    assert!(demo.stderr.contains("is not empty"), "{}", demo.stderr);
    let left: Vec<_> = std::fs::read_dir(&here).expect("readable").collect();
    assert_eq!(left.len(), 1, "nothing was added");
}
