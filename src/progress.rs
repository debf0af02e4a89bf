//! Counters that a run keeps for whoever looks on.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What has happened so far. Written by the engine, read by a progress display.
#[derive(Debug)]
pub struct Progress {
    task_id: AtomicI64,
    planned: AtomicU64,
    planned_bytes: AtomicU64,
    before: AtomicU64,
    settled: AtomicU64,
    copied_bytes: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    waiting: AtomicU64,
    started: Instant,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Objects in the plan.
    pub planned: u64,
    /// Their stored size together.
    pub planned_bytes: u64,
    /// Objects that had come to their end before this run.
    pub before: u64,
    /// Objects that came to their end in this run.
    pub settled: u64,
    /// Bytes copied in this run.
    pub copied_bytes: u64,
    /// Objects that failed in this run.
    pub failed: u64,
    /// Objects that were skipped in this run.
    pub skipped: u64,
    /// Objects that wait for the next pass, since their content was not what their rows say.
    pub waiting: u64,
    /// Time since the run began.
    pub elapsed: Duration,
}

impl Default for Progress {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            task_id: AtomicI64::new(0),
            planned: zero(),
            planned_bytes: zero(),
            before: zero(),
            settled: zero(),
            copied_bytes: zero(),
            failed: zero(),
            skipped: zero(),
            waiting: zero(),
            started: Instant::now(),
        }
    }
}

impl Progress {
    /// Begins anew, with so much to do and so much done before.
    pub fn begin(&self, planned: u64, planned_bytes: u64, before: u64) {
        self.planned.store(planned, Ordering::Relaxed);
        self.planned_bytes.store(planned_bytes, Ordering::Relaxed);
        self.before.store(before, Ordering::Relaxed);
    }

    /// Whose run it is that begins.
    pub fn of_task(&self, task_id: i64) {
        self.task_id.store(task_id, Ordering::Relaxed);
    }

    /// Begins anew, for the next task of the same command: none has begun until then.
    pub fn start_over(&self) {
        for counter in [
            &self.planned,
            &self.planned_bytes,
            &self.before,
            &self.settled,
            &self.copied_bytes,
            &self.failed,
            &self.skipped,
            &self.waiting,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Counts bytes that were copied.
    pub fn copied(&self, bytes: u64) {
        self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts an object at its end.
    pub fn settled(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an object that failed.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an object that is skipped.
    pub fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an object that waits for the next pass.
    pub fn waiting(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the run has begun: until then nothing has been changed.
    pub fn has_begun(&self) -> bool {
        self.planned.load(Ordering::Relaxed) > 0
    }

    /// The task of the run, once that has begun.
    pub fn task_id(&self) -> Option<i64> {
        self.has_begun()
            .then(|| self.task_id.load(Ordering::Relaxed))
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            planned: get(&self.planned),
            planned_bytes: get(&self.planned_bytes),
            before: get(&self.before),
            settled: get(&self.settled),
            copied_bytes: get(&self.copied_bytes),
            failed: get(&self.failed),
            skipped: get(&self.skipped),
            waiting: get(&self.waiting),
            elapsed: self.started.elapsed(),
        }
    }
}
