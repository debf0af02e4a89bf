//! `--bwlimit`: how fast bytes may go out to the destination, over all objects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Streams take turns after so many bytes, so that they are smooth and hold up no small object.
const SLICE_BYTES: u64 = 64 << 10;

/// What may go out at once after a pause: a small object by itself does not wait at all.
const BURST: Duration = Duration::from_millis(100);

/// A rate that all objects share, paid in advance.
#[derive(Debug)]
pub struct Bandwidth {
    bytes_per_second: u64,
    /// Processes that have it together.
    shared_by: AtomicU64,
    /// When all that was paid for so far will have gone out. The lock is fair: objects go in turn,
    /// and so do not all go out together after having waited together.
    paid_up: Mutex<Instant>,
}

impl Bandwidth {
    /// A limit.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            shared_by: AtomicU64::new(1),
            paid_up: Mutex::new(Instant::now()),
        }
    }

    /// From now on so many processes have it together.
    pub fn share(&self, by: u64) {
        self.shared_by.store(by.max(1), Ordering::Relaxed);
    }

    /// Waits until this many bytes, which go out in one piece, may go out.
    pub async fn take(&self, bytes: u64) {
        let bytes = bytes as f64 * self.shared_by.load(Ordering::Relaxed) as f64;
        let cost = Duration::from_secs_f64(bytes / self.bytes_per_second as f64);
        let mut paid_up = self.paid_up.lock().await;
        // What was not used is not saved up, but for one burst.
        *paid_up = (*paid_up).max(earlier(Instant::now(), BURST)) + cost;
        sleep_until(*paid_up).await;
    }

    /// The same for bytes of a stream, between whose slices others have their turn.
    pub async fn take_in_slices(&self, mut bytes: u64) {
        while bytes > 0 {
            let slice = bytes.min(SLICE_BYTES);
            self.take(slice).await;
            bytes -= slice;
        }
    }
}

/// The clock may have been started a moment ago.
fn earlier(now: Instant, by: Duration) -> Instant {
    now.checked_sub(by).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn many_streams_together_keep_to_the_rate() {
        let bandwidth = Arc::new(Bandwidth::new(10 << 20));
        let started = Instant::now();
        let streams = (0..16).map(|_| {
            let bandwidth = bandwidth.clone();
            async move {
                for _ in 0..5 {
                    bandwidth.take(64 << 10).await;
                }
            }
        });
        futures::future::join_all(streams).await;
        let seconds = started.elapsed().as_secs_f64();
        // A burst at the beginning, and the rest by the clock.
        assert!((0.45..1.5).contains(&seconds), "5 MiB took {seconds} s");
    }

    #[tokio::test]
    async fn whoever_shares_it_has_less() {
        let bandwidth = Bandwidth::new(8 << 20);
        bandwidth.share(4);
        let started = Instant::now();
        bandwidth.take_in_slices(2 << 20).await;
        let seconds = started.elapsed().as_secs_f64();
        assert!((0.8..2.0).contains(&seconds), "2 MiB took {seconds} s");
    }

    #[tokio::test]
    async fn a_small_object_after_a_pause_does_not_wait() {
        let bandwidth = Bandwidth::new(10 << 10);
        tokio::time::sleep(2 * BURST).await;
        let started = Instant::now();
        bandwidth.take(1_000).await;
        assert!(started.elapsed() < Duration::from_millis(50), "it waited");
    }

    #[tokio::test]
    async fn a_large_object_does_not_hold_up_a_small_one() {
        let bandwidth = Arc::new(Bandwidth::new(1 << 20));
        let large = tokio::spawn({
            let bandwidth = bandwidth.clone();
            async move { bandwidth.take_in_slices(64 << 20).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        bandwidth.take(1_000).await;
        assert!(started.elapsed() < Duration::from_secs(1), "it waited");
        large.abort();
    }
}
