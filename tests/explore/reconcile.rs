//! Checkpoint and mirror brought together, as `engine/run/recover.rs` does it.

use windlass::model::Phase;

use crate::catalog::{self, Update};
use crate::engine::is_at_its_end;
use crate::journal::{Checkpoint, Entry, What};
use crate::rules::Rule;
use crate::search::Found;
use crate::setup::Setup;
use crate::world::World;

/// Whether the database takes what it is told: a task whose mirror can't be brought up to its journal
/// is not gone on with.
type Taken = bool;

/// `Replay`: what entries beyond the mirrored head say, on either side of the commit.
pub fn replay(world: &mut World, setup: &Setup, m: usize, is_first: bool) -> Taken {
    if !setup.rules.hold(Rule::ReplayBeyondMirror) {
        return true;
    }
    let rolled_back = world.db;
    let process = *world.process(m);
    let checkpoint = *world.checkpoint(m);
    for i in 0..setup.objects {
        if world.task(process.task).objects[i].is_none() {
            continue;
        }
        let entries = checkpoint.entries[i].after(process.acknowledged[i]);
        let Sides { before, behind } = sides(entries);
        let update = if is_first { before } else { behind.or(before) };
        if let Some(update) = update
            && !tell(world, setup, m, i, update)
        {
            world.db = rolled_back;
            return false;
        }
    }
    true
}

/// One update; false where the database refuses it.
fn tell(world: &mut World, setup: &Setup, m: usize, i: usize, update: Update) -> Taken {
    let task = world.process(m).task;
    let epoch = world.checkpoint(m).epoch;
    let refuses = world.refused == Some(i);
    let object = world.object_mut(task, i);
    if refuses && catalog::takes(object, epoch, update, setup) {
        return false;
    }
    catalog::mirror(object, epoch, update, setup);
    true
}

#[derive(Default)]
struct Sides {
    before: Option<Update>,
    behind: Option<Update>,
}

/// `Replay::take`.
fn sides(entries: impl Iterator<Item = (u8, Entry)>) -> Sides {
    let mut sides = Sides::default();
    for (seq, entry) in entries {
        let mut update = Update::of(seq, entry);
        let mut is_behind = sides.behind.is_some();
        match entry.what {
            What::Verified if !is_behind => update.phase = Some(Phase::Verified),
            What::Returned(_) => sides.behind = None,
            _ => {}
        }
        if let Some(phase) = update.phase {
            is_behind = phase >= Phase::Committed;
        }
        let side = match is_behind {
            true => &mut sides.behind,
            false => &mut sides.before,
        };
        match side {
            None => *side = Some(update),
            Some(earlier) => earlier.follow(update),
        }
    }
    sides
}

/// Commits that the journal has and the database has not.
pub fn return_lost_commits(world: &mut World, setup: &Setup, m: usize) -> Found {
    let process = *world.process(m);
    for i in 0..setup.objects {
        let Some(object) = world.task(process.task).objects[i] else {
            continue;
        };
        let checkpoint = world.checkpoint(m);
        let entries = checkpoint.entries[i].after(process.acknowledged[i]);
        let is_lost = sides(entries).behind.is_some() && object.phase < Phase::Committed;
        if is_lost
            && setup.rules.hold(Rule::ReturnLostCommits)
            && setup.rules.hold(Rule::ReplayBeyondMirror)
        {
            append(checkpoint, i, What::Returned(Phase::Verified))?;
        }
    }
    Ok(())
}

fn append(checkpoint: &mut Checkpoint, i: usize, what: What) -> Found {
    checkpoint.entries[i].push(Entry {
        what,
        begins_lease: false,
    });
    checkpoint.sync();
    checkpoint.told(i, checkpoint.entries[i].len()).map(drop)
}

pub fn head_goes_out(world: &mut World, m: usize) {
    let checkpoint = *world.checkpoint(m);
    let task = world.process(m).task;
    let row = world.task_mut(task);
    // An old copy that was not found out stays behind the head.
    let lens = checkpoint.lens();
    if row.head.iter().zip(lens).all(|(head, len)| *head <= len) {
        row.head = lens;
        row.hash = checkpoint.hash_at(lens).expect("all entries are there");
    }
    world.process_mut(m).acknowledged = lens;
}

/// `journal_commits`, of those without an entry or, in a new checkpoint, of all that are open.
pub fn journal_commits(world: &mut World, setup: &Setup, m: usize, only_cut_off: bool) -> Found {
    let task = world.process(m).task;
    for i in 0..setup.objects {
        let Some(object) = world.task(task).objects[i] else {
            continue;
        };
        let is_wanted = match only_cut_off {
            true => !object.journaled && !is_refused(world, setup, m, i),
            // What a task began with as committed was not committed by it.
            false => object.phase == Phase::Committed && object.swapped,
        };
        if is_wanted && !is_at_its_end(&object) {
            append(world.checkpoint(m), i, What::Committed)?;
        }
    }
    Ok(())
}

/// Whether the last flush has left something of an object out, since the database refuses its row: all
/// that the mirror lacks of it then is in the journal.
fn is_refused(world: &mut World, setup: &Setup, m: usize, i: usize) -> bool {
    let task = world.process(m).task;
    let checkpoint = world.checkpoint(m);
    let told = (checkpoint.epoch, checkpoint.entries[i].len());
    let there = world.object(task, i);
    let is_left_out = world.refused == Some(i) && (there.epoch, there.seq) < told;
    is_left_out && setup.rules.hold(Rule::RefusedIsNotCutOff)
}

pub fn mirror_commits(world: &mut World, setup: &Setup, m: usize) -> Taken {
    let rolled_back = world.db;
    let checkpoint = *world.checkpoint(m);
    for i in 0..setup.objects {
        let entries = &checkpoint.entries[i];
        let last = entries.after(entries.len().saturating_sub(1)).next();
        if let Some((seq, entry)) = last
            && entry.what == What::Committed
            && !tell(world, setup, m, i, Update::of(seq, entry))
        {
            world.db = rolled_back;
            return false;
        }
    }
    true
}
