//! The SQL side: Anchore's tables plus windlass's own, on PostgreSQL and on SQLite.
//!
//! Reads and the mirror go over the pool. Plans and commits go over the [`Session`] that holds
//! Anchore's advisory lock, so that a lost lock is a lost commit.
//!
//! [`Session`]: crate::database::Session

mod anchore;
mod anchore_schema;
mod audit;
mod commit;
mod error;
mod executors;
mod listing;
mod mirror;
mod mirror_apart;
mod objects;
mod ownership;
mod plan;
mod plan_follow_up;
mod plan_postgres;
mod plan_sqlite;
mod report;
mod rights;
mod schema;
mod schemes;
mod speed;
mod sql;
mod summary;
mod swap;
mod task_listing;
mod tasks;
mod uploads;

pub use anchore::{LiveService, Migration};
pub use anchore_schema::SchemaFindings;
pub use audit::{MirrorQuery, MirroredRow, MovedOn, RowTuple};
pub use commit::{Deletable, Swap, Swapped};
pub use error::CatalogError;
pub use executors::Executor;
pub use listing::{BucketUser, ListedRow};
pub use mirror::{Heartbeat, MirrorUpdate};
pub use mirror_apart::Unmirrored;
pub use objects::Loaded;
pub use ownership::Writer;
pub use plan::{
    FollowUp, PlanNotices, PlanRequest, Planned, PlannedBucket, SharedWith, Side, TaskPlan,
};
pub use plan_follow_up::FollowUpNotices;
pub use report::{BucketCount, Checkpoint, Found, RelatedTask, Told, WorkTimes};
pub use rights::DatabaseLack;
pub use schemes::RowGroup;
pub use speed::{FailureCount, Recent};
pub use summary::{FailedObject, Failure};
pub use task_listing::{ListedObject, RowPlaces};
pub use tasks::{TaskRow, TaskSide};
pub use uploads::{OpenUpload, UploadNote};

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::database::Database;

/// Objects in one shard: what an executor claims, loads and checks at once.
pub const SHARD_OBJECTS: u64 = 1_000;

/// Runs the same statement on whichever database it is: the body is compiled once for each.
macro_rules! on_either {
    ($connection:expr, $name:ident => $body:expr) => {
        match $connection {
            $crate::database::Database::Postgres($name) => $body,
            $crate::database::Database::Sqlite($name) => $body,
        }
    };
}
pub(crate) use on_either;

/// The catalog of one deployment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    db: Database,
    /// Taken by the two transactions that write many rows of the mirror, the swap and the mirror's
    /// own: each locks its rows in the order that the database likes, and together they would
    /// deadlock, which the database notices only after a second.
    many_rows: Arc<Mutex<()>>,
}

impl Catalog {
    /// The catalog in a database, which must be Anchore's. Changes nothing.
    pub async fn open(db: Database) -> Result<Self, CatalogError> {
        let catalog = Self {
            db,
            many_rows: Arc::default(),
        };
        catalog.require_anchore_tables().await?;
        catalog.refuse_newer_schema().await?;
        Ok(catalog)
    }

    /// The database, for the drivers that keep documents in it.
    pub fn database(&self) -> &Database {
        &self.db
    }
}
