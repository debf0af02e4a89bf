//! The engine's services and their operator: content first, then the row; for a delete the row
//! first, then the content.

use super::rules::Rule;
use super::setup::Setup;
use super::world::{Content, Place, Row, Services, State, World, Writing};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    BeginPut,
    BeginDelete,
    /// The same content again: the row stays as it is.
    PutAgain,
    /// Another column of the row is written.
    Touch,
    /// The second half; `false` where it falls into the second of the last change.
    Finish(bool),
    Stop,
    StartOld,
    StartNew,
}

/// What services and their operator may do. An operator starts them where windlass has told to.
pub fn possible(world: &World, setup: &Setup, found: &mut Vec<Doing>) {
    match (world.writing, world.services) {
        (Some(Writing::Put(..)), _) => {
            found.push(Doing::Finish(true));
            if !setup.times && world.row.is_some() {
                found.push(Doing::Finish(false));
            }
        }
        (Some(Writing::Delete(_)), _) => found.push(Doing::Finish(true)),
        (None, Services::On(place)) => {
            if world.writes > 0 {
                found.push(Doing::BeginPut);
                if world.row.is_some_and(|row| row.at == place) {
                    found.extend([Doing::BeginDelete, Doing::PutAgain, Doing::Touch]);
                }
            }
            found.push(Doing::Stop);
        }
        (None, Services::Stopped) => {
            let is_told = world.process.is_none() && !world.task.unclean;
            match world.task.state {
                State::Staging | State::TakenBack if world.process.is_none() => {
                    found.push(Doing::StartOld)
                }
                State::CutOver | State::CleanedUp if is_told => found.push(Doing::StartNew),
                _ => {}
            }
        }
    }
}

pub fn carry_out(world: &mut World, what: Doing) {
    match (what, world.writing, world.services) {
        (Doing::BeginPut, _, Services::On(place)) => {
            let version = world.versions;
            world.versions += 1;
            world.writes -= 1;
            world.store(place, Content::Version(version));
            heal(world, place);
            world.foreign &= place != Place::B;
            world.writing = Some(Writing::Put(place, version));
        }
        (Doing::BeginDelete, _, Services::On(_)) => {
            let row = world.row.take().expect("it is looked at before");
            world.writes -= 1;
            world.truth = None;
            world.torn = None;
            world.writing = Some(Writing::Delete(row.at));
        }
        (Doing::PutAgain, _, Services::On(place)) => {
            let row = world.row.expect("it is looked at before");
            world.writes -= 1;
            world.store(place, Content::Version(row.version));
            world.truth = Some(row.version);
            heal(world, place);
            world.hurt = false;
        }
        (Doing::Touch, ..) => {
            world.writes -= 1;
            world.time += 1;
            world.row = world.row.map(|row| Row {
                time: world.time,
                ..row
            });
        }
        (Doing::Finish(moves_on), Some(Writing::Put(place, version)), _) => {
            world.time += u8::from(moves_on);
            world.row = Some(Row {
                at: place,
                version,
                time: world.time,
            });
            world.truth = Some(version);
            world.writing = None;
            // What services have stored themselves is right again.
            world.hurt = false;
        }
        (Doing::Finish(_), Some(Writing::Delete(place)), _) => {
            world.store(place, Content::Absent);
            world.writing = None;
        }
        (Doing::Stop, ..) => world.services = Services::Stopped,
        (Doing::StartOld, ..) => world.services = Services::On(Place::A),
        (Doing::StartNew, ..) => world.services = Services::On(Place::B),
        _ => {}
    }
}

/// What a service had left half done at a place is overwritten by one.
fn heal(world: &mut World, place: Place) {
    world.torn = world.torn.filter(|(torn, _)| *torn != place);
}

/// A service dies: what it was in the middle of stays as it is.
pub fn die(world: &mut World) {
    if let Some(Writing::Put(place, version)) = world.writing.take() {
        world.torn = Some((place, version));
    }
}

/// Whether no service is at work; without the rule that asks for it, anything goes.
pub fn are_stopped(world: &World, setup: &Setup, rule: Rule) -> bool {
    world.services == Services::Stopped || !setup.holds(rule)
}
