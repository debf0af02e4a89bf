//! `--bwlimit`: how fast bytes may go out to the destination, over all objects.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Streams take turns after so many bytes, so that a large object holds up no small one.
const SLICE_BYTES: u64 = 64 << 10;

/// What may go out at once after a pause: a small object by itself does not wait at all.
const BURST: Duration = Duration::from_millis(100);

/// A rate that all streams share. Whoever takes bytes pays for them afterwards: the next one waits
/// until they can have gone out.
#[derive(Debug)]
pub struct Bandwidth {
    bytes_per_second: u64,
    /// When all that was taken so far will have gone out. The lock is fair: streams go in turn.
    paid_up: Mutex<Instant>,
}

impl Bandwidth {
    /// A limit.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            paid_up: Mutex::new(Instant::now()),
        }
    }

    /// Waits until this many bytes may go out.
    pub async fn take(&self, bytes: u64) {
        let mut left = bytes;
        while left > 0 {
            let slice = left.min(SLICE_BYTES);
            let mut paid_up = self.paid_up.lock().await;
            sleep_until(*paid_up).await;
            let cost = Duration::from_secs_f64(slice as f64 / self.bytes_per_second as f64);
            // What was not used is not saved up, but for one burst.
            *paid_up = (*paid_up).max(earlier(Instant::now(), BURST)) + cost;
            left -= slice;
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
        assert!((0.45..1.5).contains(&seconds), "5 MiB took {seconds} s");
    }

    #[tokio::test]
    async fn a_small_object_after_a_pause_does_not_wait() {
        let bandwidth = Bandwidth::new(10 << 10);
        tokio::time::sleep(2 * BURST).await;
        let started = Instant::now();
        bandwidth.take(5_000).await;
        assert!(started.elapsed() < Duration::from_millis(100), "it waited");
    }

    #[tokio::test]
    async fn a_large_object_does_not_hold_up_a_small_one() {
        let bandwidth = Arc::new(Bandwidth::new(1 << 20));
        let large = tokio::spawn({
            let bandwidth = bandwidth.clone();
            async move { bandwidth.take(64 << 20).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        bandwidth.take(1_000).await;
        assert!(started.elapsed() < Duration::from_secs(1), "it waited");
        large.abort();
    }
}
