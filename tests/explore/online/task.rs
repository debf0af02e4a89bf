//! The task: passes, cut-over, and what follows it.

use windlass::model::Phase;

use super::rules::Rule;
use super::services;
use super::setup::Setup;
use super::world::{Content, Job, Object, Place, Process, Row, State, Step, World};

/// How often a copy is made again in one run.
const MAX_RETURNS: u8 = 1;

/// Runs that may follow each other without success when nothing disturbs them.
pub const CALM_RUNS: u8 = 2;

/// Whether a job would get beyond its gates.
pub fn may_begin(world: &World, setup: &Setup, job: Job) -> bool {
    let waits = world.task.unclean && setup.holds(Rule::OutlastOwnLateWrites);
    if world.process.is_some() || (waits && world.may_arrive(false)) {
        return false;
    }
    let stopped = |rule| services::are_stopped(world, setup, rule);
    match (job, world.task.state) {
        (Job::Pass, State::Staging) => world.passes > 0,
        (Job::Cutover, State::Staging | State::CuttingOver) => {
            !may_wake_and_write(world, setup) && stopped(Rule::ServicesAreStopped)
        }
        (Job::DeleteSource, State::CutOver) => {
            !(world.may_arrive(true) && setup.holds(Rule::NobodyMayWake))
        }
        (Job::Reverse, State::Staging) => true,
        (Job::Reverse, State::CuttingOver | State::CutOver) => {
            // A row that has gone on since is nothing to take back.
            let has_gone_on = world.row.is_some_and(|row| {
                let after = world.task.live.and_then(|live| live.after);
                row.at == Place::B && Some(row) != after
            });
            let mut late = world.late.iter().flatten();
            let may_delete = late.any(|late| late.frozen && late.place == Place::A);
            let is_safe = !may_delete || !setup.holds(Rule::NobodyMayWake);
            !has_gone_on && is_safe && stopped(Rule::ReverseWithoutServices)
        }
        (Job::Reverse, State::TakingBack) => true,
        _ => false,
    }
}

/// Whether a process that stands still may write over what services have stored by then.
fn may_wake_and_write(world: &World, setup: &Setup) -> bool {
    world.may_arrive(true) && !setup.conditional && setup.holds(Rule::NobodyMayWakeInCutover)
}

pub fn begin(world: &mut World, job: Job) {
    world.passes -= u8::from(job == Job::Pass);
    world.task.unclean = true;
    match job {
        Job::Cutover => world.task.state = State::CuttingOver,
        Job::Reverse => world.task.state = State::TakingBack,
        Job::Pass | Job::DeleteSource => {}
    }
    world.process = Some(Process {
        job,
        step: Step::Plan,
        proven: false,
        seen: None,
        returns: 0,
    });
}

/// Whether a cut-over may look at the copy while it plans.
pub fn may_look_beside(world: &World, setup: &Setup) -> bool {
    let is_planning = |process: Process| process.job == Job::Cutover && process.step == Step::Plan;
    let is_first = |process: Process| process.seen.is_none();
    let process = world.process.filter(|process| is_planning(*process));
    process.is_some_and(is_first) && setup.holds(Rule::ProveInCutover)
}

/// The listing of before the plan's end: it tells of the copy, whatever the plan finds of its row.
pub fn look_beside(world: &mut World) {
    world.process_mut().seen = Some(world.at(Place::B));
}

/// One step of the process.
pub fn step(world: &mut World, setup: &Setup) {
    let process = *world.process_mut();
    match process.step {
        Step::Plan => {
            if matches!(process.job, Job::Pass | Job::Cutover) {
                plan(world, setup, process.job == Job::Cutover);
            }
            let staged = world.task.live.filter(|live| live.phase == Phase::Verified);
            let facts = staged.and_then(|live| live.facts);
            world.process_mut().proven = facts.is_some() && process.seen == facts;
            world.process_mut().step = Step::Ready;
        }
        Step::Ready => match process.job {
            Job::Pass | Job::Cutover => advance(world, setup),
            Job::DeleteSource => delete_source(world, setup),
            Job::Reverse => reverse(world, setup),
        },
        Step::Putting(content) => {
            world.store(Place::B, content);
            // A copy that is written again in the second look stays committed.
            if world.live_mut().phase < Phase::Committed {
                world.live_mut().phase = Phase::Copied;
            }
            world.process_mut().step = match process.job {
                Job::Cutover if world.live_mut().phase >= Phase::Committed => Step::SecondLook,
                _ => Step::Ready,
            };
        }
        Step::Deleting(place) => {
            world.store(place, Content::Absent);
            if place == Place::A {
                world.live_mut().phase = Phase::SourceDeleted;
            }
            world.process_mut().step = Step::Ready;
        }
        Step::SecondLook => second_look(world, setup),
    }
}

/// The difference between the rows and what the task has.
fn plan(world: &mut World, setup: &Setup, is_cutover: bool) {
    if is_cutover && !setup.holds(Rule::LastPass) && world.task.live.is_some() {
        return;
    }
    let live = world.task.live;
    if live.is_some_and(|live| live.phase >= Phase::Committed) {
        return;
    }
    let Some(row) = world.row.filter(|row| row.at == Place::A) else {
        world.task.live = None;
        return;
    };
    let is_known = live.is_some_and(|live| {
        let sees_time = setup.holds(Rule::DifferenceSeesTime);
        let sees_digest = setup.holds(Rule::DifferenceSeesDigest);
        setup.same(row, live.planned, sees_time, sees_digest)
    });
    let in_cutover = !setup.digests && setup.holds(Rule::WithoutDigestInCutover);
    if in_cutover && !is_cutover {
        world.task.live = None;
        return;
    }
    // What a first run of the cut-over has copied, no service has changed since.
    if is_known {
        let live = world.live_mut();
        live.waits = false;
        return;
    }
    world.task.live = Some(Object {
        planned: row,
        phase: Phase::Pending,
        facts: None,
        waits: false,
        failed: false,
        source_kept: false,
        after: None,
    });
}

/// One step of an object in a pass or the cut-over.
fn advance(world: &mut World, setup: &Setup) {
    let Process { job, proven, .. } = *world.process_mut();
    let is_cutover = job == Job::Cutover;
    let Some(live) = world.task.live else {
        return at_rest(world, job);
    };
    if live.waits || live.failed {
        return at_rest(world, job);
    }
    match live.phase {
        Phase::Pending => copy(world, setup),
        Phase::Copied => {
            let is_equal = Some(world.at(Place::B)) == live.facts;
            match is_equal {
                true => {
                    world.live_mut().phase = Phase::Verified;
                    world.process_mut().proven = true;
                }
                false => return_to_pending(world),
            }
        }
        Phase::Verified if !is_cutover && setup.holds(Rule::NothingCommittedBefore) => {
            at_rest(world, job)
        }
        Phase::Verified if !proven && is_cutover && setup.holds(Rule::ProveInCutover) => {
            match Some(world.at(Place::B)) == live.facts {
                true => world.process_mut().proven = true,
                false => return_to_pending(world),
            }
        }
        Phase::Verified => commit(world, setup),
        Phase::Committed if is_cutover && !setup.holds(Rule::SourcesStay) => {
            world.process_mut().step = Step::Deleting(Place::A);
        }
        Phase::Committed | Phase::SourceDeleted => at_rest(world, job),
    }
}

fn at_rest(world: &mut World, job: Job) {
    match job {
        Job::Cutover => world.process_mut().step = Step::SecondLook,
        _ => end(world, true),
    }
}

fn return_to_pending(world: &mut World) {
    world.process_mut().returns += 1;
    world.process_mut().proven = false;
    let is_over = world.process_mut().returns > MAX_RETURNS;
    let live = world.live_mut();
    live.phase = Phase::Pending;
    live.waits = is_over;
}

fn copy(world: &mut World, setup: &Setup) {
    let live = *world.live_mut();
    let is_cutover = world.process_mut().job == Job::Cutover;
    let content = world.at(Place::A);
    let is_right = match setup.digests {
        true => content == Content::Version(live.planned.version),
        false => content != Content::Absent,
    };
    if !is_right {
        match is_cutover || setup.holds(Rule::MismatchWaits) {
            true => world.live_mut().waits = true,
            false => world.live_mut().failed = true,
        }
        return;
    }
    let there = world.at(Place::B);
    let is_own = world.has_sent(there) && setup.holds(Rule::OwnCopyIsReplaced);
    let is_free = there == Content::Absent || there == content || is_own;
    // Damage to what we have sent is told by the mark that the store keeps with it.
    let is_free = is_free || there == Content::Damaged;
    if !is_free && setup.holds(Rule::ForeignIsRefused) {
        world.live_mut().failed = true;
        return;
    }
    let Content::Version(version) = content else {
        world.live_mut().waits = true;
        return;
    };
    world.task.sent |= 1 << version;
    world.live_mut().facts = Some(content);
    world.process_mut().step = Step::Putting(content);
}

fn commit(world: &mut World, setup: &Setup) {
    let live = *world.live_mut();
    let is_planned = world
        .row
        .is_some_and(|row| setup.same(row, live.planned, true, true));
    if !is_planned {
        world.live_mut().waits = true;
        return;
    }
    let Some(Content::Version(version)) = live.facts else {
        return;
    };
    world.time += 1;
    let after = Row {
        at: Place::B,
        version,
        time: world.time,
    };
    world.row = Some(after);
    goes_to(world, Place::B, version);
    let live = world.live_mut();
    live.phase = Phase::Committed;
    live.after = Some(after);
}

/// Without a digest what a dying service has stored is the document, and moves with its row.
fn goes_to(world: &mut World, place: Place, version: u8) {
    if let Some(torn) = &mut world.torn
        && torn.1 == version
    {
        torn.0 = place;
    }
}

/// The copies looked at once more, by listing: what no longer fits is written again.
fn second_look(world: &mut World, setup: &Setup) {
    let live = world.task.live;
    let committed = live.filter(|live| live.phase >= Phase::Committed);
    if let Some(live) = committed
        && setup.holds(Rule::SecondLook)
        && may_be_repaired(world, setup)
        && Some(world.at(Place::B)) != live.facts
        && Some(world.at(Place::A)) == live.facts
        && let Some(content) = live.facts
    {
        world.process_mut().step = Step::Putting(content);
        return;
    }
    let is_whole = world.row.is_none() || committed.is_some();
    end(world, is_whole);
}

/// The process comes to its end in good order.
fn end(world: &mut World, is_whole: bool) {
    let Some(process) = world.process.take() else {
        return;
    };
    world.task.unclean = world.may_arrive(false);
    let before = world.task.state;
    world.task.state = match process.job {
        Job::Pass => before,
        Job::Cutover if is_whole => State::CutOver,
        Job::DeleteSource if is_whole => State::CleanedUp,
        Job::Reverse if is_whole => State::TakenBack,
        _ => before,
    };
    if !is_whole {
        world.calm_runs = (world.calm_runs + 1).min(CALM_RUNS);
    }
}

fn delete_source(world: &mut World, setup: &Setup) {
    let Some(live) = world.task.live.filter(|live| live.after.is_some()) else {
        return leftover(world, setup);
    };
    if live.phase == Phase::SourceDeleted || live.source_kept {
        return leftover(world, setup);
    }
    let is_ours = world.row == live.after;
    if !is_ours {
        world.live_mut().source_kept = true;
        return;
    }
    let (source, copy) = (Some(world.at(Place::A)), Some(world.at(Place::B)));
    if copy != live.facts && setup.holds(Rule::DeleteProvesCopy) {
        let may_repair = source == live.facts && may_be_repaired(world, setup);
        match live.facts {
            // It is told of, and asked for again once the services are stopped.
            Some(_) if !services::are_stopped(world, setup, Rule::RepairWithoutServices) => {
                end(world, false);
            }
            Some(content) if may_repair => world.process_mut().step = Step::Putting(content),
            _ => world.live_mut().source_kept = true,
        }
        return;
    }
    // A copy that fits is what the row tells of.
    world.hurt &= copy != live.facts;
    if source != live.facts && setup.holds(Rule::DeleteProvesSource) {
        world.live_mut().source_kept = true;
        return;
    }
    world.process_mut().step = Step::Deleting(Place::A);
}

/// Whether what lies at `B` is gone, or the task's own: damage is told by the mark that a store keeps
/// with it.
fn may_be_repaired(world: &World, setup: &Setup) -> bool {
    let there = world.at(Place::B);
    let is_own = matches!(there, Content::Absent | Content::Damaged) || world.has_sent(there);
    is_own || !setup.holds(Rule::RepairOnlyOwn)
}

/// A copy that no row leads to: an earlier version's, or a deleted document's.
fn leftover(world: &mut World, setup: &Setup) {
    match services::are_stopped(world, setup, Rule::LeftoverWithoutServices) {
        true => clear_away(world, setup),
        false => end(world, true),
    }
}

/// What the task has sent, and no row points at, goes.
fn clear_away(world: &mut World, setup: &Setup) {
    let there = world.at(Place::B);
    let is_used = world.row.is_some_and(|row| row.at == Place::B);
    let may_go = (!is_used || !setup.holds(Rule::LeftoverOnlyIfUnused))
        && (world.has_sent(there) || !setup.holds(Rule::LeftoverOnlyIfOurs))
        && there != Content::Absent;
    match may_go {
        true => world.process_mut().step = Step::Deleting(Place::B),
        false => end(world, true),
    }
}

/// Rows go back to where the documents still are, then copies go.
fn reverse(world: &mut World, setup: &Setup) {
    if let Some(live) = world.task.live
        && live.after.is_some()
        && world.row == live.after
    {
        if Some(world.at(Place::A)) == live.facts {
            world.row = Some(live.planned);
            if let Some(Content::Version(version)) = live.facts {
                goes_to(world, Place::A, version);
            }
            world.task.live = None;
            return;
        }
        match (world.at(Place::A), live.facts) {
            // Its source is deleted already: what brings it back is in the other searches.
            (Content::Absent, Some(content)) if world.at(Place::B) == content => {
                world.store(Place::A, content);
            }
            // Its source is another now: it stays where it is.
            _ => end(world, false),
        }
        return;
    }
    clear_away(world, setup);
}
