//! Ctrl-C: the first asks the run to stop, the second ends the program.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::Printer;
use crate::engine::{Progress, Stop, StopReason};

/// Listens from here on. Before the run has begun nothing has been changed, and the first signal
/// ends the program.
pub fn listen(stop: Stop, progress: Arc<Progress>, printer: Printer) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for nth in 1.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if nth == 1 && progress.has_begun() {
                printer.say(
                    "stopping: what is in flight is finished or abandoned; again to exit at once",
                );
                stop.ask(StopReason::Signal);
            } else {
                if nth == 1 {
                    printer.say("stopped before anything was moved; a task keeps its place");
                }
                std::process::exit(130);
            }
        }
    });
    Ok(())
}
