//! How much is in flight at once: by count and by bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::limits::{AUTO_MOST, Concurrency, MemoryLimit, STREAM_BYTES, WHOLE_MAX_BYTES};
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::transform::whole_plain_max_bytes;
use crate::model::DriverKind;

const AUTO_FIRST: usize = 128;
const AUTO_STEP: usize = 32;

/// How often `auto` looks at what it has come to.
const AUTO_INTERVAL: Duration = Duration::from_millis(500);

/// Places for objects in flight.
#[derive(Debug)]
pub struct Limits {
    places: Arc<Semaphore>,
    /// Memory for objects in flight, in KiB.
    bytes: Arc<Semaphore>,
    in_flight_kib: u32,
}

/// A place that is given back when dropped.
pub struct Place {
    _object: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Limits {
    /// Places as configured; `auto` opens more of them as long as it pays.
    pub fn start(
        concurrency: Concurrency,
        memory: MemoryLimit,
        context: &Arc<Context>,
    ) -> Arc<Self> {
        let in_flight_kib = memory.in_flight_kib();
        let first = match concurrency {
            Concurrency::Auto => AUTO_FIRST,
            Concurrency::Fixed(places) => places.max(1) as usize,
        };
        let limits = Arc::new(Self {
            places: Arc::new(Semaphore::new(first)),
            bytes: Arc::new(Semaphore::new(in_flight_kib as usize)),
            in_flight_kib,
        });
        if concurrency == Concurrency::Auto {
            tokio::spawn(grow(
                Arc::downgrade(&limits),
                context.control.progress.clone(),
            ));
        }
        limits
    }

    /// Waits for a place; `None` if the run is asked to end first.
    pub async fn admit(&self, context: &Context, item: &Item) -> Option<Place> {
        // One that needs more than there is goes alone.
        let weight_kib = (weight_bytes(context, item) / 1024) as u32;
        let weight_kib = weight_kib.min(self.in_flight_kib);
        let bytes = self.bytes.clone();
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
            () = context.control.stop.asked() => None,
            place = place => place,
        }
    }
}

/// What an object may take of memory while it is in flight: its bytes as they are read and as
/// they are written, and never more than the parts of a stream, unless a store can only take or
/// give it in one piece.
fn weight_bytes(context: &Context, item: &Item) -> usize {
    let source = &item.object.source;
    let known = source.size.and_then(|size| usize::try_from(size).ok());
    let stored = known.unwrap_or(WHOLE_MAX_BYTES).max(4 << 10);
    let kinds = [
        context.stores.source.kind(),
        context.stores.destination.kind(),
    ];
    if kinds.contains(&DriverKind::Db) {
        // As it comes over the wire, twice, and decoded; what is no text is a third longer there.
        return stored.saturating_mul(4);
    }
    if context.stores.destination.kind() == DriverKind::Db2 {
        // Gathered, in the statement, and as it goes out.
        return stored.saturating_mul(3);
    }
    let plain = match source.compressed {
        Some(true) => whole_plain_max_bytes(stored),
        _ => stored,
    };
    stored.saturating_add(plain).min(STREAM_BYTES)
}

/// Opens a few more places each time the last few have paid, and stops where they do not.
async fn grow(limits: std::sync::Weak<Limits>, progress: Arc<crate::progress::Progress>) {
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
