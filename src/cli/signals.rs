//! Ctrl-C, a request to terminate, a terminal that has gone away: the first asks the run to stop,
//! the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Printer;
use super::args::Global;
use super::ending::command;
use crate::engine::{Stop, StopReason};
use crate::progress::Progress;

/// Whether a run looks after the signals.
static LISTENING: AtomicBool = AtomicBool::new(false);

/// The first process of a container has nothing that ends it by default: a request to terminate
/// would be waited out until the kill behind it. So it is ended here, until a run listens.
pub fn end_as_first_process() -> std::io::Result<()> {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if !LISTENING.load(Ordering::Relaxed) {
                std::process::exit(130);
            }
        }
    });
    Ok(())
}

/// What asks a run to end.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Listens from here on.
    pub fn listen() -> anyhow::Result<Self> {
        let signals = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: hangup()?,
        };
        LISTENING.store(true, Ordering::Relaxed);
        Ok(signals)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = received(&mut self.hangup) => {}
        }
    }
}

/// Listens from here on. Before the run has begun nothing has been changed, and the first signal
/// ends the program.
pub fn listen(
    stop: Stop,
    progress: Arc<Progress>,
    global: &Global,
    printer: Printer,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let global = global.clone();
    tokio::spawn(async move {
        for nth in 1.. {
            signals.next().await;
            match progress.task_id() {
                Some(_) if nth == 1 => {
                    printer.say(
                        "stopping: what is in flight is finished or abandoned; again to exit at \
                         once",
                    );
                    stop.ask(StopReason::Signal);
                    continue;
                }
                Some(task_id) => printer.say(&format!(
                    "stopped at once; go on with:\n{}",
                    command(&global, "resume", task_id)
                )),
                None if nth == 1 => {
                    printer.say("stopped before anything was moved; a task keeps its place");
                }
                None => {}
            }
            printer.put_bars_away();
            std::process::exit(130);
        }
    });
    Ok(())
}

/// Listens for whoever has something to clear away: the first signal asks it to end, the second ends
/// the program.
pub fn listen_once(stop: Stop, printer: Printer) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        for nth in 1.. {
            signals.next().await;
            if nth > 1 {
                std::process::exit(130);
            }
            printer.say("stopping: what was written is deleted again; again to exit at once");
            stop.ask(StopReason::Signal);
        }
    });
    Ok(())
}

/// The signal of a terminal that goes away, where it was not ignored from the start: under `nohup` a
/// run is to go on.
fn hangup() -> std::io::Result<Option<Signal>> {
    match is_ignored(SignalKind::hangup()) {
        true => Ok(None),
        false => signal(SignalKind::hangup()).map(Some),
    }
}

/// Whether this process was started with the signal ignored, as far as the system tells.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
