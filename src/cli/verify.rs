//! `verify`: rows of the catalog held against their stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{Global, VerifyArgs};
use super::connect::{self, FoundTask};
use super::fault::{Code, refused};
use super::{ExitStatus, Printer, bar, format};
use crate::audit::{AuditReport, Audited, audit};
use crate::catalog::{Catalog, TaskRow, TaskSide};
use crate::config::{Compression, DriverConfig, StoreConfig};
use crate::database::Database;
use crate::driver::{self, Driver, Fence};
use crate::engine::{Concurrency, ConfiguredStore};
use crate::engine::{refuse_changed_place, refuse_unreadable_schema};
use crate::model::{TaskState, in_a_line};
use crate::progress::Progress;

/// Documents read at once, where nothing else is asked for.
const AT_ONCE: usize = 16;

/// What is looked at.
struct Look {
    catalog: Catalog,
    audited: Audited,
    about: About,
}

#[derive(Serialize)]
#[serde(untagged)]
enum About {
    Catalog {
        config: PathBuf,
        section: String,
        place: String,
    },
    Task {
        task_id: i64,
        task_uuid: uuid::Uuid,
        state: TaskState,
        from: String,
        to: String,
        at_source: i64,
        at_destination: i64,
    },
}

#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    about: About,
    #[serde(flatten)]
    report: AuditReport,
    elapsed_ms: u64,
}

pub async fn run(
    args: &VerifyArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let look = match (&args.task, &args.config) {
        (Some(task), _) => of_task(task, args, global).await?,
        // clap can't say it: what `--task` conflicts with lifts its own demands.
        (None, Some(_)) if args.moved.are_named() => {
            return Err(refused(
                Code::Usage,
                "--from-config and --to-config go with --task",
            ));
        }
        (None, Some(config)) => of_catalog(config, args.analysis_archive, global).await?,
        (None, None) => {
            let why = "name a configuration, or a task with --task";
            return Err(refused(Code::Usage, why));
        }
    };
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let shown = bar::show(printer, &global.watch.progress, progress.clone());
    let concurrency = match args.concurrency {
        Concurrency::Fixed(documents) => documents as usize,
        Concurrency::Auto => AT_ONCE,
    };
    let report = audit(&look.catalog, &look.audited, concurrency, &progress).await;
    drop(shown);
    let verified = Verified {
        about: look.about,
        report: report?,
        elapsed_ms: started.elapsed().as_millis() as u64,
    };
    printer.result(&verified, || words(&verified));
    Ok(match verified.report.is_clean() {
        true => ExitStatus::Complete,
        false => ExitStatus::FailedObjects,
    })
}

async fn of_catalog(
    config: &Path,
    analysis_archive: bool,
    global: &Global,
) -> anyhow::Result<Look> {
    let config = connect::load(config)?;
    connect::require_variables(global, &[(&config, analysis_archive)])?;
    let ConfiguredStore {
        config: store,
        path,
        section,
    } = connect::store(&config, analysis_archive, global)?;
    let url = connect::database_url(global, Some(&config))?;
    let options = connect::connect_options(global, &url);
    let database = Database::connect(&url, &options).await?;
    let catalog = Catalog::open(database.clone()).await?;
    refuse_unreadable_schema(&catalog, &store).await?;
    let in_database = |driver| StoreConfig {
        driver,
        compression: Compression::default(),
        notices: Vec::new(),
    };
    let open = async |store: &StoreConfig| driver::open(store, &database, Fence::Open).await;
    let audited = Audited::Catalog {
        configured: open(&store).await?,
        in_database: [
            open(&in_database(DriverConfig::Db)).await?,
            open(&in_database(DriverConfig::Db2)).await?,
        ],
    };
    Ok(Look {
        catalog,
        audited,
        about: About::Catalog {
            config: path,
            section,
            place: store.place(),
        },
    })
}

async fn of_task(wanted: &str, args: &VerifyArgs, global: &Global) -> anyhow::Result<Look> {
    let FoundTask { task, catalog, .. } = connect::find_task_to_read(global, wanted).await?;
    let places = catalog.row_places(task.task_id).await?;
    let moved = &args.moved;
    let source = TaskStore {
        task: &task,
        name: "source",
        side: &task.source,
        moved: moved.from_config.as_deref(),
        rows: places.source,
    };
    let destination = TaskStore {
        name: "destination",
        side: &task.destination,
        moved: moved.to_config.as_deref(),
        rows: places.destination,
        ..source
    };
    let audited = Audited::Task {
        task_id: task.task_id,
        places,
        source: source.open(&catalog, global).await?,
        destination: destination.open(&catalog, global).await?,
    };
    Ok(Look {
        catalog,
        audited,
        about: About::Task {
            task_id: task.task_id,
            task_uuid: task.uuid,
            state: task.state,
            from: task.source.place,
            to: task.destination.place,
            at_source: places.source,
            at_destination: places.destination,
        },
    })
}

/// One side of a task, as far as it is needed.
#[derive(Clone, Copy)]
struct TaskStore<'a> {
    task: &'a TaskRow,
    name: &'static str,
    side: &'a TaskSide,
    moved: Option<&'a Path>,
    /// How many rows point there.
    rows: i64,
}

impl TaskStore<'_> {
    /// Where no row points, the configuration may have been replaced by now: after a migration its
    /// source's has been.
    async fn open(
        &self,
        catalog: &Catalog,
        global: &Global,
    ) -> anyhow::Result<Option<Arc<dyn Driver>>> {
        let store = match self.config(global) {
            Ok(store) => store,
            Err(_) if self.rows == 0 && self.moved.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let store = driver::open(&store, catalog.database(), Fence::Open).await?;
        Ok(Some(store))
    }

    fn config(&self, global: &Global) -> anyhow::Result<StoreConfig> {
        let ConfiguredStore { config: store, .. } = connect::side(self.moved, self.side, global)?;
        refuse_changed_place(self.task, self.name, self.side, &store)?;
        Ok(store)
    }
}

fn words(verified: &Verified) -> String {
    let Verified { about, report, .. } = verified;
    let mut lines = vec![counts(report, about)];
    if let About::Task {
        from,
        to,
        at_source,
        at_destination,
        ..
    } = about
    {
        lines.push(format!(
            "  {at_destination} at the destination, {to}; {at_source} at the source, {from}"
        ));
    }
    lines.push(format!(
        "  read {} as stored in {}",
        format::bytes(report.bytes),
        format::duration(Duration::from_millis(verified.elapsed_ms))
    ));
    if report.elsewhere > 0 {
        lines.push(elsewhere(report.elsewhere, about));
    }
    for finding in report.findings.iter().take(20) {
        let outcome = serde_json::to_value(finding.outcome);
        let outcome = outcome.ok().and_then(|o| o.as_str().map(str::to_owned));
        lines.push(format!(
            "  {}: {}: {}",
            outcome.unwrap_or_default(),
            in_a_line(&finding.object),
            in_a_line(&finding.why)
        ));
    }
    let bad = report.missing + report.differs + report.unreadable;
    if bad > 20 {
        lines.push(format!(
            "  and {} more: --json lists the first hundred",
            bad - 20
        ));
    }
    lines.join("\n")
}

fn counts(report: &AuditReport, about: &About) -> String {
    let sum = format!(
        "ok {} + missing {} + differs {} + unreadable {} + elsewhere {}",
        report.ok, report.missing, report.differs, report.unreadable, report.elsewhere,
    );
    match about {
        About::Catalog { .. } => format!("{} = {sum}", format::count(report.rows, "row")),
        About::Task { task_id, state, .. } => format!(
            "task {task_id} ({state}): {} = {sum} + removed {}",
            format::count(report.rows, "object"),
            report.removed
        ),
    }
}

fn elsewhere(rows: u64, about: &About) -> String {
    let rows = format::count(rows, "row");
    match about {
        About::Catalog { place, .. } => format!(
            "  {rows} neither in {place} nor in the database, and were not looked at: verify with \
             the configuration that names their place"
        ),
        About::Task { .. } => format!(
            "  {rows} neither at the task's source nor at its destination, and were not looked \
             at: something else has changed them since; verify with the configuration that names \
             their place"
        ),
    }
}
