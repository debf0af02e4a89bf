//! A failover to a standby that lags: the database loses its last transactions, while journals, stores and
//! processes stay as they are. Whoever was at work before is kept out until the operator lets the task go on.

use windlass::model::{Phase, State};

use super::executor::{leave, tell};
use super::journal::{Entry, Journal, What};
use super::rules::Rule;
use super::setup::{Fault, Setup};
use super::world::{Database, EXECUTORS, Stage, Standby, World};

/// Transactions that a standby lacks at most.
const LAG_MAX: u8 = 4;

/// Whether the server was failed over, and nobody was let go on since.
pub fn is_unsettled(world: &World) -> bool {
    world.db.timeline != world.timeline
}

/// Whether nobody may join the task or come back to it.
pub fn is_stopped(world: &World, setup: &Setup) -> bool {
    is_unsettled(world) && setup.holds(Rule::FailoverStopsAll)
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

/// Another task notes the timeline for its own workers, not for those of this one.
pub fn lets_others_work(world: &mut World, setup: &Setup) {
    if !setup.holds(Rule::TimelineIsTheTasks) {
        world.db.timeline = world.timeline;
    }
}

/// `resume --after-failover`, on a machine whose worker has ended.
pub fn may_go_on(world: &World, setup: &Setup, e: usize) -> bool {
    let is_quiet = world.processes == [None; EXECUTORS] && world.late == [None; 2];
    is_stopped(world, setup)
        && world.processes[e].is_none()
        && (is_quiet || !setup.holds(Rule::WordWhenAllAreGone))
        && world.lock_is_free()
        && !world.waits
        && journals_allow(world, setup, e)
}

/// Whether no journal forbids it: all are there, and none tells of what the database has lost. What a worker
/// itself has lost of its commits it makes again, as long as the shard is its own.
pub fn journals_allow(world: &World, setup: &Setup, e: usize) -> bool {
    let objects = |by: usize| (0..setup.objects).map(move |i| (by, i));
    let allows = |(by, i): (usize, usize)| {
        let is_own = world.db.shards[setup.shard(i)].owner == Some(by);
        let makes_again = by == e && is_own;
        (fits(world, setup, by, i) || !setup.holds(Rule::WordWhenJournalsFit))
            && (!has_lost_claim(world, setup, by, i) || !setup.holds(Rule::LostClaimsForbid))
            && (!has_lost_takeover(world, setup, by, i) || !setup.holds(Rule::LostTakeoversForbid))
            && (!has_lost_commit(world, by, i)
                || makes_again
                || !setup.holds(Rule::LostCommitsForbid))
    };
    let are_here = world.journals.iter().all(Option::is_some);
    are_here && (0..EXECUTORS).flat_map(objects).all(allows)
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

/// Whether a journal goes on, behind what the database has of it, about a shard that was never its executor's
/// to the database.
fn has_lost_claim(world: &World, setup: &Setup, e: usize, i: usize) -> bool {
    let shard = world.db.shards[setup.shard(i)];
    let mut takeovers = shard.before.iter().flatten();
    let was_its = shard.owner == Some(e) || takeovers.any(|before| before.executor == e);
    let head = world.db.heads[e][i];
    !was_its && world.journals[e].is_some_and(|journal| journal.0[i].after(head).next().is_some())
}

/// Whether a journal tells of a takeover that the database does not know.
fn has_lost_takeover(world: &World, setup: &Setup, e: usize, i: usize) -> bool {
    let shard = world.db.shards[setup.shard(i)];
    let is_known = |lease: u8| {
        shard
            .before
            .iter()
            .flatten()
            .any(|before| before.lease == lease)
    };
    let is_lost = |(_, entry): (u8, Entry)| {
        matches!(entry.what, What::Adopted { .. }) && !is_known(entry.lease)
    };
    world.journals[e].is_some_and(|journal| journal.0[i].after(0).any(is_lost))
}

/// Whether a journal ends behind a commit that the database does not have.
fn has_lost_commit(world: &World, e: usize, i: usize) -> bool {
    let is_behind = |journal: Journal| leaves_behind(journal.0[i].after(0));
    world.journals[e].is_some_and(is_behind) && world.db.objects[i].phase < Phase::Committed
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
        // The lease may be lost as well in which they were made.
        let journal = world.journals[e].expect("asked before");
        let latest = journal.0[*i].after(0).map(|(_, entry)| entry.lease).max();
        let lease = latest.unwrap_or(world.db.shards[setup.shard(*i)].lease);
        tell(world, e, *i, lease, What::CommitLost);
    }
}

/// Whether a batch of a process tells it that the database has lost what it had acknowledged: then its run
/// ends.
pub fn shows_loss(world: &World, setup: &Setup, e: usize) -> bool {
    let went_back = world.processes[e].is_some_and(|process| process.went_back);
    went_back || (world.timeline > 0 && !lost_commits(world, setup, e).is_empty())
}
