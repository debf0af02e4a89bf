//! A journal's steps, taken once more by the pure state machine, in a few bytes per object.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::facts::Copy;
use super::handover::{Handovers, Inheritance, Takeover};
use super::possible::{Possibilities, Possible};
use crate::model::{Entry, EntryObject, Event, Outcome, Phase, State, TaskKind};

/// Objects whose states lie together.
const PAGE_OBJECTS: u64 = 256;

/// What the journal has made of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The states that it can be in; more than one only in a journal that was rebuilt.
    pub possible: Possible,
    /// What the mirror must say holds it there. A new lease forgets a failure; the mirror keeps
    /// it until the next step.
    pub outcome: Option<Outcome>,
    /// Whether its last step took it back across the commit: that is journaled by a resume, and
    /// the mirror need not have heard of it.
    pub went_back: bool,
    /// Whether a copy of it was journaled.
    pub has_copy: bool,
    /// The lower half of the number of its last entry: enough to tell entries apart.
    pub seq: u32,
    /// Its key, and the facts of its last copy, as a sum that nobody outside can foresee.
    pub print: u64,
}

/// Ten million objects in 160 MB.
const _: () = assert!(std::mem::size_of::<Slot>() == 16);

/// What does not fit in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// `user/bucket/id`, where it is about an object.
    pub object: Option<String>,
    /// What does not fit.
    pub what: String,
}

impl Misfit {
    fn of_task(what: impl Into<String>) -> Self {
        Self {
            object: None,
            what: what.into(),
        }
    }
}

/// How a journal began.
#[derive(Debug, Clone, PartialEq)]
pub enum Beginning {
    /// With the task: its kind, its parent, and how many objects were planned.
    Created {
        /// Forward, reverse or delete-source.
        kind: TaskKind,
        /// Objects in the plan, as of the last pass.
        planned: u64,
    },
    /// In the place of a checkpoint that was lost.
    Rebuilt {
        /// Its `seq:hash`, as far as the database knew it.
        old_head: Option<String>,
    },
}

/// What the database knows of a task: a journal can end before its first entry.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Forward, reverse or delete-source.
    pub kind: TaskKind,
    /// Objects in the plan.
    pub planned: u64,
    /// Whether the checkpoint is in the place of another.
    pub rebuilt: bool,
}

/// Objects of a shard, far beyond what any windlass has planned in one.
const SHARD_OBJECTS_MAX: u64 = 100_000;

/// Takes a journal's entries, in their order.
pub struct Replay {
    beginning: Option<Beginning>,
    /// Objects in the plan, where that is known from elsewhere.
    planned: Option<u64>,
    entries: u64,
    last_at: String,
    possibilities: Possibilities,
    /// What an object is that no entry has named yet.
    unseen: Possible,
    pages: HashMap<u64, Box<[Slot]>>,
    /// From here on, what becomes of an object is kept beside its slot, too.
    mirrored_seq: u64,
    beyond: HashMap<u64, Vec<Slot>>,
    /// The entries that told of takeovers.
    adopted: HashMap<Takeover, u64>,
    /// The shards that were another's, by their first object: their last one, and the entry that tells of the
    /// latest takeover.
    from_others: BTreeMap<u64, (u64, u64)>,
    /// What others have taken from this executor.
    handovers: Handovers,
    /// What it has taken from others whose journals are here as well.
    inherited: Arc<HashMap<Takeover, Inheritance>>,
    keys: RandomState,
}

impl Replay {
    /// A replay that keeps what became of objects up to entry `mirrored_seq` apart from what
    /// became of them behind it.
    pub fn new(known: Option<Known>, mirrored_seq: u64) -> Self {
        let mut possibilities = Possibilities::default();
        let unseen = match known {
            None => Possible::NOTHING,
            Some(Known { rebuilt: true, .. }) => Possible::ANY,
            Some(known) => possibilities.starts_of(known.kind),
        };
        Self {
            beginning: None,
            planned: known.map(|known| known.planned),
            entries: 0,
            last_at: String::new(),
            unseen,
            possibilities,
            pages: HashMap::new(),
            mirrored_seq,
            beyond: HashMap::new(),
            adopted: HashMap::new(),
            from_others: BTreeMap::new(),
            handovers: Handovers::default(),
            inherited: Arc::default(),
            keys: RandomState::new(),
        }
    }

    /// The same, for an executor from which shards were taken, or who has taken shards from others.
    pub fn with(
        self,
        handovers: Handovers,
        inherited: Arc<HashMap<Takeover, Inheritance>>,
    ) -> Self {
        Self {
            handovers,
            inherited,
            ..self
        }
    }

    /// What this executor has left to those that have taken shards from it.
    pub fn left(self) -> Vec<(Takeover, Inheritance)> {
        self.handovers.left(self.possibilities)
    }

    /// The entry that tells of a takeover.
    pub fn adopted_at(&self, takeover: Takeover) -> Option<u64> {
        self.adopted.get(&takeover).copied()
    }

    /// How it began; nothing where it has no entries.
    pub fn beginning(&self) -> Option<&Beginning> {
        self.beginning.as_ref()
    }

    /// Entries taken so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether no entry was about an object.
    pub fn is_untouched(&self) -> bool {
        self.pages.is_empty() && self.beyond.is_empty()
    }

    /// Takes one more entry in.
    ///
    /// # Errors
    /// Why it can't have happened behind those before.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Misfit> {
        self.check_time(&entry.at)?;
        self.check_place(entry)?;
        self.entries = entry.seq;
        match &entry.object {
            None => {
                self.new_lease(&entry.event);
                self.adopt(entry)?;
                self.begin_pass(&entry.event)?;
            }
            Some(object) => self.step(object, entry).map_err(|what| Misfit {
                object: Some(object.key().to_string()),
                what,
            })?,
        }
        self.hand_over();
        Ok(())
    }

    /// Keeps what was taken from this executor behind the entry that was taken last.
    fn hand_over(&mut self) {
        for at in self.handovers.due(self.entries) {
            let (shard, behind) = self.handovers.tenure(at, &self.adopted);
            let slots = shard.map(|idx| self.latest(idx));
            let is_touched = |slot: &Slot| {
                behind.is_some_and(|behind| u64::from(slot.seq) > behind || behind == 0)
            };
            let objects = slots.map(|slot| (slot.possible, is_touched(&slot)));
            let objects = objects.collect();
            self.handovers.keep(at, objects, behind.is_some());
        }
    }

    fn check_time(&mut self, at: &str) -> Result<(), Misfit> {
        let is_well_formed = at.len() == "2026-01-02T03:04:05.678901Z".len()
            && at.ends_with('Z')
            && at.parse::<jiff::Timestamp>().is_ok();
        if !is_well_formed {
            let what = format!("its time, {at:?}, is not RFC 3339 in UTC with six decimals");
            return Err(Misfit::of_task(what));
        }
        // One form, one length: the order of the texts is the order of the times.
        if *at < *self.last_at {
            let what = format!(
                "its time, {at}, is before that of the entry before, {}",
                self.last_at
            );
            return Err(Misfit::of_task(what));
        }
        self.last_at.replace_range(.., at);
        Ok(())
    }

    /// What may stand at the beginning, and only there.
    fn check_place(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let name = entry.event.name();
        match (&entry.event, entry.seq) {
            (Event::Created(created), 1) => {
                self.beginning = Some(Beginning::Created {
                    kind: created.kind,
                    planned: created.planned,
                });
                self.planned = Some(created.planned);
                self.unseen = self.possibilities.starts_of(created.kind);
                Ok(())
            }
            (Event::Rebuilt(rebuilt), 1) => {
                self.beginning = Some(Beginning::Rebuilt {
                    old_head: rebuilt.old_head.clone(),
                });
                self.unseen = Possible::ANY;
                Ok(())
            }
            (_, 1) => Err(Misfit::of_task(format!(
                "a journal begins with \"created\" or \"rebuilt\", not with {name:?}"
            ))),
            (Event::Created(_) | Event::Rebuilt(_), _) => Err(Misfit::of_task(format!(
                "{name:?} stands at the beginning of a journal only"
            ))),
            (Event::Started(_), 2) if !self.is_rebuilt() => Ok(()),
            (Event::Started(_), _) => Err(Misfit::of_task(
                "\"started\" stands behind \"created\" only",
            )),
            // A kill between the two; the resume that follows says so.
            (Event::Resumed(_), 2) => Ok(()),
            (_, 2) if !self.is_rebuilt() => Err(Misfit::of_task(format!(
                "behind \"created\" stands \"started\" or \"resumed\", not {name:?}"
            ))),
            _ => Ok(()),
        }
    }

    fn is_rebuilt(&self) -> bool {
        matches!(self.beginning, Some(Beginning::Rebuilt { .. }))
    }

    fn was_anothers_since(&self, idx: u64, seq: u32) -> bool {
        let shard = self.from_others.range(..=idx).next_back();
        shard.is_some_and(|(_, (last, taken))| idx <= *last && *taken > u64::from(seq))
    }

    fn new_lease(&mut self, event: &Event) {
        // `rebuilt` voids nothing that the states it begins with still hold.
        if !matches!(event, Event::Resumed(_)) {
            return;
        }
        self.unseen = self.possibilities.after_task_event(self.unseen, event);
        for slot in self.pages.values_mut().flat_map(|page| page.iter_mut()) {
            slot.possible = self.possibilities.after_task_event(slot.possible, event);
        }
        for slot in self
            .beyond
            .values_mut()
            .filter_map(|steps| steps.last_mut())
        {
            slot.possible = self.possibilities.after_task_event(slot.possible, event);
        }
    }

    /// What an executor before has made of a shard's objects, this journal can't tell.
    fn adopt(&mut self, entry: &Entry) -> Result<(), Misfit> {
        let Event::Adopted(adopted) = &entry.event else {
            return Ok(());
        };
        for shard in &adopted.shards {
            let is_planned = self.planned.is_none_or(|planned| shard.last < planned);
            let objects = shard.last.checked_sub(shard.first);
            if !is_planned || objects.is_none_or(|objects| objects >= SHARD_OBJECTS_MAX) {
                return Err(Misfit::of_task(format!(
                    "no shard of the task has the objects {} to {}",
                    shard.first, shard.last
                )));
            }
            // Whoever comes back tells again of what it has told already, and has gone on with since.
            let takeover = (shard.first, shard.lease);
            if self.adopted.contains_key(&takeover) {
                continue;
            }
            self.adopted.insert(takeover, entry.seq);
            if adopted.executor != entry.executor {
                self.from_others
                    .insert(shard.first, (shard.last, entry.seq));
            }
            let all = self.inherited.clone();
            let inherited = all.get(&takeover);
            let mut found = Vec::new();
            for idx in shard.first..=shard.last {
                // What it had brought to its end itself, in an earlier tenure, nobody has touched since.
                let before = self.latest(idx);
                let at = (idx - shard.first) as usize;
                let possibilities = &mut self.possibilities;
                let by_itself = match adopted.executor == entry.executor {
                    true => self.handovers.left_by_itself(takeover, at, possibilities),
                    false => None,
                };
                let possible = match (by_itself, inherited) {
                    (Some(possible), _) => possible,
                    (None, Some(inherited)) => inherited.of(at, before.possible, possibilities),
                    (None, None) => Possible::ANY,
                };
                let slot = Slot { possible, ..before };
                self.put(idx, entry.seq, slot);
                found.push(possible);
            }
            self.handovers.adopted(takeover, found);
        }
        Ok(())
    }

    /// A pass adds to the plan, and takes nothing out of it.
    fn begin_pass(&mut self, event: &Event) -> Result<(), Misfit> {
        let Event::PassBegan(pass) = event else {
            return Ok(());
        };
        if let Some(Beginning::Created { planned, .. }) = &mut self.beginning {
            if pass.planned < *planned {
                return Err(Misfit::of_task(format!(
                    "{} objects are planned, but {planned} were before",
                    pass.planned
                )));
            }
            *planned = pass.planned;
        }
        self.planned = Some(pass.planned);
        Ok(())
    }

    fn step(&mut self, object: &EntryObject, entry: &Entry) -> Result<(), String> {
        if let Some(planned) = self.planned.filter(|planned| object.idx >= *planned) {
            return Err(format!(
                "its number is {}, but {planned} were planned",
                object.idx
            ));
        }
        let before = self.latest(object.idx);
        let possible = self.possibilities.after(before.possible, &entry.event)?;
        // What a lost checkpoint had journaled of it, nobody can say any more; what another worker had, not
        // this journal.
        let may_have_failed = before.outcome == Some(Outcome::Failed)
            || (before.seq == 0 && self.is_rebuilt())
            || self.was_anothers_since(object.idx, before.seq);
        if matches!(entry.event, Event::Accepted(_)) && !may_have_failed {
            return Err("\"accepted\" is about an object that had not failed".into());
        }
        let key = self.key_print(object);
        let mut slot = Slot {
            possible,
            outcome: outcome_after(&entry.event),
            went_back: self.goes_back(before.possible, &entry.event),
            seq: entry.seq as u32,
            ..before
        };
        match &entry.event {
            Event::Copied(copied) => {
                slot.has_copy = true;
                slot.print = self.copy_print(key, &Copy::from(copied));
            }
            _ if !slot.has_copy && before.seq == 0 => slot.print = key,
            _ if !slot.has_copy && slot.print != key => {
                return Err("an object of this number had another key before".into());
            }
            _ => {}
        }
        self.put(object.idx, entry.seq, slot);
        self.handovers
            .behind(object.idx, slot.possible, &mut self.possibilities);
        Ok(())
    }

    fn goes_back(&mut self, before: Possible, event: &Event) -> bool {
        let Event::Returned(returned) = event else {
            return false;
        };
        let was_behind = |state: &State| state.phase >= Phase::Committed;
        returned.to < Phase::Committed && self.possibilities.states(before).iter().any(was_behind)
    }

    /// What an object is behind the last entry taken.
    fn latest(&self, idx: u64) -> Slot {
        let beyond = self.beyond.get(&idx).and_then(|steps| steps.last());
        beyond.copied().unwrap_or_else(|| self.mirrored(idx))
    }

    /// What an object was behind the mirrored entry.
    pub fn mirrored(&self, idx: u64) -> Slot {
        match self.pages.get(&(idx / PAGE_OBJECTS)) {
            Some(page) => page[(idx % PAGE_OBJECTS) as usize],
            None => self.blank(),
        }
    }

    /// What became of it since, step by step.
    pub fn beyond(&self, idx: u64) -> &[Slot] {
        self.beyond.get(&idx).map_or(&[], Vec::as_slice)
    }

    /// The states that are possible in a slot.
    pub fn states(&self, slot: &Slot) -> &[State] {
        self.possibilities.states(slot.possible)
    }

    fn blank(&self) -> Slot {
        Slot {
            possible: self.unseen,
            outcome: None,
            went_back: false,
            has_copy: false,
            seq: 0,
            print: 0,
        }
    }

    fn put(&mut self, idx: u64, seq: u64, slot: Slot) {
        if seq > self.mirrored_seq {
            self.beyond.entry(idx).or_default().push(slot);
            return;
        }
        let blank = self.blank();
        let page = self.pages.entry(idx / PAGE_OBJECTS);
        let page = page.or_insert_with(|| vec![blank; PAGE_OBJECTS as usize].into());
        page[(idx % PAGE_OBJECTS) as usize] = slot;
    }

    /// A sum over an object's key.
    pub fn key_print(&self, object: &EntryObject) -> u64 {
        let EntryObject {
            idx,
            user,
            bucket,
            id,
            document,
        } = object;
        self.keys.hash_one((idx, user, bucket, id, document))
    }

    /// A sum over an object's key and a copy of it.
    pub fn copy_print(&self, key: u64, copy: &Copy<'_>) -> u64 {
        self.keys.hash_one((key, copy))
    }
}

/// What the mirror says behind an event about an object.
fn outcome_after(event: &Event) -> Option<Outcome> {
    match event {
        Event::SourceKept(_) | Event::Repaired(_) => Some(Outcome::SourceKept),
        Event::Failed(_) => Some(Outcome::Failed),
        Event::Skipped(_) => Some(Outcome::Skipped),
        Event::Accepted(_) => Some(Outcome::Accepted),
        _ => None,
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
