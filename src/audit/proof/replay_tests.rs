//! Histories that can have happened, and histories that can't.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::*;
use crate::audit::proof::possible::{Possibilities, Possible};
use crate::model::test_events::*;

fn forward(events: Vec<Event>) -> Vec<Event> {
    [vec![created(TaskKind::Forward), started()], events].concat()
}

fn entry(seq: u64, event: Event) -> Entry {
    let object = EntryObject {
        idx: 1,
        user: "u".into(),
        bucket: "b".into(),
        id: "i".into(),
        document: "i.json".into(),
    };
    Entry {
        v: 1,
        task: Uuid::nil(),
        executor: Uuid::nil(),
        seq,
        at: format!("2026-11-22T15:30:00.{seq:06}Z"),
        object: event.is_about_object().then_some(object),
        event,
    }
}

fn replay(events: &[Event]) -> Result<Replay, (u64, Misfit)> {
    let mut replay = Replay::new(None, u64::MAX);
    for (seq, event) in (1..).zip(events) {
        let entry = entry(seq, event.clone());
        replay.take(&entry).map_err(|misfit| (seq, misfit))?;
    }
    Ok(replay)
}

#[track_caller]
fn ends_in(events: Vec<Event>, phase: Phase) {
    let replay = replay(&events).unwrap_or_else(|misfit| panic!("{misfit:?}"));
    let slot = replay.mirrored(1);
    let phases: BTreeSet<_> = replay.states(&slot).iter().map(|s| s.phase).collect();
    assert_eq!(phases, [phase].into());
}

#[track_caller]
fn breaks_at(events: Vec<Event>, seq: u64) {
    match replay(&events) {
        Err((found, _)) => assert_eq!(found, seq),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn what_can_have_happened_is_taken() {
    use Phase::*;
    let whole = vec![copied(), verified(), committed(), deleted()];
    ends_in(forward(whole), SourceDeleted);
    ends_in(
        forward(vec![copied(), verified(), committed(), kept()]),
        Committed,
    );
    ends_in(forward(vec![failed(Pending), resumed(), copied()]), Copied);
    ends_in(forward(vec![copied(), returned(Pending), copied()]), Copied);
    // Also after a resume that was stopped before it came to the object.
    let left_as_it_is = vec![failed(Pending), resumed(), resumed(), accepted(Pending)];
    ends_in(forward(left_as_it_is), Pending);
    ends_in(forward(vec![copied(), skipped()]), Copied);
    let proven_again = vec![copied(), verified(), resumed(), verified(), committed()];
    ends_in(forward(proven_again), Committed);
    // A commit whose entry a crash cut off is journaled before the new lease begins.
    let late = vec![
        copied(),
        verified(),
        committed(),
        resumed(),
        verified(),
        deleted(),
    ];
    ends_in(forward(late), SourceDeleted);
    let lost = vec![
        copied(),
        verified(),
        committed(),
        returned(Verified),
        resumed(),
        verified(),
    ];
    ends_in(forward(lost), Verified);
    ends_in(
        vec![created(TaskKind::Forward), resumed(), copied()],
        Copied,
    );
}

#[test]
fn what_can_not_have_happened_is_found_at_its_entry() {
    breaks_at(forward(vec![verified()]), 3);
    breaks_at(forward(vec![copied(), committed()]), 4);
    breaks_at(forward(vec![copied(), copied()]), 4);
    breaks_at(forward(vec![copied(), verified(), verified()]), 5);
    breaks_at(
        forward(vec![copied(), verified(), resumed(), committed()]),
        6,
    );
    let unproven = vec![copied(), verified(), committed(), resumed(), deleted()];
    breaks_at(forward(unproven), 7);
    breaks_at(forward(vec![failed(Phase::Copied)]), 3);
    breaks_at(forward(vec![skipped(), copied()]), 4);
    breaks_at(forward(vec![accepted(Phase::Pending)]), 3);
    breaks_at(forward(vec![copied(), accepted(Phase::Copied)]), 4);
    breaks_at(
        forward(vec![failed(Phase::Pending), accepted(Phase::Copied)]),
        4,
    );
    let taken_again = vec![failed(Phase::Pending), accepted(Phase::Pending), copied()];
    breaks_at(forward(taken_again), 5);
    breaks_at(forward(vec![created(TaskKind::Forward)]), 3);
    breaks_at(forward(vec![started()]), 3);
    breaks_at(vec![started()], 1);
    breaks_at(vec![copied()], 1);
    breaks_at(vec![created(TaskKind::Forward), copied()], 2);
    breaks_at(vec![rebuilt(), started()], 2);
}

#[test]
fn a_delete_source_task_begins_behind_the_commit() {
    let begin =
        |events: Vec<Event>| [vec![created(TaskKind::DeleteSource), started()], events].concat();
    ends_in(begin(vec![verified(), deleted()]), Phase::SourceDeleted);
    breaks_at(begin(vec![deleted()]), 3);
    breaks_at(begin(vec![copied()]), 3);
}

#[test]
fn a_rebuilt_journal_begins_anywhere_and_is_held_to_what_it_tells() {
    let begin = |events: Vec<Event>| [vec![rebuilt()], events].concat();
    ends_in(
        begin(vec![committed(), resumed(), verified(), deleted()]),
        Phase::SourceDeleted,
    );
    ends_in(
        begin(vec![resumed(), verified(), deleted()]),
        Phase::SourceDeleted,
    );
    ends_in(
        begin(vec![resumed(), verified(), committed()]),
        Phase::Committed,
    );
    ends_in(begin(vec![resumed(), copied()]), Phase::Copied);
    ends_in(begin(vec![accepted(Phase::Pending)]), Phase::Pending);
    ends_in(begin(vec![resumed(), failed(Phase::Copied)]), Phase::Copied);
    // Behind a new lease nothing counts that was not proven in it.
    breaks_at(begin(vec![resumed(), committed()]), 3);
    breaks_at(begin(vec![resumed(), deleted()]), 3);
    breaks_at(begin(vec![resumed(), copied(), committed()]), 4);
    breaks_at(begin(vec![resumed(), verified(), verified()]), 4);
}

#[test]
fn times_and_numbers_are_held_to_their_bounds() {
    let begin = |replay: &mut Replay| {
        replay.take(&entry(1, created(TaskKind::Forward))).unwrap();
        replay.take(&entry(2, started())).unwrap();
    };
    let mut replay = Replay::new(None, 0);
    begin(&mut replay);
    let mut early = entry(3, copied());
    early.at = "2026-11-22T15:29:59.999999Z".into();
    assert!(replay.take(&early).unwrap_err().what.contains("before"));
    for at in [
        "2026-11-22T15:30:00Z",
        "2026-11-22T15:30:01.000003+",
        "2026-11-22T15:61:00.000003Z",
    ] {
        let mut wrong = entry(3, copied());
        wrong.at = at.into();
        assert!(replay.take(&wrong).is_err(), "{at}");
    }
    let mut beyond = entry(3, copied());
    beyond.object.as_mut().unwrap().idx = 3;
    let misfit = replay.take(&beyond).unwrap_err();
    assert!(misfit.what.contains("3 were planned"), "{}", misfit.what);
}

#[test]
fn what_lies_behind_the_mirrored_entry_is_kept_apart() {
    let mut replay = Replay::new(None, 3);
    let events = forward(vec![copied(), verified(), resumed(), verified()]);
    for (seq, event) in (1..).zip(events) {
        replay.take(&entry(seq, event)).unwrap();
    }
    assert_eq!(replay.states(&replay.mirrored(1))[0].phase, Phase::Copied);
    let beyond: Vec<u32> = replay.beyond(1).iter().map(|slot| slot.seq).collect();
    assert_eq!(beyond, [4, 6]);
    assert!(replay.beyond(0).is_empty());
}

/// An object's possible states are a number below 256: all that can come up are tried.
#[test]
fn few_sets_of_states_can_come_up() {
    let mut possibilities = Possibilities::default();
    let mut events = vec![
        resumed(),
        copied(),
        verified(),
        committed(),
        deleted(),
        kept(),
        skipped(),
    ];
    events.extend(Phase::ALL.map(failed));
    events.extend(Phase::ALL.map(accepted));
    events.extend(Phase::ALL.map(returned));
    let mut open = vec![Possible::ANY];
    open.extend(
        [TaskKind::Forward, TaskKind::Reverse, TaskKind::DeleteSource]
            .map(|kind| possibilities.starts_of(kind)),
    );
    let mut seen = Vec::new();
    while let Some(possible) = open.pop() {
        if seen.contains(&possible) {
            continue;
        }
        seen.push(possible);
        for event in &events {
            match event.is_about_object() {
                true => open.extend(possibilities.after(possible, event)),
                false => open.push(possibilities.after_task_event(possible, event)),
            }
        }
    }
    assert!((10..200).contains(&seen.len()), "{}", seen.len());
}
