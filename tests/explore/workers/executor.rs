//! How an executor begins, comes back, claims what nobody has, and ends.

use windlass::model::{Phase, State};

use super::cutover;
use super::failover;
use super::journal::{Journal, What};
use super::mirror;
use super::rules::Rule;
use super::setup::{Fault, Setup};
use super::takeover::{journal_cut_off, tell_adoption};
use super::world::{Active, Item, Late, OBJECTS, Process, Sending, Stage, Step, World};
use crate::search::Found;

/// The planner goes from exclusive to shared.
pub fn hand_over(world: &mut World, setup: &Setup) {
    let keeps = setup.holds(Rule::PlannerKeepsTheLock);
    let gets = keeps || (world.process(0).stage == Stage::Between && !world.waits);
    world.process_mut(0).stage = match gets {
        true => Stage::Working,
        false => Stage::Between,
    };
    // It has made its own task the active one, and does not ask what it knows.
    world.sessions[0] = Some(gets);
}

/// Whether the lock can be had shared. That of one's own number is asked for by a taker only in passing.
fn locks_are_free(world: &World) -> bool {
    let is_planning = |process: &Process| process.stage == Stage::Planned;
    let is_held = world.processes.iter().flatten().any(is_planning) || cutover::holds_lock(world);
    // A try is refused while somebody is in line.
    !is_held && !world.waits
}

fn is_active(world: &World, setup: &Setup) -> bool {
    world.db.active == Active::Ours || !setup.holds(Rule::ActiveIsAsked)
}

/// A batch of the same executor that still hangs holds its shards.
pub fn hangs(world: &World, e: usize) -> bool {
    world.hanging.is_some_and(|hanging| hanging.executor == e)
}

pub fn may_join(world: &World, setup: &Setup, e: usize) -> bool {
    let is_allowed = e == 0 || !setup.versions || !setup.holds(Rule::OneVersion);
    // One that finds nothing to do might as well begin later.
    let is_left = (0..setup.shards()).any(|s| {
        let shard = world.db.shards[s];
        let is_free = shard
            .owner
            .is_none_or(|owner| owner == e || world.sessions[owner].is_none());
        is_free && !shard.done
    });
    let has_use = is_left || world.processes == [None; 2] || setup.may(Fault::AnchoreWaits);
    is_allowed
        && has_use
        && cutover::lets_in(world, setup)
        && !cutover::pass_is_over(world, setup)
        && world.processes[e].is_none()
        && world.journals[e].is_some()
        && !world.db.closed
        && is_active(world, setup)
        && locks_are_free(world)
        && !hangs(world, e)
        && !failover::is_stopped(world, setup)
}

/// `resume`, behind a task that was active in between and has undone nothing of this one.
pub fn may_make_active(world: &World, setup: &Setup, e: usize) -> bool {
    let is_alone = world.lock_is_free() || !setup.holds(Rule::ActiveUnderExclusive);
    setup.may(Fault::TaskBetween)
        && world.db.active == Active::Another
        && !failover::is_stopped(world, setup)
        && is_alone
        && locks_are_free(world)
        && world.processes[e].is_none()
        && world.journals[e].is_some()
        && !world.db.closed
}

/// A process begins, new or on the checkpoint of one that has died.
pub fn join(world: &mut World, setup: &Setup, e: usize) -> Found {
    world.processes[e] = Some(Process::new(Stage::Working));
    take_locks(world, setup, e)
}

/// What was under way when the session was lost must have come to something.
pub fn may_regain(world: &World, setup: &Setup, e: usize) -> bool {
    let process = world.process(e);
    let mut items = process.items.iter().flatten();
    let is_busy = items.any(|item| matches!(item.step, Step::Sent(_) | Step::Telling(_)));
    let may = !process.believes && !is_busy && !hangs(world, e);
    may && (locks_are_free(world) || takes_number_only(world, setup, e))
}

/// Refused the lock shared, it keeps its number for the next try: where a rule is off.
fn takes_number_only(world: &World, setup: &Setup, e: usize) -> bool {
    !setup.holds(Rule::SharedFirst) && world.waits && !world.numbers[e]
}

pub fn regain(world: &mut World, setup: &Setup, e: usize) -> Found {
    if !locks_are_free(world) {
        world.sessions[e] = Some(false);
        world.numbers[e] = true;
        return Ok(());
    }
    let is_kept_out = world.process(e).stage == Stage::Working && !cutover::lets_in(world, setup);
    let is_over = world.db.closed || !is_active(world, setup);
    let is_stopped = failover::is_stopped(world, setup);
    // What the database has lost shows when the journal is brought to the mirror.
    let shows_loss = setup.holds(Rule::MirrorBeforeClaim) && failover::shows_loss(world, setup, e);
    if is_over || is_kept_out || is_stopped || shows_loss {
        leave(world, e);
        return Ok(());
    }
    take_locks(world, setup, e)
}

pub fn take_locks(world: &mut World, setup: &Setup, e: usize) -> Found {
    world.sessions[e] = Some(setup.holds(Rule::WorkUnderShared));
    world.numbers[e] = true;
    let process = world.process_mut(e);
    process.believes = true;
    process.jumped = false;
    process.taking = None;
    let lost = failover::lost_commits(world, setup, e);
    bring_up_to_date(world, setup, e);
    failover::return_lost(world, setup, e, &lost);
    for s in 0..setup.shards() {
        if world.db.shards[s].owner == Some(e) && !world.db.shards[s].done {
            let is_adopted = tell_adoption(world, setup, e, s);
            let lease = world.db.shards[s].lease;
            journal_cut_off(world, setup, e, (s, lease), is_adopted);
        } else if !setup.holds(Rule::CutOffIsTheOwners) {
            // By what it remembers.
            let items = world.process(e).items;
            if let Some(item) = setup.objects_in(s).find_map(|i| items[i]) {
                journal_cut_off(world, setup, e, (s, item.lease), false);
            }
        }
    }
    // What was journaled just now belongs to the tenure that ends here.
    bring_up_to_date(world, setup, e);
    for s in 0..setup.shards() {
        begin_tenure(world, setup, e, s);
    }
    Ok(())
}

/// A batch for the mirror. A process that hears that the database has lost what it had ends.
pub fn flush(world: &mut World, setup: &Setup, e: usize) {
    match failover::shows_loss(world, setup, e) {
        true => leave(world, e),
        false => mirror::flush(world, setup, e),
    }
}

fn bring_up_to_date(world: &mut World, setup: &Setup, e: usize) {
    if !setup.holds(Rule::MirrorBeforeClaim) {
        return;
    }
    match world.process(e).items == [None; OBJECTS] {
        true => mirror::replay(world, setup, e),
        false => mirror::flush(world, setup, e),
    }
}

/// What an executor that has its locks again does with each shard.
pub fn begin_tenure(world: &mut World, setup: &Setup, e: usize, s: usize) {
    let shard = world.db.shards[s];
    let items = world.process(e).items;
    let remembers = setup.objects_in(s).find_map(|i| items[i]);
    let anew = setup.holds(Rule::RegainClaimsAnew);
    let is_own = match remembers {
        Some(item) => shard.owner == Some(e) && shard.lease == item.lease && !shard.done,
        None => shard.owner == Some(e) && !shard.done,
    };
    if !is_own && (anew || remembers.is_none()) {
        for i in setup.objects_in(s) {
            world.process_mut(e).items[i] = None;
        }
        return;
    }
    // A process that has just begun remembers nothing, and claims in any case.
    let mut lease = remembers.map_or(shard.lease, |item| item.lease);
    if anew || remembers.is_none() {
        lease += 1;
        world.db.shards[s].lease = lease;
    }
    for i in setup.objects_in(s) {
        tell(world, e, i, lease, What::Claimed);
        world.process_mut(e).items[i] = match items[i] {
            Some(item) => Some(Item {
                state: item.state.in_new_lease(),
                lease,
                checked: false,
                step: Step::Ready,
                ..item
            }),
            None => load(world, setup, i, lease),
        };
    }
}

pub fn tell(world: &mut World, e: usize, i: usize, lease: u8, what: What) {
    if let Some(Journal(entries)) = &mut world.journals[e] {
        entries[i].push(lease, what);
    }
}

pub fn load(world: &World, setup: &Setup, i: usize, lease: u8) -> Option<Item> {
    let object = world.db.objects[i];
    let state = State {
        phase: object.phase,
        outcome: object.outcome,
        proven: false,
    };
    let state = state.in_new_lease();
    Some(Item {
        state: State {
            proven: state.phase >= Phase::Verified && !setup.holds(Rule::ProofsAnew),
            ..state
        },
        lease,
        facts: object.facts,
        checked: false,
        returns: 0,
        step: Step::Ready,
    })
}

pub fn may_claim(world: &World, e: usize) -> bool {
    let process = world.process(e);
    let is_at_work = matches!(process.stage, Stage::Working | Stage::Alone);
    let is_free = process.taking.is_none() && is_at_work;
    is_free && process.believes && !world.db.closed
}

pub fn may_take_free(world: &World, setup: &Setup, e: usize, s: usize) -> bool {
    let shard = world.db.shards[s];
    // It may be its own by an earlier claim, where a failover has lost the one that it remembers.
    let is_held = setup
        .objects_in(s)
        .any(|i| world.process(e).items[i].is_some());
    let is_free = shard.owner.is_none_or(|owner| owner == e && !is_held);
    may_claim(world, e) && is_free && !shard.done
}

/// A shard that nobody has is claimed, on the session.
pub fn take_free(world: &mut World, setup: &Setup, e: usize, s: usize) {
    if notices_loss(world, e) {
        return;
    }
    let shard = &mut world.db.shards[s];
    shard.owner = Some(e);
    shard.lease += 1;
    let lease = shard.lease;
    for i in setup.objects_in(s) {
        tell(world, e, i, lease, What::Claimed);
        world.process_mut(e).items[i] = load(world, setup, i, lease);
    }
}

/// A statement over a session that is gone tells of it.
pub fn notices_loss(world: &mut World, e: usize) -> bool {
    let is_lost = world.sessions[e].is_none();
    if is_lost {
        notice(world, e);
    }
    is_lost
}

pub fn notice(world: &mut World, e: usize) {
    let process = world.process_mut(e);
    process.believes = false;
    process.taking = None;
    for item in process.items.iter_mut().flatten() {
        if matches!(item.step, Step::Asked(_)) {
            item.step = Step::Ready;
        }
    }
}

/// Whether the process has nothing more to do.
pub fn may_end(world: &World, setup: &Setup, e: usize) -> bool {
    let process = world.process(e);
    let mut items = process.items.iter().flatten();
    let is_busy = items.any(|item| matches!(item.step, Step::Sent(_) | Step::Telling(_)));
    let is_over = world.db.closed
        || cutover::pass_is_over(world, setup)
        || cutover::leaves_nothing(world, process);
    is_over && !is_busy && !hangs(world, e) && process.stage != Stage::Planned
}

/// Whether the task may be closed: in one transaction that looks at all its shards.
pub fn may_close(world: &World, setup: &Setup, e: usize) -> bool {
    let process = world.process(e);
    let is_idle = process.items.iter().all(Option::is_none) && process.taking.is_none();
    let is_done = match setup.holds(Rule::CloseWhenDone) {
        true => world.all_done(setup),
        false => (0..setup.shards()).all(|s| {
            let shard = world.db.shards[s];
            shard.done || shard.owner.is_some_and(|owner| owner != e)
        }),
    };
    let is_at_work = process.believes && process.stage == cutover::closes(setup);
    is_at_work && is_idle && is_done && !world.db.closed
}

pub fn close(world: &mut World, setup: &Setup, e: usize) -> Found {
    if notices_loss(world, e) {
        return Ok(());
    }
    world.db.closed = true;
    super::check::at_the_close(world, setup)
}

/// The process is gone, and its session with it. What it has sent is still on the wire.
pub fn leave(world: &mut World, e: usize) {
    give_up(world, e);
    world.processes[e] = None;
    world.end_session(e);
}

/// What is on the wire is awaited by nobody any more.
pub fn give_up(world: &mut World, e: usize) {
    for i in 0..OBJECTS {
        let Some(item) = world.process(e).items[i] else {
            continue;
        };
        if let Step::Sent(sending) = item.step {
            send(world, e, i, sending, false);
            world.item_mut(e, i).step = Step::Ready;
        }
    }
}

pub fn send(world: &mut World, e: usize, i: usize, sending: Sending, instant: bool) {
    let late = Late {
        executor: e,
        object: i,
        lease: world.item(e, i).lease,
        sending,
        instant,
    };
    if let Some(free) = world.late.iter_mut().find(|late| late.is_none()) {
        *free = Some(late);
    }
}
