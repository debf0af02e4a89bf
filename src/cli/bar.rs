//! Progress: a bar on a terminal, a plain line every few seconds elsewhere, JSON for programs.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Printer;
use super::args::{ProgressArgs, ProgressForm};
use super::pace::{Event, Pace, fitted, line};
use super::printer::terminal_columns;
use crate::progress::Progress;

const REDRAW: Duration = Duration::from_millis(200);

/// Room behind the line for what the terminal itself writes there (`^C`): a line that is full would be
/// broken by it, and half of it stay behind.
const FREE_COLUMNS: usize = 3;

/// Shows progress until it is dropped.
pub struct Shown {
    task: Option<tokio::task::JoinHandle<()>>,
    bar: Option<ProgressBar>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Begins to show progress.
pub fn show(printer: &Printer, args: &ProgressArgs, progress: Arc<Progress>) -> Shown {
    let bars = printer
        .bars()
        .filter(|_| args.progress == ProgressForm::Auto);
    if let Some(bars) = bars {
        let style = ProgressStyle::with_template("{msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bars.add(ProgressBar::new(0).with_style(style));
        let task = tokio::spawn(draw(printer.clone(), bar.clone(), progress));
        return Shown {
            task: Some(task),
            bar: Some(bar),
        };
    }
    let task = match args.progress {
        ProgressForm::None => None,
        ProgressForm::Json => Some(true),
        ProgressForm::Auto | ProgressForm::Lines => (!printer.is_quiet()).then_some(false),
    };
    let (printer, pause) = (printer.clone(), args.stats);
    let task = task.map(|json| tokio::spawn(tell(printer, pause, json, progress)));
    Shown { task, bar: None }
}

async fn draw(printer: Printer, bar: ProgressBar, progress: Arc<Progress>) {
    let mut pace = Pace::default();
    let mut drawn = Drawn::default();
    loop {
        tokio::time::sleep(REDRAW).await;
        if !progress.has_begun() {
            continue;
        }
        let now = progress.snapshot();
        let rate = pace.rate(&now);
        let columns = terminal_columns();
        drawn.forget_folded(&printer, columns);
        let text = fitted(&now, &rate, columns.saturating_sub(FREE_COLUMNS));
        drawn.columns = text.len();
        bar.set_message(text);
        bar.tick();
    }
}

/// The line that stands on the terminal.
#[derive(Default)]
struct Drawn {
    columns: usize,
}

impl Drawn {
    /// A terminal that was made narrower has folded the line; its upper halves would stay behind, since
    /// only one row is drawn anew.
    fn forget_folded(&mut self, printer: &Printer, columns: usize) {
        let rows_above = rows_above(self.columns, columns);
        if rows_above > 0 {
            printer.between_bars(|out| {
                let _ = write!(out, "\x1b[{rows_above}A\x1b[J");
            });
            self.columns = 0;
        }
    }
}

fn rows_above(drawn: usize, columns: usize) -> usize {
    drawn.saturating_sub(1) / columns.max(1)
}

async fn tell(printer: Printer, pause: Duration, json: bool, progress: Arc<Progress>) {
    let mut pace = Pace::default();
    let mut told_at = tokio::time::Instant::now();
    loop {
        // The rate is looked at more often than it is told.
        tokio::time::sleep(pause.min(Duration::from_secs(1))).await;
        if !progress.has_begun() {
            continue;
        }
        let now = progress.snapshot();
        let rate = pace.rate(&now);
        if told_at.elapsed() < pause {
            continue;
        }
        told_at = tokio::time::Instant::now();
        match json {
            true => printer.event(&Event::of(progress.task_id(), &now, &rate)),
            false => printer.say(&line(&now, &rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_folded_is_taken_away_whole() {
        assert_eq!(rows_above(0, 80), 0);
        assert_eq!(rows_above(77, 80), 0);
        assert_eq!(rows_above(40, 40), 0);
        assert_eq!(rows_above(77, 40), 1);
        assert_eq!(rows_above(77, 20), 3);
        assert_eq!(rows_above(77, 0), 76);
    }
}
