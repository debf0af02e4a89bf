//! The values that go into the statements, and what comes of them.

mod mirror;
mod plan;
mod swap;

pub(super) use mirror::UPDATE;
pub use mirror::{Heartbeat, MirrorUpdate, Together, Writer};
pub use plan::{
    FollowUp, FollowUpNotices, PassRequest, PlanNotices, PlanRequest, Planned, PlannedBucket,
    PlannedPass, Rehearsal, Rehearsed, SharedWith, Side, TaskPlan,
};
pub(super) use plan::{KEY_MAX_BYTES, Scope};
pub(super) use swap::{Batch, SWAP};
pub use swap::{Deletable, Swap, Swapped};
