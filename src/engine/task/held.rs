//! What a task begins with: its stores, and the lock.

use crate::catalog::{Catalog, Executor};
use crate::crash;
use crate::database::Session;
use crate::driver::{self, Fence};
use crate::engine::ConfiguredStore;
use crate::engine::flow::lock::{Lease, take_lock};
use crate::engine::run::opening::host;
use crate::engine::{EngineError, Settings, Store};
use crate::journal::Journal;

/// The lock, and what is opened behind it. Cheap to clone.
#[derive(Clone)]
pub struct Held {
    pub session: Session,
    pub lease: Lease,
    pub catalog: Catalog,
    pub from: Store,
    pub to: Store,
}

impl Held {
    /// Takes the lock for stores that were opened for this lease. Whoever has it ends the lease.
    pub async fn take(
        lease: &Lease,
        catalog: Catalog,
        (from, to): (Store, Store),
        settings: &Settings,
    ) -> Result<Self, EngineError> {
        let session = take_lock(&catalog, settings).await?;
        catalog.forget_ahead();
        lease.begin(session.clone());
        Ok(Self {
            session,
            lease: lease.clone(),
            catalog,
            from,
            to,
        })
    }
}

/// Opens a store for a run.
pub async fn open_store(
    store: &ConfiguredStore,
    settings: &Settings,
    lease: &Lease,
) -> Result<Store, EngineError> {
    let fence = Fence::Locked(lease.subscribe(), lease.claims().clone());
    let driver = driver::open(&store.config, &settings.database, fence).await?;
    Ok(Store {
        config: store.config.clone(),
        path: store.path.clone(),
        section: store.section.clone(),
        driver,
    })
}

/// Notes the executor before its first mirrored entry.
pub async fn begin(
    catalog: &Catalog,
    session: &Session,
    task_id: i64,
    journal: &Journal,
    epoch: i32,
) -> Result<(), EngineError> {
    let executor = executor(journal, epoch);
    catalog
        .executor_begins(session, task_id, &executor, env!("CARGO_PKG_VERSION"))
        .await?;
    crash::point("executor-noted");
    Ok(())
}

/// The same of a task that was planned a moment ago.
pub async fn begin_first(
    catalog: &Catalog,
    session: &Session,
    task_id: i64,
    journal: &Journal,
) -> Result<(), EngineError> {
    let executor = executor(journal, 1);
    catalog
        .first_executor_begins(session, task_id, &executor, env!("CARGO_PKG_VERSION"))
        .await?;
    crash::point("executor-noted");
    Ok(())
}

/// This process, to the database.
pub fn executor(journal: &Journal, epoch: i32) -> Executor {
    let head = journal.head();
    Executor {
        executor: journal.executor(),
        epoch,
        host: host(),
        pid: i64::from(std::process::id()),
        seq: head.seq,
        head: hex::encode(head.hash),
        ended: false,
        heartbeat_age_s: 0,
    }
}
