//! The states that an object can be in, as far as a journal tells. One, as a rule; in a journal
//! that was rebuilt, several, until its entries have told them apart.

use std::collections::HashMap;

use crate::model::{Event, Outcome, Phase, State, TaskKind};

/// A set of states, as its number among those that have come up. There are few of them, so that
/// an object costs a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Possible(u8);

/// The sets that have come up.
#[derive(Debug, Clone)]
pub struct Possibilities {
    sets: Vec<Vec<State>>,
    numbers: HashMap<Vec<State>, Possible>,
}

impl Default for Possibilities {
    fn default() -> Self {
        let mut possibilities = Self {
            sets: Vec::new(),
            numbers: HashMap::new(),
        };
        let nothing = possibilities.number(Vec::new());
        let any = possibilities.number(all());
        assert_eq!((nothing, any), (Possible::NOTHING, Possible::ANY));
        possibilities
    }
}

impl Possible {
    /// No state at all: before a journal's beginning.
    pub const NOTHING: Self = Self(0);

    /// Whatever an object can be that a journal which is not here knows of. Its proofs still count until
    /// the first new lease: commits that the database has kept are journaled before that.
    pub const ANY: Self = Self(1);
}

fn all() -> Vec<State> {
    let outcomes = || std::iter::once(None).chain(Outcome::ALL.map(Some));
    let mut states: Vec<State> = Phase::ALL
        .into_iter()
        .flat_map(|phase| {
            outcomes().map(move |outcome| State {
                outcome,
                ..State::at(phase)
            })
        })
        .collect();
    states.push(State {
        proven: true,
        ..State::at(Phase::Verified)
    });
    states
}

impl Possibilities {
    /// Where a task's objects begin. A reverse also removes copies that were never committed: their
    /// rows are where they belong from the beginning.
    pub fn starts_of(&mut self, kind: TaskKind) -> Possible {
        let phases: &[Phase] = match kind {
            TaskKind::Forward => &[Phase::Pending],
            TaskKind::Reverse => &[Phase::Pending, Phase::Committed],
            TaskKind::DeleteSource => &[Phase::Committed],
        };
        self.number(phases.iter().copied().map(State::at).collect())
    }

    /// The states of a set.
    pub fn states(&self, possible: Possible) -> &[State] {
        &self.sets[usize::from(possible.0)]
    }

    /// What is possible behind an event about an object.
    ///
    /// # Errors
    /// Why it is not possible in any of the states.
    pub fn after(&mut self, before: Possible, event: &Event) -> Result<Possible, String> {
        let mut refused = None;
        let mut states = Vec::new();
        for state in self.states(before) {
            match state.apply(event) {
                // It names the phase that it leaves the object in.
                Ok(state) if phase_in(event).is_some_and(|phase| phase != state.phase) => {
                    refused = Some(format!(
                        "{:?} says that the object was {}, but it was {}",
                        event.name(),
                        phase_in(event).map_or("", Phase::name),
                        state.phase
                    ));
                }
                Ok(state) => states.push(state),
                Err(illegal) => refused = Some(illegal.to_string()),
            }
        }
        match (states.is_empty(), refused) {
            (true, Some(why)) => Err(why),
            (true, None) => Err("it is about an object, before the journal has begun".into()),
            (false, _) => Ok(self.number(states)),
        }
    }

    /// What is possible behind an event about the task.
    pub fn after_task_event(&mut self, before: Possible, event: &Event) -> Possible {
        let states = self.states(before).iter();
        // The machine takes task-level events in any state.
        let states = states.filter_map(|state| state.apply(event).ok()).collect();
        self.number(states)
    }

    /// What is possible where either of two sets is.
    pub fn either(&mut self, one: Possible, other: Possible) -> Possible {
        match (one, other) {
            (one, other) if one == other || other == Possible::NOTHING => one,
            (Possible::NOTHING, other) => other,
            _ => self.number([self.states(one), self.states(other)].concat()),
        }
    }

    /// A set that another journal's replay came to.
    pub fn taken_from(&mut self, replay: &Self, possible: Possible) -> Possible {
        self.number(replay.states(possible).to_vec())
    }

    fn number(&mut self, mut states: Vec<State>) -> Possible {
        states.sort_by_key(|state| (state.phase, state.outcome.map(Outcome::name), state.proven));
        states.dedup();
        if let Some(number) = self.numbers.get(&states) {
            return *number;
        }
        // Sets arise from a few beginnings by few events: some dozens. An export that was made to have more
        // of them is judged less strictly, for a byte is what an object has.
        let Ok(number) = u8::try_from(self.sets.len()).map(Possible) else {
            return Possible::ANY;
        };
        self.sets.push(states.clone());
        self.numbers.insert(states, number);
        number
    }
}

fn phase_in(event: &Event) -> Option<Phase> {
    match event {
        Event::Failed(failed) => Some(failed.phase),
        Event::Accepted(accepted) => Some(accepted.phase),
        _ => None,
    }
}
