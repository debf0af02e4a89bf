//! Breadth first through all worlds, so that the first trace that is found is a shortest one.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What should never have happened.
pub type Found = Result<(), String>;

/// What is searched: worlds that can be copied and hashed, and the moves between them.
pub trait Model {
    type World: Copy + Hash;
    type Move: Copy + Debug;

    /// What it is called, and how many disturbances it may meet.
    fn bounds(&self) -> (&'static str, u8);

    /// The first world.
    fn begin(&self) -> Self::World;

    /// All moves in a world. The first, where it leads on, is what happens undisturbed.
    fn moves(&self, world: &Self::World) -> Vec<Self::Move>;

    /// Whether a move happens by itself, and leads on. What follows the first of these for ever must
    /// come to an end.
    fn leads_on(by: Self::Move) -> bool;

    /// Makes a move, and holds the world that comes of it to what must always hold.
    fn carry_out(&self, world: &mut Self::World, by: Self::Move) -> Found;

    /// What must hold where nothing more is to be done.
    fn at_the_end(&self, world: &Self::World) -> Found;
}

/// What a search came to.
#[derive(Debug)]
pub struct Searched<M> {
    pub states: usize,
    pub transitions: usize,
    pub ends: usize,
    /// The first violation, and the way to it.
    pub violation: Option<(String, Vec<M>)>,
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
fn fingerprint(world: &impl Hash) -> (u64, u64) {
    let mut hasher = Quick::default();
    world.hash(&mut hasher);
    (hasher.0, hasher.1)
}

/// Where a world was come to from.
struct Known<M> {
    before: usize,
    by: Option<M>,
    /// What follows undisturbed; itself where nothing does.
    then: usize,
}

type Index = HashMap<(u64, u64), usize, BuildHasherDefault<Quick>>;

/// Searches everything that can be reached.
pub fn search<S: Model>(setup: &S) -> Searched<S::Move> {
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
            let moves = setup.moves(&world);
            let leads_on = moves.first().is_some_and(|first| S::leads_on(*first));
            if !leads_on {
                searched.ends += 1;
                if let Err(what) = setup.at_the_end(&world) {
                    return found(searched, &known, at, None, what);
                }
            }
            for (number, by) in moves.into_iter().enumerate() {
                searched.transitions += 1;
                let mut after = world;
                if let Err(what) = setup.carry_out(&mut after, by) {
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

fn found<M: Copy>(
    mut searched: Searched<M>,
    known: &[Known<M>],
    mut at: usize,
    last: Option<M>,
    what: String,
) -> Searched<M> {
    let mut trace: Vec<M> = last.into_iter().collect();
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
fn circle<M>(known: &[Known<M>]) -> Option<usize> {
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
