//! What a run works with, whatever its task.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::StoreConfig;
use crate::database::{ConnectOptions, Database, DatabaseUrl, Hold, LockError, Session};
use crate::driver::Driver;
use crate::engine::{Concurrency, MemoryLimit, StateDir, Stop};
use crate::progress::Progress;

/// A store as a configuration file has it.
#[derive(Debug, Clone)]
pub struct ConfiguredStore {
    /// As configured.
    pub config: StoreConfig,
    /// The configuration file, absolute.
    pub path: PathBuf,
    /// Its section: `object_store` or `analysis_archive`.
    pub section: String,
}

/// A configured store, opened.
#[derive(Clone)]
pub struct Store {
    /// As configured.
    pub config: StoreConfig,
    /// The configuration file, absolute.
    pub path: PathBuf,
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
    /// Bytes per second that may be read from the source.
    pub read_bandwidth_bytes: Option<u64>,
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
    /// Takes the migration lock so, if it is free.
    ///
    /// # Errors
    /// Who holds it, or why the database cannot be used.
    pub async fn lock(&self, hold: Hold) -> Result<Session, LockError> {
        let (database, url) = (&self.database, &self.database_url);
        Session::try_acquire_beside(database, url, &self.connect, hold).await
    }
}
