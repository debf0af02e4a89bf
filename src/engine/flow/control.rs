//! What a run is steered by.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::driver::WRITE_DEADLINE;
use crate::engine::Stop;
use crate::engine::flow::bandwidth::Bandwidth;
use crate::engine::flow::retry::{Health, Side, StepError, Tries};
use crate::model::FailureClass;
use crate::progress::Progress;

/// When a write was last given up without an answer: it may still take effect until its deadline.
#[derive(Debug, Default)]
pub struct Unanswered(Mutex<Option<Instant>>);

impl Unanswered {
    /// Takes in why a write has failed.
    pub fn note(&self, error: &StepError) {
        let is_unanswered =
            error.side == Side::Destination && error.class == FailureClass::Retryable;
        if is_unanswered {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// Until when one may still take effect.
    pub fn until(&self) -> Option<Instant> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last + WRITE_DEADLINE)
    }
}

/// What a run is steered by, and what it shows of itself.
pub struct Control {
    /// Whether the run is to end.
    pub stop: Stop,
    /// How the stores and the database are doing.
    pub health: Health,
    /// Counters for whoever looks on.
    pub progress: Arc<Progress>,
    /// Writes that were given up without an answer.
    pub unanswered: Unanswered,
    /// `--bwlimit`, where one is set.
    pub bandwidth: Option<Bandwidth>,
    /// `--bwlimit-read`, where one is set.
    pub read_bandwidth: Option<Bandwidth>,
}

impl Control {
    /// The tries of one step.
    pub fn tries(&self) -> Tries<'_> {
        Tries::new(&self.health, &self.stop)
    }

    /// Waits until a whole object of so many bytes may go out to the destination.
    pub async fn may_put(&self, bytes: u64) {
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.take(bytes).await;
        }
    }

    /// Counts bytes that have come from the source, and waits until more may come.
    pub async fn have_read(&self, bytes: u64) {
        if let Some(bandwidth) = &self.read_bandwidth {
            bandwidth.take_in_slices(bytes).await;
        }
    }

    /// Waits until so many bytes of a stream may go out to the destination.
    pub async fn may_stream(&self, bytes: u64) {
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.take_in_slices(bytes).await;
        }
    }
}
