//! `status --watch`: the same, again and again, until the task ends.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::{Status, look, speed, words};
use crate::catalog::Catalog;
use crate::cli::Printer;
use crate::cli::alive::Standing;
use crate::model::in_lines;

const REDRAW: Duration = Duration::from_secs(1);
const PLAIN_LINE: Duration = Duration::from_secs(3);

/// Looks on until the task is no longer at work, or Ctrl-C. The last look is the result.
pub async fn watch(catalog: &Catalog, task: &str, printer: &Printer) -> anyhow::Result<Status> {
    let view = printer.bars().map(|bars| {
        let style = ProgressStyle::with_template("{msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        bars.add(ProgressBar::new(0).with_style(style))
    });
    let pause = if view.is_some() { REDRAW } else { PLAIN_LINE };
    // Listened for from here on, also while the database is asked.
    let mut interrupted = signal(SignalKind::interrupt())?;
    loop {
        let status = look(catalog, task).await?;
        if status.standing != Standing::Running {
            break Ok(ended(view, status));
        }
        match &view {
            Some(view) => view.set_message(in_lines(&words(&status)).into_owned()),
            None => printer.say(&line(&status)),
        }
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            _ = interrupted.recv() => break Ok(ended(view, status)),
        }
    }
}

fn ended(view: Option<ProgressBar>, status: Status) -> Status {
    if let Some(view) = view {
        view.finish_and_clear();
    }
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
