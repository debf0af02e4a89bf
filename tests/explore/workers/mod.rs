//! Two executors of one task: shards that are claimed and taken over, sessions that end, processes that
//! stand still and wake, and others who want the lock.
//!
//! Left out, since the other searches hold it: power cuts, old copies of a checkpoint, the ways in which
//! a row can change, what a task that is undone leaves at its destination. Uploads in parts are left out
//! since they show nobody anything before they are whole. And what is not settled yet: two processes on
//! copies of one checkpoint, and failovers beside anything but kills and processes that stand still. A
//! process that stands still in the instant between asking and sending is let beside kills and takeovers
//! only: beside another task, or a store that loses a copy, its delete is the one thing that nothing here
//! can stop (`docs/decisions/0016-many-workers-on-one-task.md`).
//!
//! Where a failover has lost what nobody can make again, nobody goes on with the task: the search takes that
//! for an end. What has become of its rows is looked at only where somebody goes on.
//!
//! An executor works at one object after the other; of two at once the main search has every order.

mod audited;
mod check;
mod cutover;
mod executor;
mod failover;
mod faults;
mod journal;
mod mirror;
mod object;
mod rules;
mod setup;
mod takeover;
mod world;

use crate::search::{Found, Model};
use faults::Disturbance;
use rules::{Rule, Rules, SECOND_LINES};
use setup::Setup;
use world::{Active, EXECUTORS, Item, Stage, Step, World};

/// One transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Arrive(usize),
    Vanish(usize),
    FlushLands,
    FlushFails,
    HandOver,
    Join(usize),
    AfterFailover(usize),
    OthersEnd,
    MakeActive(usize),
    Notice(usize),
    Regain(usize),
    TakeFree(usize, usize),
    BeginTakeover(usize, usize),
    GoOnTaking(usize),
    Step(usize, usize),
    Flush(usize),
    Done(usize, usize),
    Close(usize),
    CutOver(usize),
    End(usize),
    AnchoresTurn,
    AnchoreGoes,
    Wake(usize),
    WakeSending(usize),
    Disturb(Disturbance),
}

impl Model for Setup {
    type World = World;
    type Move = Move;

    fn bounds(&self) -> (&'static str, u8) {
        (self.name, self.disturbances)
    }

    fn begin(&self) -> World {
        self.first_world()
    }

    fn moves(&self, world: &World) -> Vec<Move> {
        let mut found = Vec::new();
        for at in 0..world.late.len() {
            if world.late[at].is_some() {
                found.extend([Move::Arrive(at), Move::Vanish(at)]);
            }
        }
        if world.hanging.is_some() {
            found.extend([Move::FlushLands, Move::FlushFails]);
        }
        for e in 0..EXECUTORS {
            of_executor(world, self, e, &mut found);
        }
        if faults::is_anchores_turn(world) {
            found.extend([Move::AnchoresTurn, Move::AnchoreGoes]);
        }
        let may_join = |e: &usize| executor::may_join(world, self, *e);
        found.extend((0..EXECUTORS).filter(may_join).map(Move::Join));
        if world.others_work {
            found.push(Move::OthersEnd);
        }
        let may_activate = |e: &usize| executor::may_make_active(world, self, *e);
        found.extend((0..EXECUTORS).filter(may_activate).map(Move::MakeActive));
        let may_go_on = |e: &usize| failover::may_go_on(world, self, *e);
        found.extend((0..EXECUTORS).filter(may_go_on).map(Move::AfterFailover));
        let may_cut_over = |e: &usize| cutover::may_begin(world, self, *e);
        found.extend((0..EXECUTORS).filter(may_cut_over).map(Move::CutOver));
        for e in 0..EXECUTORS {
            if world.processes[e].is_some_and(|process| process.frozen) {
                found.push(Move::Wake(e));
                if self.instant && faults::stands_in_the_instant(world, e) {
                    found.push(Move::WakeSending(e));
                }
            }
        }
        let disturbances = faults::possible(world, self);
        found.extend(disturbances.into_iter().map(Move::Disturb));
        if self.disturbances > 0 && is_settled(world) {
            found.truncate(1);
        }
        found
    }

    fn leads_on(by: Move) -> bool {
        !matches!(by, Move::Disturb(_))
    }

    fn carry_out(&self, world: &mut World, by: Move) -> Found {
        let before = world.standby.map(|_| world.db);
        match by {
            Move::Arrive(at) => {
                let late = world.late[at].take().expect("it is on the wire");
                object::arrive(world, self, late)?;
            }
            Move::Vanish(at) => world.late[at] = None,
            Move::FlushLands => {
                let batch = world.hanging.take().expect("it hangs");
                mirror::land(world, self, batch);
            }
            Move::FlushFails => world.hanging = None,
            Move::HandOver => executor::hand_over(world, self),
            Move::Join(e) => executor::join(world, self, e)?,
            Move::OthersEnd => world.others_work = false,
            Move::MakeActive(e) => {
                world.db.active = Active::Ours;
                executor::join(world, self, e)?;
            }
            Move::AfterFailover(e) => {
                world.db.active = Active::Ours;
                world.db.timeline = world.timeline;
                executor::join(world, self, e)?;
            }
            Move::Notice(e) => executor::notice(world, e),
            Move::Regain(e) => executor::regain(world, self, e)?,
            Move::TakeFree(e, s) => executor::take_free(world, self, e, s),
            Move::BeginTakeover(e, s) => takeover::begin_takeover(world, e, s),
            Move::GoOnTaking(e) => takeover::go_on_taking(world, self, e),
            Move::Step(e, i) => object::step(world, self, e, i)?,
            Move::Flush(e) => executor::flush(world, self, e),
            Move::Done(e, s) => mirror::done(world, self, e, s),
            Move::Close(e) => executor::close(world, self, e)?,
            Move::CutOver(e) => cutover::begin(world, self, e)?,
            Move::End(e) => executor::leave(world, e),
            Move::AnchoresTurn => faults::anchores_turn(world, self),
            Move::AnchoreGoes => world.waits = false,
            Move::Wake(e) => faults::wake(world, e, false),
            Move::WakeSending(e) => faults::wake(world, e, true),
            Move::Disturb(what) => faults::disturb(world, self, what),
        }
        if let Some(before) = before {
            failover::count_lag(world, &before);
        }
        check::always(world, self)
    }

    fn at_the_end(&self, world: &World) -> Found {
        check::at_the_end(world, self)
    }
}

/// Nothing more goes wrong, and one executor is at work alone: in which order it does what is left makes
/// no difference.
fn is_settled(world: &World) -> bool {
    let mut alone = world.processes.iter().flatten();
    let is_alone = alone
        .next()
        .is_some_and(|process| process.believes && !process.frozen);
    let is_quiet = world.late == [None; 2] && world.hanging.is_none() && !world.waits;
    let is_quiet = is_quiet && !world.others_work;
    let is_held = world
        .processes
        .iter()
        .zip(world.sessions)
        .all(|(process, session)| process.is_none() == session.is_none());
    let is_over = world.left == 0 && world.standby.is_none();
    is_over && is_alone && alone.next().is_none() && is_quiet && is_held
}

fn of_executor(world: &World, setup: &Setup, e: usize, found: &mut Vec<Move>) {
    let Some(process) = world.processes[e].filter(|process| !process.frozen) else {
        return;
    };
    if matches!(process.stage, Stage::Planned | Stage::Between) {
        if process.stage == Stage::Planned || !world.waits {
            found.push(Move::HandOver);
        }
        return;
    }
    if process.believes && world.sessions[e].is_none() {
        found.push(Move::Notice(e));
    }
    if executor::may_regain(world, setup, e) {
        found.push(Move::Regain(e));
    }
    if takeover::may_go_on_taking(world, setup, e) {
        found.push(Move::GoOnTaking(e));
    }
    // One after the other: two of one executor at a time are held by the main search.
    let is_open = |item: &Item| item.step != Step::AtRest;
    let is_first = |i: &usize| {
        process.items[..*i]
            .iter()
            .flatten()
            .all(|item| !is_open(item))
    };
    let ends = |item: Item| matches!(item.step, Step::Sent(_) | Step::Telling(_));
    let may_step = |i: &usize| {
        let is_next = is_first(i) || process.items[*i].is_some_and(ends);
        is_next && object::may_step(world, e, *i)
    };
    let steps = (0..setup.objects).filter(may_step);
    found.extend(steps.map(|i| Move::Step(e, i)));
    if mirror::has_news(world, e) && !mirror::may_as_well_wait(world, e) {
        found.push(Move::Flush(e));
    }
    for s in 0..setup.shards() {
        if mirror::may_be_done(world, setup, e, s) {
            found.push(Move::Done(e, s));
        }
        if executor::may_take_free(world, setup, e, s) {
            found.push(Move::TakeFree(e, s));
        }
        if takeover::may_take_over(world, setup, e, s) {
            found.push(Move::BeginTakeover(e, s));
        }
    }
    if executor::may_close(world, setup, e) {
        found.push(Move::Close(e));
    }
    if executor::may_end(world, setup, e) {
        found.push(Move::End(e));
    }
}

#[test]
fn with_every_rule_no_document_is_lost_and_every_history_fits() {
    crate::nothing_is_found(setup::ALL);
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "minutes without an optimizer: cargo test --release --test explore"
)]
fn with_every_rule_nothing_is_found_further_on() {
    crate::nothing_is_found(setup::DEEPER);
}

#[test]
fn without_any_one_rule_the_search_finds_what_it_is_for() {
    let is_second = |rule: &Rule| SECOND_LINES.iter().any(|(second, _)| second == rule);
    let rules: Vec<Rule> = Rule::ALL
        .iter()
        .copied()
        .filter(|rule| !is_second(rule))
        .collect();
    crate::each_is_missed(&rules, |rule| Setup {
        rules: Rules::without(rule),
        ..*setup::for_rule(rule)
    });
}

#[test]
fn of_two_lines_either_is_enough_and_one_is_needed() {
    let mut alone = Vec::new();
    for (second, first) in SECOND_LINES {
        let setup = setup::for_second_line(*second);
        alone.extend([*second, *first].map(|rule| Setup {
            rules: Rules::without(rule),
            ..*setup
        }));
    }
    crate::nothing_is_found(&alone);
    crate::each_is_missed(SECOND_LINES, |(second, first)| Setup {
        rules: Rules::without(second).and_without(first),
        ..*setup::for_second_line(second)
    });
}
