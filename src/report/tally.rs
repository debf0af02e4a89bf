//! A journal, read once from its first entry to its last, and what is kept of it: runs, the pace,
//! the durations of steps. Memory is flat: of single objects only those on their way are known.

use std::collections::HashMap;

use jiff::Timestamp;

use super::data::{Ending, History, Run, Steps, Witness};
use super::series::Pace;
use crate::model::{Entry, Event, Phase, Resumed, Started};

/// The most runs that are kept; of more, the first and the last ones are.
const RUNS_MAX: usize = 200;

/// The most objects on their way. A run has a thousand at once; what it leaves behind at its end
/// is forgotten with it.
const ON_THEIR_WAY_MAX: usize = 100_000;

/// Commits behind a longer silence than this may be belated ones.
const HOLE_US: i64 = 5_000_000;

/// What was gathered from the entries so far.
#[derive(Debug, Default)]
pub struct Tally {
    runs: Vec<Run>,
    runs_left_out: u64,
    is_running: bool,
    /// Whether these are commits that a resume journals for a run that was killed: it does so
    /// before it says `resumed`, and what lies between was nobody's time.
    is_belated: bool,
    rebuilt: Option<String>,
    /// Whether the first entry is the task's first: no other chain was before this one.
    is_whole: bool,
    entries: u64,
    events: HashMap<&'static str, u64>,
    commits_taken_back: u64,
    pace: Pace,
    /// On the clock of the work: when the run began, and now.
    run_began_clock_ms: u64,
    clock_ms: u64,
    steps: Steps,
    /// When each object took its last step, in microseconds.
    on_their_way: HashMap<u64, i64>,
    last_us: i64,
}

/// What an entry says of the process that begins with it.
struct Process<'a> {
    host: &'a str,
    pid: u32,
    version: &'a str,
    user: &'a Option<String>,
    command: &'a Option<String>,
}

macro_rules! process_of {
    ($($event:ty),*) => {$(
        impl<'a> From<&'a $event> for Process<'a> {
            fn from(event: &'a $event) -> Self {
                Self {
                    host: &event.host,
                    pid: event.pid,
                    version: &event.version,
                    user: &event.user,
                    command: &event.command,
                }
            }
        }
    )*};
}

process_of!(Started, Resumed);

impl Tally {
    /// Takes in the next entry.
    pub fn take(&mut self, entry: &Entry) {
        self.is_whole |= self.entries == 0 && matches!(entry.event, Event::Created(_));
        self.entries += 1;
        *self.events.entry(entry.event.name()).or_default() += 1;
        // An unreadable time is none that this version writes; the order still is the order.
        let now_us = entry.at.parse::<Timestamp>();
        let now_us = now_us.map_or(self.last_us, |time| time.as_microsecond());
        let is_after_hole = now_us - self.last_us > HOLE_US;
        self.last_us = now_us;
        self.is_belated =
            matches!(entry.event, Event::Committed(_)) && (self.is_belated || is_after_hole);
        self.take_task_event(&entry.event, now_us / 1000);
        if self.is_running && !self.is_belated {
            self.go_on(now_us / 1000);
        }
        if let Some(object) = &entry.object {
            self.take_object_event(&entry.event, object.idx, now_us);
        }
        self.end(&entry.event);
    }

    fn take_task_event(&mut self, event: &Event, now_ms: i64) {
        match event {
            Event::Rebuilt(rebuilt) => self.rebuilt = Some(rebuilt.why.clone()),
            Event::Started(e) => self.begin(Process::from(e), false, now_ms),
            Event::Resumed(e) => {
                let same = self
                    .runs
                    .last_mut()
                    .filter(|run| self.is_running && (run.pid, &run.host) == (e.pid, &e.host));
                // Proofs are void in a new lease; the time to the next one says nothing.
                self.on_their_way.clear();
                match same {
                    Some(run) => run.lock_regained += 1,
                    None => self.begin(Process::from(e), true, now_ms),
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, process: Process<'_>, resumed: bool, now_ms: i64) {
        self.on_their_way.clear();
        if !self.runs.is_empty() {
            self.pace.cut(self.clock_ms);
        }
        self.run_began_clock_ms = self.clock_ms;
        self.is_running = true;
        self.runs.push(Run {
            number: self.runs.len() as u64 + self.runs_left_out + 1,
            host: process.host.to_owned(),
            pid: process.pid,
            version: process.version.to_owned(),
            user: process.user.clone(),
            command: process.command.clone(),
            began_ms: now_ms,
            ended_ms: now_ms,
            resumed,
            rebuilt: self.rebuilt.take(),
            lock_regained: 0,
            copied: 0,
            bytes: 0,
            committed: 0,
            failed: 0,
            ending: Ending::Silent,
        });
        if self.runs.len() > RUNS_MAX {
            self.runs.remove(RUNS_MAX / 2);
            self.runs_left_out += 1;
        }
    }

    fn go_on(&mut self, now_ms: i64) {
        if let Some(run) = self.runs.last_mut() {
            run.ended_ms = now_ms;
            let passed = now_ms.saturating_sub(run.began_ms).max(0) as u64;
            self.clock_ms = self.run_began_clock_ms + passed;
            self.pace.reach(self.clock_ms);
        }
    }

    fn take_object_event(&mut self, event: &Event, idx: u64, now_us: i64) {
        let clock_ms = self.clock_ms;
        match event {
            Event::Copied(copied) => {
                self.pace.add(clock_ms, copied.dest_size, 0);
                self.count(|run| {
                    run.copied += 1;
                    run.bytes += copied.dest_size;
                });
            }
            Event::Committed(_) => {
                self.pace.add(clock_ms, 0, 1);
                self.count(|run| run.committed += 1);
            }
            Event::Failed(_) => self.count(|run| run.failed += 1),
            // Back to `verified` leads only from behind the commit: the database had lost it.
            Event::Returned(returned) if returned.to == Phase::Verified => {
                self.commits_taken_back += 1;
            }
            _ => {}
        }
        self.time_step(event, idx, now_us);
    }

    fn count(&mut self, add: impl FnOnce(&mut Run)) {
        if let Some(run) = self.runs.last_mut().filter(|_| self.is_running) {
            add(run);
        }
    }

    fn time_step(&mut self, event: &Event, idx: u64, now_us: i64) {
        let before = self.on_their_way.remove(&idx);
        let step = match event {
            Event::Copied(_) => None,
            Event::Verified(_) => Some(&mut self.steps.verify),
            Event::Committed(_) => Some(&mut self.steps.commit),
            Event::SourceDeleted(_) => Some(&mut self.steps.delete_source),
            // An end, or a way back.
            _ => return,
        };
        if let (Some(step), Some(before), false) = (step, before, self.is_belated) {
            step.add((now_us - before) as f64 / 1000.0, 1);
        }
        let goes_on = !matches!(event, Event::SourceDeleted(_));
        // A proof without the copy before it is one made again: the time to the commit counts.
        if goes_on && self.on_their_way.len() < ON_THEIR_WAY_MAX {
            self.on_their_way.insert(idx, now_us);
        }
    }

    fn end(&mut self, event: &Event) {
        let ending = match event {
            Event::Completed(_) => Ending::Completed,
            Event::PassEnded(_) => Ending::Staged,
            Event::EndedFailed(ended) => Ending::Failed {
                objects: ended.failed,
            },
            Event::Interrupted(interrupted) => Ending::Interrupted {
                why: interrupted.why.clone(),
            },
            _ => return,
        };
        if let Some(run) = self.runs.last_mut().filter(|_| self.is_running) {
            run.ending = ending;
        }
        self.is_running = false;
        self.on_their_way.clear();
    }

    /// Entries by event, in the order of the format.
    pub fn events(&self) -> Vec<(&'static str, u64)> {
        let names = Event::NAMES.iter();
        names
            .map(|name| (*name, self.events.get(name).copied().unwrap_or(0)))
            .filter(|(_, entries)| *entries > 0)
            .collect()
    }

    /// Commits that stand, by these entries alone; `None` where they are not the whole history.
    pub fn commits(&self) -> Option<u64> {
        let committed = self.events.get("committed").copied().unwrap_or(0);
        self.is_whole
            .then(|| committed.saturating_sub(self.commits_taken_back))
    }

    /// What has been gathered.
    pub fn history(self) -> History {
        History {
            told_by: Witness::Journal,
            runs: self.runs,
            runs_left_out: self.runs_left_out,
            pace: self.pace,
            steps: self.steps,
        }
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
