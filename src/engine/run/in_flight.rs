//! How much is in flight at once: by count and by bytes.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::limits::{AUTO_MOST, Concurrency, MemoryLimit, STREAM_BYTES, WHOLE_MAX_BYTES};
use crate::engine::object::batches::BATCH_OBJECTS as COMMIT_BATCH;
use crate::engine::object::context::Context;
use crate::engine::object::item::Item;
use crate::engine::object::transform::whole_plain_max_bytes;
use crate::engine::run::knee::{FIRST_PLACES, Knee, Seen};
use crate::model::DriverKind;
use crate::progress::Snapshot;

/// How often `auto` looks at what it has come to, and how much must have come to its end by then.
const AUTO_INTERVAL: Duration = Duration::from_millis(500);
const ENOUGH_DONE: f64 = 32.0;

/// Objects of which only the row is left, at once: none of their bytes are in memory. Two full batches of
/// commits, of which one is gathered while the other is under way.
const ROWS: usize = 2 * COMMIT_BATCH;

/// Places for objects in flight.
#[derive(Debug)]
pub struct Limits {
    places: Arc<Semaphore>,
    /// Memory for objects in flight, in KiB.
    bytes: Arc<Semaphore>,
    in_flight_kib: u32,
    rows: Arc<Semaphore>,
}

/// A place that is given back when dropped.
pub struct Place {
    _object: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
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
            Concurrency::Auto => FIRST_PLACES,
            Concurrency::Fixed(places) => places.max(1) as usize,
        };
        let limits = Arc::new(Self {
            places: Arc::new(Semaphore::new(first)),
            bytes: Arc::new(Semaphore::new(in_flight_kib as usize)),
            in_flight_kib,
            rows: Arc::new(Semaphore::new(ROWS)),
        });
        if concurrency == Concurrency::Auto {
            tokio::spawn(steer(Arc::downgrade(&limits), Arc::downgrade(context)));
        }
        limits
    }

    /// Lets in more or fewer from here on. Fewer are let in once as many have come to their end.
    async fn change(&self, from: usize, to: usize) {
        if to > from {
            self.places.add_permits(to - from);
        } else if let Ok(fewer) = u32::try_from(from - to)
            && let Ok(given_up) = self.places.acquire_many(fewer).await
        {
            given_up.forget();
        }
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
                _bytes: Some(bytes),
            })
        };
        unless_stopped(context, place).await
    }

    /// Waits for a place for an object that moves no bytes; `None` if the run is asked to end first.
    pub async fn admit_row(&self, context: &Context) -> Option<Place> {
        let place = async {
            let object = self.rows.clone().acquire_owned().await.ok()?;
            Some(Place {
                _object: object,
                _bytes: None,
            })
        };
        unless_stopped(context, place).await
    }
}

async fn unless_stopped(
    context: &Context,
    place: impl Future<Output = Option<Place>>,
) -> Option<Place> {
    tokio::select! {
        biased;
        () = context.control.stop.asked() => None,
        place = place => place,
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

/// Looks how the run does, and lets in as many at once as pays.
async fn steer(limits: Weak<Limits>, context: Weak<Context>) {
    let mut knee = Knee::new(AUTO_MOST);
    let (mut since, mut done_before) = (Instant::now(), 0.0);
    let mut throttled_before = match context.upgrade() {
        // What others were asked before this one came.
        Some(context) => context.control.health.all_throttled(),
        None => return,
    };
    loop {
        tokio::time::sleep(AUTO_INTERVAL).await;
        let (Some(limits), Some(context)) = (limits.upgrade(), context.upgrade()) else {
            return;
        };
        let done = done(&context.control.progress.snapshot());
        let throttled = context.control.health.all_throttled();
        drop(context);
        let is_throttled = throttled > throttled_before;
        // A few objects, each of which takes long, say nothing yet.
        if done - done_before < ENOUGH_DONE && !is_throttled {
            continue;
        }
        let rate = (done - done_before) / since.elapsed().as_secs_f64();
        (since, done_before, throttled_before) = (Instant::now(), done, throttled);
        let places = knee.places();
        let wanted = knee.step(Seen {
            rate,
            throttled: is_throttled,
            is_full: limits.places.available_permits() == 0,
        });
        limits.change(places, wanted).await;
        if wanted != places {
            let why = if is_throttled {
                ", a store asks for less"
            } else {
                ""
            };
            tracing::info!("{wanted} objects at once, {rate:.0} a second with {places}{why}");
        }
    }
}

/// Small objects count by number, large ones by size.
fn done(snapshot: &Snapshot) -> f64 {
    snapshot.settled as f64 + snapshot.copied_bytes as f64 / (64.0 * 1024.0)
}
