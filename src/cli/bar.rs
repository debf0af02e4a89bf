//! Progress: a bar on a terminal, a plain line every few seconds elsewhere, JSON for programs.

use std::sync::Arc;
use std::time::Duration;

use super::Printer;
use super::args::{ProgressArgs, ProgressForm};
use super::pace::{Event, Pace, fitted, line};
use super::screen::Screen;
use crate::progress::Progress;

const REDRAW: Duration = Duration::from_millis(200);

/// Shows progress until it is dropped.
pub struct Shown {
    task: Option<tokio::task::JoinHandle<()>>,
    printer: Printer,
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.printer.put_bars_away();
    }
}

/// Begins to show progress.
pub fn show(printer: &Printer, args: &ProgressArgs, progress: Arc<Progress>) -> Shown {
    let lines = |json| tokio::spawn(tell(printer.clone(), args.stats, json, progress.clone()));
    let task = match args.progress {
        ProgressForm::Auto if printer.screen().is_some() => {
            Some(tokio::spawn(draw(printer.clone(), progress)))
        }
        ProgressForm::Auto | ProgressForm::Lines if printer.is_quiet() => None,
        ProgressForm::Auto | ProgressForm::Lines => Some(lines(false)),
        ProgressForm::Json => Some(lines(true)),
        ProgressForm::None => None,
    };
    Shown {
        task,
        printer: printer.clone(),
    }
}

async fn draw(printer: Printer, progress: Arc<Progress>) {
    let mut pace = Pace::default();
    loop {
        tokio::time::sleep(REDRAW).await;
        if let Some(screen) = printer.screen().filter(|_| progress.has_begun()) {
            let now = progress.snapshot();
            let rate = pace.rate(&now);
            screen.show(&fitted(&now, &rate, Screen::columns()));
        }
    }
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
