//! A network that fails, between windlass and everything that it talks to: connections that are
//! dropped, cut, slow or silent, answers that never come, bodies that arrive changed. Whatever
//! happens, each stop can be resumed, and at each stop every row leads to its whole document.
//!
//! With WINDLASS_TORTURE connections fall silent as well, and each limit is waited out in full.

mod failover;
mod postgres;
mod s3;
mod silence;
mod swift;
mod takeover;

use std::time::Duration;

use crate::support::faulty_net::{FaultyNet, Rough, Weather};
use crate::support::postgres::{Database, Place, fresh_database};
use crate::support::program::Outcome;
use crate::world::World;

/// Runs that one migration may take. Each gets a good deal further than the one before, if it
/// begins at all: with 30 % of all connections dropped, a start may fail for want of a single one.
const MOST_RUNS: usize = 25;

/// A database that windlass reaches through a network that fails; the test has its own way.
async fn database_behind(seed: u64) -> (FaultyNet, Database) {
    let mut database = fresh_database().await;
    let upstream = format!("{}:{}", database.place.host, database.place.port);
    let net = FaultyNet::start(&upstream, seed).await;
    database.url = through(&net, &database);
    (net, database)
}

fn through(net: &FaultyNet, database: &Database) -> String {
    let place = Place {
        port: net.port,
        ..database.place.clone()
    };
    place.url(&database.name)
}

fn is_torture() -> bool {
    std::env::var_os("WINDLASS_TORTURE").is_some()
}

fn rough(within_bytes: usize) -> Weather {
    Weather::Rough(Rough {
        within_bytes,
        stalls: is_torture(),
    })
}

/// Silence is waited out, and there may be a good deal of it.
fn patient(mut world: World) -> World {
    if is_torture() {
        world.program = world.program.time_limit(Duration::from_secs(900));
    }
    world
}

/// Resumes for as long as it takes. `look` is called at each stop.
async fn to_the_end(world: &World, more: &[&str], look: impl AsyncFn() -> ()) -> Vec<Outcome> {
    let mut ends: Vec<Outcome> = Vec::new();
    let mut args = world.migrate_args();
    while ends.len() < MOST_RUNS {
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let ended = world.program.run(&args).await;
        look().await;
        let code = ended.code;
        expect_next_step(&ended);
        ends.push(ended);
        if code == Some(0) {
            return ends;
        }
        args = match world.has_task().await {
            true => vec!["resume".into(), world.task().await],
            false => world.migrate_args(),
        };
    }
    let last = ends.last().expect("it was run");
    panic!(
        "not at its end after {MOST_RUNS} runs\nstdout: {}\nstderr: {}",
        last.stdout, last.stderr
    );
}

/// What stopped says how to go on; what could not begin says why, in one line.
fn expect_next_step(ended: &Outcome) {
    let (out, err) = (&ended.stdout, &ended.stderr);
    match ended.code {
        Some(0) => {}
        Some(130 | 3) => assert!(out.contains(" resume "), "{out}\n{err}"),
        Some(2) => assert!(
            out.contains(" resume ") || err.contains("windlass: "),
            "{out}\n{err}"
        ),
        other => panic!("{other:?}\nstdout: {out}\nstderr: {err}"),
    }
    assert!(!err.contains("panicked"), "{err}");
}

/// How the runs ended, and what they were put through: what a person wants to know of a seed.
fn tell(ends: &[Outcome], nets: &[&FaultyNet]) {
    let codes: Vec<_> = ends.iter().map(|ended| ended.code).collect();
    let nets: Vec<_> = nets.iter().map(|net| net.done()).collect();
    println!("{} runs, {codes:?}; {nets:?}", ends.len());
}
