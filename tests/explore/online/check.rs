//! What must hold in every world, and where nothing more is to be done.

use super::world::{Content, Place, Services, State, World, Writing};
use crate::search::Found;

pub fn always(world: &World) -> Found {
    if world.row.is_some() && world.truth.is_none() {
        return Err("a deleted document is there again".into());
    }
    if let Some((place, version)) = world.torn
        && world.row.is_some()
        && !world.is_somewhere(Content::Version(version))
    {
        return Err(format!(
            "what a dying service had stored at {place:?} is nowhere"
        ));
    }
    if world.foreign && world.at(Place::B) != Content::Foreign {
        return Err("what somebody else had stored at the destination is gone".into());
    }
    let Some(row) = world.row else {
        return Ok(());
    };
    if world.writing.is_some() || world.torn.is_some() {
        return unfinished(world);
    }
    let truth = world.right();
    if !world.is_somewhere(truth) {
        return Err("the document is nowhere".into());
    }
    if let Services::On(place) = world.services
        && !world.hurt
    {
        if row.at != place {
            return Err(format!(
                "services on {place:?} can't read a row at {:?}",
                row.at
            ));
        }
        if world.at(place) != truth {
            return Err(format!(
                "services read {:?}, not {truth:?}",
                world.at(place)
            ));
        }
    }
    Ok(())
}

/// A service is between content and row: what it has stored must still be there when its row comes.
fn unfinished(world: &World) -> Found {
    match world.writing {
        Some(Writing::Put(place, version)) if world.at(place) != Content::Version(version) => {
            Err("what a service has just stored is gone before its row is there".into())
        }
        _ => Ok(()),
    }
}

pub fn at_the_end(world: &World) -> Found {
    if world.process.is_some() {
        return Err("a process is stuck".into());
    }
    let is_calm = !world.meddled && world.torn.is_none();
    if !is_calm {
        return Ok(());
    }
    let (a, b) = (world.at(Place::A), world.at(Place::B));
    let live = world.task.live;
    match world.task.state {
        // It goes on when that process is known to be dead.
        State::CuttingOver if world.may_arrive(true) => {}
        State::CuttingOver => return Err("a cut-over is never finished".into()),
        State::TakingBack => return Err("a task is never taken back to its end".into()),
        State::Staging if world.row.is_some_and(|row| row.at != Place::A) => {
            return Err("a row was moved before the cut-over".into());
        }
        State::CleanedUp if world.hurt => {
            return Err("a copy that does not fit is never set right".into());
        }
        State::CleanedUp | State::CutOver if world.row.is_some_and(|row| row.at != Place::B) => {
            return Err("the row was never moved".into());
        }
        State::CleanedUp if a != Content::Absent && live.is_some_and(|live| !live.source_kept) => {
            return Err("the source is left behind".into());
        }
        State::TakenBack if world.row.is_some_and(|row| row.at != Place::A) => {
            return Err("a row was not taken back".into());
        }
        State::TakenBack if world.has_sent(b) && !world.woken => {
            return Err("a copy is left behind".into());
        }
        _ => {}
    }
    Ok(())
}
