//! How much is in flight at once: by count and by bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Context;
use super::feed::weight_bytes;
use super::item::Item;

/// `--concurrency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// Grows while throughput grows.
    #[default]
    Auto,
    /// As many objects at once as said.
    Fixed(u32),
}

const AUTO_FIRST: usize = 128;
const AUTO_STEP: usize = 32;
const AUTO_MOST: usize = 256;

/// How often `auto` looks at what it has come to.
const AUTO_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes in flight, over all objects.
pub const BYTES_IN_FLIGHT: usize = 96 << 20;

/// Places for objects in flight.
#[derive(Debug)]
pub struct Limits {
    places: Arc<Semaphore>,
}

/// A place that is given back when dropped.
pub struct Place {
    _object: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Limits {
    /// Places as configured; `auto` opens more of them as long as it pays.
    pub fn start(concurrency: Concurrency, context: &Arc<Context>) -> Arc<Self> {
        let first = match concurrency {
            Concurrency::Auto => AUTO_FIRST,
            Concurrency::Fixed(places) => places.max(1) as usize,
        };
        let limits = Arc::new(Self {
            places: Arc::new(Semaphore::new(first)),
        });
        if concurrency == Concurrency::Auto {
            tokio::spawn(grow(Arc::downgrade(&limits), context.progress.clone()));
        }
        limits
    }

    /// Waits for a place; `None` if the run is asked to end first.
    pub async fn admit(&self, context: &Context, item: &Item) -> Option<Place> {
        let weight_kib = (weight_bytes(item) / 1024) as u32;
        let bytes = context.bytes_in_flight.clone();
        let place = async {
            let object = self.places.clone().acquire_owned().await.ok()?;
            let bytes = bytes.acquire_many_owned(weight_kib).await.ok()?;
            Some(Place {
                _object: object,
                _bytes: bytes,
            })
        };
        tokio::select! {
            biased;
            () = context.stop.asked() => None,
            place = place => place,
        }
    }
}

/// Opens a few more places each time the last few have paid, and stops where they do not.
async fn grow(limits: std::sync::Weak<Limits>, progress: Arc<super::progress::Progress>) {
    let (mut places, mut best, mut settled_before) = (AUTO_FIRST, 0.0_f64, 0);
    let mut without_gain = 0;
    while places < AUTO_MOST && without_gain < 3 {
        tokio::time::sleep(AUTO_INTERVAL).await;
        let Some(limits) = limits.upgrade() else {
            return;
        };
        let snapshot = progress.snapshot();
        // Small objects count by number, large ones by size.
        let now = snapshot.settled as f64 + snapshot.copied_bytes as f64 / (64.0 * 1024.0);
        let rate = now - settled_before as f64;
        settled_before = now as u64;
        if rate > best * 1.05 {
            best = rate;
            without_gain = 0;
        } else {
            without_gain += 1;
            continue;
        }
        limits.places.add_permits(AUTO_STEP);
        places += AUTO_STEP;
    }
}
