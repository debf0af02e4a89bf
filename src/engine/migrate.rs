//! `migrate`: the gates, the plan, the run.

use serde::Serialize;

use super::launch::{Launch, launch, open_store};
use super::run::RunReport;
use super::tenure::Tenure;
use super::{EngineError, Settings, gates};
use crate::catalog::{Catalog, FollowUpNotices, PlanNotices, Planned};
use crate::config::StoreConfig;
use crate::database::Session;
use crate::model::{Policy, TaskKind};

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
    /// What a plan that follows another task found.
    #[serde(flatten)]
    pub follow_up: Option<FollowUpNotices>,
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
    gates::patiently(async || from.driver.prepare_to_read().await).await?;
    if !request.dry_run {
        settings.state_dir.prepare()?;
        gates::patiently(async || to.driver.prepare().await).await?;
    }
    let session = Session::try_acquire(&settings.database_url, &settings.connect).await?;
    tenure.begin(session.clone());
    let work = Launch {
        kind: TaskKind::Forward,
        after: None,
        policy: request.policy.clone(),
        dry_run: request.dry_run,
        session,
        tenure: tenure.clone(),
        catalog,
        from,
        to,
    };
    let result = launch(work, settings, announce).await;
    tenure.end().await;
    result
}
