//! Breadth first through all worlds, so that the first trace that is found is a shortest one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::beginning;
use crate::check;
use crate::engine::{self, Found};
use crate::faults::{self, Disturbance};
use crate::mirroring;
use crate::rules::Rule;
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

impl Move {
    /// Whether it happens by itself, and leads on. What follows the first of these for ever must
    /// come to an end.
    fn leads_on(self) -> bool {
        !matches!(self, Move::FollowUp(_) | Move::Disturb(_))
    }
}

/// What a search came to.
#[derive(Debug)]
pub struct Searched {
    pub states: usize,
    pub transitions: usize,
    pub ends: usize,
    /// The first violation, and the way to it.
    pub violation: Option<(String, Vec<Move>)>,
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

/// A hash that is quick without an optimizer: a world is a few hundred small numbers.
#[derive(Default)]
struct Quick(u64, u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
        self.1 = (self.1.rotate_left(23) ^ value).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.1.rotate_left(32)
    }
}

/// Two independent halves: among a few million worlds no two are taken for one.
fn fingerprint(world: &World) -> (u64, u64) {
    let mut hasher = Quick::default();
    world.hash(&mut hasher);
    (hasher.0, hasher.1)
}

/// Where a world was come to from.
struct Known {
    before: usize,
    by: Option<Move>,
    /// What follows undisturbed; itself where nothing does.
    then: usize,
}

type Index = HashMap<(u64, u64), usize, BuildHasherDefault<Quick>>;

/// Searches everything that can be reached.
pub fn search(setup: &Setup) -> Searched {
    let first = setup.begin();
    let mut index: Index = HashMap::default();
    let mut known = vec![Known {
        before: 0,
        by: None,
        then: 0,
    }];
    index.insert(fingerprint(&first), 0);
    let mut searched = Searched {
        states: 0,
        transitions: 0,
        ends: 0,
        violation: None,
    };
    let mut level = vec![(0, first)];
    while !level.is_empty() {
        let mut next_level = Vec::new();
        for (at, world) in level {
            let moves = moves(&world, setup);
            let leads_on = moves.first().is_some_and(|first| first.leads_on());
            if !leads_on {
                searched.ends += 1;
                if let Err(what) = check::at_the_end(&world, setup) {
                    return found(searched, &known, at, None, what);
                }
            }
            for (number, by) in moves.into_iter().enumerate() {
                searched.transitions += 1;
                let mut after = world;
                if let Err(what) = carry_out(&mut after, setup, by) {
                    return found(searched, &known, at, Some(by), what);
                }
                let to = *index.entry(fingerprint(&after)).or_insert_with(|| {
                    known.push(Known {
                        before: at,
                        by: Some(by),
                        then: known.len(),
                    });
                    next_level.push((known.len() - 1, after));
                    known.len() - 1
                });
                if number == 0 && leads_on {
                    known[at].then = to;
                }
            }
        }
        level = next_level;
    }
    searched.states = known.len();
    if let Some(at) = circle(&known) {
        return found(searched, &known, at, None, "it goes on for ever".into());
    }
    searched
}

fn found(
    mut searched: Searched,
    known: &[Known],
    mut at: usize,
    last: Option<Move>,
    what: String,
) -> Searched {
    let mut trace: Vec<Move> = last.into_iter().collect();
    while let Some(by) = known[at].by {
        trace.push(by);
        at = known[at].before;
    }
    trace.reverse();
    searched.states = known.len();
    searched.violation = Some((what, trace));
    searched
}

/// A world from which, undisturbed, no end is reached.
fn circle(known: &[Known]) -> Option<usize> {
    const NEW: u8 = 0;
    const ON_THE_WAY: u8 = 1;
    const ENDS: u8 = 2;
    let mut mark = vec![NEW; known.len()];
    for start in 0..known.len() {
        let (mut at, mut way) = (start, Vec::new());
        while mark[at] == NEW {
            mark[at] = ON_THE_WAY;
            way.push(at);
            if known[at].then == at {
                mark[at] = ENDS;
            } else {
                at = known[at].then;
            }
        }
        if mark[at] == ON_THE_WAY {
            return Some(start);
        }
        for passed in way {
            mark[passed] = ENDS;
        }
    }
    None
}
