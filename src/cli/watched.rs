//! What is around the work of every command that moves or deletes objects.

use super::args::Global;
use super::metrics::Metrics;
use super::notify::Notifying;
use super::{Printer, bar, signals};
use crate::engine::{EngineError, Settings};

/// Does the work with its progress shown, and stops it in good order on Ctrl-C.
pub async fn watched<T>(
    printer: &Printer,
    global: &Global,
    settings: &Settings,
    work: impl Future<Output = Result<T, EngineError>>,
) -> anyhow::Result<T> {
    signals::listen(
        settings.stop.clone(),
        settings.progress.clone(),
        global,
        printer.clone(),
    )?;
    let metrics = Metrics::start(&global.watch, settings.progress.clone()).await?;
    let notifying = Notifying::start(settings.progress.clone());
    let shown = bar::show(printer, &global.watch.progress, settings.progress.clone());
    let done = work.await;
    drop((shown, metrics, notifying));
    Ok(done?)
}
