//! What must hold in every world, and at every end.

use windlass::model::{Outcome, Phase, TaskKind};

use crate::search::Found;
use crate::setup::{Fault, Setup};
use crate::world::{Content, Place, Row, Sent, Step, TaskState, World, task_of};

/// Takes back what has healed: a row is right again, and no delete is under way that was decided
/// upon before a failover.
pub fn heal(world: &mut World, setup: &Setup) {
    for i in 0..setup.objects {
        let mut late = world.late.iter().flatten();
        let is_late = late.any(|late| late.object == i && late.sent == Sent::Delete);
        let mut items = world
            .processes
            .iter()
            .flatten()
            .map(|process| process.items[i]);
        let is_sent = items.any(|item| item.is_some_and(|item| item.step == Step::Deleting));
        world.hurt[i] &= is_late || is_sent || !is_right(world, setup, i);
    }
}

fn is_right(world: &World, setup: &Setup, i: usize) -> bool {
    setup.read(world, world.db.rows[i].at, i) == world.truth[i]
}

/// In every world: each row points at its whole, right document, and no document is nowhere.
pub fn always(world: &World, setup: &Setup) -> Found {
    for i in 0..setup.objects {
        let mut places = [Place::A, Place::B].into_iter();
        if !places.any(|place| setup.read(world, place, i) == world.truth[i]) {
            return Err(format!("the document of object {i} is nowhere"));
        }
        if !world.hurt[i] && !is_right(world, setup, i) {
            return Err(format!("row {i} does not point at its document"));
        }
        let there = setup.read(world, Place::B, i);
        if world.robbed {
            return Err("another deployment's document is deleted".into());
        }
        if setup.foreign && there != Content::Foreign {
            return Err("a document that was at the destination before is gone".into());
        }
    }
    begins_where_the_last_ended(world)
}

/// Where nothing more is to be done: every task has come to an end, and it is the right one.
pub fn at_the_end(world: &World, setup: &Setup) -> Found {
    if world.processes.iter().any(Option::is_some) {
        return Err("a process is stuck".into());
    }
    // A failover that took the mirror, with the journal lost as well: two copies of one truth.
    let both_lost = world.failed_over && world.checkpoint_lost;
    let is_calm = !world.meddled && !both_lost;
    let is_refused = setup.meet || setup.foreign || setup.alias || world.refused.is_some();
    let is_reversed = world.db.tasks[1].is_some_and(|task| task.kind == TaskKind::Reverse);
    for (number, task) in world.db.tasks.iter().enumerate() {
        let Some(task) = task else { continue };
        let is_over = number == 0 && is_reversed;
        if is_calm && !is_refused && !is_over && task.state != TaskState::Complete {
            return Err(format!("task {number} is {:?}, and stays so", task.state));
        }
        for object in task.objects.iter().flatten() {
            let is_skipped = object.outcome == Some(Outcome::Skipped);
            if is_calm && is_skipped && !is_over {
                return Err("an object is skipped that nobody has touched".into());
            }
            if is_skipped && object.phase >= Phase::Committed {
                return Err("an object is skipped whose row was moved".into());
            }
        }
    }
    if !is_calm || is_refused {
        return Ok(());
    }
    for i in 0..setup.objects {
        if world.hurt[i] {
            return Err(format!("row {i} is never set right again"));
        }
        places_at_the_end(world, setup, i, is_reversed)?;
    }
    Ok(())
}

/// A journal that was made anew names the head of the one before it, as `journal verify` holds it
/// against the database.
fn begins_where_the_last_ended(world: &World) -> Found {
    for (at, checkpoint) in world.checkpoints.iter().enumerate() {
        let Some(checkpoint) = checkpoint else {
            continue;
        };
        let Some(task) = world.db.tasks[task_of(at)] else {
            continue;
        };
        if checkpoint.epoch == task.epoch && checkpoint.behind != task.hash_before {
            return Err("a rebuilt journal names another head than the database has".into());
        }
    }
    Ok(())
}

/// Undisturbed by other hands: all is moved and cleaned up, or all is as it was.
fn places_at_the_end(world: &World, setup: &Setup, i: usize, is_reversed: bool) -> Found {
    let row = world.db.rows[i];
    if is_reversed {
        let before = Row {
            at: Place::A,
            content: setup.old(i),
            stamp: 0,
        };
        if row != before {
            return Err(format!("row {i} is not what it was before the migration"));
        }
        let (_, key) = setup.slot(Place::B, i);
        let is_left = setup.read(world, Place::B, i) != Content::Absent && !world.others[key];
        // Of a place that was in use before, and has no marks, nobody knows whose it is.
        let is_known = setup.marks || !setup.was_in_use();
        return match is_left && is_known {
            true => Err(format!("a copy of object {i} is left behind")),
            false => Ok(()),
        };
    }
    if row.at != Place::B {
        return Err(format!("row {i} was never moved"));
    }
    let is_cleaned_up = !setup.nodelete || world.db.tasks[1].is_some();
    let is_there = setup.read(world, Place::A, i) != Content::Absent;
    // A source that two rows share may be left by a failover, which takes one of them back to it.
    let may_stay = setup.shared && setup.may(Fault::Failover);
    match is_cleaned_up && is_there && !may_stay && !world.checkpoint_lost {
        true => Err(format!("the source of object {i} is left behind")),
        false => Ok(()),
    }
}
