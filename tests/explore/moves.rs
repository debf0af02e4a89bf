//! What can happen next in a world, and what comes of it.

use crate::beginning;
use crate::check;
use crate::engine;
use crate::faults::{self, Disturbance};
use crate::mirroring;
use crate::rules::Rule;
use crate::search::{Found, Model};
use crate::setup::Setup;
use crate::world::{Item, Stage, Step, World};

/// One transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Arrive(usize),
    Vanish(usize),
    NoticeLoss(usize),
    /// What an object's loop had under way by then comes to something without the lock.
    GoOnWithoutLock(usize, usize),
    Begin(usize),
    Step(usize, usize),
    Sync(usize),
    Flush(usize),
    Finish(usize),
    Regain(usize),
    Resume(usize),
    FollowUp(usize),
    Disturb(Disturbance),
}

impl Model for Setup {
    type World = World;
    type Move = Move;

    fn bounds(&self) -> (&'static str, u8) {
        (self.name, self.disturbances)
    }

    fn begin(&self) -> World {
        Setup::begin(self)
    }

    fn moves(&self, world: &World) -> Vec<Move> {
        moves(world, self)
    }

    fn leads_on(by: Move) -> bool {
        !matches!(by, Move::FollowUp(_) | Move::Disturb(_))
    }

    fn carry_out(&self, world: &mut World, by: Move) -> Found {
        carry_out(world, self, by)
    }

    fn at_the_end(&self, world: &World) -> Found {
        check::at_the_end(world, self)
    }
}

/// Runs that may follow each other without success when nothing disturbs them.
const CALM_RUNS: u8 = 2;

/// All moves in a world. The first, where it leads on, is what happens undisturbed.
fn moves(world: &World, setup: &Setup) -> Vec<Move> {
    let mut found = Vec::new();
    for at in 0..world.late.len() {
        if world.late[at].is_some() {
            found.extend([Move::Arrive(at), Move::Vanish(at)]);
        }
    }
    for m in 0..world.processes.len() {
        of_process(world, setup, m, &mut found);
    }
    for task in [1, 0] {
        let may_resume = beginning::may_resume(world, setup, 0, task);
        if may_resume && world.calm_runs < CALM_RUNS {
            found.push(Move::Resume(task));
            break;
        }
    }
    for m in 0..world.processes.len() {
        // Another machine only where the first is still there, cut off.
        let is_wanted = m == 0 || world.processes[0].is_some();
        if is_wanted && beginning::may_follow_up(world, setup, m) {
            found.push(Move::FollowUp(m));
        }
    }
    let disturbances = faults::possible(world, setup);
    found.extend(disturbances.into_iter().map(Move::Disturb));
    found
}

fn of_process(world: &World, setup: &Setup, m: usize, found: &mut Vec<Move>) {
    let Some(process) = world.processes[m] else {
        return;
    };
    if process.stage != Stage::Running {
        found.push(Move::Begin(m));
        return;
    }
    let items = || process.items.iter().flatten();
    for i in 0..setup.objects {
        if process.items[i].is_some_and(|item| engine::may_step(world, m, &item)) {
            found.push(Move::Step(m, i));
        }
    }
    let mut copy = *world;
    let checkpoint = copy.checkpoint(m);
    if checkpoint.synced != checkpoint.lens() {
        found.push(Move::Sync(m));
    } else if mirroring::is_at_rest(world, m) {
        found.push(Move::Finish(m));
        return;
    }
    if mirroring::has_news(world, setup, m) {
        found.push(Move::Flush(m));
    }
    if process.believes && world.lock != Some(m) {
        found.push(Move::NoticeLoss(m));
    }
    // A new lease waits for what must be in one: a delete, and the entry about a step.
    let holds_up = |item: &Item| match item.step {
        Step::Deleting => setup.rules.hold(Rule::DeletesEndWithTheLease),
        Step::Written { .. } => true,
        _ => false,
    };
    if !process.believes && world.lock.is_none() && !items().any(holds_up) {
        found.push(Move::Regain(m));
    }
    for i in 0..setup.objects {
        if engine::under_way(world, setup, m, i) != Ok(None) {
            found.push(Move::GoOnWithoutLock(m, i));
        }
    }
}

fn carry_out(world: &mut World, setup: &Setup, next: Move) -> Found {
    match next {
        Move::Arrive(at) => faults::land(world, setup, at),
        Move::Vanish(at) => world.late[at] = None,
        Move::NoticeLoss(m) => world.process_mut(m).believes = false,
        Move::GoOnWithoutLock(m, i) => {
            if let Some(step) = engine::under_way(world, setup, m, i)? {
                world.item_mut(m, i).step = step;
            }
        }
        Move::Begin(m) => beginning::advance(world, setup, m)?,
        Move::Step(m, i) => engine::step(world, setup, m, i)?,
        Move::Sync(m) => engine::sync(world, setup, m)?,
        Move::Flush(m) => mirroring::flush(world, setup, m)?,
        Move::Finish(m) => mirroring::finish(world, setup, m)?,
        Move::Regain(m) => beginning::regain(world, setup, m)?,
        Move::Resume(task) => beginning::resume(world, setup, 0, task)?,
        Move::FollowUp(m) => beginning::follow_up(world, setup, m)?,
        Move::Disturb(what) => faults::disturb(world, setup, what)?,
    }
    check::heal(world, setup);
    check::always(world, setup)
}
