//! `migrate`: the gates, the plan, the run.

use serde::Serialize;
use uuid::Uuid;

use super::run::{Job, RunReport, host, run};
use super::tenure::Tenure;
use super::{EngineError, Settings, Store, TaskFile, gates};
use crate::catalog::{Catalog, Executor, PlanNotices, PlanRequest, Planned, Side, TaskPlan};
use crate::config::StoreConfig;
use crate::database::Session;
use crate::driver::{self, Fence};
use crate::journal::{Head, Journal};
use crate::model::{Created, Event, Policy, Started, Summary, TaskKind};

/// What to migrate.
#[derive(Debug, Clone)]
pub struct MigrateRequest {
    /// The source: configuration, its absolute path, its section.
    pub from: (StoreConfig, std::path::PathBuf, String),
    /// The destination.
    pub to: (StoreConfig, std::path::PathBuf, String),
    /// What the operator asked for.
    pub policy: Policy,
    /// Only plan, and roll the plan back.
    pub dry_run: bool,
}

/// What a migration came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migrated {
    /// The plan of a dry run, or one that had nothing to do.
    OnlyPlanned(PlanReport),
    /// The run's report, and what the plan had found.
    Ran(Box<RunReport>, PlanNotices),
}

/// A plan that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// The source, redacted.
    pub from: String,
    /// The destination, redacted.
    pub to: String,
    /// Objects.
    pub planned: u64,
    /// Their stored size together.
    pub bytes: u64,
    /// What else was found.
    pub notices: PlanNotices,
}

/// Opens a store for a run.
pub(super) async fn open_store(
    (config, path, section): &(StoreConfig, std::path::PathBuf, String),
    settings: &Settings,
    tenure: &Tenure,
) -> Result<Store, EngineError> {
    let fence = Fence::Locked(tenure.subscribe());
    let driver = driver::open(config, &settings.database, fence).await?;
    Ok(Store {
        config: config.clone(),
        path: path.clone(),
        section: section.clone(),
        driver,
    })
}

/// Plans a migration and runs it. `announce` is told the plan before the first byte is moved.
pub async fn migrate(
    request: &MigrateRequest,
    settings: &Settings,
    announce: impl FnOnce(&Planned),
) -> Result<Migrated, EngineError> {
    let tenure = Tenure::default();
    let from = open_store(&request.from, settings, &tenure).await?;
    let to = open_store(&request.to, settings, &tenure).await?;
    gates::refuse_same_place(&from, &to)?;
    gates::refuse_unsafe_elsewhere(&from, &to, &request.policy)?;
    let catalog = Catalog::open(settings.database.clone()).await?;
    // A dry run is for the time before the services are stopped.
    let may_be_live = settings.force_live_services || request.dry_run;
    gates::refuse_live_services(&catalog, may_be_live).await?;
    from.driver.prepare_to_read().await?;
    if !request.dry_run {
        settings.state_dir.prepare()?;
        to.driver.prepare().await?;
    }
    let session = Session::try_acquire(&settings.database_url, &settings.connect).await?;
    tenure.begin(session.clone());
    let result = locked(
        request,
        settings,
        announce,
        &session,
        tenure.clone(),
        catalog,
        from,
        to,
    );
    let result = result.await;
    tenure.end().await;
    result
}

/// What follows once the lock is held.
#[allow(
    clippy::too_many_arguments,
    reason = "the parts of one run, each made in another step"
)]
async fn locked(
    request: &MigrateRequest,
    settings: &Settings,
    announce: impl FnOnce(&Planned),
    session: &Session,
    tenure: Tenure,
    catalog: Catalog,
    from: Store,
    to: Store,
) -> Result<Migrated, EngineError> {
    let uuid = Uuid::new_v4();
    let mut destination_was_empty = false;
    if !request.dry_run {
        gates::wait_for_neighbours(&catalog, None).await?;
        catalog.ensure_schema().await?;
        gates::refuse_aliases(&from, &to).await?;
        destination_was_empty = to.driver.is_empty().await?;
    }
    let plan = PlanRequest {
        uuid,
        from: side(&from),
        to: side(&to),
        destination_was_empty,
        policy: request.policy.clone(),
        executor_id: format!("{}:{}:0:", host(), std::process::id()),
    };
    let mut journal = None;
    let decide = async |planned: &Planned| -> Result<TaskPlan, EngineError> {
        if request.dry_run || planned.objects == 0 {
            return Ok(TaskPlan::Discard);
        }
        // The checkpoint is there before the task is: a task without one would only be
        // rebuilt, a checkpoint without a task is nobody's.
        let dir = settings.state_dir.checkpoint(uuid);
        settings
            .state_dir
            .write(&task_file(settings, &from, &to, planned.task_id, uuid))?;
        journal = Some(Journal::create(&dir, uuid, Uuid::new_v4())?);
        Ok(TaskPlan::Keep)
    };
    let planned = catalog.plan(session, &plan, decide).await;
    let (Ok(planned), Some(journal)) = (&planned, journal) else {
        settings.state_dir.discard(uuid);
        let planned = planned?;
        return Ok(Migrated::OnlyPlanned(PlanReport {
            dry_run: request.dry_run,
            from: from.config.place(),
            to: to.config.place(),
            planned: planned.objects,
            bytes: planned.bytes,
            notices: planned.notices,
        }));
    };
    announce(planned);
    let begun = async {
        begin(&catalog, planned.task_id, &journal, 1).await?;
        Ok(catalog.task(&uuid.to_string()).await?)
    };
    let task = begun.await.inspect_err(|_: &EngineError| {
        tracing::error!(
            "task {0} is planned: windlass resume {0} begins it",
            planned.task_id
        );
    })?;
    let opening = opening(&plan, planned);
    let root = Head {
        seq: 0,
        hash: crate::journal::chain::root(uuid, journal.executor()),
    };
    let job = Job {
        task,
        epoch: 1,
        catalog,
        from,
        to,
        journal,
        mirrored: root,
        tenure,
        rebuilt: false,
    };
    let report = run(job, settings, opening).await?;
    Ok(Migrated::Ran(Box::new(report), planned.notices))
}

/// Notes the executor before its first mirrored entry.
pub(super) async fn begin(
    catalog: &Catalog,
    task_id: i64,
    journal: &Journal,
    epoch: i32,
) -> Result<(), EngineError> {
    let head = journal.head();
    let executor = Executor {
        executor: journal.executor(),
        epoch,
        host: host(),
        pid: i64::from(std::process::id()),
        seq: head.seq,
        head: hex::encode(head.hash),
        ended: false,
        heartbeat_age_s: 0,
    };
    Ok(catalog
        .executor_begins(task_id, &executor, env!("CARGO_PKG_VERSION"))
        .await?)
}

fn side(store: &Store) -> Side {
    Side {
        place: store.driver.place().clone(),
        display: store.config.place(),
        fingerprint: store.config.fingerprint(),
        config: store.path.display().to_string(),
        section: store.section.clone(),
    }
}

fn task_file(settings: &Settings, from: &Store, to: &Store, task_id: i64, uuid: Uuid) -> TaskFile {
    TaskFile {
        task_id,
        uuid,
        database: settings.database_url.redacted(),
        from_config: from.path.clone(),
        from_section: from.section.clone(),
        to_config: to.path.clone(),
        to_section: to.section.clone(),
    }
}

fn opening(plan: &PlanRequest, planned: &Planned) -> Vec<Event> {
    let phases = Summary {
        planned: planned.objects,
        ..Summary::default()
    };
    let phases = crate::model::PhaseCounts {
        pending: phases.planned,
        ..phases.phases
    };
    vec![
        Event::Created(Created {
            kind: TaskKind::Forward,
            parent: None,
            from: plan.from.display.clone(),
            to: plan.to.display.clone(),
            policy: plan.policy.clone(),
            planned: planned.objects,
            bytes: planned.bytes,
        }),
        Event::Started(Started {
            host: host(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phases,
        }),
    ]
}
