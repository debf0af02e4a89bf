//! The frozen format: one entry for every event, byte by byte, and the checker that the
//! documentation hands to auditors.

use std::path::Path;
use std::process::{Command, Output};

use uuid::Uuid;

use super::chain::{self, Head, verify_export};
use crate::model::*;

const GOLDEN: &str = include_str!("../../fixtures/journal/golden.jsonl");
const BOOK: &str = include_str!("../../docs/journal-format.md");

const TASK: Uuid = Uuid::from_u128(0x11111111_2222_4333_8444_555555555555);
const EXECUTOR: Uuid = Uuid::from_u128(0xaaaaaaaa_bbbb_4ccc_8ddd_eeeeeeeeeeee);

fn phases(committed: u64, source_deleted: u64) -> PhaseCounts {
    PhaseCounts {
        pending: 7 - committed - source_deleted,
        copied: 0,
        verified: 0,
        committed,
        source_deleted,
    }
}

fn object() -> EntryObject {
    EntryObject {
        idx: 0,
        user: "admin".into(),
        bucket: "policy_bundles".into(),
        id: "a \"quoted\" id\u{e9}".into(),
        document: "a \"quoted\" id\u{e9}.json".into(),
    }
}

fn source_url() -> String {
    "db://admin/policy_bundles/a%20id".into()
}

fn dest_url() -> String {
    "s3://archive/prefix/admin/policy_bundles/a%20id".into()
}

fn task_beginnings() -> Vec<Event> {
    let (host, pid, version) = ("mover-1".to_string(), 4711, "0.1.0".to_string());
    vec![
        Event::Created(Created {
            kind: TaskKind::Forward,
            parent: None,
            from: "db://".into(),
            to: "s3://archive/prefix".into(),
            policy: Policy {
                nodelete: false,
                verify: VerifyMode::Full,
                overwrite: false,
                buckets: vec!["policy_bundles".into()],
                users: Vec::new(),
                include_elsewhere: false,
                online: false,
                services_on_new_config: false,
            },
            planned: 7,
            bytes: 4242,
        }),
        Event::Started(Started {
            host: host.clone(),
            pid,
            version: version.clone(),
            phases: phases(0, 0),
            user: None,
            command: None,
        }),
        Event::Resumed(Resumed {
            host,
            pid,
            version,
            phases: phases(0, 0),
            user: None,
            command: None,
        }),
        Event::Rebuilt(Rebuilt {
            why: "the checkpoint is damaged".into(),
            old_executor: Some(Uuid::from_u128(0x99999999_8888_4777_8666_555555555555)),
            old_head: Some(
                Head {
                    seq: 41,
                    hash: [0x5a; 32],
                }
                .to_string(),
            ),
        }),
    ]
}

fn object_events() -> Vec<Event> {
    vec![
        Event::Copied(Copied {
            source_url: source_url(),
            source_digest: Some("0cc175b9c0f1b6a831c399e269772661".into()),
            source_size: Some(1),
            source_compressed: None,
            created_at: Some(1_600_000_000),
            last_updated: Some(1_600_000_001),
            dest_url: dest_url(),
            dest_digest: "0cc175b9c0f1b6a831c399e269772661".into(),
            dest_size: 1,
            dest_compressed: false,
            content_sha256: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
                .into(),
            content_size: 1,
        }),
        Event::Verified(Verified {
            method: "full".into(),
            bytes: 1,
            tag: None,
        }),
        Event::Committed(Committed {
            old_content_url: source_url(),
            new_content_url: dest_url(),
        }),
        Event::SourceDeleted(SourceDeleted {
            source_url: source_url(),
        }),
        Event::SourceKept(SourceKept {
            why: "--nodelete".into(),
        }),
        Event::Failed(Failed {
            phase: Phase::Pending,
            class: "permanent".into(),
            attempt: 3,
            error: "db: get db://admin/policy_bundles/a%20id: no such document".into(),
            cause: None,
        }),
        Event::Returned(Returned {
            to: Phase::Pending,
            why: "the copy differs".into(),
        }),
        Event::Skipped(Skipped {
            why: "superseded".into(),
        }),
    ]
}

fn task_ends() -> Vec<Event> {
    let (bytes, elapsed_ms) = (4242, 1500);
    vec![
        Event::Interrupted(Interrupted {
            why: "SIGINT".into(),
            phases: phases(2, 1),
            bytes,
            elapsed_ms,
        }),
        Event::Completed(Completed {
            phases: phases(0, 7),
            bytes,
            elapsed_ms,
        }),
        Event::EndedFailed(EndedFailed {
            phases: phases(0, 6),
            failed: 1,
            bytes,
            elapsed_ms,
        }),
    ]
}

fn accepted() -> Event {
    Event::Accepted(Accepted {
        phase: Phase::Pending,
        cause: Cause::MissingAtSource,
        who: "root@mover-1".into(),
        why: "lost in 2023, and not needed".into(),
        error: "db: get db://admin/policy_bundles/a%20id: no such document".into(),
    })
}

fn online() -> Vec<Event> {
    vec![
        Event::PassBegan(PassBegan {
            n: 2,
            planned: 9,
            superseded: 2,
        }),
        Event::PassEnded(PassEnded {
            n: 2,
            staged: 6,
            waiting: 1,
            bytes: 77,
            elapsed_ms: 1200,
        }),
        Event::CutoverBegan(CutoverBegan { staged: 6 }),
        Event::CutoverCommitted(CutoverCommitted {
            rows: 7,
            outage_ms: 41_000,
        }),
        Event::LeftoversCleared(LeftoversCleared {
            cleared: 2,
            kept: 0,
        }),
        Event::Repaired(Repaired {
            why: "read back 3 bytes, stored were 1".into(),
        }),
    ]
}

fn adopted() -> Event {
    Event::Adopted(Adopted {
        executor: Uuid::from_u128(78),
        head: format!("12:{}", "0".repeat(64)),
        by: EXECUTOR,
        shards: vec![AdoptedShard {
            first: 1_000,
            last: 1_999,
            lease: 3,
        }],
    })
}

fn entries() -> impl Iterator<Item = Entry> {
    let events = [
        task_beginnings(),
        object_events(),
        task_ends(),
        vec![accepted()],
        online(),
        vec![adopted()],
    ]
    .concat();
    events.into_iter().zip(1..).map(|(event, seq)| Entry {
        v: Entry::VERSION,
        task: TASK,
        executor: EXECUTOR,
        seq,
        at: format!("2026-11-22T15:30:00.{seq:06}Z"),
        object: event.is_about_object().then(object),
        event,
    })
}

#[test]
fn every_event_is_frozen() {
    let names: Vec<_> = entries().map(|entry| entry.event.name()).collect();
    assert_eq!(
        names,
        Event::NAMES,
        "one entry for every event of the table"
    );
    let mut prev = chain::root(TASK, EXECUTOR);
    for (entry, frozen) in entries().zip(GOLDEN.lines()) {
        let json = serde_json::to_string(&entry).unwrap();
        prev = chain::next(&prev, json.as_bytes());
        assert_eq!(chain::line(&json, &prev), frozen);
        let (frozen_json, _) = chain::split(frozen).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(frozen_json).unwrap(), entry);
    }
    assert_eq!(GOLDEN.lines().count(), Event::NAMES.len());
    assert!(GOLDEN.ends_with("}\n"));
}

/// Added to the format when there were journals already: those that have it not, stay as they are.
#[test]
fn a_failure_bears_its_cause_behind_all_else() {
    let with =
        r#"{"phase":"copied","class":"permanent","attempt":1,"error":"e","cause":"copy-differs"}"#;
    let without = r#"{"phase":"copied","class":"permanent","attempt":1,"error":"e"}"#;
    for (frozen, cause) in [(with, Some(Cause::CopyDiffers)), (without, None)] {
        let failed: Failed = serde_json::from_str(frozen).unwrap();
        assert_eq!(failed.cause, cause);
        assert_eq!(serde_json::to_string(&failed).unwrap(), frozen);
    }
}

/// The same of a proof that names the store's own version, and of a policy that copies online.
#[test]
fn what_an_online_migration_adds_stands_behind_all_else() {
    for frozen in [
        r#"{"method":"full","bytes":1}"#,
        r#"{"method":"full","bytes":1,"tag":"0cc1"}"#,
    ] {
        let verified: Verified = serde_json::from_str(frozen).unwrap();
        assert_eq!(serde_json::to_string(&verified).unwrap(), frozen);
    }
    let offline = serde_json::to_string(&Policy::default()).unwrap();
    let online = Policy {
        online: true,
        ..Policy::default()
    };
    let end = offline.trim_end_matches('}');
    let frozen = format!("{end},\"online\":true}}");
    assert_eq!(serde_json::to_string(&online).unwrap(), frozen);
}

/// And of a process that says who has started it, and how.
#[test]
fn who_has_started_a_run_stands_behind_all_else() {
    let phases = serde_json::to_string(&phases(0, 0)).unwrap();
    let old = format!(r#"{{"host":"h","pid":1,"version":"0.1.0","phases":{phases}}}"#);
    let end = old.strip_suffix('}').unwrap();
    let new = format!(r#"{end},"user":"root","command":"windlass resume 1"}}"#);
    for frozen in [&old, &new] {
        let started: Started = serde_json::from_str(frozen).unwrap();
        assert_eq!(&serde_json::to_string(&started).unwrap(), frozen);
        let resumed: Resumed = serde_json::from_str(frozen).unwrap();
        assert_eq!(&serde_json::to_string(&resumed).unwrap(), frozen);
        assert_eq!(resumed.user.is_some(), frozen == &new);
    }
}

/// The golden export with something done to it, and the line at which that must show.
fn tampered() -> Vec<(&'static str, String, u64)> {
    let lines: Vec<&str> = GOLDEN.split_inclusive('\n').collect();
    let without = |n: usize| [&lines[..n], &lines[n + 1..]].concat().concat();
    let hash_at = lines[2].len() - 10;
    let mut other_hash = lines[2].to_string();
    let other = if &other_hash[hash_at..=hash_at] == "0" {
        "1"
    } else {
        "0"
    };
    other_hash.replace_range(hash_at..=hash_at, other);
    vec![
        ("a byte changed", GOLDEN.replacen("4711", "4712", 1), 2),
        (
            "a space added",
            GOLDEN.replacen("\"v\":1", "\"v\": 1", 1),
            1,
        ),
        ("a line removed", without(4), 5),
        ("the first removed", without(0), 1),
        ("two swapped", [lines[0], lines[2], lines[1]].concat(), 2),
        ("one doubled", [lines[0], lines[0]].concat(), 2),
        (
            "another hash",
            [lines[0], lines[1], &other_hash].concat(),
            3,
        ),
        ("the end cut off", GOLDEN[..GOLDEN.len() - 40].into(), 23),
        ("a blank line", format!("{}\n{}", lines[0], lines[1]), 2),
    ]
}

#[test]
fn an_export_is_verified() {
    let verified = verify_export(GOLDEN.as_bytes()).unwrap();
    assert_eq!(verified.lines, 23);
    let chain = verified.chains[0];
    assert_eq!(
        (chain.task, chain.executor, chain.head.seq),
        (TASK, EXECUTOR, 23)
    );
    assert_eq!(verify_export(&b""[..]).unwrap().lines, 0);
    for (what, export, line) in tampered() {
        let error = verify_export(export.as_bytes()).unwrap_err();
        assert_eq!(error.line, line, "{what}: {error}");
    }
    let endless = "x".repeat(1 << 20);
    assert_eq!(verify_export(endless.as_bytes()).unwrap_err().line, 1);
}

#[test]
fn an_export_may_hold_several_chains() {
    let executor = Uuid::from_u128(77);
    let mut entry = entries().nth(3).unwrap();
    (entry.executor, entry.seq) = (executor, 1);
    let json = serde_json::to_string(&entry).unwrap();
    let hash = chain::next(&chain::root(TASK, executor), json.as_bytes());
    let export = format!("{GOLDEN}{}\n", chain::line(&json, &hash));
    let verified = verify_export(export.as_bytes()).unwrap();
    assert_eq!(verified.chains.len(), 2);
    assert_eq!(verified.chains[1].head, Head { seq: 1, hash });
    assert!(check(&export).status.success());
}

/// Runs the documentation's own checker over an export.
fn check(export: &str) -> Output {
    let (_, program) = BOOK.split_once("```python\n").expect("the checker");
    let (program, _) = program.split_once("```").expect("its end");
    assert!(program.lines().count() <= 10, "ten lines were promised");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("check.py"), program).unwrap();
    std::fs::write(path("export.jsonl"), export).unwrap();
    run_python(&path("check.py"), &path("export.jsonl"))
}

fn run_python(program: &Path, export: &Path) -> Output {
    Command::new("python3")
        .args(["-I".as_ref(), program.as_os_str(), export.as_os_str()])
        .output()
        .expect("python3 is needed for this test")
}

#[test]
fn the_documented_checker_works() {
    let output = check(GOLDEN);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let head = verify_export(GOLDEN.as_bytes()).unwrap().chains[0].head;
    let expected = format!(
        "{TASK} {EXECUTOR} {} {}\n",
        head.seq,
        hex::encode(head.hash)
    );
    assert_eq!(stdout, expected);
    for (what, export, _) in tampered() {
        assert!(!check(&export).status.success(), "{what}");
    }
}

#[test]
fn the_book_names_every_event() {
    for name in Event::NAMES {
        assert!(BOOK.contains(&format!("| `{name}` |")), "{name}");
    }
}
