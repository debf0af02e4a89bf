//! PostgreSQL from 9.6 on: its words, and the statements that only it has.

mod dialect;
mod mirror;
mod plan;
mod swap;

pub(super) use dialect::{LOCK_IS_HELD, Postgres};
pub(super) use mirror::update;
pub(super) use plan::{plan, rehearse};
pub(super) use swap::{move_at_once, move_rows};
