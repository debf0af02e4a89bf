//! The conditions of `src/catalog`, as they stand in its SQL.

use windlass::model::{Outcome, Phase, TaskKind};

use crate::journal::{Entry, What};
use crate::rules::Rule;
use crate::setup::Setup;
use crate::world::{Content, Database, OBJECTS, Object, Place, Row, Task, TaskState, World};

/// Whether a source may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletable {
    Yes,
    Shared,
    RowChanged,
}

/// What entries say of one object, as they go to the mirror.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    pub seq: u8,
    pub phase: Option<Phase>,
    pub outcome: Option<Outcome>,
    pub facts: Option<Content>,
}

impl Update {
    /// `MirrorUpdate::of`.
    pub fn of(seq: u8, entry: Entry) -> Self {
        let (phase, outcome, facts) = match entry.what {
            What::Copied(content) => (Some(Phase::Copied), None, Some(content)),
            What::Verified => (None, None, None),
            What::Committed => (Some(Phase::Committed), None, None),
            What::SourceDeleted => (Some(Phase::SourceDeleted), None, None),
            What::SourceKept => (Some(Phase::Committed), Some(Outcome::SourceKept), None),
            What::Failed(phase) => (Some(phase), Some(Outcome::Failed), None),
            What::Skipped => (None, Some(Outcome::Skipped), None),
            What::Returned(to) => (Some(to), None, None),
        };
        Self {
            seq,
            phase,
            outcome,
            facts,
        }
    }

    /// `MirrorUpdate::follow`.
    pub fn follow(&mut self, later: Self) {
        let before = std::mem::replace(self, later);
        self.phase = self.phase.or(before.phase);
        self.facts = self.facts.or(before.facts);
    }
}

/// The guard of the mirror's `UPDATE`: nothing older, and never across the commit.
pub fn takes(object: &Object, epoch: u8, update: Update, setup: &Setup) -> bool {
    let is_behind = |phase: Phase| phase >= Phase::Committed;
    let crosses = update
        .phase
        .is_some_and(|phase| is_behind(phase) != is_behind(object.phase));
    (object.epoch, object.seq) < (epoch, update.seq)
        && !(crosses && setup.rules.hold(Rule::CommittedOnlyFromDatabase))
}

/// The mirror's `UPDATE`.
pub fn mirror(object: &mut Object, epoch: u8, update: Update, setup: &Setup) {
    if !takes(object, epoch, update, setup) {
        return;
    }
    object.phase = update.phase.unwrap_or(object.phase);
    object.outcome = update.outcome;
    object.facts = update.facts.or(object.facts);
    object.journaled = true;
    object.epoch = epoch;
    object.seq = update.seq;
}

/// Whether an update knows of a commit that the database has lost.
pub fn is_lost_commit(object: &Object, epoch: u8, update: Update) -> bool {
    (object.epoch, object.seq) < (epoch, update.seq)
        && object.phase < Phase::Committed
        && update.phase >= Some(Phase::Committed)
}

/// The tuple as far as the row has it: a row may lack its digest.
fn is_same(setup: &Setup, a: Row, b: Row) -> bool {
    let rules = setup.rules;
    a.at == b.at
        && (a.content == b.content || !setup.digests || !rules.hold(Rule::SwapComparesDigest))
        && (a.stamp == b.stamp || !rules.hold(Rule::SwapComparesLastUpdated))
}

/// `row_as_planned` and `dest_in_use` of the load.
pub fn look(world: &World, setup: &Setup, task: usize, i: usize) -> (bool, bool) {
    let object = world.object(task, i);
    let row = world.db.rows[i];
    let whole = |a: Row, b: Row| {
        (a.at, a.stamp) == (b.at, b.stamp) && (a.content == b.content || !setup.digests)
    };
    let as_planned = whole(row, object.planned) || !setup.rules.hold(Rule::RereadRowBeforeWrite);
    let dest_in_use = setup.others_at(&world.db, i, object.to);
    (as_planned, dest_in_use)
}

/// What a process hands to the commit.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    pub content: Content,
    pub seq: u8,
    pub epoch: u8,
}

/// The commit: true if the row moved, or had moved before.
pub fn swap(world: &mut World, setup: &Setup, task: usize, i: usize, commit: Commit) -> bool {
    let object = *world.object(task, i);
    let row = world.db.rows[i];
    let content = commit.content;
    if is_same(setup, row, object.planned) {
        let after = match object.after {
            Some(before) if object.restores => Row { content, ..before },
            _ => {
                world.clock += 1;
                Row {
                    at: object.to,
                    content,
                    stamp: world.clock,
                }
            }
        };
        world.db.rows[i] = after;
        let object = world.object_mut(task, i);
        object.after = Some(after);
        object.phase = Phase::Committed;
        object.outcome = None;
        object.swapped = true;
        object.facts = Some(content);
        object.journaled = false;
        object.epoch = commit.epoch;
        object.seq = commit.seq;
        return true;
    }
    object.phase >= Phase::Committed && setup.rules.hold(Rule::RecogniseOwnCommit)
}

/// `DELETABLE`.
pub fn deletable(world: &World, setup: &Setup, task: usize, i: usize) -> Deletable {
    let object = world.object(task, i);
    if object.phase != Phase::Committed {
        return Deletable::RowChanged;
    }
    let row = world.db.rows[i];
    let rules = setup.rules;
    if object.is_left_over() && !rules.hold(Rule::LeftoverOnlyIfUnused) {
        return Deletable::Yes;
    }
    let is_ours = object.after.is_some_and(|after| {
        (after.at, after.stamp) == (row.at, row.stamp)
            && (after.content == row.content || !setup.digests)
    });
    if !is_ours && rules.hold(Rule::DeleteAsksForOwnRow) {
        return Deletable::RowChanged;
    }
    let at_source = setup.others_at(&world.db, i, object.planned.at);
    if at_source && rules.hold(Rule::DeleteAsksForOtherRows) {
        return Deletable::Shared;
    }
    Deletable::Yes
}

/// The plan of a migration from `A` to `B`.
pub fn plan_forward(db: &mut Database, setup: &Setup) {
    let mut objects = [None; OBJECTS];
    for (i, slot) in objects.iter_mut().enumerate().take(setup.objects) {
        let planned = db.rows[i];
        if planned.at != Place::A {
            continue;
        }
        *slot = Some(Object {
            planned,
            to: Place::B,
            after: None,
            restores: false,
            refused: setup.meet && setup.rules.hold(Rule::RefuseMeeting),
            shared: setup.others_at(db, i, Place::A),
            phase: Phase::Pending,
            outcome: None,
            facts: None,
            swapped: false,
            journaled: true,
            epoch: 0,
            seq: 0,
        });
    }
    db.tasks[0] = Some(new_task(TaskKind::Forward, objects));
}

fn new_task(kind: TaskKind, objects: [Option<Object>; OBJECTS]) -> Task {
    Task {
        kind,
        state: TaskState::Running,
        objects,
        epoch: 1,
        head: [0; OBJECTS],
        hash: 0,
        unclean: true,
        hash_before: None,
    }
}

/// The plans of `plan_follow_up.rs`; false if there is nothing to do.
pub fn plan_follow_up(world: &mut World, setup: &Setup, kind: TaskKind) -> bool {
    let holds = [Place::A, Place::B].map(|place| {
        [0, 1].map(|i| i < setup.objects && setup.read(world, place, i) != Content::Absent)
    });
    let db = &mut world.db;
    let parent = db.tasks[0].expect("a follow-up has a parent");
    let mut objects = [None; OBJECTS];
    for (i, slot) in objects.iter_mut().enumerate().take(setup.objects) {
        *slot = parent.objects[i].and_then(|object| match kind {
            TaskKind::DeleteSource => delete_source(object),
            _ => reverse(object).or_else(|| {
                let may_be_there = holds[object.to as usize][i];
                leftover(object, setup).filter(|_| may_be_there)
            }),
        });
        if let Some(object) = slot {
            object.shared = setup.others_at(db, i, object.planned.at);
            object.refused = false;
            object.journaled = true;
            object.outcome = None;
            object.epoch = 0;
            object.seq = 0;
        }
    }
    let has_any = objects.iter().any(Option::is_some);
    if has_any {
        db.tasks[1] = Some(new_task(kind, objects));
    }
    has_any
}

fn reverse(object: Object) -> Option<Object> {
    (object.phase >= Phase::Committed && object.swapped).then(|| Object {
        planned: object.after.expect("a swapped row has its new tuple"),
        to: object.to.other(),
        after: Some(object.planned),
        restores: true,
        phase: Phase::Pending,
        facts: None,
        swapped: false,
        ..object
    })
}

/// What lies at a destination that was never committed, whether or not an entry tells of it.
fn leftover(object: Object, setup: &Setup) -> Option<Object> {
    let is_copied = matches!(object.phase, Phase::Copied | Phase::Verified);
    let is_told = is_copied && object.outcome != Some(Outcome::Skipped);
    let may_be = is_told || (setup.rules.hold(Rule::LookForStrays) && !object.refused);
    if object.phase >= Phase::Committed || !may_be {
        return None;
    }
    Some(Object {
        planned: Row {
            at: object.to,
            content: object.facts.unwrap_or(object.planned.content),
            stamp: object.planned.stamp,
        },
        to: object.to.other(),
        after: Some(object.planned),
        restores: true,
        phase: Phase::Committed,
        facts: Some(object.planned.content),
        swapped: false,
        ..object
    })
}

fn delete_source(object: Object) -> Option<Object> {
    (object.phase == Phase::Committed).then_some(Object {
        swapped: false,
        ..object
    })
}
