//! The journal without faults: appending, reopening, reading.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::test_support::*;
use super::*;
use crate::model::{ENTRY_MAX_BYTES, ERROR_MAX_BYTES, Entry};

#[tokio::test]
async fn what_was_appended_is_there_after_reopening() {
    let (_temp, dir, journal) = journal(250, &Options::default()).await;
    let (head, before) = (journal.head(), export(journal.entries(1)).unwrap());
    journal.close().await.unwrap();

    let journal = Journal::open(&dir, TASK).unwrap();
    assert_eq!(journal.head(), head);
    assert_eq!(journal.executor(), EXECUTOR);
    assert_eq!(export(journal.entries(1)).unwrap(), before);
    assert_eq!(
        journal.append_one(None, event()).await.unwrap().head.seq,
        251
    );
    journal.close().await.unwrap();

    let journal = read(&dir, TASK).unwrap();
    let after = export(journal.entries(1)).unwrap();
    assert!(after.starts_with(&before));
    let (seq, hash) = check_by_the_book(&after);
    assert_eq!((seq, hash), (251, hex::encode(journal.head().hash)));
    let verified = chain::verify_export(after.as_bytes()).unwrap();
    assert_eq!(verified.chains[0].head, journal.head());
    assert_eq!(journal.entries(251).count(), 1);
    assert_eq!(journal.entries(252).count(), 0);
}

fn event() -> Event {
    Event::Interrupted(crate::model::Interrupted {
        why: "test".into(),
        phases: Default::default(),
        bytes: 0,
        elapsed_ms: 0,
    })
}

#[tokio::test]
async fn a_dropped_journal_is_closed() {
    let (_temp, dir, journal) = journal(3, &Options::default()).await;
    let clone = journal.clone();
    drop(journal);
    append(&clone, 1).await;
    drop(clone);
    assert!(dir.join("clean").exists());
    assert_eq!(Journal::open(&dir, TASK).unwrap().head().seq, 4);
}

#[tokio::test]
async fn an_empty_journal_reopens() {
    let (_temp, dir, journal) = journal(0, &Options::default()).await;
    let root = chain::root(TASK, EXECUTOR);
    assert_eq!(journal.head(), Head { seq: 0, hash: root });
    assert!(journal.append(Vec::new()).await.unwrap().is_empty());
    journal.close().await.unwrap();
    let journal = Journal::open(&dir, TASK).unwrap();
    assert_eq!(journal.hash_at(0).unwrap(), Some(root));
    assert_eq!(journal.hash_at(1).unwrap(), None);
    assert_eq!(journal.entries(1).count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_share_syncs_and_leave_no_gap() {
    let (_temp, _dir, journal) = journal(0, &Options::default()).await;
    let tasks: Vec<_> = (0..100)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut seqs = Vec::new();
                for round in 0..20 {
                    let NewEntry { object, event } = verified(task * 100 + round);
                    seqs.push(journal.append_one(object, event).await.unwrap().head.seq);
                }
                assert!(seqs.is_sorted());
                seqs
            })
        })
        .collect();
    let mut seqs = BTreeSet::new();
    for task in tasks {
        seqs.extend(task.await.unwrap());
    }
    assert!(seqs.into_iter().eq(1..=2000));
    let syncs = journal.syncs();
    assert!(syncs <= 500, "{syncs} syncs for 2000 entries");

    let export = export(journal.entries(1)).unwrap();
    assert_eq!(check_by_the_book(&export).0, 2000);
    let times: Vec<String> = journal
        .entries(1)
        .map(|line| line.unwrap().entry().unwrap().at)
        .collect();
    assert!(times.is_sorted());
    assert!(
        times
            .iter()
            .all(|at| at.len() == "2026-01-01T00:00:00.000000Z".len())
    );
}

#[tokio::test]
async fn the_clock_never_goes_backwards() {
    let (_temp, dir, journal) = journal(1, &Options::default()).await;
    journal.close().await.unwrap();
    let mut found = Ledger::open(&dir, TASK).unwrap();
    found.last_at = "2999-01-01T00:00:00.000000Z".into();
    let journal = Journal::start(found, &Options::default()).unwrap();
    append(&journal, 2).await;
    let last: Entry = journal.entries(3).next().unwrap().unwrap().entry().unwrap();
    assert_eq!(last.at, "2999-01-01T00:00:00.000000Z");
}

#[tokio::test]
async fn hash_at_knows_every_entry_and_no_other() {
    let (_temp, _dir, journal) = journal(20, &Options::default()).await;
    for line in journal.entries(1) {
        let line = line.unwrap();
        assert_eq!(journal.hash_at(line.seq).unwrap(), Some(line.hash));
    }
    assert_eq!(journal.hash_at(21).unwrap(), None);
}

#[tokio::test]
async fn long_texts_are_cut_and_what_is_still_too_large_is_refused() {
    let (_temp, _dir, journal) = journal(0, &Options::default()).await;
    journal
        .append(vec![failed("é".repeat(5000))])
        .await
        .unwrap();
    // 6 bytes of JSON each: the first cut is not enough beside such keys.
    let mut escapes = failed("\u{1}".repeat(5000));
    escapes.object.as_mut().unwrap().user = "u".repeat(4000);
    journal.append(vec![escapes]).await.unwrap();

    let mut huge = verified(7);
    huge.object.as_mut().unwrap().user = "u".repeat(9000);
    let error = journal.append(vec![verified(6), huge]).await.unwrap_err();
    assert!(matches!(&error, JournalError::TooLarge { object, .. } if object.ends_with("/id-7")));
    assert_eq!(error.class(), crate::model::FailureClass::Permanent);
    let misplaced = NewEntry {
        object: None,
        ..verified(1)
    };
    let error = journal.append(vec![misplaced]).await.unwrap_err();
    assert!(matches!(
        error,
        JournalError::Misplaced { event: "verified" }
    ));

    let lines: Vec<Line> = journal.entries(1).map(Result::unwrap).collect();
    assert_eq!(lines.len(), 2, "nothing of a refused call is written");
    for line in &lines {
        assert!(line.json.len() <= ENTRY_MAX_BYTES);
        let Event::Failed(detail) = line.entry().unwrap().event else {
            panic!("another event");
        };
        assert!(detail.error.ends_with('…') && detail.error.len() <= ERROR_MAX_BYTES);
    }
    // The chain goes on behind a refusal.
    append(&journal, 1).await;
    check_by_the_book(&export(journal.entries(1)).unwrap());
}

#[tokio::test]
async fn everything_is_private() {
    let (_temp, dir, journal) = journal(100, &Options { seal_after: 10 }).await;
    while !dir.join("segments").exists() {
        append(&journal, 1).await;
    }
    journal.close().await.unwrap();
    let generation = std::fs::read_dir(dir.join("sled")).unwrap().last();
    let generation = generation.unwrap().unwrap().path();
    fn check(path: &Path) {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        if path.is_dir() {
            for file in std::fs::read_dir(path).unwrap() {
                check(&file.unwrap().path());
            }
        }
    }
    for entry in ["lock", "clean", "segments"] {
        check(&dir.join(entry));
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.parent().unwrap()), 0o700);
    assert_eq!(mode(&dir), 0o700);
    // Behind this door sled makes its files as it likes.
    assert_eq!(mode(&dir.join("sled")), 0o700);
    assert_eq!(mode(&generation.join("db")), 0o600);
}

#[tokio::test]
async fn a_closed_journal_says_so() {
    let (_temp, _dir, journal) = journal(1, &Options::default()).await;
    let clone = journal.clone();
    journal.close().await.unwrap();
    let error = clone.append(vec![verified(1)]).await.unwrap_err();
    assert!(matches!(error, JournalError::Closed), "{error}");
    assert!(matches!(clone.hash_at(0), Ok(Some(_))));
    assert!(clone.entries(1).next().unwrap().is_err());
}

#[test]
fn a_head_reads_what_it_writes() {
    let head = Head {
        seq: 41,
        hash: [0xab; 32],
    };
    assert_eq!(head.to_string().parse(), Ok(head));
    assert!("41:abc".parse::<Head>().is_err());
    assert!("".parse::<Head>().is_err());
}
