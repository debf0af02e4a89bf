//! Whether a task's journal is what happened: its chain recomputed, its steps taken once more by
//! the pure state machine, and both held against the mirror and against Anchore's own rows.
//!
//! Nothing is changed and nothing locked. Beside a running task the mirror is believed only up to
//! the head that it had at the beginning; what has moved since is counted, not judged.

mod blocking;
mod checkpoint;
mod collected;
mod export;
mod facts;
mod handover;
mod held;
mod known;
mod last_word;
mod possible;
mod replay;
mod report;

pub use checkpoint::prove;
pub use collected::{prove_collected, prove_export};
pub use report::{Change, Part, Problem, Proof, ProvenChain, TakenOver};
