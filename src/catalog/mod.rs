//! The SQL side: Anchore's tables plus windlass's own, on PostgreSQL and on SQLite.
//!
//! Reads and the mirror go over the pool. Plans and commits go over the [`Session`] that holds
//! Anchore's advisory lock, so that a lost lock is a lost commit.
//!
//! The rooms, each using only those before it:
//!
//! 1. `error`.
//! 2. `sql`: statements as values, how they run on either database, and the words in which the two
//!    differ (`sql::Dialect`).
//! 3. `request`: what is written (swaps, updates of the mirror, plans), each with its columns.
//! 4. `marks`: the marks on planned objects.
//! 5. `postgres`, `sqlite`: each database's words, and the statements that only it has.
//! 6. `backend`: which of the two it is; nothing above asks.
//! 7. `ahead`: answers to questions that were asked several at once; `handle`: [`Catalog`], without its
//!    verbs.
//! 8. The verbs, a file per subject, on any database: `schema`, `ownership`, `listing`, `summary`,
//!    then those that build on them: `anchore`, `tasks`, `swap`, `commit`, `mirror`, `mirror_apart`,
//!    `plan_follow_up`, `plan`, `plan_pass`, `rehearsal`, `staged`, `begin`, `claims`, `workers`, `takeover`, `objects`,
//!    `task_listing`, `report` and the others.
//!
//! This file only declares and re-exports.
//!
//! [`Session`]: crate::database::Session

mod ahead;
mod anchore;
mod anchore_schema;
mod audit;
mod backend;
mod begin;
mod claims;
mod commit;
mod error;
mod executors;
mod handle;
mod kin;
mod listing;
mod marks;
mod mirror;
mod mirror_apart;
mod objects;
mod ownership;
mod plan;
mod plan_follow_up;
mod plan_pass;
mod postgres;
mod rehearsal;
mod report;
mod request;
mod rights;
mod schema;
mod schemes;
mod speed;
mod sql;
mod sqlite;
mod staged;
mod summary;
mod swap;
mod takeover;
mod task_listing;
mod tasks;
mod uploads;
mod window;
mod workers;

pub use anchore::{LiveService, Migration};
pub use anchore_schema::SchemaFindings;
pub use audit::{MirrorQuery, MirroredRow, MovedOn, RowTuple};
pub use claims::ShardsCounted;
pub use error::CatalogError;
pub use executors::{Executor, WorkersShare};
pub use handle::{Catalog, SHARD_OBJECTS};
pub use listing::{BucketUser, ListedRow};
pub use mirror_apart::Unmirrored;
pub use objects::Loaded;
pub use report::{BucketCount, Checkpoint, Found, RelatedTask, Told, WorkTimes, Worked};
pub use request::{
    Deletable, FollowUp, FollowUpNotices, Heartbeat, MirrorUpdate, PassRequest, PlanNotices,
    PlanRequest, Planned, PlannedBucket, PlannedPass, Rehearsal, Rehearsed, SharedWith, Side, Swap,
    Swapped, TaskPlan, Together, Writer,
};
pub use rights::DatabaseLack;
pub use schemes::RowGroup;
pub use speed::{FailureCount, Recent};
pub use staged::{Copies, CopyAt};
pub use summary::{FailedObject, Failure};
pub use takeover::{Held, Takeover};
pub use task_listing::{ListedObject, RowPlaces};
pub use tasks::{ExecutorEnd, TaskRow, TaskSide};
pub use uploads::{OpenUpload, UploadNote};
pub use workers::{Active, Joined};
