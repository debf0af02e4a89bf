//! What goes wrong.

use super::rules::Rule;
use super::services;
use super::setup::{Fault, Setup};
use super::world::{Content, Job, Late, Place, Services, State, Step, Task, World, Writing};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    Kill,
    Freeze,
    GiveUp,
    ReplicaStalls,
    Failover,
    Damage(Content),
    OtherStores,
    ServiceDies,
}

pub fn possible(world: &World, setup: &Setup, found: &mut Vec<Disturbance>) {
    if world.replica.is_some() && world.task.state == State::CuttingOver {
        found.push(Disturbance::Failover);
    }
    if world.disturbances == 0 {
        return;
    }
    let has_room = world.late.iter().any(Option::is_none);
    let sends = matches!(
        world.process.map(|process| process.step),
        Some(Step::Putting(_) | Step::Deleting(_))
    );
    if setup.may(Fault::Kill) && world.process.is_some() && has_room {
        found.push(Disturbance::Kill);
    }
    if setup.may(Fault::Freeze) && sends && has_room {
        found.push(Disturbance::Freeze);
    }
    if setup.may(Fault::GiveUp) && sends && has_room {
        found.push(Disturbance::GiveUp);
    }
    let stalls = world.task.state == State::CuttingOver && world.replica.is_none();
    if setup.may(Fault::Failover) && stalls {
        found.push(Disturbance::ReplicaStalls);
    }
    let is_staged = world.task.state == State::Staging && world.process.is_none();
    let is_spare = is_staged
        || (matches!(world.task.state, State::CuttingOver | State::CutOver)
            && world.writing.is_none()
            && world
                .process
                .is_none_or(|process| process.job == Job::Cutover)
            && !world
                .late
                .iter()
                .flatten()
                .any(|late| late.place == Place::A)
            && world.stores == [world.right(); 2]);
    if setup.may(Fault::Damage) && is_spare && world.has_sent(world.at(Place::B)) {
        found.push(Disturbance::Damage(Content::Damaged));
        found.push(Disturbance::Damage(Content::Absent));
    }
    // Who writes between our look and our write is what only a conditional write can prevent.
    let is_free = world.at(Place::B) == Content::Absent && !world.may_arrive(false);
    if setup.may(Fault::OtherStores) && is_staged && is_free {
        found.push(Disturbance::OtherStores);
    }
    if setup.may(Fault::ServiceDies) && world.writing.is_some() {
        found.push(Disturbance::ServiceDies);
    }
}

pub fn disturb(world: &mut World, setup: &Setup, what: Disturbance) {
    world.disturbances -= u8::from(what != Disturbance::Failover);
    world.calm_runs = 0;
    match what {
        Disturbance::Kill => leave(world, setup, false),
        Disturbance::Freeze => leave(world, setup, true),
        Disturbance::GiveUp => {
            // One that is not counted arrives at any time: nobody waits for it.
            send(world, setup, !setup.holds(Rule::GivenUpIsUnderWay));
            world.process_mut().step = Step::Ready;
        }
        Disturbance::ReplicaStalls => world.replica = Some((world.row, world.task)),
        Disturbance::Failover => {
            leave(world, setup, false);
            if let Some((row, task)) = world.replica.take() {
                world.row = row;
                // What was sent the journal and the store's marks tell as well.
                let sent = world.task.sent;
                world.task = Task { sent, ..task };
            }
        }
        Disturbance::Damage(content) => {
            world.hurt |= world.task.state == State::CutOver;
            world.store(Place::B, content);
            world.meddled = true;
        }
        Disturbance::OtherStores => {
            world.store(Place::B, Content::Foreign);
            world.foreign = true;
            world.meddled = true;
        }
        Disturbance::ServiceDies => services::die(world),
    }
}

/// The process is gone, or stands still without its lock.
fn leave(world: &mut World, setup: &Setup, frozen: bool) {
    send(world, setup, frozen);
    world.process = None;
}

/// What is under way stays so.
fn send(world: &mut World, setup: &Setup, frozen: bool) {
    let step = world.process.map(|process| process.step);
    let (place, content) = match step {
        Some(Step::Putting(content)) => (Place::B, content),
        Some(Step::Deleting(place)) => (place, Content::Absent),
        _ => return,
    };
    let heeds = setup.conditional && setup.holds(Rule::ConditionalWrites);
    // A delete can't say what it expects.
    let expects = (heeds && content != Content::Absent).then(|| world.at(place));
    if let Some(free) = world.late.iter_mut().find(|late| late.is_none()) {
        *free = Some(Late {
            place,
            content,
            expects,
            frozen,
        });
    }
}

/// A late request arrives.
pub fn arrive(world: &mut World, at: usize) {
    let Some(late) = world.late[at].take() else {
        return;
    };
    world.woken |= late.frozen;
    let there = world.at(late.place);
    if late.expects.is_some_and(|expected| expected != there) {
        return;
    }
    world.store(late.place, late.content);
    let is_read = world
        .row
        .is_some_and(|row| row.at == late.place && Content::Version(row.version) != late.content);
    let runs = world.services == Services::On(late.place)
        || matches!(world.task.state, State::CutOver | State::CleanedUp);
    // No deadline holds for it: until a proof finds the misfit, services read what it wrote.
    world.hurt |= late.frozen && is_read && runs;
    if let Some(Writing::Put(place, _)) = world.writing {
        world.hurt |= late.frozen && place == late.place;
    }
}
