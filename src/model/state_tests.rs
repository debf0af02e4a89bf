//! The state machine, exhaustively: every state by every event.

use super::*;
use crate::model::test_events::*;
use crate::model::{PhaseCounts, Repaired, Resumed, Returned};

fn object_events() -> Vec<Event> {
    let mut events = vec![
        copied(),
        verified(),
        committed(),
        deleted(),
        kept(),
        failed(Phase::Pending),
        accepted(Phase::Pending),
        skipped(),
    ];
    events.extend(Phase::ALL.map(returned));
    events
}

/// What is journaled once an action has been done.
fn event_of(action: Action) -> Event {
    match action {
        Action::Copy => copied(),
        Action::Verify => verified(),
        Action::Commit => committed(),
        Action::DeleteSource => deleted(),
        Action::KeepSource => kept(),
    }
}

fn states() -> Vec<State> {
    let outcomes = [
        None,
        Some(Outcome::Skipped),
        Some(Outcome::SourceKept),
        Some(Outcome::Failed),
        Some(Outcome::Accepted),
    ];
    let mut all = Vec::new();
    for phase in Phase::ALL {
        for outcome in outcomes {
            for proven in [false, true] {
                all.push(State {
                    phase,
                    outcome,
                    proven,
                });
            }
        }
    }
    all
}

/// The table of the design, written out a second time as what each event asks for and gives.
fn expected(state: State, event: &Event) -> Option<State> {
    let State {
        phase,
        outcome,
        proven,
    } = state;
    let settled = phase == Phase::SourceDeleted
        || outcome == Some(Outcome::Skipped)
        || outcome == Some(Outcome::SourceKept)
        || outcome == Some(Outcome::Accepted);
    let to = |phase, proven| {
        Some(State {
            phase,
            outcome: None,
            proven,
        })
    };
    let held = |outcome| {
        Some(State {
            phase,
            outcome: Some(outcome),
            proven: false,
        })
    };
    match event.name() {
        "returned" => {
            let Event::Returned(Returned { to: target, .. }) = event else {
                unreachable!()
            };
            if *target < phase {
                to(*target, false)
            } else {
                None
            }
        }
        _ if settled => None,
        "copied" if phase == Phase::Pending => to(Phase::Copied, false),
        "verified" if phase == Phase::Copied => to(Phase::Verified, true),
        "verified" if phase == Phase::Verified && !proven => to(Phase::Verified, true),
        "verified" if phase == Phase::Committed && !proven => to(Phase::Committed, true),
        "committed" if phase == Phase::Verified && proven => to(Phase::Committed, true),
        "source-deleted" if phase == Phase::Committed && proven && outcome.is_none() => {
            to(Phase::SourceDeleted, true)
        }
        "source-kept" if phase == Phase::Committed => held(Outcome::SourceKept),
        "failed" => held(Outcome::Failed),
        "accepted" => held(Outcome::Accepted),
        "skipped" if phase < Phase::Committed => held(Outcome::Skipped),
        _ => None,
    }
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    for state in states() {
        for event in object_events() {
            assert_eq!(
                state.apply(&event).ok(),
                expected(state, &event),
                "{state:?} {event:?}"
            );
        }
    }
}

#[test]
fn following_the_next_action_ends_in_a_deleted_source() {
    let mut state = State::at(Phase::Pending);
    let mut seen = Vec::new();
    while let Some(action) = state.next(Rest::SourceDeleted) {
        let event = event_of(action);
        seen.push(action);
        state = state.apply(&event).unwrap();
    }
    assert_eq!(
        seen,
        [
            Action::Copy,
            Action::Verify,
            Action::Commit,
            Action::DeleteSource
        ]
    );
    assert_eq!(state.phase, Phase::SourceDeleted);
}

#[test]
fn no_action_is_ever_illegal_and_none_follows_a_failure() {
    for state in states() {
        for rest in [Rest::Verified, Rest::Committed, Rest::SourceDeleted] {
            let Some(action) = state.next(rest) else {
                continue;
            };
            let event = event_of(action);
            let is_before = state.phase < Phase::Committed;
            let is_early = rest > Rest::Verified || action < Action::Commit;
            assert!(is_early || !is_before, "{state:?}");
            assert!(state.outcome != Some(Outcome::Failed), "{state:?}");
            assert!(state.apply(&event).is_ok(), "{state:?} {event:?}");
        }
    }
}

#[test]
fn only_what_was_committed_and_kept_its_source_is_repaired_and_nothing_else_changes() {
    let repaired = Event::Repaired(Repaired { why: "x".into() });
    for state in states() {
        let may_be = state.phase == Phase::Committed && state.outcome == Some(Outcome::SourceKept);
        assert_eq!(state.apply(&repaired).ok(), may_be.then_some(state));
    }
}

#[test]
fn a_source_is_never_deleted_without_a_proof_of_this_lease() {
    let deleted = deleted();
    for state in states() {
        if state.apply(&deleted).is_ok() {
            assert!(state.proven && state.phase == Phase::Committed && state.outcome.is_none());
        }
        let resumed = Event::Resumed(Resumed {
            host: "h".into(),
            pid: 1,
            version: "v".into(),
            phases: PhaseCounts::default(),
            user: None,
            command: None,
        });
        assert!(state.apply(&resumed).unwrap().apply(&deleted).is_err());
    }
}
