//! windlass moves an Anchore Engine deployment's archive documents between
//! object-store drivers, and never loses its place.
//!
//! The layers, each importing only what stands to its right:
//! `cli → engine | audit → driver | catalog | journal → config | database | batch → model`.

#![warn(missing_docs)]
// A function fits a screen; clippy.toml says how long that is. Tests may have long tables.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod audit;
pub mod batch;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod crash;
pub mod database;
pub mod digest;
pub mod driver;
pub mod durable;
pub mod engine;
pub mod explain;
#[doc(hidden)]
pub mod fuzzing;
pub mod journal;
pub mod model;
pub mod private;
pub mod progress;
pub mod report;
