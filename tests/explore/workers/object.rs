//! One object's way with the executor that holds its shard, cut where others can come in between.
//!
//! Reading has no effect, so that reading and its entry are one move; so are a landed write and its
//! entry, since a request that outlives its process may land without one.

use windlass::model::{Action, Outcome, Phase};

use super::executor::{notices_loss, tell};
use super::failover;
use super::journal::What;
use super::mirror;
use super::rules::Rule;
use super::setup::Setup;
use super::world::{Content, Late, PLANNED, Place, Row, Sending, Step, World};
use crate::search::Found;

/// How often a copy is made again in one tenure.
const MAX_RETURNS: u8 = 1;

pub fn may_step(world: &World, e: usize, i: usize) -> bool {
    let process = world.process(e);
    // What is still on the wire is waited for before it is sent again.
    let mut late = world.late.iter().flatten();
    if late.any(|late| (late.executor, late.object) == (e, i)) {
        return false;
    }
    process.items[i].is_some_and(|item| match item.step {
        Step::Sent(_) | Step::Telling(_) => true,
        Step::Ready | Step::Asked(_) => process.believes,
        Step::AtRest => false,
    })
}

pub fn step(world: &mut World, setup: &Setup, e: usize, i: usize) -> Found {
    let item = world.item(e, i);
    match item.step {
        Step::Ready if !item.checked => look(world, e, i),
        Step::Ready => act(world, setup, e, i)?,
        Step::Asked(sending) => return go_out(world, setup, e, i, sending),
        Step::Sent(sending) => {
            let late = Late {
                executor: e,
                object: i,
                lease: item.lease,
                sending,
                instant: false,
            };
            arrive(world, setup, late)?;
            write(world, e, i, told_of(sending))?;
        }
        Step::Telling(what) => write(world, e, i, what)?,
        Step::AtRest => {}
    }
    Ok(())
}

fn told_of(sending: Sending) -> What {
    match sending {
        Sending::Put(content) => What::Copied(content),
        Sending::Delete => What::SourceDeleted,
    }
}

/// An entry, and what follows from it.
fn write(world: &mut World, e: usize, i: usize, what: What) -> Found {
    let item = world.item(e, i);
    tell(world, e, i, item.lease, what);
    let item = world.item_mut(e, i);
    item.step = Step::Ready;
    if let What::Copied(content) = what {
        item.facts = Some(content);
    }
    let event = what.event().expect("about an object");
    let state = item.state.apply(&event);
    item.state = state.map_err(|illegal| format!("object {i} of executor {e}: {illegal}"))?;
    Ok(())
}

/// The row as it is now, once in each tenure.
fn look(world: &mut World, e: usize, i: usize) {
    let there = world.db.objects[i];
    let row = world.db.rows[i];
    let item = world.item_mut(e, i);
    let is_kept = matches!(there.outcome, Some(Outcome::Skipped | Outcome::SourceKept));
    if there.phase == Phase::SourceDeleted || is_kept {
        item.step = Step::AtRest;
        return;
    }
    item.checked = true;
    let is_committed = there.phase >= Phase::Committed;
    if row != PLANNED && !is_committed {
        item.step = Step::Telling(What::Skipped);
    }
}

fn act(world: &mut World, setup: &Setup, e: usize, i: usize) -> Found {
    let item = world.item(e, i);
    let (from, to) = (
        world.read(setup, Place::A, i),
        world.read(setup, Place::B, i),
    );
    let next = item.state.next(setup.rest(world));
    let step = match next {
        None | Some(Action::KeepSource) => Step::AtRest,
        Some(Action::Copy) => copy(world, setup, e, i, from, to),
        Some(Action::Verify) if Some(to) == item.facts => Step::Telling(What::Verified),
        Some(Action::Verify) if item.state.phase >= Phase::Committed => failed(item.state.phase),
        Some(Action::Verify) if item.returns >= MAX_RETURNS => failed(item.state.phase),
        Some(Action::Verify) => {
            world.item_mut(e, i).returns += 1;
            world.item_mut(e, i).checked = false;
            Step::Telling(What::Returned)
        }
        Some(Action::Commit) => return commit(world, setup, e, i),
        Some(Action::DeleteSource) => return delete(world, setup, e, i),
    };
    world.item_mut(e, i).step = step;
    Ok(())
}

fn failed(phase: Phase) -> Step {
    Step::Telling(What::Failed(phase))
}

fn copy(world: &World, setup: &Setup, e: usize, i: usize, from: Content, to: Content) -> Step {
    if from != Content::Old {
        return match world.db.rows[i] == PLANNED {
            true => failed(Phase::Pending),
            false => Step::Telling(What::Skipped),
        };
    }
    let content = setup.copy_of(e);
    match to {
        there if there == content => Step::Telling(What::Copied(content)),
        Content::New => failed(Phase::Pending),
        _ => Step::Asked(Sending::Put(content)),
    }
}

/// Just before it goes out: a process that has stood still asks after its locks.
fn go_out(world: &mut World, setup: &Setup, e: usize, i: usize, sending: Sending) -> Found {
    if setup.rows && sending == Sending::Delete {
        return delete_row(world, setup, e, i);
    }
    let asks = world.process(e).jumped && setup.holds(Rule::AskAfterJump);
    if asks && notices_loss(world, e) {
        return Ok(());
    }
    world.process_mut(e).jumped = false;
    let lease = world.item(e, i).lease;
    if world.others_work {
        return Err(format!(
            "executor {e} sends for object {i} while another task is active"
        ));
    }
    // Behind a failover nobody else acts before the operator lets them.
    if !world.owns(setup, e, i, lease) && !failover::is_unsettled(world) {
        return Err(format!(
            "executor {e} sends for object {i}, whose shard it has lost"
        ));
    }
    world.item_mut(e, i).step = Step::Sent(sending);
    Ok(())
}

/// A request comes to a store.
pub fn arrive(world: &mut World, setup: &Setup, late: Late) -> Found {
    let i = late.object;
    let is_own = world.db.shards[setup.shard(i)].owner == Some(late.executor);
    if !is_own && !late.instant && !failover::is_unsettled(world) {
        return Err(format!(
            "a request of executor {} arrives after another has taken object {i}",
            late.executor
        ));
    }
    match late.sending {
        Sending::Put(content) => {
            if setup.others_at(world, i, Place::B) {
                return Err(format!(
                    "the copy of object {i} is written where a row points already"
                ));
            }
            world.write(setup, Place::B, i, content);
        }
        Sending::Delete => world.write(setup, Place::A, i, Content::Absent),
    }
    // Sent on a commit that a failover has taken since.
    world.hurt[i] |= failover::is_unsettled(world) && !world.is_right(setup, i);
    Ok(())
}

/// Whether a statement of an executor about an object is refused by the fence. Then the executor lets go
/// of the shard that it has lost.
fn is_refused(world: &mut World, setup: &Setup, rule: Rule, e: usize, i: usize) -> bool {
    let lease = world.item(e, i).lease;
    let is_refused = setup.holds(rule) && !world.owns(setup, e, i, lease);
    if is_refused {
        for i in setup.objects_in(setup.shard(i)) {
            world.process_mut(e).items[i] = None;
        }
    }
    is_refused
}

/// A statement that goes over the session, and finds it gone.
fn has_no_session(world: &mut World, setup: &Setup, e: usize) -> bool {
    setup.holds(Rule::SwapOnTheSession) && notices_loss(world, e)
}

fn commit(world: &mut World, setup: &Setup, e: usize, i: usize) -> Found {
    if has_no_session(world, setup, e) || is_refused(world, setup, Rule::CommitIsFenced, e, i) {
        return Ok(());
    }
    let item = world.item(e, i);
    if world.db.rows[i] != PLANNED {
        let is_ours = world.db.objects[i].phase >= Phase::Committed;
        world.item_mut(e, i).step = Step::Telling(match is_ours {
            true => What::Committed,
            false => What::Skipped,
        });
        return Ok(());
    }
    if !world.owns(setup, e, i, item.lease) {
        return Err(format!(
            "row {i} is swapped by executor {e}, which has lost its shard"
        ));
    }
    if world.others_work {
        return Err(format!("row {i} is swapped while another task is active"));
    }
    let content = item.facts.expect("a verified copy is known");
    world.db.rows[i] = Row {
        at: Place::B,
        content,
    };
    if world.timeline > 0 {
        world.hurt[i] = false;
    }
    let seq = world.journals[e].map_or(0, |journal| journal.0[i].len());
    let object = &mut world.db.objects[i];
    object.phase = Phase::Committed;
    object.outcome = None;
    object.facts = Some(content);
    object.journaled = false;
    object.order = mirror::order(setup, e, item.lease);
    object.seq = seq;
    world.item_mut(e, i).step = Step::Telling(What::Committed);
    Ok(())
}

/// Whether the source may go. A row goes in the same statement, anything else with a request of its own.
fn delete(world: &mut World, setup: &Setup, e: usize, i: usize) -> Found {
    if has_no_session(world, setup, e) || is_refused(world, setup, Rule::DeletableIsFenced, e, i) {
        return Ok(());
    }
    let object = world.db.objects[i];
    let row = world.db.rows[i];
    let is_ours =
        object.phase == Phase::Committed && row.at == Place::B && Some(row.content) == object.facts;
    if !is_ours || setup.others_at(world, i, Place::A) {
        world.item_mut(e, i).step = Step::Telling(What::SourceKept);
        return Ok(());
    }
    world.item_mut(e, i).step = Step::Asked(Sending::Delete);
    match setup.rows && setup.holds(Rule::RowDeleteAsks) {
        true => delete_row(world, setup, e, i),
        false => Ok(()),
    }
}

/// The delete of a row that is a source.
fn delete_row(world: &mut World, setup: &Setup, e: usize, i: usize) -> Found {
    if has_no_session(world, setup, e) {
        return Ok(());
    }
    let lease = world.item(e, i).lease;
    if !world.owns(setup, e, i, lease) {
        return Err(format!(
            "source {i} is deleted by executor {e}, which has lost its shard"
        ));
    }
    world.write(setup, Place::A, i, Content::Absent);
    world.item_mut(e, i).step = Step::Telling(What::SourceDeleted);
    Ok(())
}
