//! One object's loop, as `engine/object/mod.rs`, `copy.rs`, `restore.rs` and `batches.rs` have it, cut
//! where a fault can fall between two effects.
//!
//! Coarser than the real loop in this: reading has no effect, so that reading and writing the
//! entry about it are one move; a swap or a landed write and its entry are one move too, since a
//! power cut takes just the entry back. Reading a copy back while its entry is on its way to the
//! disk is left out: it changes nothing but the time that it takes.

use windlass::model::{Action, Outcome, Phase, Rest, State, TaskKind};

use crate::catalog::{self, Commit, Deletable};
use crate::journal::{Entry, What};
use crate::rules::Rule;
use crate::search::Found;
use crate::setup::Setup;
use crate::world::{Content, Item, Object, Place, Step, World};

/// `MAX_RETURNS` of the engine.
const MAX_RETURNS: u8 = 2;

/// Whether an object's loop has something to do.
pub fn may_step(world: &World, m: usize, item: &Item) -> bool {
    match item.step {
        Step::Putting(_) | Step::Deleting => true,
        // Whoever knows that it has no lock waits for it.
        Step::Ready | Step::Copying(_) | Step::ReadBack => world.process(m).believes,
        Step::Written { .. } | Step::AtRest => false,
    }
}

/// One move of one object's loop.
pub fn step(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    let item = *world.item_mut(m, i);
    let task = world.process(m).task;
    let object = *world.object(task, i);
    match item.step {
        Step::Putting(content) => {
            setup.write(world, object.to, i, content);
            write(world, setup, m, i, What::Copied(content), false)
        }
        Step::Copying(content) => show(world, setup, m, i, content),
        Step::ReadBack => write(world, setup, m, i, What::Verified, false),
        Step::Deleting => {
            setup.write(world, object.planned.at, i, Content::Absent);
            write(world, setup, m, i, What::SourceDeleted, false)
        }
        Step::Ready if !item.checked => look_again(world, setup, m, i),
        Step::Ready => act(world, setup, m, i),
        Step::Written { .. } | Step::AtRest => Ok(()),
    }
}

/// What an object's loop may have had under way when its process noticed that the lock is lost: what
/// it reads, and writes where nobody sees it, goes on without the lock. Only then does it matter, and
/// only then is it told apart from what has not begun.
pub fn under_way(world: &World, setup: &Setup, m: usize, i: usize) -> Result<Option<Step>, String> {
    let process = world.process(m);
    let Some(item) = process.items[i] else {
        return Ok(None);
    };
    if process.believes || item.step != Step::Ready || !item.checked {
        return Ok(None);
    }
    let mut tried = *world;
    match item.state.next(Rest::SourceDeleted) {
        Some(Action::Copy) => {
            act(&mut tried, setup, m, i)?;
            Ok(match tried.item_mut(m, i).step {
                Step::Putting(content) => Some(Step::Copying(content)),
                // Nothing was written: in the next lease it is asked anew.
                _ => None,
            })
        }
        Some(Action::Verify) if !setup.rules.hold(Rule::ProofIsOfOneLease) => {
            let to = world.object(process.task, i).to;
            let is_equal = Some(setup.read(world, to, i)) == item.facts;
            Ok(is_equal.then_some(Step::ReadBack))
        }
        _ => Ok(None),
    }
}

/// `copy::may_show`: a copy that has outlived its lease becomes visible where its row still says so.
fn show(world: &mut World, setup: &Setup, m: usize, i: usize, content: Content) -> Found {
    let before = *world.item_mut(m, i);
    if setup.rules.hold(Rule::LookAgainBeforeShowing) {
        look_again(world, setup, m, i)?;
        let item = world.item_mut(m, i);
        if item.step == Step::AtRest {
            return Ok(());
        }
        if !item.as_planned || item.dest_in_use != before.dest_in_use {
            item.step = Step::Ready;
            return Ok(());
        }
    }
    world.item_mut(m, i).step = Step::Putting(content);
    Ok(())
}

/// `object::lease`: the row is read again in a new lease, or before a copy is made again.
fn look_again(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    let task = world.process(m).task;
    let there = *world.object(task, i);
    let (as_planned, dest_in_use) = catalog::look(world, setup, task, i);
    let item = world.item_mut(m, i);
    if is_at_its_end(&there) {
        item.step = Step::AtRest;
        return Ok(());
    }
    item.checked = true;
    item.as_planned = as_planned || there.phase >= Phase::Committed;
    item.dest_in_use = dest_in_use;
    let is_ahead = there.phase >= Phase::Committed && item.state.phase < Phase::Committed;
    if is_ahead && setup.rules.hold(Rule::AdoptOwnCommit) {
        match item.state.phase {
            Phase::Verified => item.state = State::at(Phase::Committed),
            // Another process has been here.
            _ => item.step = Step::AtRest,
        }
    }
    Ok(())
}

/// What the load leaves out.
pub fn is_at_its_end(object: &Object) -> bool {
    object.phase == Phase::SourceDeleted
        || matches!(object.outcome, Some(Outcome::Skipped | Outcome::SourceKept))
}

fn act(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    let item = *world.item_mut(m, i);
    let task = world.process(m).task;
    let object = *world.object(task, i);
    let keep_source = setup.nodelete && world.task(task).kind == TaskKind::Forward;
    let rest = match keep_source {
        true => Rest::Committed,
        false => Rest::SourceDeleted,
    };
    let Some(action) = item.state.next(rest) else {
        world.item_mut(m, i).step = Step::AtRest;
        return Ok(());
    };
    let phase = item.state.phase;
    if phase < Phase::Committed {
        if object.refused {
            return write(world, setup, m, i, What::Failed(phase), false);
        }
        if !item.as_planned {
            return write(world, setup, m, i, What::Skipped, false);
        }
    }
    match action {
        Action::Copy => copy(world, setup, m, i),
        Action::Verify => verify(world, setup, m, i),
        Action::Commit => commit(world, setup, m, i),
        Action::DeleteSource => delete(world, setup, m, i),
        Action::KeepSource => write(world, setup, m, i, What::SourceKept, false),
    }
}

fn copy(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    let item = *world.item_mut(m, i);
    let task = world.process(m).task;
    let object = *world.object(task, i);
    let there = setup.read(world, object.to, i);
    if object.restores {
        let before = object.after.expect("what is given back is known").content;
        match there {
            content if content == before => {
                return write(world, setup, m, i, What::Copied(content), true);
            }
            Content::Absent if !item.dest_in_use => {}
            _ => return fail(world, setup, m, i),
        }
    }
    let content = setup.read(world, object.planned.at, i);
    let is_right = match setup.digests {
        true => content == object.planned.content,
        false => content != Content::Absent,
    };
    if !is_right {
        return fail(world, setup, m, i);
    }
    let epoch = world.checkpoint(m).epoch;
    let must_look = setup.was_in_use() || epoch > 1 || item.dest_in_use || object.shared;
    if !object.restores && must_look {
        let in_use = item.dest_in_use || object.shared;
        let may_be_replaced = !setup.was_in_use() && !in_use;
        if there == content {
            return write(world, setup, m, i, What::Copied(content), true);
        }
        if there != Content::Absent && !may_be_replaced && setup.rules.hold(Rule::RefuseForeign) {
            return fail(world, setup, m, i);
        }
    }
    let checkpoint = world.checkpoint(m);
    let told = checkpoint.told(i, checkpoint.entries[i].len())?;
    if told.phase != Phase::Pending {
        return Err(format!(
            "object {i} is written again although it was copied"
        ));
    }
    world.item_mut(m, i).step = Step::Putting(content);
    Ok(())
}

/// A step that is given up: no failure where the row has changed meanwhile.
fn fail(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    let task = world.process(m).task;
    let (as_planned, _) = catalog::look(world, setup, task, i);
    let phase = world.item_mut(m, i).state.phase;
    let there = world.object(task, i).phase;
    let what = match phase < Phase::Committed && there < Phase::Committed && !as_planned {
        true => What::Skipped,
        false => What::Failed(phase),
    };
    write(world, setup, m, i, what, false)
}

fn verify(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    let item = *world.item_mut(m, i);
    let task = world.process(m).task;
    let to = world.object(task, i).to;
    let phase = item.state.phase;
    if let Some(what) = stray(world, setup, m, i) {
        return write(world, setup, m, i, what, false);
    }
    let is_equal = Some(setup.read(world, to, i)) == item.facts;
    let keep = phase >= Phase::Committed;
    let what = match is_equal {
        true => What::Verified,
        false if keep || item.returns >= MAX_RETURNS => What::Failed(phase),
        false => What::Returned(Phase::Pending),
    };
    write(world, setup, m, i, what, false)
}

/// `strays::prove`: a copy that was never committed is held against the document where its row has
/// it, and against what tells whose it is. Why it is kept, if it is; else its row decides.
fn stray(world: &World, setup: &Setup, m: usize, i: usize) -> Option<What> {
    let object = world.object(world.process(m).task, i);
    if !object.is_left_over() {
        return None;
    }
    let there = setup.read(world, object.planned.at, i);
    let (_, key) = setup.slot(Place::B, i);
    let is_ours = match setup.marks {
        true => !world.others[key],
        false => !setup.was_in_use(),
    };
    let is_equal = there == setup.read(world, object.to, i);
    let is_kept = (!is_ours && setup.rules.hold(Rule::LeftoverOnlyIfOurs))
        || (!is_equal && setup.rules.hold(Rule::LeftoverOnlyIfEqual));
    (there != Content::Absent && is_kept).then_some(What::SourceKept)
}

/// A process without the lock finds out at its first statement.
pub fn has_lock(world: &mut World, m: usize) -> bool {
    let has = world.lock == Some(m);
    if !has {
        world.process_mut(m).believes = false;
    }
    has
}

fn commit(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    if setup.rules.hold(Rule::SwapUnderLock) && !has_lock(world, m) {
        return Ok(());
    }
    if world.refused == Some(i) {
        // The swap takes its row of the mirror along, and fails alone.
        return fail(world, setup, m, i);
    }
    let what = match swap(world, setup, m, i) {
        true => What::Committed,
        false => What::Skipped,
    };
    write(world, setup, m, i, what, false)
}

/// The swap itself, which may be carried out without anybody hearing of it.
pub fn swap(world: &mut World, setup: &Setup, m: usize, i: usize) -> bool {
    let task = world.process(m).task;
    let content = world
        .item_mut(m, i)
        .facts
        .expect("a verified copy is known");
    let checkpoint = world.checkpoint(m);
    let commit = Commit {
        content,
        seq: checkpoint.entries[i].len(),
        epoch: checkpoint.epoch,
    };
    catalog::swap(world, setup, task, i, commit)
}

fn delete(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    if !has_lock(world, m) {
        return Ok(());
    }
    // Looked at once more: the proof may be of a while ago.
    if let Some(what) = stray(world, setup, m, i) {
        return write(world, setup, m, i, what, false);
    }
    let task = world.process(m).task;
    match catalog::deletable(world, setup, task, i) {
        Deletable::Yes => {
            world.item_mut(m, i).step = Step::Deleting;
            Ok(())
        }
        Deletable::Shared | Deletable::RowChanged => {
            write(world, setup, m, i, What::SourceKept, false)
        }
    }
}

/// Writes an entry, and checks that whoever reads the journal can follow it.
fn write(world: &mut World, setup: &Setup, m: usize, i: usize, what: What, found: bool) -> Found {
    let item = world.item_mut(m, i);
    let begins_lease = item.is_first && !item.state.proven;
    item.is_first = false;
    item.step = Step::Written { found };
    let checkpoint = world.checkpoint(m);
    checkpoint.entries[i].push(Entry { what, begins_lease });
    checkpoint.told(i, checkpoint.entries[i].len())?;
    match setup.rules.hold(Rule::DurableBeforeNextEffect) {
        true => Ok(()),
        false => take_in(world, setup, m, i),
    }
}

/// The journal is synced; every object that waited for it goes on.
pub fn sync(world: &mut World, setup: &Setup, m: usize) -> Found {
    world.checkpoint(m).sync();
    for i in 0..setup.objects {
        let item = world.process(m).items[i];
        if item.is_some_and(|item| matches!(item.step, Step::Written { .. })) {
            take_in(world, setup, m, i)?;
        }
    }
    Ok(())
}

/// `Item::apply`, for the last entry.
fn take_in(world: &mut World, setup: &Setup, m: usize, i: usize) -> Found {
    let entries = world.checkpoint(m).entries[i];
    let last = entries.after(entries.len() - 1).next();
    let (_, Entry { what, .. }) = last.expect("an entry was written");
    let item = world.item_mut(m, i);
    let found = item.step == Step::Written { found: true };
    let state = item.state.apply(&what.event());
    item.state = state.map_err(|illegal| illegal.to_string())?;
    item.step = Step::Ready;
    match what {
        What::Copied(content) => item.facts = Some(content),
        What::Returned(to) => {
            item.returns += 1;
            if to == Phase::Pending {
                item.facts = None;
                item.checked = !setup.rules.hold(Rule::RereadRowBeforeWritingAgain);
            }
        }
        _ => {}
    }
    match found {
        true => write(world, setup, m, i, What::Verified, false),
        false => Ok(()),
    }
}
