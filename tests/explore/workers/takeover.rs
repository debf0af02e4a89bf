//! How a shard goes from one executor to another.

use windlass::model::Phase;

use super::executor::{load, may_claim, notices_loss, tell};
use super::journal::{Journal, What};
use super::rules::Rule;
use super::setup::Setup;
use super::world::{Before, OBJECTS, Step, TAKEOVERS, Taking, World};

/// The first step of a takeover: the lock of the owner's number is got.
pub fn may_take_over(world: &World, setup: &Setup, e: usize, s: usize) -> bool {
    let shard = world.db.shards[s];
    let Some(owner) = shard.owner.filter(|owner| *owner != e) else {
        return false;
    };
    let is_proven = !world.numbers[owner] || !setup.holds(Rule::SessionsEndIsProven);
    may_claim(world, e) && !shard.done && is_proven
}

pub fn begin_takeover(world: &mut World, e: usize, s: usize) {
    if notices_loss(world, e) {
        return;
    }
    let shard = world.db.shards[s];
    world.process_mut(e).taking = Some(Taking {
        shard: s,
        from: shard.owner.expect("asked before"),
        lease: shard.lease,
        claimed: false,
    });
}

/// Whether nothing can still arrive that an executor has sent over the session that it has lost, and
/// whether it has noticed the loss. One that stands still asks before it sends anything more.
pub fn is_outlasted(world: &World, e: usize) -> bool {
    let mut late = world.late.iter().flatten();
    let is_late = late.any(|late| late.executor == e && !late.instant);
    let acts = world.processes[e].is_some_and(|process| {
        let mut items = process.items.iter().flatten();
        let is_sending = items.any(|item| matches!(item.step, Step::Sent(_)));
        let is_lost = world.sessions[e].is_none();
        !process.frozen && is_lost && (process.believes || is_sending)
    });
    !is_late && !acts
}

pub fn may_go_on_taking(world: &World, setup: &Setup, e: usize) -> bool {
    let process = world.process(e);
    let Some(taking) = process.taking.filter(|_| process.believes) else {
        return false;
    };
    let outlasts = setup.holds(Rule::OutlastTheOwner);
    taking.claimed || {
        let is_over = is_outlasted(world, taking.from) || !outlasts;
        is_over && !is_locked(world, setup, taking.shard)
    }
}

/// Whether a batch that hangs has asked for the shard, and holds it since.
fn is_locked(world: &World, setup: &Setup, s: usize) -> bool {
    let asks = |takes: [u32; OBJECTS]| setup.objects_in(s).any(|i| takes[i] != 0);
    let hangs = world.hanging.is_some_and(|hanging| asks(hanging.takes));
    hangs && setup.holds(Rule::FenceHoldsTheShard) && setup.holds(Rule::MirrorIsFenced)
}

/// The claim, then its entry and what is to be known of the objects.
pub fn go_on_taking(world: &mut World, setup: &Setup, e: usize) {
    if notices_loss(world, e) {
        return;
    }
    let taking = world.process(e).taking.expect("asked before");
    let s = taking.shard;
    if taking.claimed {
        tell_adoption(world, setup, e, s);
        let lease = world.db.shards[s].lease;
        journal_cut_off(world, setup, e, (s, lease), true);
        for i in setup.objects_in(s) {
            world.process_mut(e).items[i] = load(world, setup, i, lease);
        }
        world.process_mut(e).taking = None;
        return;
    }
    let shard = &mut world.db.shards[s];
    // Its owner may have come back meanwhile, be done with it or have lost it to others.
    let is_same = shard.lease == taking.lease || !setup.holds(Rule::ClaimComparesLease);
    let is_there = shard.owner == Some(taking.from) && !shard.done && is_same;
    if is_there {
        shard.owner = Some(e);
        shard.lease += u8::from(setup.holds(Rule::ClaimRaisesLease));
        let before = Before {
            lease: shard.lease,
            executor: taking.from,
            head: world.db.heads[taking.from],
        };
        if !setup.holds(Rule::EveryTakeoverIsKept) {
            shard.before = [None; TAKEOVERS];
        }
        let free = (0..TAKEOVERS).find(|at| shard.before[*at].is_none());
        shard.before[free.expect("few takeovers")] = Some(before);
    }
    world.process_mut(e).taking = is_there.then_some(Taking {
        claimed: true,
        ..taking
    });
}

/// Takeovers of a shard that this journal does not tell of yet; whether there are any.
pub fn tell_adoption(world: &mut World, setup: &Setup, e: usize, s: usize) -> bool {
    let shard = world.db.shards[s];
    let mut is_any = false;
    for before in shard.before.into_iter().flatten() {
        for i in setup.objects_in(s) {
            let Some(Journal(entries)) = world.journals[e] else {
                continue;
            };
            if entries[i].has_adopted(before.lease) || !setup.holds(Rule::AdoptionIsJournaled) {
                continue;
            }
            let head = match setup.holds(Rule::ClaimKeepsTheHead) {
                true => before.head[i],
                false => world.db.heads[before.executor][i],
            };
            let executor = before.executor;
            let what = What::Adopted { executor, head };
            tell(world, e, i, before.lease, what);
            is_any = true;
        }
    }
    is_any
}

/// Commits of which no entry has come to the mirror: one's own, or those of the owner before.
pub fn journal_cut_off(
    world: &mut World,
    setup: &Setup,
    e: usize,
    (s, lease): (usize, u8),
    adopted: bool,
) {
    if adopted && !setup.holds(Rule::JournalCutOffCommits) {
        return;
    }
    for i in setup.objects_in(s) {
        let object = world.db.objects[i];
        let is_told = world.journals[e].is_some_and(|journal| {
            let mut entries = journal.0[i].after(0);
            entries.any(|(_, entry)| entry.lease == lease && entry.what == What::Committed)
        });
        if object.phase == Phase::Committed && !object.journaled && !is_told {
            tell(world, e, i, lease, What::Committed);
        }
    }
}
