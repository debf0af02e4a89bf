//! SQLite: its words, and the statements that only it has.

mod dialect;
mod mirror;
mod plan;
mod swap;

pub(super) use dialect::Sqlite;
pub(super) use mirror::update;
pub(super) use plan::{plan, rehearse};
pub(super) use swap::move_rows;
