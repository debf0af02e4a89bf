//! A migration while the services run: passes that stage, a cut-over that commits, and a clean-up
//! later. One document, a service that writes and deletes it, and everything in any order.
//!
//! What the other searches hold (journal, mirror, leases, leftovers of one version) is left out here:
//! a process knows what the database has, and one step is one move.

mod check;
mod faults;
mod rules;
mod services;
mod setup;
mod task;
mod world;

use crate::search::{Found, Model};
use faults::Disturbance;
use rules::{Rule, Rules};
use services::Doing;
use setup::Setup;
use world::{Job, State, World};

/// One transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Arrive(usize),
    Vanish(usize),
    Step,
    LookBeside,
    Resume(Job),
    Services(Doing),
    Begin(Job),
    /// What a process that stood still sends when it wakes.
    Wake(usize),
    /// It is found dead, and sends nothing.
    Die(usize),
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
        for (at, late) in world.late.iter().enumerate() {
            match late {
                Some(late) if !late.frozen => found.extend([Move::Arrive(at), Move::Vanish(at)]),
                _ => {}
            }
        }
        if world.process.is_some() {
            found.push(Move::Step);
        }
        if task::may_look_beside(world, self) {
            found.push(Move::LookBeside);
        }
        let mut doing = Vec::new();
        services::possible(world, self, &mut doing);
        let (finishing, beginning): (Vec<Doing>, Vec<Doing>) = doing
            .into_iter()
            .partition(|doing| matches!(doing, Doing::Finish(_)));
        found.extend(finishing.into_iter().map(Move::Services));
        let cut_off = match world.task.state {
            State::CuttingOver if self.holds(Rule::CutoverIsResumed) => Some(Job::Cutover),
            State::TakingBack => Some(Job::Reverse),
            _ => None,
        };
        if let Some(job) = cut_off
            && world.calm_runs < task::CALM_RUNS
            && task::may_begin(world, self, job)
        {
            found.push(Move::Resume(job));
        }
        found.extend(beginning.into_iter().map(Move::Services));
        let jobs = [Job::Pass, Job::Cutover, Job::DeleteSource, Job::Reverse].into_iter();
        let may_begin = |job: &Job| task::may_begin(world, self, *job);
        let is_new = |job: &Job| Some(*job) != cut_off;
        found.extend(jobs.filter(may_begin).filter(is_new).map(Move::Begin));
        for (at, late) in world.late.iter().enumerate() {
            if late.is_some_and(|late| late.frozen) {
                found.extend([Move::Wake(at), Move::Die(at)]);
            }
        }
        let mut disturbances = Vec::new();
        faults::possible(world, self, &mut disturbances);
        found.extend(disturbances.into_iter().map(Move::Disturb));
        found
    }

    fn leads_on(by: Move) -> bool {
        matches!(
            by,
            Move::Arrive(_)
                | Move::Vanish(_)
                | Move::Step
                | Move::Resume(_)
                | Move::Services(Doing::Finish(_))
        )
    }

    fn carry_out(&self, world: &mut World, by: Move) -> Found {
        match by {
            Move::Arrive(at) | Move::Wake(at) => faults::arrive(world, at),
            Move::Vanish(at) | Move::Die(at) => world.late[at] = None,
            Move::Step => task::step(world, self),
            Move::LookBeside => task::look_beside(world),
            Move::Resume(job) => task::begin(world, job),
            Move::Services(doing) => services::carry_out(world, doing),
            Move::Begin(job) => {
                world.calm_runs = 0;
                task::begin(world, job);
            }
            Move::Disturb(what) => faults::disturb(world, self, what),
        }
        check::always(world)
    }

    fn at_the_end(&self, world: &World) -> Found {
        check::at_the_end(world)
    }
}

#[test]
fn with_every_rule_no_document_is_lost_or_stale() {
    crate::nothing_is_found(setup::ALL);
}

#[test]
fn without_any_one_rule_the_search_finds_what_it_is_for() {
    crate::each_is_missed(Rule::ALL, |rule| Setup {
        rules: Rules::without(rule),
        ..*setup::for_rule(rule)
    });
}
