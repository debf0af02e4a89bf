//! How fast a run goes and how long it will take, and the one line that says so at any width.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::format::{bytes, duration};
use crate::progress::{RATE_WINDOW, Snapshot};

/// A bar shorter than this says nothing.
const BAR_MIN: usize = 8;
const BAR_MAX: usize = 30;

/// The rate over the last half minute.
#[derive(Debug, Default)]
pub struct Pace {
    seen: VecDeque<(Duration, u64, u64)>,
}

/// What a rate comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Objects that come to their end.
    pub objects_per_s: f64,
    /// Bytes to the destination.
    pub bytes_per_s: f64,
    /// Seconds until the last one, at this rate.
    pub eta_s: Option<u64>,
}

impl Rate {
    /// So many objects and bytes in so much time, with so many objects left: the same arithmetic for
    /// whoever tells of a run.
    pub fn of(objects: u64, bytes: u64, seconds: f64, left: u64) -> Self {
        let seconds = seconds.clamp(0.5, RATE_WINDOW.as_secs_f64());
        let objects_per_s = objects as f64 / seconds;
        let eta_s = (objects > 0 && left > 0).then(|| (left as f64 / objects_per_s) as u64);
        Self {
            objects_per_s,
            bytes_per_s: bytes as f64 / seconds,
            eta_s,
        }
    }
}

impl Pace {
    /// Takes in how it stands now, and says how fast it goes.
    pub fn rate(&mut self, now: &Snapshot) -> Rate {
        // Another task of the same command counts from nothing again.
        let is_anew =
            |seen: &&(Duration, u64, u64)| seen.1 > now.settled || seen.2 > now.copied_bytes;
        if self.seen.back().as_ref().is_some_and(is_anew) {
            self.seen.clear();
        }
        self.seen
            .push_back((now.elapsed, now.settled, now.copied_bytes));
        let since = now.elapsed.saturating_sub(RATE_WINDOW);
        while self.seen.len() > 2 && self.seen[1].0 <= since {
            self.seen.pop_front();
        }
        match self.seen.front() {
            Some((at, objects, bytes)) if *at < now.elapsed => Rate::of(
                now.settled - objects,
                now.copied_bytes - bytes,
                (now.elapsed - *at).as_secs_f64(),
                now.left(),
            ),
            _ => Rate::default(),
        }
    }
}

/// Hundredths that are done, never 100 before the end.
pub fn percent(now: &Snapshot) -> u64 {
    (now.done() * 100)
        .checked_div(now.planned)
        .unwrap_or(0)
        .min(100)
}

/// All that there is to say, for where there is room.
pub fn line(now: &Snapshot, rate: &Rate) -> String {
    let mut parts = parts(now, rate);
    parts[1].1 = format!("{} of {} objects", now.done(), now.planned);
    let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
    parts.join(", ")
}

/// As much of it as fits into `columns`, the most important first, with a bar in the room that is left.
pub fn fitted(now: &Snapshot, rate: &Rate, columns: usize) -> String {
    let mut parts = parts(now, rate);
    let width = |parts: &[(u8, String)]| {
        let words: usize = parts.iter().map(|(_, part)| part.width() + 2).sum();
        words.saturating_sub(2)
    };
    while parts.len() > 1 && width(&parts) > columns {
        let least = parts
            .iter()
            .enumerate()
            .max_by_key(|(_, (weight, _))| *weight);
        let at = least.map_or(0, |(at, _)| at);
        parts.remove(at);
    }
    let used = width(&parts);
    let words = parts
        .iter()
        .map(|(_, part)| part.as_str())
        .collect::<Vec<_>>()
        .join("  ");
    let room = columns.saturating_sub(used + 2).min(BAR_MAX);
    match room {
        0..BAR_MIN => words.chars().take(columns).collect(),
        _ => format!("{}  {words}", bar(percent(now), room)),
    }
}

fn bar(percent: u64, columns: usize) -> String {
    let inner = columns - 2;
    let full = (percent as usize * inner / 100).min(inner);
    format!("[{}{}]", "#".repeat(full), "-".repeat(inner - full))
}

/// Each with its weight, the lightest the most important, in the order in which they are read.
fn parts(now: &Snapshot, rate: &Rate) -> Vec<(u8, String)> {
    let mut parts = vec![
        (0, format!("{}%", percent(now))),
        (1, format!("{}/{}", now.done(), now.planned)),
    ];
    let written = match now.planned_bytes {
        // Of a verification nobody knows before how much there is.
        0 => bytes(now.copied_bytes),
        all => format!("{} of {}", bytes(now.done_bytes().min(all)), bytes(all)),
    };
    parts.push((4, written));
    parts.push((6, format!("{:.0}/s", rate.objects_per_s)));
    parts.push((5, format!("{}/s", bytes(rate.bytes_per_s as u64))));
    let left = rate.eta_s.map(|eta_s| duration(Duration::from_secs(eta_s)));
    parts.push((2, format!("{} left", left.as_deref().unwrap_or("?"))));
    parts.push((8, format!("{} gone", duration(whole_seconds(now.elapsed)))));
    if now.failed > 0 {
        parts.push((1, format!("{} failed", now.failed)));
    }
    if now.retries > 0 {
        parts.push((7, format!("{} retries", now.retries)));
    }
    if now.skipped > 0 {
        parts.push((3, format!("{} skipped", now.skipped)));
    }
    parts
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// The same for programs.
#[derive(Debug, Serialize)]
pub struct Event {
    event: &'static str,
    task_id: Option<i64>,
    percent: u64,
    planned: u64,
    done: u64,
    failed: u64,
    skipped: u64,
    retries: u64,
    in_flight: u64,
    planned_bytes: u64,
    done_bytes: u64,
    copied_bytes: u64,
    elapsed_s: f64,
    #[serde(flatten)]
    rate: Rate,
}

impl Event {
    /// How it stands now.
    pub fn of(task_id: Option<i64>, now: &Snapshot, rate: &Rate) -> Self {
        Self {
            event: "progress",
            task_id,
            percent: percent(now),
            planned: now.planned,
            done: now.done(),
            failed: now.failed,
            skipped: now.skipped,
            retries: now.retries,
            in_flight: now.in_flight,
            planned_bytes: now.planned_bytes,
            done_bytes: now.done_bytes(),
            copied_bytes: now.copied_bytes,
            elapsed_s: (now.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            rate: *rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_way() -> Snapshot {
        Snapshot {
            planned: 1_200_000,
            planned_bytes: 3 << 40,
            before: 400_000,
            before_bytes: 1 << 40,
            settled: 200_015,
            committed_bytes: 1 << 39,
            copied_bytes: 1 << 39,
            failed: 12,
            skipped: 3,
            retries: 41,
            elapsed: Duration::from_secs(3720),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_line_fits_any_width_from_forty_columns() {
        let now = half_way();
        let rate = Rate::of(6000, 1 << 30, 30.0, now.left());
        for columns in 37..200 {
            let line = fitted(&now, &rate, columns);
            assert!(line.width() <= columns, "{columns}: {line}");
            for must in ["50%", "600015/1200000", "12 failed"] {
                assert!(line.contains(must), "{columns}: {line}");
            }
        }
        assert_eq!(fitted(&now, &rate, 37), "50%  600015/1200000  12 failed");
        let wide = fitted(&now, &rate, 160);
        for must in [
            "[####",
            "1.5 TiB of 3.0 TiB",
            "200/s",
            "34.1 MiB/s",
            "49 min 59 s left",
            "1 h 02 min gone",
            "41 retries",
            "3 skipped",
        ] {
            assert!(wide.contains(must), "{must}: {wide}");
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let mut pace = Pace::default();
        let at = |seconds: u64, settled| Snapshot {
            planned: 10_000,
            settled,
            elapsed: Duration::from_secs(seconds),
            ..Snapshot::default()
        };
        assert_eq!(pace.rate(&at(0, 0)), Rate::default());
        let mut rate = Rate::default();
        for second in 1..=60 {
            rate = pace.rate(&at(second, second * 100));
        }
        assert!((rate.objects_per_s - 100.0).abs() < 1e-9, "{rate:?}");
        assert_eq!(rate.eta_s, Some(40));
        // It stands still: after half a minute nothing is left of what was.
        for second in 61..=95 {
            rate = pace.rate(&at(second, 6000));
        }
        assert_eq!((rate.objects_per_s, rate.eta_s), (0.0, None));
        // The next task of the same command.
        let rate = pace.rate(&at(96, 1));
        assert_eq!(rate, Rate::default());
    }
}
