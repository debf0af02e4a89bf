//! What a search begins with, and what it may meet.

use windlass::model::{Phase, Rest};

use super::journal::Journal;
use super::rules::{Rule, Rules};
use super::world::{
    Active, Content, Database, OBJECTS, Object, PLANNED, Place, Process, Shard, Stage, TAKEOVERS,
    World,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed; what it has sent may still arrive.
    Kill,
    /// A process is stopped, or its machine is; it wakes at any time.
    Freeze,
    /// The server ends a session: `pg_terminate_backend`, a restart, the network.
    SessionLoss,
    /// A batch for the mirror hangs between its look at the shards and its end.
    FlushHangs,
    /// A checkpoint is lost.
    JournalLoss,
    /// Anchore's tool stands in line for the lock, and moves a document when its turn comes.
    AnchoreWaits,
    /// Anchore stores another document, when the lock is free.
    Overwrite,
    /// Another task undoes or replaces this one.
    AnotherTask,
    /// Workers of another task share the lock for a while, and its documents are others.
    TaskBetween,
    /// A store damages or loses one of two copies.
    Damage,
    /// The server is failed over to a standby that does not have its last transactions.
    Failover,
}

#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub name: &'static str,
    pub objects: usize,
    /// Rows that share their source and their destination.
    pub shared: bool,
    /// How far objects are at the beginning.
    pub begins: Phase,
    /// Whether copies are staged first, and committed in a cut-over. Sources stay.
    pub online: bool,
    /// Whether sources are rows of the database.
    pub rows: bool,
    /// Whether the second executor is of another version.
    pub versions: bool,
    /// Whether a process may stand still in the very instant between asking and sending.
    pub instant: bool,
    pub faults: &'static [Fault],
    pub disturbances: u8,
    pub rules: Rules,
}

const PLAIN: Setup = Setup {
    name: "nothing goes wrong",
    objects: 2,
    shared: false,
    begins: Phase::Pending,
    online: false,
    rows: false,
    versions: false,
    instant: false,
    faults: &[],
    disturbances: 0,
    rules: Rules::ALL,
};

const KILLS: &[Fault] = &[Fault::Kill, Fault::SessionLoss];

const ONE: Setup = Setup {
    name: "one shard, kills and lost sessions",
    objects: 1,
    faults: KILLS,
    disturbances: 2,
    ..PLAIN
};

const HANGING: Setup = Setup {
    name: "one shard, batches that hang",
    faults: &[Fault::Kill, Fault::SessionLoss, Fault::FlushHangs],
    ..ONE
};

const LOSING_CHECKPOINTS: Setup = Setup {
    name: "one shard, lost checkpoints",
    faults: &[Fault::Kill, Fault::SessionLoss, Fault::JournalLoss],
    ..ONE
};

/// Whoever stands still loses its session sooner or later: that is no disturbance of its own.
const STANDING_STILL: Setup = Setup {
    name: "one shard, processes that stand still",
    instant: true,
    faults: &[Fault::Kill, Fault::Freeze],
    ..ONE
};

const BESIDE_ANCHORE: Setup = Setup {
    name: "one shard, Anchore in line",
    faults: &[Fault::Freeze, Fault::AnchoreWaits, Fault::Overwrite],
    ..ONE
};

const BESIDE_ANOTHER_TASK: Setup = Setup {
    name: "one shard, another task",
    begins: Phase::Verified,
    faults: &[Fault::Freeze, Fault::AnotherTask],
    ..ONE
};

const BESIDE_OTHER_WORKERS: Setup = Setup {
    name: "one shard, another task's workers in between",
    faults: &[Fault::Kill, Fault::Freeze, Fault::TaskBetween],
    ..BESIDE_ANOTHER_TASK
};

const DAMAGED: Setup = Setup {
    name: "one shard, damaged copies",
    begins: Phase::Verified,
    faults: &[Fault::Freeze, Fault::Damage],
    ..ONE
};

const VERSIONS: Setup = Setup {
    name: "one shard, two versions",
    versions: true,
    ..STANDING_STILL
};

const ROWS: Setup = Setup {
    name: "one shard, rows as sources",
    rows: true,
    faults: &[Fault::Freeze, Fault::SessionLoss],
    disturbances: 1,
    ..STANDING_STILL
};

const TWO: Setup = Setup {
    name: "two shards",
    begins: Phase::Committed,
    faults: KILLS,
    disturbances: 1,
    ..PLAIN
};

const KIN: Setup = Setup {
    name: "two rows with one source",
    shared: true,
    begins: Phase::Pending,
    ..TWO
};

const ONLINE: Setup = Setup {
    name: "one shard, staged and cut over",
    online: true,
    faults: &[Fault::Kill, Fault::Freeze, Fault::SessionLoss],
    ..ONE
};

const FAILOVERS: Setup = Setup {
    name: "one shard, failovers",
    faults: &[Fault::Kill, Fault::Failover],
    ..ONE
};

const FAILOVERS_AND_OTHERS: Setup = Setup {
    name: "one shard, failovers with another task in between",
    faults: &[Fault::TaskBetween, Fault::Failover],
    ..ONE
};

/// What is copied is not written again, and rows are deleted in one statement: so nothing is left that
/// only the claim can close.
const COPIED: Setup = Setup {
    name: "one shard, its document copied before, rows as sources",
    begins: Phase::Verified,
    ..ROWS
};

const COMMITTED: Setup = Setup {
    name: "one shard, its row swapped before, rows as sources",
    begins: Phase::Committed,
    ..COPIED
};

/// All are searched.
pub const ALL: &[Setup] = &[
    PLAIN,
    ONE,
    HANGING,
    LOSING_CHECKPOINTS,
    STANDING_STILL,
    BESIDE_ANCHORE,
    BESIDE_ANOTHER_TASK,
    BESIDE_OTHER_WORKERS,
    DAMAGED,
    ROWS,
    VERSIONS,
    KIN,
    ONLINE,
    FAILOVERS,
    FAILOVERS_AND_OTHERS,
];

/// Further than a test without an optimizer should go.
pub const DEEPER: &[Setup] = &[
    deeper(ONE),
    deeper(HANGING),
    deeper(LOSING_CHECKPOINTS),
    deeper(ROWS),
    with_kills(
        ONLINE,
        &[Fault::Kill, Fault::SessionLoss, Fault::JournalLoss],
    ),
    with_kills(
        STANDING_STILL,
        &[Fault::Kill, Fault::Freeze, Fault::SessionLoss],
    ),
    with_kills(
        BESIDE_ANCHORE,
        &[
            Fault::Kill,
            Fault::Freeze,
            Fault::SessionLoss,
            Fault::AnchoreWaits,
            Fault::Overwrite,
        ],
    ),
    with_kills(
        BESIDE_ANOTHER_TASK,
        &[
            Fault::Kill,
            Fault::Freeze,
            Fault::SessionLoss,
            Fault::AnotherTask,
        ],
    ),
    with_kills(
        DAMAGED,
        &[
            Fault::Kill,
            Fault::Freeze,
            Fault::SessionLoss,
            Fault::Damage,
        ],
    ),
    with_kills(FAILOVERS, &[Fault::Freeze, Fault::Failover]),
    TWO,
];

const fn deeper(setup: Setup) -> Setup {
    Setup {
        disturbances: setup.disturbances + 1,
        ..setup
    }
}

const fn with_kills(setup: Setup, faults: &'static [Fault]) -> Setup {
    Setup { faults, ..setup }
}

/// The search that finds what a rule is for.
pub fn for_rule(rule: Rule) -> &'static Setup {
    match rule {
        Rule::PlannerKeepsTheLock
        | Rule::ActiveIsAsked
        | Rule::OthersTakeExclusive
        | Rule::SwapOnTheSession => &BESIDE_ANOTHER_TASK,
        Rule::ActiveUnderExclusive => &BESIDE_OTHER_WORKERS,
        Rule::WorkUnderShared | Rule::SharedFirst | Rule::AskAfterJump => &BESIDE_ANCHORE,
        Rule::MirrorIsFenced | Rule::FenceHoldsTheShard => &HANGING,
        Rule::TimelineIsTheTasks => &FAILOVERS_AND_OTHERS,
        Rule::FailoverStopsAll
        | Rule::WordWhenAllAreGone
        | Rule::WordWhenJournalsFit
        | Rule::LostClaimsForbid
        | Rule::LostTakeoversForbid
        | Rule::LostCommitsForbid => &FAILOVERS,
        Rule::OneVersion => &VERSIONS,
        Rule::KinInOneShard => &KIN,
        Rule::CloseWhenDone => &TWO,
        Rule::CutoverIsAlone | Rule::CutoverWaitsForAll | Rule::ReopenedKeepsOwner => &ONLINE,
        _ => &ONE,
    }
}

/// The search in which one of two lines must be there.
pub fn for_second_line(rule: Rule) -> &'static Setup {
    match rule {
        Rule::CommitIsFenced => &COPIED,
        _ => &COMMITTED,
    }
}

impl Setup {
    pub fn may(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub fn holds(&self, rule: Rule) -> bool {
        self.rules.hold(rule)
    }

    /// The key of an object's document, at either place.
    pub fn key(&self, i: usize) -> usize {
        if self.shared { 0 } else { i }
    }

    /// The shard that an object lies in.
    pub fn shard(&self, i: usize) -> usize {
        match self.shared && self.holds(Rule::KinInOneShard) {
            true => 0,
            false => i,
        }
    }

    pub fn shards(&self) -> usize {
        self.shard(self.objects - 1) + 1
    }

    pub fn objects_in(&self, s: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.objects).filter(move |i| self.shard(*i) == s)
    }

    /// How far a run takes its objects.
    pub fn rest(&self, world: &World) -> Rest {
        match (self.online, world.db.cutover) {
            (false, _) => Rest::SourceDeleted,
            (true, false) => Rest::Verified,
            (true, true) => Rest::Committed,
        }
    }

    /// What an executor makes of the document.
    pub fn copy_of(&self, e: usize) -> Content {
        Content::Copy(u8::from(self.versions) * e as u8)
    }

    pub fn others_at(&self, world: &World, i: usize, place: Place) -> bool {
        (0..self.objects).any(|other| {
            other != i && self.key(other) == self.key(i) && world.db.rows[other].at == place
        })
    }

    /// The task is planned, and its planner still holds the lock exclusive.
    pub fn first_world(&self) -> World {
        let mut stores = [[Content::Absent; OBJECTS]; 2];
        let copied = self.begins >= Phase::Copied;
        for i in 0..self.objects {
            stores[Place::A as usize][self.key(i)] = Content::Old;
            if copied {
                stores[Place::B as usize][self.key(i)] = self.copy_of(0);
            }
        }
        let mut rows = [PLANNED; OBJECTS];
        if self.begins == Phase::Committed {
            for row in rows.iter_mut().take(self.objects) {
                row.at = Place::B;
                row.content = self.copy_of(0);
            }
        }
        let object = Object {
            phase: self.begins,
            outcome: None,
            facts: copied.then_some(self.copy_of(0)),
            journaled: true,
            order: 0,
            seq: 0,
        };
        let shard = Shard {
            owner: None,
            lease: 0,
            before: [None; TAKEOVERS],
            done: false,
        };
        let planner = Process {
            believes: true,
            ..Process::new(Stage::Planned)
        };
        World {
            stores,
            db: Database {
                rows,
                objects: [object; OBJECTS],
                shards: [shard; OBJECTS],
                heads: [[0; OBJECTS]; 2],
                active: Active::Ours,
                cutover: false,
                closed: false,
                timeline: 0,
            },
            standby: None,
            timeline: 0,
            sessions: [Some(false), None],
            numbers: [true, false],
            waits: false,
            others_work: false,
            processes: [Some(planner), None],
            journals: [Some(Journal::new()); 2],
            late: [None; 2],
            hanging: None,
            truth: [Content::Old; OBJECTS],
            hurt: [false; OBJECTS],
            meddled: false,
            left: self.disturbances,
        }
    }
}
