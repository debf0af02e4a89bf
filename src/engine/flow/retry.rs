//! Retries, in one place: the SDKs' own are off.
//!
//! Two things look alike at first: one object that a store chokes on, and a store that is away.
//! The first is given up after a few tries and recorded; the second is waited out, with every
//! object in flight keeping its place. What tells them apart is whether anything else succeeds
//! at that side meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

use crate::catalog::CatalogError;
use crate::driver::{StoreError, StoreErrorKind};
use crate::engine::Stop;
use crate::engine::flow::warned::{Telling, Warned};
use crate::engine::stop::StopReason;
use crate::model::{Cause, FailureClass};
use crate::progress::Progress;

/// Tries of one step on one object while others succeed: with the pauses between them about half a
/// minute, so that a server that fails a part of its requests for a while fails no object.
const MAX_ATTEMPTS: u32 = 10;

/// The pauses between tries: from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a side says again and again is said again after so long.
const TELL_ANEW: Duration = Duration::from_secs(60);

/// Where a step can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The source store.
    Source,
    /// The destination store.
    Destination,
    /// The catalog.
    Database,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Source => "the source store",
            Side::Destination => "the destination store",
            Side::Database => "the database",
        }
    }
}

/// A step that failed: plain data, since one failed batch answers many objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// Where.
    pub side: Side,
    /// What it means.
    pub class: FailureClass,
    /// What a person can do about it, if it is given up.
    pub cause: Cause,
    /// For people.
    pub message: String,
}

impl StepError {
    /// A failure of this object alone.
    pub fn permanent(side: Side, cause: Cause, message: String) -> Self {
        Self {
            side,
            class: FailureClass::Permanent,
            cause,
            message,
        }
    }

    /// Of a step that is not taken without the migration lock.
    pub fn no_lock() -> Self {
        Self {
            side: Side::Database,
            class: FailureClass::Retryable,
            cause: Cause::DatabaseFails,
            message: "the migration lock is not held".into(),
        }
    }

    /// Wraps a store's error, for `map_err`.
    pub fn store(side: Side) -> impl Fn(StoreError) -> Self {
        move |error| Self {
            side,
            class: error.class(),
            cause: cause_of(side, error.kind),
            message: error.to_string(),
        }
    }
}

/// What a store's error means for the object that it is about.
fn cause_of(side: Side, kind: StoreErrorKind) -> Cause {
    use StoreErrorKind as Kind;
    match (side, kind) {
        (Side::Database, _) => Cause::DatabaseFails,
        (Side::Source, Kind::NotFound) => Cause::MissingAtSource,
        (Side::Source, Kind::Corrupt) => Cause::DamagedAtSource,
        (Side::Destination, Kind::NotFound | Kind::Corrupt) => Cause::CopyDiffers,
        (Side::Source, Kind::Throttled | Kind::Unavailable) => Cause::SourceFails,
        (Side::Destination, Kind::Throttled | Kind::Unavailable) => Cause::DestinationFails,
        (Side::Source, _) => Cause::RefusedBySource,
        (Side::Destination, _) => Cause::RefusedByDestination,
    }
}

impl From<&CatalogError> for StepError {
    fn from(error: &CatalogError) -> Self {
        Self {
            side: Side::Database,
            class: error.class(),
            cause: match error.is_retryable() {
                true => Cause::DatabaseFails,
                false => Cause::RefusedByDatabase,
            },
            message: error.to_string(),
        }
    }
}

impl From<CatalogError> for StepError {
    fn from(error: CatalogError) -> Self {
        Self::from(&error)
    }
}

/// When each side last did what it was asked.
#[derive(Debug)]
pub struct Health {
    outage_limit: Duration,
    warned: Warned,
    last_success: Mutex<[Instant; 3]>,
    throttled: AtomicU64,
    others_throttled: AtomicU64,
    progress: Arc<Progress>,
}

impl Health {
    /// `outage_limit`: how long a side may be away before the run stops.
    pub fn new(outage_limit: Duration, progress: Arc<Progress>) -> Self {
        Self {
            progress,
            outage_limit,
            warned: Warned::anew_after(TELL_ANEW),
            last_success: Mutex::new([Instant::now(); 3]),
            throttled: AtomicU64::new(0),
            others_throttled: AtomicU64::new(0),
        }
    }

    /// Says what is to be tried again, unless a hundred others have just said the same.
    fn tell(&self, error: &StepError, attempt: u32) {
        let (class, side) = (error.class.name(), error.side.name());
        let telling = self.warned.more_of(side);
        match telling {
            Telling::Count => tracing::info!(attempt, class, "{}", error.message),
            _ => tracing::warn!(attempt, class, "{}", error.message),
        }
        if telling == Telling::SayLast {
            tracing::warn!("{side}: more of these within the next minute are not said");
        }
    }

    /// How long a side may be away.
    pub fn outage_limit(&self) -> Duration {
        self.outage_limit
    }

    /// How often a side has asked this process for fewer requests.
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    /// The same of all that share the task.
    pub fn all_throttled(&self) -> u64 {
        self.throttled() + self.others_throttled.load(Ordering::Relaxed)
    }

    /// Notes how often others were asked that share the task.
    pub fn record_others_throttled(&self, times: u64) {
        self.others_throttled.store(times, Ordering::Relaxed);
    }

    /// Notes that a side answered as it should.
    pub fn record_success(&self, side: Side) {
        self.last_success.lock().unwrap_or_else(|e| e.into_inner())[side as usize] = Instant::now();
    }

    fn last_success(&self, side: Side) -> Instant {
        self.last_success.lock().unwrap_or_else(|e| e.into_inner())[side as usize]
    }
}

/// The tries of one step on one object.
pub struct Tries<'a> {
    health: &'a Health,
    stop: &'a Stop,
    pauses: backoff::ExponentialBackoff,
    failing_since: Option<Instant>,
    attempts: u32,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again; the pause is over.
    Again,
    /// Record the failure and go on with other objects.
    GiveUp,
    /// The run is ending; the object keeps its place.
    Stopping,
}

impl<'a> Tries<'a> {
    /// No try yet.
    pub fn new(health: &'a Health, stop: &'a Stop) -> Self {
        let pauses = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST_PAUSE)
            .with_max_interval(LONGEST_PAUSE)
            .with_max_elapsed_time(None)
            .build();
        Self {
            health,
            stop,
            pauses,
            failing_since: None,
            attempts: 0,
        }
    }

    /// Tries counted so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Decides on a failure, and waits before the next try. `is_alive` asks the side something
    /// cheap, to tell a store that is away from an object that it chokes on.
    pub async fn after(
        &mut self,
        error: &StepError,
        is_alive: impl AsyncFnOnce() -> bool,
    ) -> Verdict {
        self.attempts += 1;
        if self.stop.is_asked() {
            return Verdict::Stopping;
        }
        match error.class {
            FailureClass::Permanent => return Verdict::GiveUp,
            FailureClass::Fatal => {
                self.stop.ask(StopReason::Fatal(error.message.clone()));
                return Verdict::Stopping;
            }
            FailureClass::Retryable | FailureClass::Throttled => {}
        }
        if error.class == FailureClass::Throttled {
            self.health.throttled.fetch_add(1, Ordering::Relaxed);
        }
        let failed_at = Instant::now();
        let since = *self.failing_since.get_or_insert(failed_at);
        self.health.tell(error, self.attempts);
        self.health.progress.retried(error.class);
        if !self.pause(error.class).await {
            return Verdict::Stopping;
        }
        // Only what succeeded after this failure is a sign of life: an answer that was already under
        // way when the side went away would count against every later try.
        let mut others_succeed = self.health.last_success(error.side) > failed_at;
        if !others_succeed && is_alive().await {
            self.health.record_success(error.side);
            others_succeed = true;
        }
        if others_succeed {
            return if self.attempts < MAX_ATTEMPTS {
                Verdict::Again
            } else {
                Verdict::GiveUp
            };
        }
        let away = self.health.last_success(error.side).max(since).elapsed();
        if away >= self.health.outage_limit() {
            let (side, minutes) = (error.side.name(), away.as_secs_f64() / 60.0);
            let why = format!(
                "{side} was away for {minutes:.1} minutes: {}",
                error.message
            );
            self.stop.ask(StopReason::Outage(why));
            return Verdict::Stopping;
        }
        // Tries during an outage are not the object's fault.
        self.attempts -= 1;
        Verdict::Again
    }

    /// False if the run was asked to end meanwhile.
    async fn pause(&mut self, class: FailureClass) -> bool {
        let mut pause = self.pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
        if class == FailureClass::Throttled {
            pause *= 2;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.asked() => false,
        }
    }
}
