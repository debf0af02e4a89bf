//! What a run is steered by.

use std::sync::Arc;

use crate::engine::Stop;
use crate::engine::flow::bandwidth::Bandwidth;
use crate::engine::flow::retry::{Health, Tries};
use crate::progress::Progress;

/// What a run is steered by, and what it shows of itself.
pub struct Control {
    /// Whether the run is to end.
    pub stop: Stop,
    /// How the stores and the database are doing.
    pub health: Health,
    /// Counters for whoever looks on.
    pub progress: Arc<Progress>,
    /// `--bwlimit`, where one is set.
    pub bandwidth: Option<Bandwidth>,
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

    /// Waits until so many bytes of a stream may go out to the destination.
    pub async fn may_stream(&self, bytes: u64) {
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.take_in_slices(bytes).await;
        }
    }
}
