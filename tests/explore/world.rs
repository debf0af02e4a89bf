//! Everything that there is besides the code: two stores, a database, checkpoints, processes, and
//! what is still on the wire. A value that can be hashed.

use windlass::model::{Outcome, Phase, State, TaskKind};

use crate::journal::Checkpoint;

/// Objects at most.
pub const OBJECTS: usize = 2;

/// What lies at a key of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    Absent,
    /// An object's document as it was planned; each object has its own.
    Old(u8),
    /// What somebody else has stored since.
    New(u8),
    /// Bytes that nobody has stored.
    Damaged,
    /// A document that was at the destination before, and that no row points at.
    Foreign,
}

/// The two places: documents are at `A` at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    A,
    B,
}

impl Place {
    pub fn other(self) -> Self {
        match self {
            Place::A => Place::B,
            Place::B => Place::A,
        }
    }
}

/// A row of `archive_metadata`: `content` stands for digest and size, `stamp` for `last_updated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub at: Place,
    pub content: Content,
    pub stamp: u8,
}

/// A row of `windlass_objects`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    pub planned: Row,
    /// Where the copy goes.
    pub to: Place,
    /// What the row becomes: known at the commit, or from the start where it is given back.
    pub after: Option<Row>,
    pub restores: bool,
    pub refused: bool,
    pub shared: bool,
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    pub facts: Option<Content>,
    /// `committed_at`: this task has swapped the row.
    pub swapped: bool,
    pub journaled: bool,
    pub epoch: u8,
    pub seq: u8,
}

impl Object {
    /// A copy that the task before has never committed, for this one to clear away.
    pub fn is_left_over(&self) -> bool {
        self.restores && !self.swapped && self.phase == Phase::Committed
    }
}

/// Where a task stands in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    Running,
    Failed,
    Interrupted,
    Complete,
}

/// A task, with its latest executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task {
    pub kind: TaskKind,
    pub state: TaskState,
    pub objects: [Option<Object>; OBJECTS],
    pub epoch: u8,
    /// Whether an executor of it has begun and not told of a clean end (`ended_at` is null).
    pub unclean: bool,
    /// The mirrored head: entries about each object, and what stands for the hash of them all.
    pub head: [u8; OBJECTS],
    pub hash: u32,
    /// The hash of the head of the executor before the latest, where there was one.
    pub hash_before: Option<u32>,
}

/// The database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Database {
    pub rows: [Row; OBJECTS],
    /// The migration, and the task that undoes or finishes it.
    pub tasks: [Option<Task>; 2],
}

/// Where a process stands with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Ready,
    /// A copy is under way since before the lock was lost, and no reader sees it yet.
    Copying(Content),
    /// A copy was being read back when the lock was lost, and is equal.
    ReadBack,
    /// A write was sent.
    Putting(Content),
    /// A delete was sent.
    Deleting,
    /// An entry is written and not synced; `found` says that another follows it at once.
    Written {
        found: bool,
    },
    AtRest,
}

/// What a process knows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    pub state: State,
    /// Whether the row was looked at in this lease, and what was seen.
    pub checked: bool,
    pub as_planned: bool,
    pub dest_in_use: bool,
    pub facts: Option<Content>,
    pub returns: u8,
    /// Whether nothing about it was journaled in this lease.
    pub is_first: bool,
    pub step: Step,
}

/// How far a process has come with beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The lock is held, the checkpoint open; what it has before a commit is to be mirrored.
    Opened,
    /// Commits that the database lost are to be returned.
    Replayed,
    /// The rest is to be mirrored.
    Returned,
    /// Commits without entries are to be journaled.
    Mirrored,
    /// Those entries are to be mirrored, the objects loaded.
    Journaled,
    Running,
}

/// A process. Process 0 has the task's own machine, process 1 another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub task: usize,
    pub stage: Stage,
    /// Whether it takes itself for the holder of the lock.
    pub believes: bool,
    pub items: [Option<Item>; OBJECTS],
    /// The head that the database has acknowledged.
    pub acknowledged: [u8; OBJECTS],
}

/// What a process that is gone has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    Put(Content),
    Delete,
    /// Only where swaps go over any connection.
    Swap,
}

/// Something on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Late {
    pub task: usize,
    pub object: usize,
    pub place: Place,
    pub sent: Sent,
}

/// The world at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub slots: [[Content; OBJECTS]; 2],
    pub db: Database,
    /// A replica that has stopped following.
    pub replica: Option<Database>,
    /// The process that holds the lock.
    pub lock: Option<usize>,
    pub processes: [Option<Process>; 2],
    /// Of the migration, of the task that follows it, and of the migration on another machine.
    pub checkpoints: [Option<Checkpoint>; 3],
    pub old_copy: Option<Checkpoint>,
    pub late: [Option<Late>; 2],
    /// The object whose row of the mirror the database refuses to change.
    pub refused: Option<usize>,
    /// Disturbances left.
    pub left: u8,
    /// Runs that ended without success since the last disturbance.
    pub calm_runs: u8,
    pub clock: u8,
    /// What each row's document is, whatever stores and rows say.
    pub truth: [Content; OBJECTS],
    /// A disturbance has taken the document from under the row; only that it still is somewhere
    /// can be asked for.
    pub hurt: [bool; OBJECTS],
    /// What lies at a key of `B` is another deployment's.
    pub others: [bool; OBJECTS],
    /// Something of it was deleted that no row of ours had pointed at.
    pub robbed: bool,
    /// Somebody else has changed rows or documents.
    pub meddled: bool,
    /// The checkpoint was lost, or an old copy of it put back.
    pub checkpoint_lost: bool,
    pub failed_over: bool,
}

/// Which checkpoint a process uses.
pub fn checkpoint_of(process: usize, task: usize) -> usize {
    match (process, task) {
        (1, 0) => 2,
        (_, task) => task,
    }
}

/// The task that a checkpoint is of.
pub fn task_of(checkpoint: usize) -> usize {
    usize::from(checkpoint == 1)
}

impl World {
    pub fn task(&self, task: usize) -> &Task {
        self.db.tasks[task].as_ref().expect("the task is planned")
    }

    pub fn task_mut(&mut self, task: usize) -> &mut Task {
        self.db.tasks[task].as_mut().expect("the task is planned")
    }

    pub fn object(&self, task: usize, i: usize) -> &Object {
        self.task(task).objects[i]
            .as_ref()
            .expect("the object is planned")
    }

    pub fn object_mut(&mut self, task: usize, i: usize) -> &mut Object {
        self.task_mut(task).objects[i]
            .as_mut()
            .expect("the object is planned")
    }

    pub fn process(&self, m: usize) -> &Process {
        self.processes[m].as_ref().expect("the process is there")
    }

    pub fn process_mut(&mut self, m: usize) -> &mut Process {
        self.processes[m].as_mut().expect("the process is there")
    }

    pub fn item_mut(&mut self, m: usize, i: usize) -> &mut Item {
        self.process_mut(m).items[i]
            .as_mut()
            .expect("the item is there")
    }

    pub fn checkpoint(&mut self, m: usize) -> &mut Checkpoint {
        let at = checkpoint_of(m, self.process(m).task);
        self.checkpoints[at]
            .as_mut()
            .expect("a process has its checkpoint")
    }
}
