//! Stories told to a tally, and what it keeps of them.

use uuid::Uuid;

use super::*;
use crate::model::{
    Committed, Completed, Copied, Created, EntryObject, Failed, Interrupted, PhaseCounts, Policy,
    Resumed, SourceDeleted, Started, TaskKind, Verified,
};

/// Milliseconds after a beginning, what happened, and to which object.
fn tally(story: Vec<(i64, Event, Option<u64>)>) -> Tally {
    let mut tally = Tally::default();
    for (seq, (ms, event, idx)) in story.into_iter().enumerate() {
        let at = Timestamp::from_millisecond(1_600_000_000_000 + ms).unwrap();
        tally.take(&Entry {
            v: Entry::VERSION,
            task: Uuid::nil(),
            executor: Uuid::nil(),
            seq: seq as u64 + 1,
            at: at.to_string(),
            object: idx.map(|idx| EntryObject {
                idx,
                user: "u".into(),
                bucket: "b".into(),
                id: idx.to_string(),
                document: "d".into(),
            }),
            event,
        });
    }
    tally
}

fn created() -> Event {
    Event::Created(Created {
        kind: TaskKind::Forward,
        parent: None,
        from: "db://".into(),
        to: "file:///a".into(),
        policy: Policy::default(),
        planned: 3,
        bytes: 30,
    })
}

fn started() -> Event {
    Event::Started(Started {
        host: "mover".into(),
        pid: 1,
        version: "0.1.0".into(),
        phases: PhaseCounts::default(),
        user: None,
        command: None,
    })
}

fn resumed(pid: u32) -> Event {
    Event::Resumed(Resumed {
        host: "mover".into(),
        pid,
        version: "0.1.0".into(),
        phases: PhaseCounts::default(),
        user: None,
        command: None,
    })
}

fn copied(dest_size: u64) -> Event {
    Event::Copied(Copied {
        source_url: "db://u/b/0".into(),
        source_digest: None,
        source_size: None,
        source_compressed: None,
        created_at: None,
        last_updated: None,
        dest_url: "file:///a/0".into(),
        dest_digest: String::new(),
        dest_size,
        dest_compressed: false,
        content_sha256: String::new(),
        content_size: dest_size,
    })
}

fn verified() -> Event {
    let method = "full".into();
    Event::Verified(Verified {
        method,
        bytes: 10,
        tag: None,
    })
}

fn committed() -> Event {
    Event::Committed(Committed {
        old_content_url: "db://u/b/0".into(),
        new_content_url: "file:///a/0".into(),
    })
}

fn deleted() -> Event {
    let source_url = "db://u/b/0".into();
    Event::SourceDeleted(SourceDeleted { source_url })
}

#[test]
fn a_kill_between_two_runs_shows_and_its_night_is_no_work() {
    let night = 10 * 3_600_000;
    let tally = tally(vec![
        (0, created(), None),
        (0, started(), None),
        (100, copied(10), Some(0)),
        (200, verified(), Some(0)),
        // Killed behind its commit; the entry is the next run's to write.
        (night, committed(), Some(0)),
        (night + 10, resumed(2), None),
        (night + 110, verified(), Some(0)),
        (night + 150, deleted(), Some(0)),
        (night + 210, completed(), None),
    ]);
    assert_eq!(tally.commits(), Some(1));
    let history = tally.history();
    let [first, second] = history.runs.as_slice() else {
        panic!("two runs: {:?}", history.runs);
    };
    assert_eq!((&first.ending, first.copied), (&Ending::Silent, 1));
    assert_eq!(first.ended_ms - first.began_ms, 200);
    assert_eq!((&second.ending, second.resumed), (&Ending::Completed, true));
    assert_eq!(second.ended_ms - second.began_ms, 200);
    assert_eq!(
        (history.pace.worked_ms, &*history.pace.cuts_ms),
        (400, &[200][..])
    );
    assert_eq!(history.pace.bytes.iter().sum::<u64>(), 10);
    assert_eq!(history.pace.objects.iter().sum::<u64>(), 1);
    assert_eq!(
        history.steps.commit.objects(),
        0,
        "nobody knows when it was"
    );
}

fn completed() -> Event {
    Event::Completed(Completed {
        phases: PhaseCounts::default(),
        bytes: 10,
        elapsed_ms: 210,
    })
}

#[test]
fn steps_are_timed_within_a_run_only() {
    let tally = tally(vec![
        (0, created(), None),
        (0, started(), None),
        (10, copied(10), Some(0)),
        (30, verified(), Some(0)),
        (70, committed(), Some(0)),
        (150, deleted(), Some(0)),
        (160, copied(10), Some(1)),
        (170, interrupted(), None),
        (3_000, resumed(2), None),
        // Read back on the next day: how long that took, nobody knows.
        (3_010, verified(), Some(1)),
        (3_015, failed(), Some(1)),
        (3_020, verified(), Some(1)),
    ]);
    let steps = tally.history().steps;
    let seen = [&steps.verify, &steps.commit, &steps.delete_source];
    assert_eq!(seen.map(|step| step.objects()), [1, 1, 1]);
    assert_eq!(seen.map(|step| step.longest_ms), [20, 40, 80]);
}

fn interrupted() -> Event {
    Event::Interrupted(Interrupted {
        why: "asked to stop".into(),
        phases: PhaseCounts::default(),
        bytes: 20,
        elapsed_ms: 170,
    })
}

fn failed() -> Event {
    Event::Failed(Failed {
        phase: Phase::Copied,
        class: "permanent".into(),
        attempt: 1,
        error: "no".into(),
        cause: None,
    })
}

#[test]
fn a_lock_that_is_regained_begins_no_run() {
    let tally = tally(vec![
        (0, created(), None),
        (0, started(), None),
        (50, resumed(1), None),
        (60, interrupted(), None),
        (70, resumed(1), None),
    ]);
    let runs = tally.history().runs;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!([runs[0].lock_regained, runs[1].lock_regained], [1, 0]);
    let why = "asked to stop".to_owned();
    assert_eq!(runs[0].ending, Ending::Interrupted { why });
}

#[test]
fn a_chain_that_begins_in_the_middle_does_not_count_commits() {
    let events = vec![(0, resumed(1), None), (1, committed(), Some(0))];
    let tally = tally(events);
    assert_eq!(tally.commits(), None);
    assert_eq!(tally.events(), [("resumed", 1), ("committed", 1)]);
}

#[test]
fn of_very_many_runs_the_first_and_the_last_are_kept() {
    let runs = (0..500).map(|pid| (i64::from(pid), resumed(pid), None));
    let history = tally(runs.collect()).history();
    assert_eq!((history.runs.len(), history.runs_left_out), (200, 300));
    assert_eq!(history.runs[99].number, 100);
    assert_eq!(history.runs[100].number, 401);
    assert_eq!(history.runs[199].number, 500);
}
