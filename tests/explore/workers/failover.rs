//! A failover to a standby that lags: the database loses its last transactions, while journals, stores and
//! processes stay as they are. Whoever was at work before is kept out until the operator lets the task go on.

use windlass::model::{Phase, State};

use super::executor::{leave, tell};
use super::journal::{Entry, What};
use super::rules::Rule;
use super::setup::{Fault, Setup};
use super::world::{Database, EXECUTORS, Stage, Standby, World};

/// Transactions that a standby lacks at most.
const LAG_MAX: u8 = 4;

/// Whether nobody may join the task or come back to it.
pub fn is_stopped(world: &World, setup: &Setup) -> bool {
    world.db.timeline != world.timeline && setup.holds(Rule::FailoverStops)
}

pub fn may_stall(world: &World, setup: &Setup) -> bool {
    let is_first = world.standby.is_none() && world.timeline == 0;
    setup.may(Fault::Failover) && is_first && !world.db.closed
}

pub fn stall(world: &mut World) {
    world.standby = Some(Standby {
        db: world.db,
        lags: 0,
    });
}

/// Counts what the standby does not have. One that would lack too much is none.
pub fn count_lag(world: &mut World, before: &Database) {
    if let Some(standby) = &mut world.standby
        && world.db != *before
    {
        standby.lags += 1;
        if standby.lags > LAG_MAX {
            world.standby = None;
        }
    }
}

/// The standby takes over: every session ends, and what it had not got is gone.
pub fn fail_over(world: &mut World, setup: &Setup) {
    let standby = world.standby.take().expect("asked before");
    for e in 0..EXECUTORS {
        world.end_session(e);
        let Some(process) = &mut world.processes[e] else {
            continue;
        };
        process.went_back = world.db.heads[e] != standby.db.heads[e];
        if process.stage != Stage::Working {
            leave(world, e);
        }
    }
    world.hanging = None;
    world.db = standby.db;
    world.timeline += 1;
    for i in 0..setup.objects {
        world.hurt[i] |= !world.is_right(setup, i);
    }
}

/// `resume --after-failover`: the operator says that the journal of every worker is there and fits.
pub fn may_go_on(world: &World, setup: &Setup, e: usize) -> bool {
    let is_quiet = world.processes == [None; EXECUTORS] && world.late == [None; 2];
    let waits_for_all = setup.holds(Rule::WordWaitsForAll);
    is_stopped(world, setup)
        && world.processes[e].is_none()
        && (is_quiet || !waits_for_all)
        && world.lock_is_free()
        && !world.waits
        && all_fit(world, setup)
}

/// Whether the operator can say so of every journal.
pub fn all_fit(world: &World, setup: &Setup) -> bool {
    let are_here = world.journals.iter().all(Option::is_some);
    are_here
        && (0..EXECUTORS).all(|e| {
            (0..setup.objects).all(|i| {
                let fits = fits(world, setup, e, i) || !setup.holds(Rule::WordAfterJournals);
                let is_kept = !has_lost(world, setup, e, i) || !setup.holds(Rule::WordWithoutLoss);
                fits && is_kept
            })
        })
}

/// `journal verify` by itself: the mirror says what the journal does, either as of the entry that the mirror
/// has or as of one behind it.
fn fits(world: &World, setup: &Setup, e: usize, i: usize) -> bool {
    let shard = world.db.shards[setup.shard(i)];
    let Some(journal) = world.journals[e] else {
        return false;
    };
    // What another has taken over is told by that one's journal.
    let mut takeovers = shard.before.iter().flatten();
    let head = world.db.heads[e][i];
    let has_told = |(seq, entry): (u8, Entry)| seq <= head && entry.what.event().is_some();
    if takeovers.any(|before| before.executor == e) || !journal.0[i].after(0).any(has_told) {
        return true;
    }
    let object = world.db.objects[i];
    let mut state = State::at(setup.begins);
    let mut is_fit = object.phase == Phase::Committed && !object.journaled;
    for (seq, entry) in journal.0[i].after(0) {
        state = match entry.what.event() {
            None => state.in_new_lease(),
            Some(event) => state.apply(&event).unwrap_or(state),
        };
        is_fit |= seq >= head && state.phase == object.phase;
    }
    is_fit
}

/// Whether a journal tells of a claim, a takeover or a commit that the database does not have.
fn has_lost(world: &World, setup: &Setup, e: usize, i: usize) -> bool {
    let Some(journal) = world.journals[e] else {
        return false;
    };
    let shard = world.db.shards[setup.shard(i)];
    let takeovers = || shard.before.iter().flatten();
    let mut beyond = journal.0[i].after(world.db.heads[e][i]);
    let is_of_another = shard.owner != Some(e) && !takeovers().any(|before| before.executor == e);
    let has_lost_claim = is_of_another && beyond.any(|_| true);
    let mut entries = journal.0[i].after(0);
    let has_lost_takeover = entries.any(|(_, entry)| {
        let is_adoption = matches!(entry.what, What::Adopted { .. });
        is_adoption && !takeovers().any(|before| before.lease == entry.lease)
    });
    let is_behind = leaves_behind(journal.0[i].after(0));
    let has_lost_commit = is_behind && world.db.objects[i].phase < Phase::Committed;
    (has_lost_claim && setup.holds(Rule::LostClaim))
        || (has_lost_takeover && setup.holds(Rule::LostTakeover))
        || (has_lost_commit && setup.holds(Rule::LostCommit))
}

/// Whether entries leave an object behind its commit.
fn leaves_behind(entries: impl Iterator<Item = (u8, Entry)>) -> bool {
    entries.fold(false, |is_behind, (_, entry)| match entry.what {
        What::Committed | What::SourceDeleted | What::SourceKept => true,
        What::CommitLost | What::Returned => false,
        _ => is_behind,
    })
}

/// Objects of an executor's own shards that its journal has as committed beyond the head, and the database
/// has not: asked before the journal is brought to the mirror.
pub fn lost_commits(world: &World, setup: &Setup, e: usize) -> Vec<usize> {
    let Some(journal) = world.journals[e] else {
        return Vec::new();
    };
    let is_lost = |i: &usize| {
        let shard = world.db.shards[setup.shard(*i)];
        let is_own = shard.owner == Some(e) && !shard.done;
        let beyond = journal.0[*i].after(world.db.heads[e][*i]);
        is_own && leaves_behind(beyond) && world.db.objects[*i].phase < Phase::Committed
    };
    (0..setup.objects).filter(is_lost).collect()
}

/// They go back to verified.
pub fn return_lost(world: &mut World, setup: &Setup, e: usize, lost: &[usize]) {
    for i in lost {
        let lease = world.db.shards[setup.shard(*i)].lease;
        tell(world, e, *i, lease, What::CommitLost);
    }
}

/// Whether a batch of a process tells it that the database has lost what it had acknowledged: then its run
/// ends.
pub fn shows_loss(world: &World, setup: &Setup, e: usize) -> bool {
    let went_back = world.processes[e].is_some_and(|process| process.went_back);
    went_back || (world.timeline > 0 && !lost_commits(world, setup, e).is_empty())
}
