//! `status --watch`: the same, again and again, until the task ends.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Status, look, speed, words};
use crate::catalog::Catalog;
use crate::cli::Printer;
use crate::cli::alive::Standing;
use crate::cli::format::folded;
use crate::cli::screen::Screen;
use crate::model::in_lines;

const REDRAW: Duration = Duration::from_secs(1);
const PLAIN_LINE: Duration = Duration::from_secs(3);

/// Looks on until the task is no longer at work, or Ctrl-C. The last look is the result.
pub async fn watch(catalog: &Catalog, task: &str, printer: &Printer) -> anyhow::Result<Status> {
    let view = printer.screen();
    let pause = if view.is_some() { REDRAW } else { PLAIN_LINE };
    // Listened for from here on, also while the database is asked.
    let mut interrupted = signal(SignalKind::interrupt())?;
    loop {
        let status = look(catalog, task).await?;
        if status.standing != Standing::Running {
            break Ok(ended(printer, status));
        }
        match &view {
            Some(view) => {
                let words = in_lines(&words(&status)).into_owned();
                view.show(&folded(&words, Some(Screen::columns())));
            }
            None => printer.say(&line(&status)),
        }
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            _ = interrupted.recv() => break Ok(ended(printer, status)),
        }
    }
}

fn ended(printer: &Printer, status: Status) -> Status {
    printer.put_bars_away();
    status
}

fn line(status: &Status) -> String {
    let s = &status.summary;
    let mut words = format!(
        "task {}: {} of {} objects committed{}",
        status.task_id,
        s.committed,
        s.planned,
        speed(status)
    );
    if s.failed > 0 {
        words += &format!(", {} failed", s.failed);
    }
    words
}
