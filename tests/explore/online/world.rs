//! One document, two stores, services that write, and a task that follows them.

use windlass::model::Phase;

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    Absent,
    /// What a service has stored, in the order of time.
    Version(u8),
    /// Bytes that nobody has stored.
    Damaged,
    /// Somebody else's, that no row points at.
    Foreign,
}

/// The document is at `A`; the task moves it to `B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    A,
    B,
}

/// The document's row: `version` stands for digest and size, `time` for `last_updated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub at: Place,
    pub version: u8,
    pub time: u8,
}

/// The services, by the place that their configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Services {
    On(Place),
    Stopped,
}

/// What a service is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writing {
    /// The content is stored, the row not yet.
    Put(Place, u8),
    /// The row is gone, the content not yet.
    Delete(Place),
}

/// The object that follows the document's row, until the row is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    pub planned: Row,
    pub phase: Phase,
    /// The content that was copied.
    pub facts: Option<Content>,
    /// Given up until the next pass looks at it, or for good.
    pub waits: bool,
    pub failed: bool,
    pub source_kept: bool,
    /// What the commit made of the row.
    pub after: Option<Row>,
}

/// How far the task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Staging,
    CuttingOver,
    CutOver,
    CleanedUp,
    TakingBack,
    TakenBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task {
    pub state: State,
    pub live: Option<Object>,
    /// The versions that it has sent to `B`, a bit for each.
    pub sent: u8,
    /// Whether a process of it has begun and not told of a clean end.
    pub unclean: bool,
}

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    Pass,
    Cutover,
    DeleteSource,
    Reverse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Plan,
    Ready,
    Putting(Content),
    Deleting(Place),
    SecondLook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub job: Job,
    pub step: Step,
    /// Whether the copy was proven in this run.
    pub proven: bool,
    /// What a cut-over has seen of the copy beside its plan.
    pub seen: Option<Content>,
    pub returns: u8,
}

/// A request of a process that is gone, or has given it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Late {
    pub place: Place,
    /// `Absent` for a delete.
    pub content: Content,
    /// What it expects there, where the store heeds that.
    pub expects: Option<Content>,
    /// Its process stands still, and may send it at any time: no deadline holds.
    pub frozen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    pub row: Option<Row>,
    /// What lies at `A` and at `B`.
    pub stores: [Content; 2],
    pub services: Services,
    pub writing: Option<Writing>,
    /// A service has died between this content and its row.
    pub torn: Option<(Place, u8)>,
    /// What the document is; none where a service has deleted it.
    pub truth: Option<u8>,
    pub versions: u8,
    pub time: u8,
    pub task: Task,
    pub process: Option<Process>,
    /// The row and the task as a replica has them that has stopped following.
    pub replica: Option<(Option<Row>, Task)>,
    pub late: [Option<Late>; 2],
    /// Damage, or what a process that had stood still wrote, has hit what services read after the
    /// cut-over.
    pub hurt: bool,
    /// A process that had stood still has sent what nobody could wait for.
    pub woken: bool,
    pub meddled: bool,
    /// Somebody else's content was stored at `B`, and no service has written over it.
    pub foreign: bool,
    /// What may still happen.
    pub disturbances: u8,
    pub writes: u8,
    pub passes: u8,
    /// Runs that came to nothing since the last disturbance.
    pub calm_runs: u8,
}

impl World {
    pub fn at(&self, place: Place) -> Content {
        self.stores[place as usize]
    }

    pub fn store(&mut self, place: Place, content: Content) {
        self.stores[place as usize] = content;
    }

    pub fn is_somewhere(&self, content: Content) -> bool {
        self.stores.contains(&content)
    }

    /// What the document's content is.
    pub fn right(&self) -> Content {
        self.truth.map_or(Content::Absent, Content::Version)
    }

    pub fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("a process is there")
    }

    pub fn live_mut(&mut self) -> &mut Object {
        self.task.live.as_mut().expect("an object is planned")
    }

    /// Whether the task has ever sent this to `B`.
    pub fn has_sent(&self, content: Content) -> bool {
        match content {
            Content::Version(version) => self.task.sent & (1 << version) != 0,
            _ => false,
        }
    }

    pub fn may_arrive(&self, frozen: bool) -> bool {
        self.late.iter().flatten().any(|late| late.frozen == frozen)
    }
}
