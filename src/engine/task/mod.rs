//! How a task begins: what refuses it, its plan, or what it goes on from; and the run that follows.

pub mod accept;
mod earlier;
pub mod follow_up;
pub mod gates;
mod held;
pub mod migrate;
pub mod online;
pub mod outcome;
pub mod preflight;
pub mod resume;
mod selection;
mod shared_pass;
mod sleepers;
mod start;
mod take_up;
mod taking_up;
pub mod worker;
