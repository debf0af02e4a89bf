//! The job runner: one loop per object, over a plan in the catalog and a journal beside it.

mod accept;
mod audit;
mod bandwidth;
mod bounded;
mod context;
mod copy;
mod earlier;
mod error;
mod feed;
mod follow_up;
mod gates;
mod item;
mod launch;
mod limits;
mod migrate;
mod mirroring;
mod object;
mod progress;
mod proof;
mod reconcile;
mod regain;
mod restore;
mod resume;
mod retry;
mod run;
mod selection;
mod settle;
mod statedir;
mod stop;
mod strays;
mod tenure;
mod told;
mod transform;
mod undeleted;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

pub use accept::{AcceptReport, AcceptRequest, Accepting, accept};
pub use audit::{AuditReport, Audited, Finding, Outcome as AuditOutcome, audit};
pub use error::EngineError;
pub use follow_up::{FollowUpRequest, follow_up};
pub use gates::refuse_other_schema;
pub use limits::{Concurrency, LimitTooSmall, MemoryLimit};
pub use migrate::{MigrateRequest, Migrated, PlanReport, migrate};
pub use progress::{Progress, Snapshot};
pub use proof::{Change, Part, Problem, Proof, ProvenChain, TakenOver, prove, prove_export};
pub use resume::{ResumeRequest, Resumed, refuse_changed_place, resume};
pub use run::{ReportedFailure, RunReport, host};
pub use statedir::{StateDir, TaskFile};
pub use stop::{Stop, StopReason};

use crate::config::StoreConfig;
use crate::database::{ConnectOptions, Database, DatabaseUrl, LockError, Session};
use crate::driver::Driver;

/// A configured store, opened.
#[derive(Clone)]
pub struct Store {
    /// As configured.
    pub config: StoreConfig,
    /// The configuration file, absolute.
    pub path: std::path::PathBuf,
    /// Its section: `object_store` or `analysis_archive`.
    pub section: String,
    /// The driver.
    pub driver: Arc<dyn Driver>,
}

/// How to run, whatever the task.
#[derive(Clone)]
pub struct Settings {
    /// Where Anchore's database is.
    pub database_url: DatabaseUrl,
    /// How to connect to it.
    pub connect: ConnectOptions,
    /// The database, connected.
    pub database: Database,
    /// Where checkpoints are kept.
    pub state_dir: StateDir,
    /// How many objects at once.
    pub concurrency: Concurrency,
    /// How much memory the program may take.
    pub memory_limit: MemoryLimit,
    /// Bytes per second that may be written to the destination.
    pub bandwidth_bytes: Option<u64>,
    /// How long a store or the database may be away before the run stops as interrupted.
    pub outage_limit: Duration,
    /// Work beside live Anchore services.
    pub force_live_services: bool,
    /// Asks the run to end.
    pub stop: Stop,
    /// Counters for whoever looks on.
    pub progress: Arc<Progress>,
}

impl Settings {
    /// Takes the migration lock, if it is free.
    ///
    /// # Errors
    /// Who holds it, or why the database cannot be used.
    pub async fn lock(&self) -> Result<Session, LockError> {
        Session::try_acquire_beside(&self.database, &self.database_url, &self.connect).await
    }
}
