//! What a search begins with and which disturbances it may meet.

use windlass::model::TaskKind;

use crate::catalog;
use crate::rules::{Rule, Rules};
use crate::world::{Content, Database, OBJECTS, Place, Row, World};

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed; what it has written stays.
    Kill,
    /// The operator stops it; what it has sent is abandoned.
    Stop,
    /// The machine loses its power; what it has not synced is gone.
    PowerCut,
    /// The server ends the connection that holds the lock.
    LockLoss,
    /// A commit is carried out, and its answer lost with the connection.
    AnswerLoss,
    /// The checkpoint is gone.
    CheckpointLoss,
    /// An old copy of the checkpoint is put in its place.
    OldCheckpoint,
    /// The database fails over to a replica that had stopped following.
    Failover,
    /// A trigger refuses every change of an object's row of the mirror, for good or until somebody
    /// removes it.
    MirrorRefuses,
    /// Anchore's own tool moves an object.
    AnchoreMoves,
    /// Somebody stores another document under an object's key, at `A`.
    OverwriteAtA,
    /// The same, at `B`.
    OverwriteAtB,
    /// A store damages or loses one of two copies.
    Damage,
    /// The same task is resumed on another machine.
    SecondMachine,
    /// Another deployment, cloned from this one, stores a document at `B`: the same where stores
    /// have marks, which tell the two apart, else another.
    CloneStores,
}

/// A search's beginning and bounds.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub name: &'static str,
    pub objects: usize,
    /// Two rows with one source and one destination.
    pub shared: bool,
    /// Two sources with one destination.
    pub meet: bool,
    /// Whether rows have a digest and a size.
    pub digests: bool,
    /// Whether a change shows in `last_updated`: it counts whole seconds.
    pub stamps: bool,
    pub nodelete: bool,
    /// Both places are one.
    pub alias: bool,
    /// Something lies at the destination already.
    pub foreign: bool,
    /// The very document lies at the destination already, and is somebody else's.
    pub twin: bool,
    /// Whether stores keep with an object which task has written it.
    pub marks: bool,
    /// The object whose row of the mirror the database refuses from the start on.
    pub refused: Option<usize>,
    /// The task that may follow, whenever the migration's process is gone.
    pub follow_up: Option<TaskKind>,
    pub faults: &'static [Fault],
    /// How many of them.
    pub disturbances: u8,
    pub rules: Rules,
}

/// One object, nothing special.
pub const PLAIN: Setup = Setup {
    name: "plain",
    objects: 1,
    shared: false,
    meet: false,
    digests: true,
    stamps: true,
    nodelete: false,
    alias: false,
    foreign: false,
    twin: false,
    marks: true,
    refused: None,
    follow_up: None,
    faults: &[],
    disturbances: 0,
    rules: Rules::ALL,
};

impl Setup {
    pub fn may(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Where a document lies: which place and which key.
    pub fn slot(&self, place: Place, i: usize) -> (usize, usize) {
        let place_at = if self.alias { Place::A } else { place };
        let is_one = self.shared || (self.meet && place == Place::B);
        (place_at as usize, if is_one { 0 } else { i })
    }

    pub fn read(&self, world: &World, place: Place, i: usize) -> Content {
        let (place, key) = self.slot(place, i);
        world.slots[place][key]
    }

    pub fn write(&self, world: &mut World, place: Place, i: usize, content: Content) {
        let (at, key) = self.slot(place, i);
        world.slots[at][key] = content;
        if place == Place::B && world.others[key] {
            // What our row has pointed at was ours to delete, as Anchore has it.
            let parent = world.db.tasks[0].and_then(|task| task.objects[i]);
            let was_ours = parent.is_some_and(|object| object.swapped);
            world.robbed |= content == Content::Absent && !was_ours;
            world.others[key] = false;
        }
    }

    /// Whether something lay in the destination's place before the task was planned.
    pub fn was_in_use(&self) -> bool {
        self.foreign || self.twin
    }

    /// The document that belongs to an object at first: rows that share a source have one.
    pub fn old(&self, i: usize) -> Content {
        Content::Old(if self.shared { 0 } else { i as u8 })
    }

    /// Whether another row points where this object's document is, or would be, at a place.
    pub fn others_at(&self, db: &Database, i: usize, place: Place) -> bool {
        (0..self.objects).any(|other| {
            let at = db.rows[other].at;
            // An alias has other URLs: only the stores know that they are one.
            other != i && at == place && self.slot(at, other) == self.slot(place, i)
        })
    }

    /// The world when the migration is planned and its process is at work.
    pub fn begin(&self) -> World {
        let mut rows = [Row {
            at: Place::A,
            content: Content::Absent,
            stamp: 0,
        }; OBJECTS];
        let mut slots = [[Content::Absent; OBJECTS]; 2];
        for (i, row) in rows.iter_mut().enumerate().take(self.objects) {
            row.content = self.old(i);
            let (place, key) = self.slot(Place::A, i);
            slots[place][key] = row.content;
            if self.foreign {
                let (place, key) = self.slot(Place::B, i);
                slots[place][key] = Content::Foreign;
            }
            if self.twin {
                let (place, key) = self.slot(Place::B, i);
                slots[place][key] = row.content;
            }
        }
        let truth = rows.map(|row| row.content);
        let mut db = Database {
            rows,
            tasks: [None; 2],
        };
        let is_refused = self.alias && self.rules.hold(Rule::RefuseSamePlace);
        if !is_refused {
            catalog::plan_forward(&mut db, self);
        }
        let mut world = World {
            slots,
            db,
            replica: None,
            lock: None,
            processes: [None; 2],
            checkpoints: [None; 3],
            old_copy: None,
            late: [None; 2],
            refused: self.refused,
            left: self.disturbances,
            calm_runs: 0,
            clock: 0,
            truth,
            hurt: [false; OBJECTS],
            others: [self.twin; OBJECTS],
            robbed: false,
            meddled: false,
            checkpoint_lost: false,
            failed_over: false,
        };
        if !is_refused {
            crate::beginning::launch(&mut world, self, 0, 0);
        }
        world
    }
}
