//! What goes wrong, and what others do.

use super::executor::{self, leave};
use super::failover;
use super::mirror;
use super::rules::Rule;
use super::setup::{Fault, Setup};
use super::takeover::is_outlasted;
use super::world::{Active, Content, EXECUTORS, OBJECTS, PLANNED, Place, Row, Stage, Step, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    Kill(usize),
    Freeze(usize),
    LoseSession(usize),
    HangFlush(usize),
    LoseJournal(usize),
    StandInLine,
    Overwrite(usize),
    AnotherTask,
    TaskBetween,
    Damage(usize, Content),
    StandbyStalls,
    FailOver,
}

pub fn possible(world: &World, setup: &Setup) -> Vec<Disturbance> {
    let mut found = Vec::new();
    for e in 0..EXECUTORS {
        let frozen = world.processes[e].is_some_and(|process| process.frozen);
        // The server lets go of who stands still.
        if frozen && world.sessions[e].is_some() {
            found.push(Disturbance::LoseSession(e));
        }
    }
    if world.standby.is_some() {
        found.push(Disturbance::FailOver);
    }
    if world.left == 0 {
        return found;
    }
    for e in 0..EXECUTORS {
        of_executor(world, setup, e, &mut found);
    }
    of_others(world, setup, &mut found);
    found
}

fn of_executor(world: &World, setup: &Setup, e: usize, found: &mut Vec<Disturbance>) {
    let Some(process) = world.processes[e] else {
        if setup.may(Fault::JournalLoss) && world.journals[e].is_some_and(|j| j.lens()[0] > 0) {
            found.push(Disturbance::LoseJournal(e));
        }
        return;
    };
    let mut items = process.items.iter().flatten();
    let sends = items.any(|item| matches!(item.step, Step::Sent(_)));
    let has_room = !sends || world.late.iter().any(Option::is_none);
    let has_begun = process.items != [None; OBJECTS] || process.taking.is_some();
    // What befalls an executor that has nothing yet is as if it had not begun.
    if process.frozen || (!has_begun && process.stage == Stage::Working) {
        return;
    }
    if setup.may(Fault::Kill) && has_room {
        found.push(Disturbance::Kill(e));
    }
    let works = process.stage != Stage::Planned;
    if setup.may(Fault::Freeze) && has_room && works {
        found.push(Disturbance::Freeze(e));
    }
    if setup.may(Fault::SessionLoss) && world.sessions[e].is_some() && works {
        found.push(Disturbance::LoseSession(e));
    }
    if setup.may(Fault::FlushHangs) && mirror::has_news(world, e) {
        found.push(Disturbance::HangFlush(e));
    }
}

fn of_others(world: &World, setup: &Setup, found: &mut Vec<Disturbance>) {
    if setup.may(Fault::AnchoreWaits) && !world.waits && !world.lock_is_free() {
        found.push(Disturbance::StandInLine);
    }
    if failover::may_stall(world, setup) {
        found.push(Disturbance::StandbyStalls);
    }
    let is_first = world.db.active == Active::Ours;
    if setup.may(Fault::AnotherTask) && is_first && may_another_begin(world, setup) {
        found.push(Disturbance::AnotherTask);
    }
    if setup.may(Fault::TaskBetween) && is_first && may_another_begin(world, setup) {
        found.push(Disturbance::TaskBetween);
    }
    for i in 0..setup.objects {
        let is_free = world.lock_is_free() && is_quiet(world, i);
        if setup.may(Fault::Overwrite) && is_free {
            found.push(Disturbance::Overwrite(i));
        }
        if setup.may(Fault::Damage) && may_be_damaged(world, setup, i) {
            found.push(Disturbance::Damage(i, Content::Damaged));
            found.push(Disturbance::Damage(i, Content::Absent));
        }
    }
}

/// Another task waits until nothing of this one can still arrive.
fn may_another_begin(world: &World, setup: &Setup) -> bool {
    let is_free = world.lock_is_free() || !setup.holds(Rule::OthersTakeExclusive);
    let mut frozen = world.processes.iter().flatten();
    let asks = setup.holds(Rule::OthersTakeExclusive);
    // Where it does not ask for the lock, it does not look who is at work, either.
    is_free
        && world.late == [None; 2]
        && (!asks || (0..EXECUTORS).all(|e| is_outlasted(world, e)))
        && frozen.all(|process| process.stage != Stage::Planned)
}

/// Whether nothing of ours is on its way to an object's places: Anchore's tool waits for nobody, and
/// what a store is sent at the same instant nobody can fence.
fn is_quiet(world: &World, i: usize) -> bool {
    let mut late = world.late.iter().flatten();
    let is_late = late.any(|late| late.object == i);
    let sends = |e: usize| {
        let Some(process) = world.processes[e] else {
            return false;
        };
        process.items[i].is_some_and(|item| match item.step {
            Step::Sent(_) => true,
            // Cut off, and not yet aware of it.
            Step::Asked(_) => world.sessions[e].is_none() && !process.frozen && !process.jumped,
            _ => false,
        })
    };
    !is_late && !(0..EXECUTORS).any(sends)
}

/// One of two copies, while nobody holds a proof of it.
fn may_be_damaged(world: &World, setup: &Setup, i: usize) -> bool {
    let owner = world.db.shards[setup.shard(i)].owner;
    let is_held = owner.is_some_and(|owner| world.sessions[owner].is_some());
    let places = [Place::A, Place::B];
    let is_spare = places.iter().all(|at| world.is_document(setup, *at, i));
    is_spare && !is_held && is_quiet(world, i)
}

pub fn disturb(world: &mut World, setup: &Setup, what: Disturbance) {
    let is_free = match what {
        Disturbance::LoseSession(e) => world.processes[e].is_some_and(|process| process.frozen),
        Disturbance::FailOver => true,
        _ => false,
    };
    world.left -= u8::from(!is_free);
    match what {
        Disturbance::Kill(e) => leave(world, e),
        Disturbance::Freeze(e) => {
            executor::give_up(world, e);
            world.process_mut(e).frozen = true;
            world.process_mut(e).jumped = true;
        }
        Disturbance::LoseSession(e) => world.end_session(e),
        Disturbance::HangFlush(e) => world.hanging = Some(mirror::look(world, setup, e)),
        Disturbance::LoseJournal(e) => world.journals[e] = None,
        Disturbance::StandInLine => world.waits = true,
        Disturbance::Overwrite(i) => overwrite(world, setup, i),
        Disturbance::AnotherTask => another_task(world, setup),
        Disturbance::TaskBetween => {
            world.db.active = Active::Another;
            world.others_work = true;
            failover::lets_others_work(world, setup);
        }
        Disturbance::StandbyStalls => failover::stall(world),
        Disturbance::FailOver => failover::fail_over(world, setup),
        Disturbance::Damage(i, content) => {
            world.write(setup, Place::B, i, content);
            world.hurt[i] |= world.db.rows[i].at == Place::B;
            world.meddled = true;
        }
    }
}

/// A process that stood still goes on. In the very instant between asking and sending, it sends.
pub fn wake(world: &mut World, e: usize, in_the_instant: bool) {
    world.process_mut(e).frozen = false;
    for i in 0..OBJECTS {
        let item = world.process(e).items[i];
        if let Some(Step::Asked(sending)) = item.map(|item| item.step)
            && in_the_instant
        {
            executor::send(world, e, i, sending, true);
            world.item_mut(e, i).step = Step::Ready;
        }
    }
}

/// Whether a process stands still in that instant.
pub fn stands_in_the_instant(world: &World, e: usize) -> bool {
    let mut items = world.process(e).items.iter().flatten();
    let has_room = world.late.contains(&None);
    has_room && items.any(|item| matches!(item.step, Step::Asked(_)))
}

/// Whether it is the turn of who stands in line.
pub fn is_anchores_turn(world: &World) -> bool {
    world.waits && world.lock_is_free() && (0..OBJECTS).all(|i| is_quiet(world, i))
}

/// Anchore's tool moves what it finds to move, as this task would.
pub fn anchores_turn(world: &mut World, setup: &Setup) {
    world.waits = false;
    for i in 0..setup.objects {
        if world.db.rows[i] == PLANNED && world.is_right(setup, i) {
            world.write(setup, Place::B, i, Content::Old);
            world.write(setup, Place::A, i, Content::Absent);
            world.db.rows[i].at = Place::B;
            world.meddled = true;
        }
    }
}

fn overwrite(world: &mut World, setup: &Setup, i: usize) {
    world.write(setup, Place::B, i, Content::New);
    world.db.rows[i] = Row {
        at: Place::B,
        content: Content::New,
    };
    world.truth[i] = Content::New;
    world.meddled = true;
}

/// It gives back what this one has moved, and takes away its copies.
fn another_task(world: &mut World, setup: &Setup) {
    world.db.active = Active::Another;
    for i in 0..setup.objects {
        world.write(setup, Place::A, i, Content::Old);
        world.write(setup, Place::B, i, Content::Absent);
        world.db.rows[i] = PLANNED;
    }
}
