//! Statements as values: what is said to a database, apart from which one it is.
//!
//! A [`Statement`] carries its SQL and what is bound to it. Only this room knows how each database
//! takes a value ([`run`]); where the two need different SQL, a [`Dialect`] has the words.

mod columns;
mod dialect;
mod run;
mod statement;
mod together;
mod written;

pub(super) use columns::{Columns, Get};
pub(super) use dialect::{
    AS_PLANNED, Dialect, JOIN_ROW, Objects, STAGED, before_joins, stands_for,
};
pub(super) use run::{Begin, CHECKED, Connection, Pooled, within_limit};
pub(super) use statement::{Numbers, Record, Statement, Value};
pub(super) use together::{Answer, together_over_pool};
