//! windlass moves an Anchore Engine deployment's archive documents between
//! object-store drivers, and never loses its place.
//!
//! The first ten documents of a catalog, looked for in the store that a configuration names:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use windlass::catalog::Catalog;
//! use windlass::config::{ConfigFile, Section};
//! use windlass::database::{ConnectOptions, Database, DatabaseUrl};
//! use windlass::driver::{self, Fence};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ConfigFile::load(Path::new("config.yaml"), &|name| std::env::var(name).ok())?;
//! let url = DatabaseUrl::parse("postgresql://anchore@127.0.0.1/anchore")?;
//! let database = Database::connect(&url, &ConnectOptions::default()).await?;
//! let store = config.store(Section::ObjectStore)?;
//! let store = driver::open(&store, &database, Fence::Open).await?;
//! store.prepare_to_read().await?;
//! for row in Catalog::open(database).await?.rows_after(None, 10).await? {
//!     let found = store.stat(&store.url_for(&row.key)).await?;
//!     println!("{}: {}", row.key, if found.is_some() { "there" } else { "not there" });
//! }
//! # Ok(())
//! # }
//! ```
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
