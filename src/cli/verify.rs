//! `verify`: every row of the catalog held against its store.

use std::time::Instant;

use super::args::{Global, VerifyArgs};
use super::{ExitStatus, Printer, connect, format};
use crate::catalog::Catalog;
use crate::config::{Compression, DriverConfig, StoreConfig};
use crate::database::Database;
use crate::driver::{self, Fence};
use crate::engine::{AuditReport, Stores, audit};

pub async fn run(
    args: &VerifyArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let config = connect::load(&args.config)?;
    let (store, path, section) = connect::store(&config, args.analysis_archive, global)?;
    let url = connect::database_url(global, Some(&config))?;
    let options = connect::connect_options(global, Some(&config));
    let database = Database::connect(&url, &options).await?;
    let catalog = Catalog::open(database.clone()).await?;
    let in_database = |driver| StoreConfig {
        driver,
        compression: Compression::default(),
        notices: Vec::new(),
    };
    let open = async |store: &StoreConfig| driver::open(store, &database, Fence::Open).await;
    let stores = Stores {
        configured: open(&store).await?,
        in_database: [
            open(&in_database(DriverConfig::Db)).await?,
            open(&in_database(DriverConfig::Db2)).await?,
        ],
    };
    let started = Instant::now();
    let report = audit(&catalog, &stores, usize::from(args.concurrency)).await?;
    let mut value = serde_json::to_value(&report)?;
    value["config"] = serde_json::json!(path);
    value["section"] = serde_json::json!(section);
    value["place"] = serde_json::json!(store.place());
    value["elapsed_ms"] = serde_json::json!(started.elapsed().as_millis() as u64);
    printer.result(&value, || words(&report, &store.place(), started));
    Ok(match report.is_clean() {
        true => ExitStatus::Complete,
        false => ExitStatus::FailedObjects,
    })
}

fn words(report: &AuditReport, place: &str, started: Instant) -> String {
    let mut lines = vec![
        format!(
            "{} = ok {} + missing {} + differs {} + unreadable {} + elsewhere {}",
            format::count(report.rows, "row"),
            report.ok,
            report.missing,
            report.differs,
            report.unreadable,
            report.elsewhere,
        ),
        format!(
            "  read {} in {}",
            format::bytes(report.bytes),
            format::duration(started.elapsed())
        ),
    ];
    if report.elsewhere > 0 {
        lines.push(format!(
            "  {} neither in {place} nor in the database, and were not looked at: verify with \
             the configuration that names their place",
            format::count(report.elsewhere, "row")
        ));
    }
    for finding in report.findings.iter().take(20) {
        let outcome = serde_json::to_value(finding.outcome);
        let outcome = outcome.ok().and_then(|o| o.as_str().map(str::to_owned));
        lines.push(format!(
            "  {}: {}: {}",
            outcome.unwrap_or_default(),
            finding.object,
            finding.why
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
