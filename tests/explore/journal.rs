//! Checkpoints: what the journal says of each object, and how much of it is on the disk.
//!
//! Simpler than the real journal in one way: entries are kept and counted by object. The real one
//! has a single sequence, of which the mirrored head cuts off a prefix; a prefix of each object's
//! entries allows all of those cuts, since a batch takes what every object has.

use windlass::model::{
    Committed, Copied, Event, Failed, Outcome, Phase, Returned, Skipped, SourceDeleted, SourceKept,
    State, Verified,
};

use crate::world::{Content, OBJECTS, Object};

/// Entries about one object at most: far more than the bound on disturbances lets happen.
const ENTRIES: usize = 24;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Copied(Content),
    Verified,
    Committed,
    SourceDeleted,
    SourceKept,
    Failed(Phase),
    Skipped,
    Returned(Phase),
}

/// An entry. `begins_lease` stands for a `resumed` or `rebuilt` between it and the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    pub what: What,
    pub begins_lease: bool,
}

impl What {
    /// The event of the library that this stands for.
    pub fn event(self) -> Event {
        match self {
            What::Copied(_) => Event::Copied(Copied {
                source_url: String::new(),
                source_digest: None,
                source_size: None,
                source_compressed: None,
                created_at: None,
                last_updated: None,
                dest_url: String::new(),
                dest_digest: String::new(),
                dest_size: 0,
                dest_compressed: false,
                content_sha256: String::new(),
                content_size: 0,
            }),
            What::Verified => Event::Verified(Verified {
                method: String::new(),
                bytes: 0,
                tag: None,
            }),
            What::Committed => Event::Committed(Committed {
                old_content_url: String::new(),
                new_content_url: String::new(),
            }),
            What::SourceDeleted => Event::SourceDeleted(SourceDeleted {
                source_url: String::new(),
            }),
            What::SourceKept => Event::SourceKept(SourceKept { why: String::new() }),
            What::Failed(phase) => Event::Failed(Failed {
                phase,
                class: String::new(),
                attempt: 1,
                error: String::new(),
                cause: None,
            }),
            What::Skipped => Event::Skipped(Skipped { why: String::new() }),
            What::Returned(to) => Event::Returned(Returned {
                to,
                why: String::new(),
            }),
        }
    }
}

/// The entries about one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entries {
    list: [Option<Entry>; ENTRIES],
    len: u8,
}

impl Entries {
    fn new() -> Self {
        Self {
            list: [None; ENTRIES],
            len: 0,
        }
    }

    pub fn len(&self) -> u8 {
        self.len
    }

    pub fn push(&mut self, entry: Entry) {
        self.list[self.len as usize] = Some(entry);
        self.len += 1;
    }

    fn truncate(&mut self, len: u8) {
        for slot in &mut self.list[len as usize..] {
            *slot = None;
        }
        self.len = self.len.min(len);
    }

    /// The entries from a sequence number on, each with its own.
    pub fn after(&self, seq: u8) -> impl Iterator<Item = (u8, Entry)> + '_ {
        let entries = self.list[..self.len as usize].iter().flatten();
        (1..).zip(entries.copied()).skip(seq as usize)
    }
}

/// A checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Stands for the executor.
    pub epoch: u8,
    /// Made anew, and `rebuilt` is not yet written.
    pub is_blank: bool,
    pub entries: [Entries; OBJECTS],
    pub synced: [u8; OBJECTS],
    /// Where each object stood when the checkpoint was made.
    pub base: [State; OBJECTS],
    /// The head that its first entry names as the one before it.
    pub behind: Option<u32>,
    /// Somebody has put an old copy in its place.
    pub is_old_copy: bool,
}

impl Checkpoint {
    pub fn new(epoch: u8, objects: &[Option<Object>; OBJECTS]) -> Self {
        Self {
            epoch,
            is_blank: epoch > 1,
            entries: [Entries::new(); OBJECTS],
            synced: [0; OBJECTS],
            base: objects.map(base),
            behind: None,
            is_old_copy: false,
        }
    }

    /// Objects about which nothing is journaled stand where the mirror has them.
    pub fn rebase(&mut self, objects: &[Option<Object>; OBJECTS]) {
        for (i, object) in objects.iter().enumerate() {
            let is_anew = self.epoch > 1 && self.entries[i].len() == 0;
            if let (true, Some(object)) = (is_anew, object) {
                self.base[i] = state_of(object);
            }
        }
    }

    pub fn lens(&self) -> [u8; OBJECTS] {
        self.entries.map(|entries| entries.len())
    }

    pub fn sync(&mut self) {
        self.synced = self.lens();
    }

    /// The power goes: what was not synced is gone.
    pub fn cut_off(&mut self) {
        for (entries, synced) in self.entries.iter_mut().zip(self.synced) {
            entries.truncate(synced);
        }
    }

    /// The state that an auditor comes to who follows the entries about an object up to `len`.
    pub fn told(&self, i: usize, len: u8) -> Result<State, String> {
        let mut state = self.base[i];
        for (seq, entry) in self.entries[i].after(0).take(len as usize) {
            if entry.begins_lease {
                state = state.in_new_lease();
            }
            state = state
                .apply(&entry.what.event())
                .map_err(|illegal| format!("entry {seq} about object {i}: {illegal}"))?;
        }
        Ok(state)
    }

    /// Stands for the hash of the entry at a head: the same only where all entries are the same.
    pub fn hash_at(&self, head: [u8; OBJECTS]) -> Option<u32> {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        self.epoch.hash(&mut hasher);
        for (entries, len) in self.entries.iter().zip(head) {
            if entries.len() < len {
                return None;
            }
            entries.list[..len as usize].hash(&mut hasher);
        }
        Some(hasher.finish() as u32)
    }
}

/// Where an object stands for a checkpoint that begins now. One that is committed is journaled so
/// at once, from the database: to the checkpoint it is proven just before.
fn base(object: Option<Object>) -> State {
    let Some(object) = object else {
        return State::at(Phase::Pending);
    };
    // What a task began with as committed was not committed by it.
    let is_open = !matches!(object.outcome, Some(Outcome::Skipped | Outcome::SourceKept));
    if object.phase == Phase::Committed && is_open && object.swapped {
        return State {
            phase: Phase::Verified,
            outcome: None,
            proven: true,
        };
    }
    state_of(&object)
}

fn state_of(object: &Object) -> State {
    State {
        phase: object.phase,
        outcome: object.outcome,
        proven: false,
    }
    .in_new_lease()
}
