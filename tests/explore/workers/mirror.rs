//! What goes from the journals to the mirror: over any connection, so that no lost session keeps it
//! back. Each batch asks first which of its shards are still its sender's.

use windlass::model::{Outcome, Phase};

use super::journal::{Entry, What};
use super::rules::Rule;
use super::setup::Setup;
use super::world::{Content, Hanging, Item, OBJECTS, Object, Step, World};

pub fn has_news(world: &World, e: usize) -> bool {
    let lens = world.journals[e].map(|journal| journal.lens());
    world.hanging.is_none() && lens.is_some_and(|lens| lens != world.db.heads[e])
}

/// Whether a batch would say the same one move later, and nobody could tell the difference.
pub fn may_as_well_wait(world: &World, e: usize) -> bool {
    let process = world.process(e);
    let mut items = process.items.iter().flatten();
    let is_between = |item: &Item| match item.step {
        Step::Asked(_) | Step::Sent(_) => true,
        Step::Ready => !item.checked,
        Step::Telling(_) | Step::AtRest => false,
    };
    process.believes && items.any(is_between)
}

/// A whole batch.
pub fn flush(world: &mut World, setup: &Setup, e: usize) {
    let batch = look(world, setup, e);
    land(world, setup, batch);
}

/// What an executor that has just begun finds in its journal beyond the head: told by the claims of now.
pub fn replay(world: &mut World, setup: &Setup, e: usize) {
    let Some(journal) = world.journals[e] else {
        return;
    };
    for i in 0..setup.objects {
        let shard = world.db.shards[setup.shard(i)];
        let is_own = shard.owner == Some(e) && !shard.done;
        for (seq, entry) in journal.0[i].after(world.db.heads[e][i]) {
            if is_own || !setup.holds(Rule::MirrorIsFenced) {
                let order = order(setup, e, shard.lease);
                apply(&mut world.db.objects[i], order, seq, entry.what);
            }
        }
        world.db.heads[e][i] = journal.lens()[i];
    }
}

/// The first half of a batch: which of its entries may pass.
pub fn look(world: &World, setup: &Setup, e: usize) -> Hanging {
    let mut batch = Hanging {
        executor: e,
        upto: world.db.heads[e],
        takes: [0; OBJECTS],
    };
    let Some(journal) = world.journals[e] else {
        return batch;
    };
    batch.upto = journal.lens();
    for i in 0..setup.objects {
        for (seq, entry) in journal.0[i].after(world.db.heads[e][i]) {
            if passes(world, setup, e, i, entry) {
                batch.takes[i] |= 1 << seq;
            }
        }
    }
    batch
}

fn passes(world: &World, setup: &Setup, e: usize, i: usize, entry: Entry) -> bool {
    !setup.holds(Rule::MirrorIsFenced) || world.owns(setup, e, i, entry.lease)
}

/// The second half. The head goes on over what was not let through: that is another's to tell.
pub fn land(world: &mut World, setup: &Setup, batch: Hanging) {
    let e = batch.executor;
    let Some(journal) = world.journals[e] else {
        return;
    };
    for i in 0..setup.objects {
        let head = world.db.heads[e][i];
        for (seq, entry) in journal.0[i].after(head) {
            if seq > batch.upto[i] {
                break;
            }
            if batch.takes[i] & (1 << seq) != 0 {
                let order = order(setup, e, entry.lease);
                apply(&mut world.db.objects[i], order, seq, entry.what);
            }
        }
        world.db.heads[e][i] = head.max(batch.upto[i]);
    }
}

/// What the guard goes by: the lease or, where the rule is off, who tells.
pub fn order(setup: &Setup, e: usize, lease: u8) -> u8 {
    match setup.holds(Rule::GuardOrdersByLease) {
        true => lease,
        false => e as u8 + 1,
    }
}

/// The guarded `UPDATE`: nothing older, and never across the commit.
fn apply(object: &mut Object, order: u8, seq: u8, what: What) {
    let (phase, outcome, facts): (_, _, Option<Content>) = match what {
        What::Claimed | What::Adopted { .. } => return,
        What::Copied(content) => (Phase::Copied, None, Some(content)),
        What::Verified => (object.phase.max(Phase::Verified), None, None),
        What::CommitLost => (Phase::Verified, None, None),
        What::Committed => (Phase::Committed, None, None),
        What::SourceDeleted => (Phase::SourceDeleted, None, None),
        What::SourceKept => (Phase::Committed, Some(Outcome::SourceKept), None),
        What::Failed(phase) => (phase, Some(Outcome::Failed), None),
        What::Skipped => (object.phase, Some(Outcome::Skipped), None),
        What::Returned => (Phase::Pending, None, None),
    };
    let is_behind = |phase: Phase| phase >= Phase::Committed;
    let crosses = is_behind(phase) != is_behind(object.phase);
    if (object.order, object.seq) >= (order, seq) || crosses {
        return;
    }
    object.phase = phase;
    object.outcome = outcome;
    object.facts = facts.or(object.facts);
    object.journaled = true;
    object.order = order;
    object.seq = seq;
}

/// Whether an executor takes a shard for done: all in it at rest, and the mirror told.
pub fn may_be_done(world: &World, setup: &Setup, e: usize, s: usize) -> bool {
    let Some(journal) = world.journals[e] else {
        return false;
    };
    let process = world.process(e);
    world.hanging.is_none()
        && setup.objects_in(s).all(|i| {
            let is_told = journal.lens()[i] == world.db.heads[e][i];
            is_told && process.items[i].is_some_and(|item| item.step == Step::AtRest)
        })
}

/// The shard is done: said by its owner, or by nobody.
pub fn done(world: &mut World, setup: &Setup, e: usize, s: usize) {
    let is_own = setup.objects_in(s).all(|i| {
        let lease = world.item(e, i).lease;
        world.owns(setup, e, i, lease)
    });
    for i in setup.objects_in(s) {
        world.process_mut(e).items[i] = None;
    }
    if is_own || !setup.holds(Rule::MirrorIsFenced) {
        world.db.shards[s].done = true;
    }
}
