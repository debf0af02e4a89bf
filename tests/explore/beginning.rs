//! How a process begins, and goes on in a new lease: `engine/task/resume.rs`, `start.rs`,
//! `follow_up.rs` and `regain.rs`, cut at every write.

use windlass::model::{Phase, State, TaskKind};

use crate::catalog;
use crate::engine::is_at_its_end;
use crate::journal::Checkpoint;
use crate::mirroring::flush;
use crate::reconcile::{
    head_goes_out, journal_commits, mirror_commits, replay, return_lost_commits,
};
use crate::rules::Rule;
use crate::search::Found;
use crate::setup::Setup;
use crate::world::{Item, OBJECTS, Process, Stage, Step, Task, TaskState, World, checkpoint_of};

/// Whether `resume` of a task would get beyond its gates.
pub fn may_resume(world: &World, setup: &Setup, m: usize, task: usize) -> bool {
    let Some(row) = &world.db.tasks[task] else {
        return false;
    };
    let reverse = world.db.tasks[1].map(|task| task.kind) == Some(TaskKind::Reverse);
    let is_reversed = task == 0 && reverse && setup.rules.hold(Rule::ReversedIsFinal);
    // One process at a time has a checkpoint open.
    let at = checkpoint_of(m, task);
    let mut others = world.processes.iter().enumerate();
    let is_open =
        others.any(|(m, other)| other.is_some_and(|other| checkpoint_of(m, other.task) == at));
    !is_open
        && world.processes[m].is_none()
        && world.lock.is_none()
        && row.state != TaskState::Complete
        && !is_reversed
        && has_outlasted(world, setup, task)
}

/// `preflight::wait_for_neighbours`: nothing that another task has sent can still arrive, and a
/// process of it that has lost the lock has noticed that. Whether there is anything to wait for,
/// the database tells.
fn has_outlasted(world: &World, setup: &Setup, task: usize) -> bool {
    if !setup.rules.hold(Rule::OutlastLateEffects) {
        return true;
    }
    let mut late = world.late.iter().flatten();
    let is_late = late.any(|late| late.task != task && world.task(late.task).unclean);
    let mut others = world.processes.iter().flatten();
    !is_late
        && !others.any(|process| {
            let mut items = process.items.iter().flatten();
            let is_sending =
                items.any(|item| matches!(item.step, Step::Putting(_) | Step::Deleting));
            process.task != task
                && world.task(process.task).unclean
                && (process.believes || is_sending)
        })
}

/// `resume`: the lock is taken, the checkpoint opened or made anew.
pub fn resume(world: &mut World, setup: &Setup, m: usize, task: usize) -> Found {
    world.lock = Some(m);
    let acknowledged = open_checkpoint(world, setup, m, task)?;
    world.task_mut(task).unclean = true;
    world.processes[m] = Some(Process {
        task,
        stage: Stage::Opened,
        believes: true,
        items: [None; OBJECTS],
        acknowledged,
    });
    Ok(())
}

fn open_checkpoint(
    world: &mut World,
    setup: &Setup,
    m: usize,
    task: usize,
) -> Result<[u8; OBJECTS], String> {
    let at = checkpoint_of(m, task);
    let row = *world.task(task);
    if let Some(checkpoint) = &world.checkpoints[at] {
        let has_head =
            checkpoint.epoch == row.epoch && checkpoint.hash_at(row.head) == Some(row.hash);
        let is_latest = has_head || !setup.rules.hold(Rule::SetAsideOldCheckpoint);
        let has_entries =
            has_entries(checkpoint, &row, setup) || !setup.rules.hold(Rule::SetAsideWithoutEntries);
        if is_latest && has_entries {
            return Ok(row.head);
        }
        let is_explained = checkpoint.is_old_copy || checkpoint.epoch < row.epoch;
        if !is_explained {
            return Err("a checkpoint that nobody has touched is taken for an old copy".into());
        }
    }
    let epoch = row.epoch + 1;
    let mut checkpoint = Checkpoint::new(epoch, &row.objects);
    checkpoint.behind = Some(row.hash);
    let row = world.task_mut(task);
    row.epoch = epoch;
    row.hash_before = Some(row.hash);
    row.head = [0; OBJECTS];
    row.hash = checkpoint.hash_at(row.head).expect("nothing is there");
    world.checkpoints[at] = Some(checkpoint);
    Ok([0; OBJECTS])
}

/// Whether a checkpoint has every entry that the mirror's objects in open shards name as their last.
/// Each object is a shard of its own here.
fn has_entries(checkpoint: &Checkpoint, task: &Task, setup: &Setup) -> bool {
    let shards_wait = setup.rules.hold(Rule::ShardsWaitForHead);
    let mut all = checkpoint
        .lens()
        .into_iter()
        .zip(task.head)
        .zip(task.objects);
    all.all(|((len, head), object)| {
        object.is_none_or(|object| {
            let is_closed = is_at_its_end(&object) && (object.seq <= head || !shards_wait);
            is_closed || object.epoch != checkpoint.epoch || object.seq <= len
        })
    })
}

/// One stage of `resume`, each with one write.
pub fn advance(world: &mut World, setup: &Setup, m: usize) -> Found {
    let process = *world.process(m);
    if world.lock != Some(m) {
        // Nothing is behind it yet: it ends, and is begun again.
        crate::faults::leave(world, setup, m);
        return Ok(());
    }
    let next = match process.stage {
        Stage::Opened if world.checkpoint(m).is_blank => {
            journal_commits(world, setup, m, false)?;
            world.checkpoint(m).is_blank = false;
            Stage::Journaled
        }
        Stage::Opened => match replay(world, setup, m, true) {
            true => Stage::Replayed,
            false => return give_up(world, setup, m),
        },
        Stage::Replayed => {
            return_lost_commits(world, setup, m)?;
            Stage::Returned
        }
        Stage::Returned => {
            if !replay(world, setup, m, false) {
                return give_up(world, setup, m);
            }
            head_goes_out(world, m);
            Stage::Mirrored
        }
        Stage::Mirrored => {
            if setup.rules.hold(Rule::JournalCutOffCommits) {
                journal_commits(world, setup, m, true)?;
            }
            Stage::Journaled
        }
        Stage::Journaled => {
            if !mirror_commits(world, setup, m) {
                return give_up(world, setup, m);
            }
            head_goes_out(world, m);
            let task = process.task;
            run_at_once(world, setup, m, task);
            return Ok(());
        }
        Stage::Running => Stage::Running,
    };
    world.process_mut(m).stage = next;
    Ok(())
}

/// The database refuses what the mirror lacks: the task keeps its place, and nothing is moved.
fn give_up(world: &mut World, setup: &Setup, m: usize) -> Found {
    world.calm_runs += 1;
    crate::faults::leave(world, setup, m);
    Ok(())
}

/// A task that was just planned: its checkpoint is made, and it runs.
pub fn launch(world: &mut World, setup: &Setup, m: usize, task: usize) {
    let checkpoint = Checkpoint::new(1, &world.task(task).objects);
    let hash = checkpoint.hash_at([0; OBJECTS]);
    world.task_mut(task).hash = hash.expect("nothing is there");
    world.checkpoints[checkpoint_of(m, task)] = Some(checkpoint);
    run_at_once(world, setup, m, task);
}

/// Loads the objects that are not at their end, and runs.
pub fn run_at_once(world: &mut World, setup: &Setup, m: usize, task: usize) {
    world.lock = Some(m);
    world.task_mut(task).state = TaskState::Running;
    let mut items = [None; OBJECTS];
    for (i, item) in items.iter_mut().enumerate().take(setup.objects) {
        *item = world.task(task).objects[i]
            .filter(|object| !is_at_its_end(object))
            .map(|_| load(world, setup, task, i));
    }
    begin_journal(world, m, task);
    let head = world.task(task).head;
    let acknowledged = world.processes[m].map_or(head, |process| process.acknowledged);
    world.processes[m] = Some(Process {
        task,
        stage: Stage::Running,
        believes: true,
        items,
        acknowledged,
    });
}

/// A checkpoint that was made anew begins where the mirror is when the objects are loaded.
fn begin_journal(world: &mut World, m: usize, task: usize) {
    let objects = world.task(task).objects;
    if let Some(checkpoint) = &mut world.checkpoints[checkpoint_of(m, task)] {
        checkpoint.rebase(&objects);
    }
}

fn load(world: &World, setup: &Setup, task: usize, i: usize) -> Item {
    let object = world.object(task, i);
    let (as_planned, dest_in_use) = catalog::look(world, setup, task, i);
    let state = State {
        phase: object.phase,
        outcome: object.outcome,
        proven: false,
    }
    .in_new_lease();
    Item {
        state: carried_over(setup, state, object.swapped),
        checked: true,
        as_planned: as_planned || object.phase >= Phase::Committed,
        dest_in_use,
        facts: object.facts,
        returns: 0,
        is_first: true,
        step: Step::Ready,
    }
}

/// A proof that is taken over from another lease, where a rule is off.
pub fn carried_over(setup: &Setup, state: State, swapped: bool) -> State {
    let is_trusted = match state.phase {
        Phase::Verified => !setup.rules.hold(Rule::ReadBackBeforeCommit),
        Phase::Committed if swapped => !setup.rules.hold(Rule::ReadBackBeforeDelete),
        Phase::Committed => !setup.rules.hold(Rule::LeftoverOnlyIfUnused),
        _ => false,
    };
    State {
        proven: is_trusted,
        ..state
    }
}

/// The lock is held again in the middle of a run. Steps that were under way are over by then.
pub fn regain(world: &mut World, setup: &Setup, m: usize) -> Found {
    let task = world.process(m).task;
    let epoch = world.checkpoint(m).epoch;
    let has_reverse = world.db.tasks[1].map(|task| task.kind) == Some(TaskKind::Reverse);
    let is_reversed = task == 0 && has_reverse && setup.rules.hold(Rule::ReversedIsFinal);
    let is_taken_over = world.task(task).epoch != epoch && setup.rules.hold(Rule::YieldToSuccessor);
    if is_reversed || is_taken_over {
        crate::faults::leave(world, setup, m);
        return Ok(());
    }
    flush(world, setup, m)?;
    if world.processes[m].is_none() {
        return Ok(());
    }
    if setup.rules.hold(Rule::JournalCutOffCommits) && setup.rules.hold(Rule::AdoptOwnCommit) {
        journal_commits(world, setup, m, true)?;
    }
    world.lock = Some(m);
    world.process_mut(m).believes = true;
    for i in 0..setup.objects {
        let swapped = world.db.tasks[task]
            .and_then(|task| task.objects[i])
            .is_some_and(|object| object.swapped);
        if let Some(item) = &mut world.process_mut(m).items[i] {
            item.checked = false;
            item.is_first = true;
            item.state = carried_over(setup, item.state, swapped);
        }
    }
    Ok(())
}

/// Whether a follow-up may be planned.
pub fn may_follow_up(world: &World, setup: &Setup, m: usize) -> bool {
    let Some(parent) = &world.db.tasks[0] else {
        return false;
    };
    let is_over = matches!(parent.state, TaskState::Complete | TaskState::Failed);
    // A reverse before a resume has set right what a failover took is refused where the checkpoint
    // is. Elsewhere it finds the row's document gone: that is reported, the copy stays, and no more
    // is promised.
    let is_unsettled = world.failed_over && world.hurt.iter().any(|hurt| *hurt);
    world.processes[m].is_none()
        && world.lock.is_none()
        && !is_unsettled
        && world.db.tasks[1].is_none()
        && setup
            .follow_up
            .is_some_and(|kind| kind == TaskKind::Reverse || is_over)
        && has_outlasted(world, setup, 1)
}

/// `follow_up`: the parent's mirror is brought up to its journal where that is here, and the task
/// planned. The catching up is the beginning of a resume; cutting it is left to that.
pub fn follow_up(world: &mut World, setup: &Setup, m: usize) -> Found {
    let row = *world.task(0);
    let has_checkpoint = m == 0
        && world.checkpoints[0].is_some_and(|checkpoint| {
            checkpoint.epoch == row.epoch
                && !checkpoint.is_blank
                && checkpoint.hash_at(row.head) == Some(row.hash)
                && has_entries(&checkpoint, &row, setup)
        });
    if has_checkpoint {
        resume(world, setup, m, 0)?;
        while world.processes[m].is_some_and(|process| process.stage != Stage::Running) {
            advance(world, setup, m)?;
        }
        if world.processes[m].is_none() {
            return Ok(());
        }
        world.processes[m] = None;
        world.lock = None;
        world.task_mut(0).state = row.state;
    }
    let kind = setup.follow_up.expect("asked before");
    if catalog::plan_follow_up(world, setup, kind) {
        world.calm_runs = 0;
        launch(world, setup, m, 1);
    }
    Ok(())
}
