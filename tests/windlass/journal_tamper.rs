//! Whatever is changed in an export, in the mirror or in Anchore's rows, `journal verify` finds it.

use std::cell::Cell;
use std::fs;
use std::io::Cursor;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use windlass::audit::{Part, Proof, prove, prove_export};
use windlass::catalog::TaskRow;

use crate::journal_verify::Proven;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_in_the_mirror_is_found() {
    let proven = Proven::new(12).await;
    let any = "WHERE idx = 7";
    for change in [
        "phase = 'committed'",
        "phase = 'verified'",
        "phase = 'pending'",
        "phase = 'elsewhere'",
        "outcome = 'failed'",
        "outcome = 'skipped'",
        "outcome = 'source-kept'",
        "outcome = 'nothing'",
        "seq = seq + 1",
        "seq = seq - 1",
        "seq = 0",
        "seq = 1000000",
        "seq = -1",
        "epoch = 0",
        "epoch = 2",
        "epoch = 0, seq = 0",
        "journaled = 0",
        "phase = 'committed', journaled = 0",
        "dest_url = dest_url || 'x'",
        "dest_digest = 'd41d8cd98f00b204e9800998ecf8427e'",
        "dest_digest = NULL",
        "dest_size = dest_size + 1",
        "dest_compressed = NOT dest_compressed",
        "content_sha256 = 'x'",
        "content_size = content_size + 1",
        "source_url = source_url || 'x'",
        "source_digest = NULL",
        "source_size = NULL",
        "source_compressed = NULL",
        "created_at = created_at + 1",
        "last_updated = last_updated - 1",
        "user_id = 'mallory'",
        "bucket = 'other'",
        "archive_id = archive_id || 'x'",
        "document_name = 'x.json'",
        "idx = 4711",
    ] {
        let sql = format!("UPDATE windlass_objects SET {change} {any}");
        let proof = proven.prove_with("windlass_objects", &sql).await;
        assert!(!proof.fits, "{change}");
        let part = proof.findings[0].part;
        assert!(
            [Part::Mirror, Part::Row].contains(&part),
            "{change}: {part:?}"
        );
    }
    for (change, what) in [
        ("DELETE FROM windlass_objects WHERE idx = 7", "object 7"),
        (
            "DELETE FROM windlass_objects WHERE idx >= 9",
            "objects 9 to 11",
        ),
        ("DELETE FROM windlass_objects", "objects 0 to 11"),
        (
            "UPDATE windlass_objects SET idx = -1 - idx WHERE idx IN (3, 4);
             UPDATE windlass_objects SET idx = 8 + idx WHERE idx < 0",
            "",
        ),
    ] {
        let proof = proven.prove_with("windlass_objects", change).await;
        assert!(!proof.fits, "{change}");
        assert!(
            proof.findings[0].what.contains(what),
            "{:?}",
            proof.findings[0]
        );
    }
    assert!(proven.prove().await.fits, "and all is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_head_in_the_database_is_found() {
    let proven = Proven::new(5).await;
    for change in [
        "head = CASE WHEN head LIKE '0%' THEN '1' ELSE '0' END || substr(head, 2)",
        "seq = seq - 1",
        "seq = seq + 1",
        "executor = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'",
    ] {
        let sql = format!("UPDATE windlass_executors SET {change}");
        let proof = proven.prove_with("windlass_executors", &sql).await;
        let part = proof.findings.first().map(|first| first.part);
        assert_eq!(part, Some(Part::Head), "{change}: {proof:?}");
    }
    let task = TaskRow {
        planned: proven.task.planned + 1,
        ..proven.task.clone()
    };
    let proof = prove(&task, &proven.catalog, &proven.checkpoint)
        .await
        .expect("both are there");
    assert_eq!(proof.findings[0].part, Part::Head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_behind_anchores_back_is_found() {
    let proven = Proven::new(8).await;
    let one = r#"WHERE "archiveId" LIKE '0003%'"#;
    for change in [
        "content_url = content_url || 'x'",
        "content_url = 'db://admin/policy_bundles/x'",
        "content_url = NULL",
        "digest = 'd41d8cd98f00b204e9800998ecf8427e'",
        "digest = NULL",
        "size = size + 1",
        "size = NULL",
        "is_compressed = NOT is_compressed",
        "last_updated = last_updated - 1",
        "last_updated = NULL",
    ] {
        let sql = format!("UPDATE archive_metadata SET {change} {one}");
        let proof = proven.prove_with("archive_metadata", &sql).await;
        assert_eq!(proof.problems, 1, "{change}: {proof:?}");
        assert_eq!(proof.findings[0].part, Part::Row, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_deed_on_an_export_is_found() {
    let proven = Proven::new(4).await;
    let export = proven.export().await;
    let whole = proof_of(export.as_bytes());
    assert!(whole.fits, "{:?}", whole.findings);
    let head = whole.chains[0].head.clone();
    let tried = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(400)
    });
    let deeds = (
        0..6u8,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let outcome = runner.run(&deeds, |(deed, at, to, byte)| {
        let tampered = tamper(&export, deed, at, to, byte);
        prop_assume!(tampered != export.as_bytes());
        tried.set(tried.get() + 1);
        let proof = proof_of(&tampered[..]);
        // A cut tail is for the head to show.
        let is_found = !proof.fits || proof.chains[0].head != head;
        prop_assert!(is_found, "deed {deed}");
        Ok(())
    });
    outcome.expect("all are found");
    assert!(tried.get() > 300);
}

fn proof_of(export: &[u8]) -> Proof {
    prove_export(Cursor::new(export)).expect("in memory")
}

fn tamper(
    export: &str,
    deed: u8,
    at: prop::sample::Index,
    to: prop::sample::Index,
    byte: u8,
) -> Vec<u8> {
    let mut bytes = export.as_bytes().to_vec();
    let mut lines: Vec<&[u8]> = export.split_inclusive('\n').map(str::as_bytes).collect();
    let (byte_at, line_at) = (at.index(bytes.len()), at.index(lines.len()));
    let (other_byte, other_line) = (to.index(bytes.len()), to.index(lines.len()));
    match deed {
        0 => bytes[byte_at] = byte,
        1 => drop(bytes.remove(byte_at)),
        2 => bytes.insert(byte_at, byte),
        3 => bytes.swap(byte_at, other_byte),
        4 => drop(lines.remove(line_at)),
        _ if line_at == other_line => lines.insert(line_at, lines[line_at]),
        _ => lines.swap(line_at, other_line),
    }
    match deed {
        0..=3 => bytes,
        _ => lines.concat(),
    }
}

/// A journal whose chain was made anew over an impossible history is found by its steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_chain_over_an_impossible_history_is_found() {
    use windlass::journal::chain;
    let proven = Proven::new(3).await;
    let export = proven.export().await;
    let executor = proof_of(export.as_bytes()).chains[0].executor;
    let mut hash = chain::root(proven.task.uuid, executor);
    let mut forged = String::new();
    for (seq, line) in (1..).zip(
        export
            .lines()
            .filter(|line| !line.contains("\"event\":\"verified\"")),
    ) {
        let entry = &line["{\"entry\":".len()..line.len() - 76 + 1];
        let start = entry.find("\"seq\":").expect("a number");
        let end = start + entry[start..].find(',').expect("an end");
        let entry = format!("{}\"seq\":{seq}{}", &entry[..start], &entry[end..]);
        hash = chain::next(&hash, entry.as_bytes());
        forged += &(chain::line(&entry, &hash) + "\n");
    }
    assert_eq!(chain::verify_export(forged.as_bytes()).map(|_| ()), Ok(()));
    let proof = proof_of(forged.as_bytes());
    assert_eq!(proof.problems, 1);
    assert!(
        proof.findings[0]
            .what
            .contains("\"committed\" is not possible"),
        "{proof:?}"
    );
    let file = proven.world.program.home().join("forged.jsonl");
    fs::write(&file, forged).expect("written");
    let file = file.display().to_string();
    let args = ["journal", "verify", "--export", &file];
    proven.world.program.run(&args).await.expect_code(3);
}
