//! What an executor has left to those that took shards from it, as far as its own journal tells.
//!
//! A shard is taken at a head: entries up to it count. What the executor did behind it nobody was told
//! of, but it may have been done: the next one can find the object in any state that it went through.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::possible::{Possibilities, Possible};

/// A takeover: the first object of the shard, and the lease that it began.
pub type Takeover = (u64, i32);

/// A shard that was taken from the executor whose journal is replayed.
#[derive(Debug, Clone)]
pub struct Handover {
    /// The takeover.
    pub takeover: Takeover,
    /// The shard's last object.
    pub last: u64,
    /// The last entry that counts.
    pub head_seq: u64,
    /// The lease of the takeover by which the shard had come to this executor; none where it was the
    /// first to have it.
    pub before: Option<i32>,
}

/// A handover, and what the shard's objects were then.
struct Kept {
    handover: Handover,
    /// Each as its own journal knows it, and whether that was touched in the tenure that was ended.
    at_head: Vec<(Possible, bool)>,
    behind: Vec<Possible>,
}

/// All handovers of an executor.
#[derive(Default)]
pub struct Handovers {
    /// By their heads.
    all: Vec<Kept>,
    /// Those before it have been reached.
    next: usize,
    /// Shards on which this executor may still have worked, by their first object.
    open: BTreeMap<u64, usize>,
}

impl Handovers {
    /// Handovers that are to be kept as their heads are reached.
    pub fn new(mut handovers: Vec<Handover>) -> Self {
        handovers.sort_by_key(|handover| (handover.head_seq, handover.takeover));
        let kept = |handover| Kept {
            handover,
            at_head: Vec::new(),
            behind: Vec::new(),
        };
        Self {
            all: handovers.into_iter().map(kept).collect(),
            ..Self::default()
        }
    }

    /// Those whose heads have been reached with this entry. A journal's first entry is about no object.
    pub fn due(&mut self, entries: u64) -> Range<usize> {
        let from = self.next;
        let is_due = |kept: &Kept| kept.handover.head_seq.max(1) <= entries;
        while self.all.get(self.next).is_some_and(is_due) {
            self.next += 1;
        }
        from..self.next
    }

    /// The shard, and the entry with which the tenure has begun that was ended: none where it has not.
    pub fn tenure(
        &self,
        at: usize,
        adopted: &HashMap<Takeover, u64>,
    ) -> (RangeInclusive<u64>, Option<u64>) {
        let Handover {
            takeover: (first, _),
            last,
            before,
            ..
        } = self.all[at].handover;
        let begun = match before {
            None => Some(0),
            Some(lease) => adopted.get(&(first, lease)).copied(),
        };
        (first..=last, begun)
    }

    /// Keeps what a shard's objects are at its head, and which of them were touched in the tenure that was ended.
    pub fn keep(&mut self, at: usize, at_head: Vec<(Possible, bool)>, has_begun: bool) {
        let kept = &mut self.all[at];
        kept.behind = vec![Possible::NOTHING; at_head.len()];
        kept.at_head = at_head;
        if has_begun {
            self.open.insert(kept.handover.takeover.0, at);
        }
    }

    /// The journal tells of a takeover, of its own or of one from it, and of what it has found of the shard's objects.
    pub fn adopted(&mut self, (first, lease): Takeover, found: Vec<Possible>) {
        let open = self.open.get(&first);
        if open.is_some_and(|at| lease >= self.all[*at].handover.takeover.1) {
            self.open.remove(&first);
        }
        let began =
            |kept: &Kept| kept.handover.takeover.0 == first && kept.handover.before == Some(lease);
        if let Some(at) = self.all[..self.next].iter().position(began) {
            // The tenure was ended at a head from before its own beginning: what it had found counts, and
            // nothing else.
            self.all[at].at_head = found.into_iter().map(|found| (found, false)).collect();
            self.open.insert(first, at);
        }
    }

    /// An object has come to this behind the head of a handover, if it was handed over.
    pub fn behind(&mut self, idx: u64, possible: Possible, possibilities: &mut Possibilities) {
        let Some((first, at)) = self.open.range(..=idx).next_back() else {
            return;
        };
        let offset = usize::try_from(idx - first).unwrap_or(usize::MAX);
        if let Some(behind) = self.all[*at].behind.get_mut(offset) {
            *behind = possibilities.either(*behind, possible);
        }
    }

    /// What a takeover from this very executor has found of a shard's object: it tells of that when it has the
    /// shard back, and may have told more of the object behind the head than counts.
    pub fn left_by_itself(
        &self,
        takeover: Takeover,
        at: usize,
        possibilities: &mut Possibilities,
    ) -> Option<Possible> {
        let mut reached = self.all[..self.next].iter();
        let kept = reached.find(|kept| kept.handover.takeover == takeover)?;
        let ((known, _), behind) = (kept.at_head.get(at)?, kept.behind.get(at)?);
        Some(possibilities.either(*known, *behind))
    }

    /// What each takeover has found, as far as the journal goes.
    pub fn left(self, possibilities: Possibilities) -> Vec<(Takeover, Inheritance)> {
        let possibilities = Arc::new(possibilities);
        let reached = self.all.into_iter().take(self.next);
        // Of what it has not touched in its tenure, the one before has the last word.
        let told = |(known, is_touched)| match is_touched {
            true => known,
            false => Possible::NOTHING,
        };
        let left = reached.map(|kept| {
            let inheritance = Inheritance {
                at_head: kept.at_head.into_iter().map(told).collect(),
                behind: kept.behind,
                possibilities: possibilities.clone(),
            };
            (kept.handover.takeover, inheritance)
        });
        left.collect()
    }
}

/// What a takeover can have found of a shard's objects.
pub struct Inheritance {
    at_head: Vec<Possible>,
    behind: Vec<Possible>,
    possibilities: Arc<Possibilities>,
}

impl Inheritance {
    /// What the object at this place of the shard can be, where it was `before` the tenure that was ended.
    pub fn of(&self, at: usize, before: Possible, possibilities: &mut Possibilities) -> Possible {
        let (Some(at_head), Some(behind)) = (self.at_head.get(at), self.behind.get(at)) else {
            return Possible::ANY;
        };
        let at_head = match *at_head {
            Possible::NOTHING => before,
            at_head => possibilities.taken_from(&self.possibilities, at_head),
        };
        let behind = possibilities.taken_from(&self.possibilities, *behind);
        possibilities.either(at_head, behind)
    }
}
