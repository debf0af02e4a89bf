//! What each executor's journal says of each object, and the one history that an auditor makes of both.
//!
//! Entries are counted by object, as in the main search: that allows more orders than one sequence.

use windlass::model::{Event, Outcome, Phase, State};

use super::setup::Setup;
use super::world::{Content, EXECUTORS, OBJECTS, World};
use crate::journal::What as Told;
use crate::search::Found;

/// Entries about one object in one journal at most: more than the disturbances let happen.
const ENTRIES: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// A shard that nobody had, or one's own anew: in either case another tenure.
    Claimed,
    /// A shard of another's: its entries count up to this head.
    Adopted {
        executor: usize,
        head: u8,
    },
    Copied(Content),
    Verified,
    Committed,
    SourceDeleted,
    SourceKept,
    Failed(Phase),
    Skipped,
    Returned,
    /// The database has lost the commit.
    CommitLost,
}

impl What {
    /// The event of the library; none for those that begin a tenure.
    pub fn event(self) -> Option<Event> {
        let told = match self {
            What::Claimed | What::Adopted { .. } => return None,
            What::Copied(_) => Told::Copied(crate::world::Content::Absent),
            What::Verified => Told::Verified,
            What::Committed => Told::Committed,
            What::SourceDeleted => Told::SourceDeleted,
            What::SourceKept => Told::SourceKept,
            What::Failed(phase) => Told::Failed(phase),
            What::Skipped => Told::Skipped,
            What::Returned => Told::Returned(Phase::Pending),
            What::CommitLost => Told::Returned(Phase::Verified),
        };
        Some(told.event())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The shard's `lease_epoch` in which it was written.
    pub lease: u8,
    pub what: What,
}

/// The entries of an executor about one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entries {
    list: [Option<Entry>; ENTRIES],
    len: u8,
}

impl Entries {
    pub fn len(&self) -> u8 {
        self.len
    }

    pub fn push(&mut self, lease: u8, what: What) {
        self.list[self.len as usize] = Some(Entry { lease, what });
        self.len += 1;
    }

    /// The entries behind a sequence number, each with its own.
    pub fn after(&self, seq: u8) -> impl Iterator<Item = (u8, Entry)> + '_ {
        let entries = self.list[..self.len as usize].iter().flatten();
        (1..).zip(entries.copied()).skip(seq as usize)
    }

    /// Whether it tells of a takeover behind one tenure, and no later than another.
    fn adopts_behind(&self, before: u8, lease: u8) -> bool {
        let tenures = before + 1..=lease;
        let mut entries = self.after(0);
        entries.any(|(_, entry)| {
            tenures.contains(&entry.lease) && matches!(entry.what, What::Adopted { .. })
        })
    }

    /// Whether it tells, behind a head and no later than an entry, of a takeover in a later tenure.
    fn returns(&self, lease: u8, head: u8, seq: u8) -> bool {
        let mut entries = self.after(0).take_while(|(at, _)| *at <= seq);
        entries.any(|(at, entry)| {
            at > head && entry.lease > lease && matches!(entry.what, What::Adopted { .. })
        })
    }

    /// Whether it tells of a takeover in this tenure.
    pub fn has_adopted(&self, lease: u8) -> bool {
        let is_it = |what| matches!(what, What::Adopted { .. });
        self.after(0)
            .any(|(_, entry)| entry.lease == lease && is_it(entry.what))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Journal(pub [Entries; OBJECTS]);

impl Journal {
    pub fn new() -> Self {
        Self(
            [Entries {
                list: [None; ENTRIES],
                len: 0,
            }; OBJECTS],
        )
    }

    pub fn lens(&self) -> [u8; OBJECTS] {
        self.0.map(|entries| entries.len)
    }
}

/// The history of an object out of both journals: tenure by tenure, each executor's entries only as far
/// as the one who adopted its shard says that they go.
pub fn history(world: &World, setup: &Setup, i: usize) -> Result<State, String> {
    let journals = [0, 1].map(|e| world.journals[e].map(|journal| journal.0[i]));
    // From a tenure on, only what an executor had journaled up to a head is left of it.
    let mut cuts = Vec::new();
    for entries in journals.iter().flatten() {
        for (_, entry) in entries.after(0) {
            if let What::Adopted { executor, head } = entry.what {
                cuts.push((executor, entry.lease, head));
            }
        }
    }
    let mut counted = Vec::new();
    for (e, entries) in (0..EXECUTORS).zip(journals) {
        for (seq, entry) in entries.iter().flat_map(|entries| entries.after(0)) {
            // A lease that a failover has lost is claimed again by others: such entries are of the tenure
            // that their takeover has ended.
            let ends = |(executor, lease, head): &&(usize, u8, u8)| {
                let has_returned = entries.is_some_and(|own| own.returns(*lease, *head, seq));
                *executor == e && !has_returned && (entry.lease < *lease || world.timeline > 0)
            };
            let ended = cuts.iter().filter(ends);
            if !ended.clone().any(|(_, _, head)| seq > *head) {
                let before = ended.map(|(_, lease, _)| lease - 1).min();
                let lease = before.unwrap_or(entry.lease).min(entry.lease);
                counted.push((lease, e, seq, entry.what));
            }
        }
    }
    counted.sort_by_key(|(lease, e, seq, _)| (*lease, *e, *seq));
    let mut state = State::at(setup.begins);
    let mut begins = false;
    let mut before: Option<(usize, u8)> = None;
    for (lease, e, seq, what) in counted {
        let wrong = |why: &dyn std::fmt::Display| {
            format!("entry {seq} of executor {e} about object {i}, tenure {lease}: {why}")
        };
        let changes_hands = before.filter(|(holder, _)| *holder != e && what.event().is_some());
        if let Some((_, until)) = changes_hands
            && !journals[e].is_some_and(|entries| entries.adopts_behind(until, lease))
        {
            return Err(wrong(&"it follows another executor's, and nothing says so"));
        }
        before = what.event().map(|_| (e, lease)).or(before);
        state = match what.event() {
            None => state.in_new_lease(),
            // The database's word for what the executor before did not come to journal.
            Some(_) if begins && what == What::Committed => State::at(Phase::Committed),
            Some(event) => state.apply(&event).map_err(|illegal| wrong(&illegal))?,
        };
        begins = matches!(what, What::Adopted { .. });
    }
    Ok(state)
}

/// Each journal by itself tells of nothing that is not possible, whatever of it counts. What a takeover has
/// found it can't tell.
pub fn each_fits(world: &World, setup: &Setup) -> Found {
    for (e, journal) in (0..EXECUTORS).zip(world.journals) {
        for i in 0..setup.objects {
            let entries = journal.iter().flat_map(|journal| journal.0[i].after(0));
            fits(setup, entries).map_err(|(seq, why)| {
                format!("entry {seq} of executor {e} about object {i}: {why}")
            })?;
        }
    }
    Ok(())
}

fn fits(setup: &Setup, entries: impl Iterator<Item = (u8, Entry)>) -> Result<(), (u8, String)> {
    let mut possible = vec![State::at(setup.begins)];
    let mut begins = false;
    for (seq, entry) in entries {
        let before = std::mem::take(&mut possible);
        match (entry.what, entry.what.event()) {
            (What::Adopted { .. }, _) => possible = any(),
            // The proof that it rested on is of the tenure before.
            (What::Committed, _) if begins => possible.push(State::at(Phase::Committed)),
            (_, None) => possible.extend(before.into_iter().map(State::in_new_lease)),
            (_, Some(event)) => {
                let mut refused = String::new();
                for state in before {
                    match state.apply(&event) {
                        Ok(state) => possible.push(state),
                        Err(illegal) => refused = illegal.to_string(),
                    }
                }
                if possible.is_empty() {
                    return Err((seq, refused));
                }
            }
        }
        begins = matches!(entry.what, What::Adopted { .. });
    }
    Ok(())
}

fn any() -> Vec<State> {
    let outcomes = std::iter::once(None).chain(Outcome::ALL.map(Some));
    let phases = Phase::ALL.into_iter();
    let states = outcomes.flat_map(|outcome| {
        let at = move |phase| {
            [false, true].map(|proven| State {
                phase,
                outcome,
                proven,
            })
        };
        phases.clone().flat_map(at)
    });
    states.collect()
}

/// What the journals tell together is what the mirror says, to the letter.
pub fn agree(world: &World, setup: &Setup) -> Found {
    if world.journals.contains(&None) {
        return Ok(());
    }
    for i in 0..setup.objects {
        let told = history(world, setup, i)?;
        let object = world.db.objects[i];
        let outcome = |outcome: Option<Outcome>| outcome.filter(|o| *o != Outcome::Failed);
        if (told.phase, outcome(told.outcome)) != (object.phase, outcome(object.outcome)) {
            return Err(format!(
                "the journals have object {i} {:?} {:?}, the mirror {:?} {:?}",
                told.phase, told.outcome, object.phase, object.outcome
            ));
        }
    }
    Ok(())
}
