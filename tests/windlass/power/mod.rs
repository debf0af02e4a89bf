//! The power is cut: what was not synced is gone, or half there. The checkpoint, the state directory
//! and the documents of `localfs` lie on a filesystem that forgets (`support/power.rs`); databases
//! look after themselves and stay elsewhere.

mod disk;
mod journeys;
#[cfg(feature = "failpoints")]
mod points;
mod stage;
