//! One document or two, their shards, two executors that may hold them, and everything that both can
//! touch: rows, stores, the mirror, the locks of the database, and what is still on the wire.

use windlass::model::{Outcome, Phase, State};

use super::journal::{Journal, What};
use super::setup::Setup;

/// Objects at most, and shards: an object has one of its own unless rows share a source.
pub const OBJECTS: usize = 2;
pub const EXECUTORS: usize = 2;

/// Takeovers of one shard at most: each needs a disturbance.
pub const TAKEOVERS: usize = 5;

/// What lies at a key of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    Absent,
    /// The document as it was planned.
    Old,
    /// The same document, with the bytes that a version of windlass makes of it.
    Copy(u8),
    /// What Anchore has stored since.
    New,
    /// Bytes that nobody has stored.
    Damaged,
}

/// Documents are at `A`; the task moves them to `B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    A,
    B,
}

/// A row of `archive_metadata`: `content` stands for digest and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub at: Place,
    pub content: Content,
}

/// What every row is before the task.
pub const PLANNED: Row = Row {
    at: Place::A,
    content: Content::Old,
};

/// A row of `windlass_objects`. `order` and `seq` are what the mirror's guard goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    pub facts: Option<Content>,
    pub journaled: bool,
    pub order: u8,
    pub seq: u8,
}

/// With which tenure a shard was taken from whom, and how far the mirror had that executor's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Before {
    pub lease: u8,
    pub executor: usize,
    pub head: [u8; OBJECTS],
}

/// A row of `windlass_shards`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    pub owner: Option<usize>,
    /// `lease_epoch`: together with the owner it is the token that a statement is fenced by.
    pub lease: u8,
    /// Every takeover, in their order.
    pub before: [Option<Before>; TAKEOVERS],
    pub done: bool,
}

/// `windlass_active`: which task those may work on who hold the lock shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Active {
    Ours,
    Another,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Database {
    pub rows: [Row; OBJECTS],
    pub objects: [Object; OBJECTS],
    pub shards: [Shard; OBJECTS],
    /// How far the mirror has each executor's entries, by object.
    pub heads: [[u8; OBJECTS]; EXECUTORS],
    pub active: Active,
    /// The cut-over of an online task has begun.
    pub cutover: bool,
    pub closed: bool,
    /// The timeline of the server on which workers may share the task, as it stands with the active task.
    pub timeline: u8,
}

/// A standby that follows the server no more: what it would have after a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standby {
    pub db: Database,
    /// How many transactions it does not have.
    pub lags: u8,
}

/// What goes to a store and can't be fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sending {
    Put(Content),
    Delete,
}

/// Where an executor stands with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Ready,
    /// Everything was asked that had to be; nothing is sent yet.
    Asked(Sending),
    Sent(Sending),
    /// It is done, and not journaled yet.
    Telling(What),
    AtRest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    pub state: State,
    /// The shard's `lease_epoch` as it was claimed.
    pub lease: u8,
    pub facts: Option<Content>,
    pub checked: bool,
    pub returns: u8,
    pub step: Step,
}

/// A takeover under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Taking {
    pub shard: usize,
    pub from: usize,
    /// The shard's lease when its owner's end was proven.
    pub lease: u8,
    /// The shard is claimed, `adopted` is not yet journaled.
    pub claimed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It has planned, and holds the lock exclusive.
    Planned,
    /// It has dropped that and holds nothing: only where a rule is off.
    Between,
    Working,
    /// It carries out the cut-over, and holds the lock exclusive.
    Alone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub stage: Stage,
    /// Whether it takes its session for alive.
    pub believes: bool,
    pub frozen: bool,
    /// Its clock has jumped, and it has not asked after its locks since.
    pub jumped: bool,
    pub items: [Option<Item>; OBJECTS],
    pub taking: Option<Taking>,
    /// The database has lost entries that it had acknowledged to this process.
    pub went_back: bool,
}

impl Process {
    /// One that has just begun, and has no session yet.
    pub fn new(stage: Stage) -> Self {
        Self {
            stage,
            believes: false,
            frozen: false,
            jumped: false,
            items: [None; OBJECTS],
            taking: None,
            went_back: false,
        }
    }
}

/// A request that nobody awaits any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Late {
    pub executor: usize,
    pub object: usize,
    pub lease: u8,
    pub sending: Sending,
    /// Its process stood still in the instant between asking and sending: no deadline holds.
    pub instant: bool,
}

/// What goes over any connection, and hangs between its look at the shards and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hanging {
    pub executor: usize,
    /// The entries that it brings, by object.
    pub upto: [u8; OBJECTS],
    /// Which of them its look has let through.
    pub takes: [u32; OBJECTS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub stores: [[Content; OBJECTS]; 2],
    pub db: Database,
    pub standby: Option<Standby>,
    /// The timeline that the server is on: one that is failed over to begins another.
    pub timeline: u8,
    /// Each executor's session, and whether it holds the lock shared.
    pub sessions: [Option<bool>; EXECUTORS],
    /// Whether each executor's session holds the lock of its number.
    pub numbers: [bool; EXECUTORS],
    /// Anchore's tool is in line for the lock.
    pub waits: bool,
    /// Workers of another task, with other documents, hold the lock shared.
    pub others_work: bool,
    pub processes: [Option<Process>; EXECUTORS],
    /// None where the checkpoint is gone.
    pub journals: [Option<Journal>; EXECUTORS],
    pub late: [Option<Late>; 2],
    pub hanging: Option<Hanging>,
    /// What each document is, whatever stores and rows say.
    pub truth: [Content; OBJECTS],
    /// A store has damaged what a row points at.
    pub hurt: [bool; OBJECTS],
    pub meddled: bool,
    /// Disturbances left.
    pub left: u8,
}

impl World {
    pub fn process(&self, e: usize) -> &Process {
        self.processes[e].as_ref().expect("the process is there")
    }

    pub fn process_mut(&mut self, e: usize) -> &mut Process {
        self.processes[e].as_mut().expect("the process is there")
    }

    pub fn item(&self, e: usize, i: usize) -> Item {
        self.process(e).items[i].expect("the item is there")
    }

    pub fn item_mut(&mut self, e: usize, i: usize) -> &mut Item {
        let item = &mut self.process_mut(e).items[i];
        item.as_mut().expect("the item is there")
    }

    pub fn read(&self, setup: &Setup, place: Place, i: usize) -> Content {
        self.stores[place as usize][setup.key(i)]
    }

    pub fn write(&mut self, setup: &Setup, place: Place, i: usize, content: Content) {
        self.stores[place as usize][setup.key(i)] = content;
    }

    /// Whether what lies at a place is the document.
    pub fn is_document(&self, setup: &Setup, place: Place, i: usize) -> bool {
        match self.read(setup, place, i) {
            Content::Copy(_) => self.truth[i] == Content::Old,
            there => there == self.truth[i],
        }
    }

    /// Whether a row points at its whole, right document.
    pub fn is_right(&self, setup: &Setup, i: usize) -> bool {
        let row = self.db.rows[i];
        self.is_document(setup, row.at, i) && self.read(setup, row.at, i) == row.content
    }

    /// Whether an executor owns an object's shard by the very claim that it remembers.
    pub fn owns(&self, setup: &Setup, e: usize, i: usize, lease: u8) -> bool {
        let shard = self.db.shards[setup.shard(i)];
        shard.owner == Some(e) && shard.lease == lease && !shard.done
    }

    /// Whether somebody who asks for the lock exclusive would get it.
    pub fn lock_is_free(&self) -> bool {
        let holds = |process: &Process| process.stage == Stage::Planned;
        let is_shared = self.others_work || self.sessions.contains(&Some(true));
        !is_shared && !self.processes.iter().flatten().any(holds)
    }

    pub fn all_done(&self, setup: &Setup) -> bool {
        (0..setup.shards()).all(|s| self.db.shards[s].done)
    }

    /// The session of an executor ends, and with it its locks.
    pub fn end_session(&mut self, e: usize) {
        self.sessions[e] = None;
        self.numbers[e] = false;
    }
}
