//! What goes from the journal to the mirror while a run lasts, and at its end:
//! `engine/flow/mirror.rs` and the last words of `engine/run/ending.rs`.

use windlass::model::Outcome;

use crate::catalog::{self, Update};
use crate::engine::{has_lock, is_at_its_end};
use crate::rules::Rule;
use crate::search::Found;
use crate::setup::Setup;
use crate::world::{OBJECTS, Object, Step, TaskState, World};

/// What the mirroring task would take along now, if it is more than the database has.
pub fn to_mirror(world: &World, setup: &Setup, m: usize) -> Option<[u8; OBJECTS]> {
    let process = world.process(m);
    let mut world = *world;
    let checkpoint = world.checkpoint(m);
    let head = match setup.rules.hold(Rule::MirrorBehindSync) {
        true => checkpoint.synced,
        false => checkpoint.lens(),
    };
    (head != process.acknowledged).then_some(head)
}

/// Whether a flush would tell the database anything: where it refuses a row, what it lacks is tried
/// again and again.
pub fn has_news(world: &World, setup: &Setup, m: usize) -> bool {
    let mut after = *world;
    to_mirror(world, setup, m).is_some()
        && (world.refused.is_none() || flush(&mut after, setup, m).is_err() || after != *world)
}

/// A batch of the mirroring task, with its head, in one transaction. What the database refuses is
/// left out of it, as by `mirror_apart`, and then the head stays where it is.
pub fn flush(world: &mut World, setup: &Setup, m: usize) -> Found {
    let process = *world.process(m);
    let checkpoint = *world.checkpoint(m);
    let task = process.task;
    let is_latest = world.task(task).epoch == checkpoint.epoch;
    if !is_latest && setup.rules.hold(Rule::YieldToSuccessor) {
        interrupt(world, setup, m);
        return Ok(());
    }
    let has_gone_back = is_latest && is_behind(world.task(task).head, process.acknowledged);
    if has_gone_back && setup.rules.hold(Rule::MirrorNeverSkips) {
        interrupt(world, setup, m);
        return Ok(());
    }
    // The real one sends its head, which is all that is left, twice a second.
    let Some(head) = to_mirror(world, setup, m) else {
        return Ok(());
    };
    let before = world.db;
    let mut is_unmirrored = false;
    for (i, &last) in head.iter().enumerate().take(setup.objects) {
        let mut update: Option<Update> = None;
        for (seq, entry) in checkpoint.entries[i].after(process.acknowledged[i]) {
            if seq > last {
                break;
            }
            let mut next = Update::of(seq, entry);
            next.phase = Some(checkpoint.told(i, seq)?.phase);
            match &mut update {
                None => update = Some(next),
                Some(update) => update.follow(next),
            }
        }
        if let Some(update) = update {
            let refuses = world.refused == Some(i);
            let object = world.object_mut(task, i);
            let is_lost = catalog::is_lost_commit(object, checkpoint.epoch, update);
            if is_lost && setup.rules.hold(Rule::MirrorFindsLostCommits) {
                world.db = before;
                interrupt(world, setup, m);
                return Ok(());
            }
            if refuses && catalog::takes(object, checkpoint.epoch, update, setup) {
                is_unmirrored = true;
            } else {
                catalog::mirror(object, checkpoint.epoch, update, setup);
            }
        }
    }
    if is_unmirrored && setup.rules.hold(Rule::HeadWaitsForRefused) {
        return Ok(());
    }
    if is_latest && !is_behind(head, world.task(task).head) {
        let entry = world.task_mut(task);
        entry.head = head;
        entry.hash = checkpoint.hash_at(head).expect("the head is there");
    }
    let is_before_latest = checkpoint.epoch + 1 == world.task(task).epoch;
    if is_before_latest && world.task(task).hash_before.is_some() {
        // Its own row, which the entry `rebuilt` of its successor names.
        world.task_mut(task).hash_before = checkpoint.hash_at(head);
    }
    world.process_mut(m).acknowledged = head;
    Ok(())
}

fn is_behind(head: [u8; OBJECTS], other: [u8; OBJECTS]) -> bool {
    head.iter().zip(other).any(|(a, b)| *a < b)
}

/// The run ends early, in good order.
pub fn interrupt(world: &mut World, setup: &Setup, m: usize) {
    let task = world.process(m).task;
    world.checkpoint(m).sync();
    if world.lock == Some(m) {
        world.task_mut(task).state = TaskState::Interrupted;
        end_executor(world, setup, m);
    }
    crate::faults::leave(world, setup, m);
}

/// Tells of a clean end, where it is one.
fn end_executor(world: &mut World, setup: &Setup, m: usize) {
    let process = world.process(m);
    let task = process.task;
    let mut items = process.items.iter().flatten();
    let abandons = items.any(|item| matches!(item.step, Step::Putting(_) | Step::Deleting));
    let is_late = world.late.iter().flatten().any(|late| late.task == task);
    let rules = setup.rules;
    let is_unclean = (abandons && rules.hold(Rule::AbandonedIsUnclean))
        || (is_late && rules.hold(Rule::EarlierRunsCount));
    world.task_mut(task).unclean = is_unclean;
}

/// Whether every object of a process has come to rest.
pub fn is_at_rest(world: &World, m: usize) -> bool {
    let mut items = world.process(m).items.iter().flatten();
    items.all(|item| item.step == Step::AtRest)
}

/// The end of a run: the mirror is brought up to the journal, and the task gets its state.
pub fn finish(world: &mut World, setup: &Setup, m: usize) -> Found {
    flush(world, setup, m)?;
    if world.processes[m].is_none() {
        return Ok(());
    }
    let task = world.process(m).task;
    if has_lock(world, m) {
        world.task_mut(task).state = state_of(world, setup, task);
        end_executor(world, setup, m);
        let checkpoint = *world.checkpoint(m);
        if world.task(task).epoch == checkpoint.epoch {
            agree(world, setup, m)?;
        }
        world.calm_runs += u8::from(world.task(task).state != TaskState::Complete);
    }
    crate::faults::leave(world, setup, m);
    Ok(())
}

/// `Summary::is_complete` and what else a run's end comes to.
fn state_of(world: &World, setup: &Setup, task: usize) -> TaskState {
    let mut state = TaskState::Complete;
    for i in 0..setup.objects {
        let object = world.task(task).objects[i];
        let Some(object) = object.filter(|object| !is_at_its_end(object)) else {
            continue;
        };
        // `with_unmirrored`: a row that is refused counts as failed.
        if object.outcome != Some(Outcome::Failed) && world.refused != Some(i) {
            return TaskState::Interrupted;
        }
        state = TaskState::Failed;
    }
    state
}

/// The mirror says at the end of a run what the journal says.
fn agree(world: &mut World, setup: &Setup, m: usize) -> Found {
    let task = world.process(m).task;
    let checkpoint = *world.checkpoint(m);
    for i in 0..setup.objects {
        // A commit of which this process has not heard is left to the next; what another executor
        // has told last stands in another journal.
        let ours = |object: &Object| object.journaled && object.epoch == checkpoint.epoch;
        let Some(object) = world.task(task).objects[i].filter(ours) else {
            continue;
        };
        if world.refused == Some(i) {
            continue;
        }
        let told = checkpoint.told(i, checkpoint.entries[i].len())?;
        if (told.phase, told.outcome) != (object.phase, object.outcome) {
            return Err(format!(
                "at the end the journal has object {i} {:?} {:?}, the mirror {:?} {:?}",
                told.phase, told.outcome, object.phase, object.outcome
            ));
        }
    }
    Ok(())
}
