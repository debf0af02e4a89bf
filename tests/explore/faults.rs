//! What others do to the world: crashes, lost locks, failovers, and hands that are not ours.

use windlass::model::{Action, Phase, Rest};

use crate::engine;
use crate::rules::Rule;
use crate::search::Found;
use crate::setup::{Fault, Setup};
use crate::world::{Content, Database, Item, Late, Place, Row, Sent, Stage, Step, World};

/// A process ends. What it had sent is still on the wire; its lock is free.
pub fn leave(world: &mut World, setup: &Setup, m: usize) {
    let Some(process) = world.processes[m].take() else {
        return;
    };
    if world.lock == Some(m) {
        world.lock = None;
    }
    for i in 0..setup.objects {
        let Some(item) = process.items[i] else {
            continue;
        };
        let object = world.object(process.task, i);
        let (place, sent) = match item.step {
            Step::Putting(content) => (object.to, Sent::Put(content)),
            Step::Deleting => (object.planned.at, Sent::Delete),
            // What no reader sees goes with the process.
            Step::Copying(_) | Step::ReadBack => continue,
            Step::Ready | Step::Written { .. } | Step::AtRest => continue,
        };
        let late = Late {
            task: process.task,
            object: i,
            place,
            sent,
        };
        send(world, late);
    }
}

fn send(world: &mut World, late: Late) {
    if let Some(free) = world.late.iter_mut().find(|slot| slot.is_none()) {
        *free = Some(late);
    }
    // The same world, whichever was sent first.
    world
        .late
        .sort_by_key(|late| late.map_or((9, 9), |late| (late.task, late.object)));
}

/// What was on the wire arrives.
pub fn land(world: &mut World, setup: &Setup, at: usize) {
    let Some(late) = world.late[at].take() else {
        return;
    };
    match late.sent {
        Sent::Put(content) => setup.write(world, late.place, late.object, content),
        Sent::Delete => setup.write(world, late.place, late.object, Content::Absent),
        Sent::Swap => {
            let object = *world.object(late.task, late.object);
            if let Some(content) = object.facts {
                let commit = crate::catalog::Commit {
                    content,
                    seq: object.seq,
                    epoch: object.epoch,
                };
                crate::catalog::swap(world, setup, late.task, late.object, commit);
            }
        }
    }
}

/// What may go wrong in this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    Kill(usize),
    Stop(usize),
    PowerCut(usize),
    LockLoss,
    AnswerLoss(usize, usize),
    /// The commit is carried out and said to have failed; the connection stays.
    AnswerGarbled(usize, usize),
    SwapDelayed(usize, usize),
    CheckpointLoss,
    CopyCheckpoint,
    PutCopyBack,
    ReplicaStalls,
    Failover,
    RefuseRow(usize),
    AllowRow,
    AnchoreMoves(usize, Place),
    Overwrite(usize, Place),
    Damage(usize, Place),
    CloneStores(usize),
    ResumeElsewhere,
}

/// All disturbances that are possible now.
pub fn possible(world: &World, setup: &Setup) -> Vec<Disturbance> {
    let mut found = Vec::new();
    if world
        .replica
        .is_some_and(|replica| can_take_over(world, &replica))
    {
        found.push(Disturbance::Failover);
    }
    if world.old_copy.is_some() && world.processes[0].is_none() {
        found.push(Disturbance::PutCopyBack);
    }
    if world.refused.is_some() {
        found.push(Disturbance::AllowRow);
    }
    if world.left == 0 {
        return found;
    }
    of_processes(world, setup, &mut found);
    of_checkpoints(world, setup, &mut found);
    of_others(world, setup, &mut found);
    found
}

/// Left out: a replica from before a task or an executor was noted.
fn can_take_over(world: &World, replica: &Database) -> bool {
    let epochs = |db: &Database| db.tasks.map(|task| task.map(|task| task.epoch));
    epochs(&world.db) == epochs(replica)
}

fn of_processes(world: &World, setup: &Setup, found: &mut Vec<Disturbance>) {
    for (m, process) in world.processes.iter().enumerate() {
        let Some(process) = process else { continue };
        if setup.may(Fault::Kill) {
            found.push(Disturbance::Kill(m));
        }
        if setup.may(Fault::Stop) && process.stage == Stage::Running {
            found.push(Disturbance::Stop(m));
        }
        if setup.may(Fault::PowerCut) {
            found.push(Disturbance::PowerCut(m));
        }
        let may_commit = |item: &Item| {
            item.step == Step::Ready
                && item.checked
                && item.state.next(Rest::SourceDeleted) == Some(Action::Commit)
        };
        for i in 0..setup.objects {
            let commits = process.items[i].is_some_and(|item| may_commit(&item));
            if !commits || world.lock != Some(m) || world.refused == Some(i) {
                continue;
            }
            if setup.may(Fault::AnswerLoss) {
                found.push(Disturbance::AnswerLoss(m, i));
                found.push(Disturbance::AnswerGarbled(m, i));
            }
            if setup.may(Fault::LockLoss) && !setup.rules.hold(Rule::SwapUnderLock) {
                found.push(Disturbance::SwapDelayed(m, i));
            }
        }
    }
    if setup.may(Fault::LockLoss) && world.lock.is_some() {
        found.push(Disturbance::LockLoss);
    }
    let may_begin_elsewhere = crate::beginning::may_resume(world, setup, 1, 0);
    if setup.may(Fault::SecondMachine) && may_begin_elsewhere {
        found.push(Disturbance::ResumeElsewhere);
    }
}

fn of_checkpoints(world: &World, setup: &Setup, found: &mut Vec<Disturbance>) {
    let is_free = world.processes[0].is_none();
    if setup.may(Fault::CheckpointLoss) && is_free && world.checkpoints[0].is_some() {
        found.push(Disturbance::CheckpointLoss);
    }
    if setup.may(Fault::OldCheckpoint) && world.old_copy.is_none() {
        found.push(Disturbance::CopyCheckpoint);
    }
    if setup.may(Fault::Failover) && world.replica.is_none() && !world.failed_over {
        found.push(Disturbance::ReplicaStalls);
    }
    if setup.may(Fault::MirrorRefuses) && world.refused.is_none() {
        found.extend((0..setup.objects).map(Disturbance::RefuseRow));
    }
}

fn of_others(world: &World, setup: &Setup, found: &mut Vec<Disturbance>) {
    for i in 0..setup.objects {
        for place in [Place::A, Place::B] {
            if !is_quiet(world, setup, place, i) {
                continue;
            }
            let row = world.db.rows[i];
            let is_whole = setup.read(world, row.at, i) == row.content;
            let moves = setup.may(Fault::AnchoreMoves) && world.lock.is_none();
            if moves && row.at != place && is_whole && is_quiet(world, setup, row.at, i) {
                found.push(Disturbance::AnchoreMoves(i, place));
            }
            let fault = match place {
                Place::A => Fault::OverwriteAtA,
                Place::B => Fault::OverwriteAtB,
            };
            if setup.may(fault) {
                found.push(Disturbance::Overwrite(i, place));
            }
            // Another document over ours would be damage, and is tried as that.
            let is_free = setup.read(world, place, i) == Content::Absent && world.lock.is_none();
            let stores = place == Place::B && setup.may(Fault::CloneStores);
            if stores && row.at != place && (setup.marks || is_free) {
                found.push(Disturbance::CloneStores(i));
            }
            let both = [place, place.other()].map(|place| setup.read(world, place, i));
            // Where a delete is under way there is no second copy any more.
            let is_spare = both == [world.truth[i]; 2]
                && !setup.alias
                && is_quiet(world, setup, place.other(), i);
            if setup.may(Fault::Damage) && world.lock.is_none() && is_spare {
                found.push(Disturbance::Damage(i, place));
            }
        }
    }
}

/// Whether nothing that we have sent, or decided to write on the strength of a look at the row,
/// can still reach a key. A store can't be fenced: somebody who writes between our look and our
/// write is the one thing that nothing but Anchore being stopped can prevent.
fn is_quiet(world: &World, setup: &Setup, place: Place, i: usize) -> bool {
    let slot = setup.slot(place, i);
    let mut late = world.late.iter().flatten();
    if late.any(|late| setup.slot(late.place, late.object) == slot) {
        return false;
    }
    for process in world.processes.iter().flatten() {
        for other in 0..setup.objects {
            let Some(item) = process.items[other] else {
                continue;
            };
            let object = world.object(process.task, other);
            let about_to_write = match item.step {
                Step::Putting(_) => Some(object.to),
                Step::Deleting => Some(object.planned.at),
                Step::Ready => will_put(process.believes, &item).then_some(object.to),
                // Looked at once more before it is seen.
                Step::Copying(_) | Step::ReadBack => None,
                Step::Written { .. } | Step::AtRest => None,
            };
            if about_to_write.is_some_and(|place| setup.slot(place, other) == slot) {
                return false;
            }
        }
    }
    true
}

fn will_put(believes: bool, item: &Item) -> bool {
    believes && item.checked && item.as_planned && item.state.phase == Phase::Pending
}

/// Lets a disturbance happen.
pub fn disturb(world: &mut World, setup: &Setup, what: Disturbance) -> Found {
    let is_free = matches!(
        what,
        Disturbance::Failover | Disturbance::PutCopyBack | Disturbance::AllowRow
    );
    world.left -= u8::from(!is_free);
    world.calm_runs = 0;
    match what {
        Disturbance::Kill(m) => {
            // Opening a checkpoint syncs it before it is believed.
            world.checkpoint(m).sync();
            leave(world, setup, m);
        }
        Disturbance::Stop(m) => crate::mirroring::interrupt(world, setup, m),
        Disturbance::PowerCut(m) => {
            world.checkpoint(m).cut_off();
            leave(world, setup, m);
        }
        Disturbance::LockLoss => world.lock = None,
        Disturbance::AnswerLoss(m, i) => {
            engine::swap(world, setup, m, i);
            world.lock = None;
            world.process_mut(m).believes = false;
        }
        Disturbance::AnswerGarbled(m, i) => {
            engine::swap(world, setup, m, i);
        }
        Disturbance::SwapDelayed(m, i) => {
            world.lock = None;
            let task = world.process(m).task;
            let late = Late {
                task,
                object: i,
                place: Place::B,
                sent: Sent::Swap,
            };
            send(world, late);
            // Its answer never comes; the process has been told of the loss.
            world.process_mut(m).believes = false;
        }
        Disturbance::CheckpointLoss => {
            world.checkpoints[0] = None;
            world.checkpoint_lost = true;
        }
        Disturbance::CopyCheckpoint => world.old_copy = world.checkpoints[0],
        Disturbance::PutCopyBack => put_copy_back(world),
        Disturbance::ReplicaStalls => world.replica = Some(world.db),
        Disturbance::Failover => fail_over(world, setup),
        Disturbance::RefuseRow(i) => world.refused = Some(i),
        Disturbance::AllowRow => world.refused = None,
        Disturbance::AnchoreMoves(i, to) => anchore_moves(world, setup, i, to),
        Disturbance::Overwrite(i, place) => overwrite(world, setup, i, place),
        Disturbance::Damage(i, place) => {
            setup.write(world, place, i, Content::Damaged);
            world.meddled = true;
            for other in 0..setup.objects {
                let row = world.db.rows[other];
                world.hurt[other] |= setup.read(world, row.at, other) != world.truth[other];
            }
        }
        Disturbance::CloneStores(i) => {
            let content = match setup.marks {
                true => setup.old(i),
                false => Content::Foreign,
            };
            setup.write(world, Place::B, i, content);
            world.others[setup.slot(Place::B, i).1] = true;
            world.meddled = true;
        }
        Disturbance::ResumeElsewhere => return crate::beginning::resume(world, setup, 1, 0),
    }
    Ok(())
}

fn put_copy_back(world: &mut World) {
    let copy = world.old_copy.take();
    world.checkpoints[0] = copy.map(|mut copy| {
        copy.cut_off();
        copy.is_old_copy = true;
        copy
    });
    world.checkpoint_lost = true;
}

/// The replica takes over: every connection ends, and what it had not got is gone.
fn fail_over(world: &mut World, setup: &Setup) {
    if let Some(replica) = world.replica.take() {
        world.db = replica;
    }
    world.lock = None;
    world.failed_over = true;
    // Rows may point at what has been deleted since. Only that it still is somewhere can be asked
    // for until a resume has set it right.
    for (i, hurt) in world.hurt.iter_mut().enumerate() {
        *hurt = i < setup.objects;
    }
}

fn anchore_moves(world: &mut World, setup: &Setup, i: usize, to: Place) {
    let row = world.db.rows[i];
    setup.write(world, to, i, row.content);
    world.clock += 1;
    world.db.rows[i] = Row {
        at: to,
        stamp: world.clock,
        ..row
    };
    // What another row points at it would lose; that is its own story.
    if !setup.others_at(&world.db, i, row.at) {
        setup.write(world, row.at, i, Content::Absent);
    }
    world.meddled = true;
}

fn overwrite(world: &mut World, setup: &Setup, i: usize, place: Place) {
    let content = Content::New(i as u8);
    setup.write(world, place, i, content);
    let stamp = match setup.stamps {
        true => {
            world.clock += 1;
            world.clock
        }
        false => world.db.rows[i].stamp,
    };
    world.db.rows[i] = Row {
        at: place,
        content,
        stamp,
    };
    world.truth[i] = content;
    world.meddled = true;
}
