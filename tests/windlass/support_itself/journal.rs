//! The journal checker against exports made by hand, good and bad.

use sha2::{Digest, Sha256};

use crate::support::journal_checker::{Phase, check_journal};

/// An export as the program should write it, made by hand.
fn journal(events: &[(&str, Option<u64>, serde_json::Value)]) -> String {
    let (task, executor) = ("6b1f2c1e-0000-4000-8000-000000000001", "exec-1");
    let mut previous: Vec<u8> =
        Sha256::digest(format!("windlass-journal-v1:{task}:{executor}")).to_vec();
    let mut lines = String::new();
    for (index, (event, object, detail)) in events.iter().enumerate() {
        let object = object.map_or(String::new(), |idx| {
            format!(
                r#","object":{{"idx":{idx},"user":"u","bucket":"b","id":"{idx}","document":"{idx}.json"}}"#
            )
        });
        let entry = format!(
            r#"{{"v":1,"task":"{task}","executor":"{executor}","seq":{},"at":"2026-01-02T03:04:05.678901Z","event":"{event}"{object},"detail":{detail}}}"#,
            index + 1,
        );
        previous = Sha256::new()
            .chain_update(&previous)
            .chain_update(&entry)
            .finalize()
            .to_vec();
        lines.push_str(&format!(
            "{{\"entry\":{entry},\"hash\":\"{}\"}}\n",
            hex::encode(&previous)
        ));
    }
    lines
}

#[test]
fn the_journal_checker_follows_the_chain_and_the_state_machine() {
    let none = || serde_json::json!({});
    let good = [
        ("created", None, serde_json::json!({ "kind": "migrate" })),
        ("started", None, none()),
        ("copied", Some(1), none()),
        ("failed", Some(1), none()),
        ("returned", Some(1), serde_json::json!({ "to": "pending" })),
        ("copied", Some(1), none()),
        ("verified", Some(1), none()),
        ("resumed", None, none()),
        ("verified", Some(1), none()),
        ("committed", Some(1), none()),
        ("source-deleted", Some(1), none()),
        ("completed", None, none()),
    ];
    let export = journal(&good);
    let report = check_journal(&export);
    assert_eq!(report.expect_sound().objects_in(Phase::SourceDeleted), 1);
    assert!(report.unproved_deletes.is_empty());

    let without = |index: usize| {
        let mut events = good.to_vec();
        events.remove(index);
        check_journal(&journal(&events)).problems.len()
    };
    // Without the resume between them, the second `verified` is doubled.
    assert_eq!(without(7), 1);
    // A commit that was never verified.
    assert_eq!(
        check_journal(&journal(&[good[2].clone(), good[9].clone()]))
            .problems
            .len(),
        1
    );
    let tampered = export.replacen("pending", "Pending", 1);
    assert!(!check_journal(&tampered).problems.is_empty());
    let torn: String = export
        .lines()
        .filter(|line| !line.contains("\"seq\":4,"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(!check_journal(&torn).problems.is_empty());
}
