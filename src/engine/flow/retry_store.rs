//! Asking a store before a run has begun.

use std::time::{Duration, Instant};

use crate::driver::StoreError;

/// How often a store is asked before a run begins, and the pauses between: a refusal in passing
/// should not need a person, and one that lasts should be told soon.
const LOOKS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A store that takes so long to fail is not asked again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a store something that may be asked again, until it answers or has been asked often enough.
pub async fn retry_store<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
    for _ in 1..LOOKS {
        match ask().await {
            Err(error) if error.is_retryable() && started.elapsed() < PATIENCE => {
                // Who runs out of tries says so; until then it is no more than a wait.
                tracing::info!("{error}; trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    ask().await
}
