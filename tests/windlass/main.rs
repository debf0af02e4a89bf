//! The whole-program tests: the real binary against real servers.
//!
//! They are one test binary, so that one PostgreSQL and one S3 server serve them all. `scripts/test`
//! fetches what they need; a missing server fails a test with the words to install it.

mod conformance;
mod forms;
mod kill;
mod matrix;
mod migrate;
mod safety;
mod selection;
mod support;
mod support_itself;
mod verify;
mod world;
