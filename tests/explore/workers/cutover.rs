//! The cut-over of an online task whose passes were shared: one executor, which holds the lock exclusive,
//! opens the shards again, takes over those of the others, and commits.

use super::executor::{begin_tenure, hangs, take_locks};
use super::rules::Rule;
use super::setup::Setup;
use super::world::{Active, OBJECTS, Process, Stage, World};
use crate::search::Found;

/// Whether every copy is staged: then a worker has nothing more to do.
pub fn pass_is_over(world: &World, setup: &Setup) -> bool {
    setup.online && !world.db.cutover && world.all_done(setup)
}

/// Whether a worker that was let in has nothing to do.
pub fn leaves_nothing(world: &World, process: &Process) -> bool {
    let is_idle = process.items == [None; OBJECTS] && process.taking.is_none();
    world.db.cutover && is_idle && process.stage == Stage::Working
}

/// Who closes the task.
pub fn closes(setup: &Setup) -> Stage {
    match setup.online {
        true => Stage::Alone,
        false => Stage::Working,
    }
}

/// Whether workers may come to the task.
pub fn lets_in(world: &World, setup: &Setup) -> bool {
    !world.db.cutover || !setup.holds(Rule::CutoverIsAlone)
}

/// Whether somebody holds the lock exclusive for it.
pub fn holds_lock(world: &World) -> bool {
    let mut processes = world.processes.iter().zip(world.sessions);
    processes.any(|(process, session)| {
        let is_alone = process.is_some_and(|process| process.stage == Stage::Alone);
        is_alone && session.is_some()
    })
}

/// Begun, or begun again where the one before has died.
pub fn may_begin(world: &World, setup: &Setup, e: usize) -> bool {
    let is_due = pass_is_over(world, setup) || (world.db.cutover && !world.db.closed);
    let is_known_dead = match setup.holds(Rule::CutoverWaitsForAll) {
        true => world.processes == [None; 2] && world.late == [None; 2],
        false => world.processes[e].is_none(),
    };
    let is_free = world.lock_is_free() && !world.waits && world.hanging.is_none();
    let is_ours = world.journals[e].is_some() && world.db.active == Active::Ours;
    is_due && is_known_dead && is_free && is_ours && !hangs(world, e)
}

pub fn begin(world: &mut World, setup: &Setup, e: usize) -> Found {
    world.processes[e] = Some(Process::new(Stage::Alone));
    world.db.cutover = true;
    // What it has claimed before is told and claimed anew first, as by whoever comes back.
    take_locks(world, setup, e)?;
    for s in 0..setup.shards() {
        let shard = &mut world.db.shards[s];
        if !shard.done {
            continue;
        }
        shard.done = false;
        if !setup.holds(Rule::ReopenedKeepsOwner) {
            shard.owner = None;
        }
        if shard.owner == Some(e) {
            begin_tenure(world, setup, e, s);
        }
    }
    Ok(())
}
