//! What must hold in every world, when the task is closed, and where nothing more is to be done.

use windlass::model::{Outcome, Phase};

use super::audited;
use super::failover;
use super::journal;
use super::setup::{Fault, Setup};
use super::world::{Active, Content, EXECUTORS, PLANNED, Place, Step, World};
use crate::search::Found;

pub fn always(world: &World, setup: &Setup) -> Found {
    for i in 0..setup.objects {
        let mut places = [Place::A, Place::B].into_iter();
        if !places.any(|place| world.is_document(setup, place, i)) {
            return Err(format!("the document of object {i} is nowhere"));
        }
        if !world.hurt[i] && !world.is_right(setup, i) {
            return Err(format!("row {i} does not point at its document"));
        }
        let is_undone = !setup.may(Fault::TaskBetween) && world.db.active == Active::Another;
        if is_undone && world.db.rows[i] != PLANNED {
            return Err(format!("row {i} is moved against another task"));
        }
    }
    Ok(())
}

/// Nobody may be in the middle of something.
pub fn at_the_close(world: &World, setup: &Setup) -> Found {
    if !world.all_done(setup) {
        return Err("the task is closed before every shard is done".into());
    }
    // Services begin, and store what a late request would hit.
    let others = world.processes.iter().flatten().count() > 1;
    if setup.online && (others || world.late != [None; 2]) {
        return Err("the cut-over is closed, and what was sent before may still arrive".into());
    }
    for process in world.processes.iter().flatten() {
        // One that has stood still asks first.
        let acts = |step| match step {
            Step::Sent(_) => true,
            Step::Asked(_) => !process.jumped,
            _ => false,
        };
        let mut items = process.items.iter().flatten();
        if items.any(|item| acts(item.step)) {
            return Err("the task is closed while somebody acts on it".into());
        }
    }
    Ok(())
}

pub fn at_the_end(world: &World, setup: &Setup) -> Found {
    if world.processes.iter().any(Option::is_some) {
        return Err("everybody waits for somebody else".into());
    }
    if world.db.active == Active::Another {
        return Ok(());
    }
    // The operator has to see to it.
    let may_go_on = |e| failover::journals_allow(world, setup, e);
    if failover::is_stopped(world, setup) && !(0..EXECUTORS).any(may_go_on) {
        return Ok(());
    }
    // What only a lost checkpoint could go on with, a new executor would: it is the other one here.
    if !world.db.closed && world.journals == [None; 2] {
        return Ok(());
    }
    if !world.db.closed {
        return Err("the task is never closed".into());
    }
    journal::each_fits(world, setup)?;
    journal::agree(world, setup)?;
    audited::by_the_auditor(world, setup)?;
    for i in 0..setup.objects {
        if world.timeline > 0 && !world.is_right(setup, i) {
            return Err(format!("row {i} is left without its document"));
        }
    }
    if world.meddled {
        return Ok(());
    }
    for i in 0..setup.objects {
        let object = world.db.objects[i];
        if setup.online {
            if object.phase != Phase::Committed {
                return Err(format!("object {i} has not gone over"));
            }
            continue;
        }
        let is_kept = setup.shared && object.outcome == Some(Outcome::SourceKept);
        if object.phase != Phase::SourceDeleted && !is_kept {
            let (phase, outcome) = (object.phase, object.outcome);
            return Err(format!("object {i} is left {phase} {outcome:?}"));
        }
        if world.read(setup, Place::A, i) != Content::Absent {
            return Err(format!("the source of object {i} is left behind"));
        }
    }
    Ok(())
}
