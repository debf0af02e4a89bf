//! `journal`: one object's history, filters, forms, and where it is read from.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use uuid::Uuid;
use windlass::engine::{StateDir, TaskFile};
use windlass::journal::{Journal, NewEntry};
use windlass::model::{EntryObject, Event, Verified};

use crate::sqlite::World;
use crate::support::journal_checker::check_journal;
use crate::support::measure::peak_memory_bytes;
use crate::support::program::{Outcome, Program, executable};

const BOOK: &str = include_str!("../../docs/journal-format.md");

async fn migrated(documents: usize) -> World {
    let world = World::new(documents).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    world
}

async fn journal(world: &World, args: &[&str]) -> Outcome {
    let args = [&["journal", "1"], args].concat();
    world.program.run(&args).await.expect_code(0)
}

fn lines(outcome: &Outcome) -> Vec<serde_json::Value> {
    let lines = outcome.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_objects_history_tells_when_who_what_and_with_which_digests() {
    let world = migrated(5).await;
    let key = world
        .deployment
        .expected()
        .keys()
        .next()
        .expect("a document")
        .clone();
    let object = format!("{}/{}/{}", key.user, key.bucket, key.id);
    let told = journal(&world, &["--object", &object]).await;
    let steps: Vec<&str> = ["copied", "verified", "committed", "source-deleted"].into();
    for step in &steps {
        assert!(told.stdout.contains(step), "{}", told.stdout);
    }
    for said in [&object, "MD5 ", "SHA-256 ", "entry ", "db://", "file://"] {
        assert!(told.stdout.contains(said), "no {said}: {}", told.stdout);
    }
    assert!(
        told.stderr.contains("reading the checkpoint"),
        "{}",
        told.stderr
    );
    let by_document = format!("{object}/{}", key.document);
    for (wanted, found) in [(&object, 4), (&by_document, 4), (&format!("{object}/x"), 0)] {
        let told = journal(&world, &["--object", wanted, "--format", "jsonl"]).await;
        assert_eq!(lines(&told).len(), found, "{wanted}");
        assert!(
            told.stderr.contains("can't be verified by itself"),
            "{}",
            told.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_out_what_was_not_asked_for() {
    let world = migrated(6).await;
    let all = lines(&journal(&world, &["--format", "jsonl"]).await);
    let shown = async |args: &[&str]| {
        let args = [args, &["--format", "jsonl"]].concat();
        lines(&journal(&world, &args).await)
    };
    let by = |wanted: &[&str]| {
        let is_wanted =
            |line: &&serde_json::Value| wanted.iter().any(|event| line["entry"]["event"] == *event);
        all.iter().filter(is_wanted).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&["--event", "created", "--event", "copied"]).await,
        by(&["created", "copied"])
    );
    for phase in ["copied", "verified", "committed", "source-deleted"] {
        assert_eq!(shown(&["--phase", phase]).await, by(&[phase]), "{phase}");
    }
    assert_eq!(shown(&["--phase", "pending"]).await.len(), 0);
    let at = all[9]["entry"]["at"].as_str().expect("a time");
    let early = |line: &&serde_json::Value| line["entry"]["at"].as_str().is_some_and(|t| t <= at);
    let late = |line: &&serde_json::Value| line["entry"]["at"].as_str().is_some_and(|t| t >= at);
    let until: Vec<_> = all.iter().filter(early).cloned().collect();
    let since: Vec<_> = all.iter().filter(late).cloned().collect();
    assert_eq!(shown(&["--until", at]).await, until);
    assert_eq!(shown(&["--since", at]).await, since);
    assert_eq!(
        shown(&["--since", &at[..10], "--until", &at[..10]]).await,
        all
    );
    assert_eq!(shown(&["--since", "2999-01-01"]).await.len(), 0);
    let wrong = world
        .program
        .run(&["journal", "1", "--event", "nothing"])
        .await
        .expect_code(2);
    assert!(wrong.stderr.contains("source-deleted"), "{}", wrong.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn spreadsheets_get_one_row_for_each_entry() {
    let world = migrated(4).await;
    let csv = journal(&world, &["--format", "csv"]).await.stdout;
    let rows: Vec<&str> = csv.split_terminator("\r\n").collect();
    let columns = rows[0].split(',').count();
    assert!(
        rows[0].starts_with("seq,at,executor,host,pid,event,"),
        "{}",
        rows[0]
    );
    assert_eq!(
        rows.len(),
        1 + lines(&journal(&world, &["--format", "jsonl"]).await).len()
    );
    for row in rows {
        // Nothing in these documents' names or places needs a quote; details may hold commas.
        let mut quoted = false;
        let commas = row.chars().filter(|c| {
            quoted ^= *c == '"';
            *c == ',' && !quoted
        });
        assert_eq!(commas.count() + 1, columns, "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_checkpoint_the_mirrors_history_is_shown_and_says_so() {
    let world = migrated(5).await;
    let url = format!(
        "sqlite:///{}",
        world.program.home().join("anchore.db").display()
    );
    let elsewhere = Program::new();
    let show = async |more: &[&str]| {
        let args = [&["journal", "1", "--db-connect", &url], more].concat();
        elsewhere.run(&args).await.expect_code(0)
    };
    let table = show(&[]).await;
    assert!(
        table.stderr.contains("reading the mirror"),
        "{}",
        table.stderr
    );
    assert_eq!(table.stdout.lines().count(), 5 * 4);
    assert!(
        table
            .stdout
            .lines()
            .all(|line| line.starts_with(" mirror "))
    );
    let export = show(&["--format", "jsonl", "--event", "committed"]).await;
    let committed = lines(&export);
    assert_eq!(committed.len(), 5);
    for line in &committed {
        assert!(line.get("entry").is_none(), "it is no entry: {line}");
        assert_eq!(line["mirror"]["event"], "committed");
        let at = line["mirror"]["at"].as_str().expect("a time");
        assert_eq!(at.len(), "2026-01-02T03:04:05.678901Z".len(), "{at}");
    }
    assert!(
        !check_journal(&export.stdout).problems.is_empty(),
        "and no export"
    );
    let verify = ["journal", "verify", "1", "--db-connect", &url];
    let refused = elsewhere.run(&verify).await.expect_code(2);
    assert!(
        refused.stderr.contains("verify it there"),
        "{}",
        refused.stderr
    );
}

/// The document's own lines of Python over a real export, and over the same with a digit changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_books_python_checks_a_real_export() {
    let world = migrated(12).await;
    let export = journal(&world, &["--format", "jsonl"]).await.stdout;
    let verified = world
        .program
        .run(&["journal", "verify", "1", "--json"])
        .await;
    let verified = verified.expect_code(0).json();
    let head = verified["mirrored_head"]
        .as_str()
        .expect("a head")
        .replace(':', " ");
    let home = world.program.home();
    let checked = python(home, &export);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.trim_end().ends_with(&head), "{said} is not {head}");
    let size = export.find("\"dest_size\":").expect("a copy") + "\"dest_size\":".len();
    let mut tampered = export.clone();
    let other = if &export[size..=size] == "1" {
        "2"
    } else {
        "1"
    };
    tampered.replace_range(size..=size, other);
    let checked = python(home, &tampered);
    assert!(!checked.status.success());
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("breaks the chain"), "{said}");
    let without: String = export.split_inclusive('\n').skip(1).collect();
    assert!(!python(home, &without).status.success());
}

fn python(home: &Path, export: &str) -> Output {
    let (_, program) = BOOK.split_once("```python\n").expect("the checker");
    let (program, _) = program.split_once("```").expect("its end");
    let (script, file) = (home.join("check.py"), home.join("export.jsonl"));
    std::fs::write(&script, program).expect("written");
    std::fs::write(&file, export).expect("written");
    let mut python = Command::new("python3");
    python.arg("-I").arg(script).arg(file);
    python.output().expect("python3 is needed for this test")
}

/// A journal with this many entries in a state directory, by its task.
async fn long_journal(program: &Program, entries: u64) -> Uuid {
    let state_dir = StateDir::new(program.state_dir().to_owned());
    let task = Uuid::new_v4();
    let file = TaskFile {
        task_id: 1,
        uuid: task,
        database: "sqlite:////nowhere.db".into(),
        from_config: "/a".into(),
        from_section: "object_store".into(),
        to_config: "/b".into(),
        to_section: "object_store".into(),
    };
    state_dir.write(&file).expect("written");
    let journal = Journal::create(&state_dir.checkpoint(task), task, Uuid::new_v4());
    let journal = journal.expect("a journal");
    let entry = |idx: u64| NewEntry {
        object: Some(EntryObject {
            idx,
            user: "admin".into(),
            bucket: "analysis_data".into(),
            id: format!("{idx:064}"),
            document: format!("{idx:064}.json"),
        }),
        event: Event::Verified(Verified {
            method: "full".into(),
            bytes: idx,
            tag: None,
        }),
    };
    for first in (0..entries).step_by(1_000) {
        let batch = (first..first + 1_000).map(entry).collect();
        journal.append(batch).await.expect("appended");
    }
    journal.close().await.expect("closed");
    task
}

fn spawn_journal(program: &Program, args: &[&str]) -> std::process::Child {
    let mut command = Command::new(executable());
    command
        .arg("--state-dir")
        .arg(program.state_dir())
        .arg("journal")
        .args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("windlass starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_entries_stream_in_flat_memory() {
    let program = Program::new();
    let task = long_journal(&program, 200_000).await.to_string();
    for format in ["jsonl", "table", "csv"] {
        let mut child = spawn_journal(&program, &[&task, "--format", format]);
        let stdout = child.stdout.take().expect("a pipe");
        let (mut shown, mut bytes) = (0, 0);
        let (mut early, mut late) = (0, 0);
        for line in BufReader::with_capacity(1 << 16, stdout).split(b'\n') {
            bytes += line.expect("read").len();
            shown += 1;
            // While it waits for its reader it is there to be measured.
            match shown {
                20_000 => early = peak_memory_bytes(child.id()).expect("still there"),
                n if n % 1_000 == 0 => late = peak_memory_bytes(child.id()).unwrap_or(late),
                _ => {}
            }
        }
        assert!(child.wait().expect("its end").success());
        assert!(shown >= 200_000 && bytes > 30 << 20, "{shown} {bytes}");
        assert!(
            late <= early + (10 << 20),
            "{format}: {early} bytes, then {late}"
        );
        assert!(late < 120 << 20, "{format}: {late} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it_quietly() {
    let program = Program::new();
    let task = long_journal(&program, 5_000).await.to_string();
    for format in ["jsonl", "table", "csv"] {
        let mut child = spawn_journal(&program, &[&task, "--format", format]);
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut first).expect("a line");
        drop(stdout);
        assert!(child.wait().expect("its end").success());
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut said).expect("read");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("reading the checkpoint"), "{said}");
    }
}
