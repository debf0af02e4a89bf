//! The bytes of an object while they come from a server: one that sends a byte a second keeps a
//! connection busy for ever without moving anything.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::StoreError;
use super::error::Failure;
use crate::driver::StoreErrorKind;
use crate::model::DriverKind;

/// How long a body may stand still, in either direction.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(20);

/// So many bytes give back one second of what has been waited.
const BYTES_PER_S: u64 = 1024;

/// How much longer a body is waited for. Waiting uses it up, and what comes gives it back. Only
/// waiting for the server counts: a reader that takes its time costs it nothing.
#[derive(Debug, Clone, Copy)]
struct Patience {
    left: Duration,
    most: Duration,
}

impl Patience {
    fn of(most: Duration) -> Self {
        Self { left: most, most }
    }

    fn after(self, waited: Duration, bytes: usize) -> Self {
        let earned = Duration::from_secs_f64(bytes as f64 / BYTES_PER_S as f64);
        let left = self.left.saturating_sub(waited) + earned;
        Self {
            left: left.min(self.most),
            ..self
        }
    }
}

/// Passes a body on, and fails it where it comes too slowly to come to its end.
pub(super) fn watched(
    body: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static,
    driver: DriverKind,
    url: &str,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let url = url.to_owned();
    watched_for(body, STALLED_AFTER)
        .map_err(move |failure| failure.at(driver, "get", &url))
        .boxed()
}

fn watched_for(
    body: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static,
    most: Duration,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    let state = (body.boxed(), Patience::of(most), 0_u64);
    stream::try_unfold(state, |(mut body, patience, so_far)| async move {
        let asked = Instant::now();
        let Ok(next) = tokio::time::timeout(patience.left, body.next()).await else {
            return Err(stalled(so_far, patience.most));
        };
        let Some(piece) = next.transpose()? else {
            return Ok(None);
        };
        let patience = patience.after(asked.elapsed(), piece.len());
        let so_far = so_far + piece.len() as u64;
        Ok(Some((piece, (body, patience, so_far))))
    })
}

fn stalled(so_far: u64, waited: Duration) -> Failure {
    let message = format!(
        "the body comes too slowly to ever end: {so_far} bytes have come, and next to nothing in \
         the last {} s",
        waited.as_secs()
    );
    Failure::new(StoreErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    fn every(pause: Duration, bytes: usize) -> impl Stream<Item = Result<Bytes, Failure>> + Send {
        stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Ok(Bytes::from(vec![0; bytes])), ()))
        })
    }

    /// A tenth of the limit passes before each byte, as a second does of the real one.
    #[tokio::test]
    async fn a_byte_now_and_then_is_no_body() {
        let began = Instant::now();
        let drip = watched_for(every(SHORT / 20, 1), SHORT);
        let failure = drip.collect::<Vec<_>>().await.pop().expect("an item");
        let failure = failure.unwrap_err();
        assert_eq!(failure.kind, StoreErrorKind::Unavailable);
        assert!(failure.message.contains("too slowly"), "{failure:?}");
        assert!(began.elapsed() < 10 * SHORT, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_slow_line_and_a_slow_reader_are_waited_for() {
        let slow = watched_for(every(SHORT / 4, 16 << 10), SHORT);
        let mut slow = std::pin::pin!(slow.take(6));
        while let Some(piece) = slow.next().await {
            piece.expect("it goes on");
            tokio::time::sleep(SHORT + SHORT / 4).await;
        }
    }

    #[tokio::test]
    async fn a_body_that_falls_silent_after_a_good_start_is_given_up() {
        let start = stream::iter([Ok(Bytes::from(vec![0; 1 << 20]))]);
        let silent = watched_for(start.chain(stream::pending()), SHORT);
        let answers = silent.collect::<Vec<_>>().await;
        assert!(matches!(answers[..], [Ok(_), Err(_)]), "{answers:?}");
    }
}
