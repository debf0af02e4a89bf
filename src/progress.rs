//! Counters that a run keeps for whoever looks on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::model::{FailureClass, Phase, PhaseCounts};

/// A rate is over so many seconds, wherever one is told: a bar and `status` beside it agree.
pub const RATE_WINDOW: Duration = Duration::from_secs(30);

/// What has happened so far. Written by the engine, read by a progress display.
#[derive(Debug)]
pub struct Progress {
    task_id: AtomicI64,
    counts: Mutex<Snapshot>,
    started: Instant,
    /// How long an entry of the journal takes until it is durable, in seconds.
    pub journal_seconds: Histogram,
    /// How long a commit takes, its wait for a batch included, in seconds.
    pub commit_seconds: Histogram,
    /// Objects on their way.
    in_flight: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Objects in the plan.
    pub planned: u64,
    /// Their stored size together.
    pub planned_bytes: u64,
    /// Objects that had come to their end before this run.
    pub before: u64,
    /// Stored bytes of what had been committed before this run.
    pub before_bytes: u64,
    /// Objects that came to their end in this run, those that failed or are skipped among them.
    pub settled: u64,
    /// Stored bytes of what was committed in this run: these compare to the plan's.
    pub committed_bytes: u64,
    /// Bytes copied in this run.
    pub copied_bytes: u64,
    /// Objects that failed in this run.
    pub failed: u64,
    /// Objects that were skipped in this run.
    pub skipped: u64,
    /// Objects that wait for the next pass, since their content was not what their rows say.
    pub waiting: u64,
    /// Tries in this run that failed and are made again.
    pub retries: u64,
    /// Those of them that a store has asked to come slower.
    pub throttled: u64,
    /// Objects in each phase, of all that are planned.
    pub phases: PhaseCounts,
    /// Objects on their way.
    pub in_flight: u64,
    /// When an object last took a step.
    pub last_step: Option<SystemTime>,
    /// Time since the run began.
    pub elapsed: Duration,
}

impl Snapshot {
    /// Objects at their end, whichever run has brought them there.
    pub fn done(&self) -> u64 {
        self.before + self.settled
    }

    /// Stored bytes of what is committed, whichever run has done it.
    pub fn done_bytes(&self) -> u64 {
        self.before_bytes + self.committed_bytes
    }

    /// Objects that are still to come to their end.
    pub fn left(&self) -> u64 {
        self.planned.saturating_sub(self.done())
    }
}

impl Default for Progress {
    fn default() -> Self {
        // From a tenth of a millisecond to some seconds: a disk's sync, a database's round trip.
        let latency = || Histogram::new(exponential_buckets(0.0001, 2.0, 17));
        Self {
            task_id: AtomicI64::new(0),
            counts: Mutex::default(),
            started: Instant::now(),
            journal_seconds: latency(),
            commit_seconds: latency(),
            in_flight: AtomicU64::new(0),
        }
    }
}

impl Progress {
    fn count(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.counts.lock().unwrap_or_else(|e| e.into_inner()));
    }

    /// Begins anew, with so much to do and so much done before.
    pub fn begin(&self, planned: u64, planned_bytes: u64, before: u64) {
        self.count(|counts| {
            (counts.planned, counts.planned_bytes) = (planned, planned_bytes);
            counts.before = before;
            counts.phases.pending = planned.saturating_sub(before);
        });
    }

    /// Where the objects of the task stand before the run, and the stored bytes of the committed ones.
    pub fn stands(&self, phases: PhaseCounts, committed_bytes: u64) {
        self.count(|counts| {
            counts.phases = phases;
            counts.before_bytes = committed_bytes;
        });
    }

    /// Whose run it is that begins.
    pub fn of_task(&self, task_id: i64) {
        self.task_id.store(task_id, Ordering::Relaxed);
    }

    /// Begins anew, for the next task of the same command: none has begun until then.
    pub fn start_over(&self) {
        self.count(|counts| *counts = Snapshot::default());
    }

    /// Counts bytes that were copied.
    pub fn copied(&self, bytes: u64) {
        self.count(|counts| counts.copied_bytes += bytes);
    }

    /// Counts an object that has gone from one phase to another; `bytes` is its stored size.
    pub fn stepped(&self, from: Phase, to: Phase, bytes: u64) {
        self.count(|counts| {
            counts.last_step = Some(SystemTime::now());
            if from == to {
                return;
            }
            let left = of_phase(&mut counts.phases, from);
            *left = left.saturating_sub(1);
            *of_phase(&mut counts.phases, to) += 1;
            if from < Phase::Committed && to >= Phase::Committed {
                counts.committed_bytes += bytes;
            }
        });
    }

    /// Counts an object at its end.
    pub fn settled(&self) {
        self.count(|counts| counts.settled += 1);
    }

    /// Counts an object that failed.
    pub fn failed(&self) {
        self.count(|counts| counts.failed += 1);
    }

    /// Counts an object that is skipped.
    pub fn skipped(&self) {
        self.count(|counts| counts.skipped += 1);
    }

    /// Counts a try that failed and is made again.
    pub fn retried(&self, class: FailureClass) {
        self.count(|counts| {
            counts.retries += 1;
            counts.throttled += u64::from(class == FailureClass::Throttled);
        });
    }

    /// An object is on its way until what is given back is dropped.
    pub fn on_its_way(&self) -> OnItsWay<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        OnItsWay(&self.in_flight)
    }

    /// Counts an object that waits for the next pass.
    pub fn waiting(&self) {
        self.count(|counts| counts.waiting += 1);
    }

    /// Whether the run has begun: until then nothing has been changed.
    pub fn has_begun(&self) -> bool {
        self.snapshot().planned > 0
    }

    /// The task of the run, once that has begun.
    pub fn task_id(&self) -> Option<i64> {
        self.has_begun()
            .then(|| self.task_id.load(Ordering::Relaxed))
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let counts = *self.counts.lock().unwrap_or_else(|e| e.into_inner());
        Snapshot {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            elapsed: self.started.elapsed(),
            ..counts
        }
    }
}

/// An object on its way.
#[derive(Debug)]
pub struct OnItsWay<'a>(&'a AtomicU64);

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn of_phase(phases: &mut PhaseCounts, phase: Phase) -> &mut u64 {
    match phase {
        Phase::Pending => &mut phases.pending,
        Phase::Copied => &mut phases.copied,
        Phase::Verified => &mut phases.verified,
        Phase::Committed => &mut phases.committed,
        Phase::SourceDeleted => &mut phases.source_deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_a_resume_counts_on() {
        let progress = Progress::default();
        progress.begin(10, 1000, 4);
        let phases = PhaseCounts {
            pending: 5,
            copied: 1,
            source_deleted: 4,
            ..PhaseCounts::default()
        };
        progress.stands(phases, 400);
        progress.stepped(Phase::Copied, Phase::Verified, 100);
        progress.stepped(Phase::Verified, Phase::Committed, 100);
        progress.stepped(Phase::Committed, Phase::SourceDeleted, 100);
        progress.settled();
        let now = progress.snapshot();
        assert_eq!((now.done(), now.done_bytes(), now.left()), (5, 500, 5));
        assert_eq!((now.phases.copied, now.phases.source_deleted), (0, 5));
        // A copy that reads back unequal is made again.
        progress.stepped(Phase::Pending, Phase::Copied, 100);
        progress.stepped(Phase::Copied, Phase::Pending, 100);
        assert_eq!(progress.snapshot().phases.pending, 5);
        progress.start_over();
        assert!(!progress.has_begun());
    }

    #[test]
    fn an_object_is_in_flight_until_it_rests() {
        let progress = Progress::default();
        let one = progress.on_its_way();
        let two = progress.on_its_way();
        drop(one);
        assert_eq!(progress.snapshot().in_flight, 1);
        drop(two);
        assert_eq!(progress.snapshot().in_flight, 0);
    }
}
