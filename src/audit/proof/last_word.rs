//! Which journal has the last word on an object, where several executors share a task.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::replay::Replay;
use crate::catalog::{Executor, Takeover};

/// A journal that is here, and what it makes of the objects.
pub struct Told<'a> {
    /// Its steps.
    pub replay: &'a Replay,
    /// The checkpoint's epoch.
    pub epoch: i32,
    /// The last entry that the mirror had when this began.
    pub mirrored_seq: u64,
}

/// Where an object's last word stands.
pub enum LastWord<'a> {
    /// In a journal that is here.
    Here(&'a Told<'a>),
    /// In one that is not.
    Elsewhere,
    /// Its executor went on behind the entry behind which the shard was taken from it, and nobody has told
    /// anything since: what the mirror has of it is older than what the journal makes of it.
    Abandoned,
}

/// The journals of a task that are here.
pub enum Journals<'a> {
    /// One executor at a time works on it: the latest has the last word on everything.
    Alone(Told<'a>),
    /// Several share it.
    Shared(Shared<'a>),
}

/// The journals of workers, and how their shards have changed hands.
pub struct Shared<'a> {
    told: HashMap<Uuid, Told<'a>>,
    epochs: HashMap<Uuid, i32>,
    /// Takeovers of a shard, by its first object, the earliest first.
    shards: BTreeMap<u64, Vec<Takeover>>,
}

impl<'a> Journals<'a> {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Told<'a>> {
        let (alone, shared) = match self {
            Self::Alone(told) => (Some(told), None),
            Self::Shared(shared) => (None, Some(shared.told.values())),
        };
        alone.into_iter().chain(shared.into_iter().flatten())
    }

    /// Whose the last word on an object is, of which the mirror has this one's entry.
    pub fn last_word(&self, idx: u64, epoch: i32, seq: i64) -> LastWord<'_> {
        match self {
            Self::Alone(told) => LastWord::Here(told),
            Self::Shared(shared) => shared.last_word(idx, epoch, seq),
        }
    }
}

impl<'a> Shared<'a> {
    /// `takeovers` in the order of their leases.
    pub fn new(
        told: HashMap<Uuid, Told<'a>>,
        executors: &[Executor],
        takeovers: Vec<Takeover>,
    ) -> Self {
        let mut shards: BTreeMap<u64, Vec<Takeover>> = BTreeMap::new();
        for takeover in takeovers {
            let first = takeover.claim.shard.first_idx;
            shards.entry(first).or_default().push(takeover);
        }
        let epochs = executors.iter().map(|e| (e.executor, e.epoch)).collect();
        Self {
            told,
            epochs,
            shards,
        }
    }

    fn last_word(&self, idx: u64, epoch: i32, seq: i64) -> LastWord<'_> {
        let takeovers = self.takeovers(idx);
        let mut taken_behind = None;
        for takeover in takeovers.iter().rev() {
            let begun = |told: &Told<'_>| {
                let shard = takeover.claim.shard.first_idx;
                told.replay.adopted_at((shard, takeover.claim.lease))
            };
            if let Some(word) = self.word_of(takeover.by, begun, taken_behind, idx, (epoch, seq)) {
                return word;
            }
            taken_behind = Some(takeover.seq);
        }
        match takeovers.first() {
            Some(first) => {
                let from_the_plan = |_: &Told<'_>| Some(0);
                let word = self.word_of(first.from, from_the_plan, taken_behind, idx, (epoch, seq));
                word.unwrap_or_else(|| self.of_epoch(epoch))
            }
            None => self.untaken(idx, epoch),
        }
    }

    /// The word of the tenure that began with an entry of its journal, and was ended behind another. None
    /// where it has told nothing.
    fn word_of<'s>(
        &'s self,
        executor: Uuid,
        begun: impl FnOnce(&Told<'_>) -> Option<u64>,
        ended_behind: Option<u64>,
        idx: u64,
        (epoch, seq): (i32, i64),
    ) -> Option<LastWord<'s>> {
        let Some(told) = self.told.get(&executor) else {
            let is_its = self.epochs.get(&executor) == Some(&epoch);
            return is_its.then_some(LastWord::Elsewhere);
        };
        let begun = begun(told)?;
        let last = u64::from(told.replay.mirrored(idx).seq);
        match ended_behind {
            Some(head) if last > head && seq <= head as i64 => Some(LastWord::Abandoned),
            _ => (last > begun).then_some(LastWord::Here(told)),
        }
    }

    /// Of a shard that nobody has taken from anybody, one journal tells at most.
    fn untaken(&self, idx: u64, epoch: i32) -> LastWord<'_> {
        let mut told = self.told.values();
        match told.find(|told| told.replay.mirrored(idx).seq > 0) {
            Some(told) => LastWord::Here(told),
            None => self.of_epoch(epoch),
        }
    }

    /// Nobody here tells of it: then it is the mirror that says whose it is, or that it is as it was planned.
    fn of_epoch(&self, epoch: i32) -> LastWord<'_> {
        let mut told = self.told.values();
        let found = match epoch {
            0 => told.max_by_key(|told| told.epoch),
            epoch => told.find(|told| told.epoch == epoch),
        };
        found.map_or(LastWord::Elsewhere, LastWord::Here)
    }

    fn takeovers(&self, idx: u64) -> &[Takeover] {
        let before = self.shards.range(..=idx).next_back();
        let takeovers = before.map_or(&[][..], |(_, takeovers)| takeovers);
        match takeovers.first() {
            Some(takeover) if takeover.claim.has(idx) => takeovers,
            _ => &[],
        }
    }
}
