//! Progress: a bar on a terminal, a plain line every few seconds elsewhere.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Printer, format};
use crate::progress::{Progress, Snapshot};

const REDRAW: Duration = Duration::from_millis(200);
const PLAIN_LINE: Duration = Duration::from_secs(5);

/// Shows progress until it is dropped.
pub struct Shown {
    task: tokio::task::JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Begins to show progress.
pub fn show(printer: &Printer, progress: Arc<Progress>) -> Shown {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = printer
        .bars()
        .map(|bars| bars.add(ProgressBar::new(0).with_style(style)));
    let (drawn, printer) = (bar.clone(), printer.clone());
    let task = tokio::spawn(async move {
        let mut rate = Rate::default();
        let pause = if drawn.is_some() { REDRAW } else { PLAIN_LINE };
        loop {
            tokio::time::sleep(pause).await;
            let now = progress.snapshot();
            if !progress.has_begun() {
                continue;
            }
            let words = rate.words(&now);
            match &drawn {
                Some(bar) => {
                    bar.set_length(now.planned);
                    bar.set_position(now.before + now.settled);
                    bar.set_message(words);
                }
                None => {
                    let done = now.before + now.settled;
                    printer.say(&format!("{done} of {} objects, {words}", now.planned));
                }
            }
        }
    });
    Shown { task, bar }
}

/// A rate over the last few seconds: what a person watching wants to know.
#[derive(Default)]
struct Rate {
    last: Option<Snapshot>,
    objects_per_s: f64,
}

impl Rate {
    fn words(&mut self, now: &Snapshot) -> String {
        if let Some(last) = &self.last {
            let seconds = (now.elapsed - last.elapsed).as_secs_f64().max(0.001);
            let rate = (now.settled - last.settled) as f64 / seconds;
            let weight = (seconds / 5.0).min(1.0);
            self.objects_per_s += (rate - self.objects_per_s) * weight;
        }
        self.last = Some(*now);
        let left = now.planned.saturating_sub(now.before + now.settled);
        let eta = match self.objects_per_s > 0.01 {
            true => {
                let seconds = left as f64 / self.objects_per_s;
                format::duration(Duration::from_secs_f64(seconds.min(1e9)))
            }
            false => "?".into(),
        };
        let bytes = format::bytes(now.copied_bytes);
        let mut words = format!("{bytes} written, {:.0}/s, {eta} left", self.objects_per_s);
        if now.failed > 0 {
            words += &format!(", {} failed", now.failed);
        }
        if now.skipped > 0 {
            words += &format!(", {} skipped", now.skipped);
        }
        words
    }
}
