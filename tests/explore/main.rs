//! Every order of faults, up to a bound.
//!
//! The state machine is the library's own (`State::next`, `State::apply`, the events); what is
//! around it (stores, database, mirror, checkpoints, lock, the wire) is a small world that can be
//! copied and hashed, and that these files move as the code of their names does. Breadth first,
//! every world that any order of moves and faults can lead to is visited once, and held to what
//! must hold. With any one of the odd-looking rules of the design switched off, the search finds
//! what that rule is for. `docs/reliability.md` has the counts and the bounds.

mod beginning;
mod catalog;
mod check;
mod engine;
mod faults;
mod journal;
mod mirroring;
mod moves;
mod online;
mod reconcile;
mod rules;
mod search;
mod setup;
mod setups;
mod workers;
mod world;

use std::fmt::Debug;

use rules::{Rule, Rules};
use search::{Model, search};
use setup::Setup;

fn nothing_is_found(setups: &[impl Model]) {
    let violations: Vec<String> = setups.iter().filter_map(violation).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn violation(setup: &impl Model) -> Option<String> {
    let (name, disturbances) = setup.bounds();
    let since = std::time::Instant::now();
    let searched = search(setup);
    println!(
        "{name}, {disturbances} disturbances: {} states, {} transitions, {} ends, {:?}",
        searched.states,
        searched.transitions,
        searched.ends,
        since.elapsed()
    );
    assert!(searched.violation.is_some() || searched.ends > 0);
    let (what, trace) = searched.violation?;
    let moves = trace.len();
    Some(format!("{name}: {what}, after {moves} moves: {trace:?}"))
}

/// Searches with each rule switched off: `without` makes the setup that needs it.
fn each_is_missed<R: Copy + Debug, S: Model>(rules: &[R], without: impl Fn(R) -> S) {
    let mut without_effect = Vec::new();
    for &rule in rules {
        match violation(&without(rule)) {
            Some(found) => println!("{rule:?} off, {found}"),
            None => without_effect.push(rule),
        }
    }
    assert!(
        without_effect.is_empty(),
        "nothing is found without {without_effect:?}"
    );
}

#[test]
fn with_every_rule_one_object_survives_every_order_of_faults() {
    nothing_is_found(setups::ONE_OBJECT);
}

#[test]
fn with_every_rule_two_objects_survive_every_order_of_faults() {
    nothing_is_found(setups::TWO_OBJECTS);
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "minutes without an optimizer: cargo test --release --test explore"
)]
fn with_every_rule_nothing_is_found_one_disturbance_further() {
    nothing_is_found(setups::DEEPER);
}

#[test]
fn without_any_one_rule_the_search_finds_what_it_is_for() {
    each_is_missed(Rule::ALL, |rule| Setup {
        rules: Rules::without(rule),
        ..*setups::for_rule(rule)
    });
}
