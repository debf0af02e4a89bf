//! The keys that requests are signed with, kept until they run out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_s3::config::SharedCredentialsProvider;

use super::error;
use crate::driver::error::Failure;

/// How long before their end temporary keys are asked for anew: a request that is signed now may
/// arrive a little later.
const EARLY: Duration = Duration::from_secs(60);

/// Hands out keys. One request at a time asks for new ones.
#[derive(Debug)]
pub(super) struct Keys {
    provider: SharedCredentialsProvider,
    known: Mutex<Option<Credentials>>,
    asking: tokio::sync::Mutex<()>,
}

impl Keys {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self {
            provider,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    pub(super) async fn get(&self) -> Result<Credentials, Failure> {
        if let Some(keys) = self.known().filter(|keys| last(keys, EARLY)) {
            return Ok(keys);
        }
        let _asking = self.asking.lock().await;
        let old = self.known();
        if let Some(keys) = old.clone().filter(|keys| last(keys, EARLY)) {
            return Ok(keys);
        }
        match self.provider.provide_credentials().await {
            Ok(keys) => {
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys.clone());
                Ok(keys)
            }
            // Whoever hands them out may be away for a moment.
            Err(error) => match old.filter(|keys| last(keys, Duration::ZERO)) {
                Some(keys) => Ok(keys),
                None => Err(error::not_sent(&error)),
            },
        }
    }

    fn known(&self) -> Option<Credentials> {
        let known = self.known.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether the keys are good for so much longer.
fn last(keys: &Credentials, longer: Duration) -> bool {
    keys.expiry()
        .is_none_or(|end| SystemTime::now() + longer < end)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;
    use crate::driver::StoreErrorKind;

    /// Hands out keys that are good for so long, until it has none left.
    #[derive(Debug, Clone)]
    struct Lent {
        good_for: Option<Duration>,
        asked: Arc<AtomicU32>,
        has: u32,
    }

    impl ProvideCredentials for Lent {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let nth = self.asked.fetch_add(1, Ordering::Relaxed);
            let end = self.good_for.map(|good_for| SystemTime::now() + good_for);
            future::ProvideCredentials::ready(match nth < self.has {
                true => Ok(Credentials::new("key", "secret", None, end, "test")),
                false => Err(CredentialsError::not_loaded("none left")),
            })
        }
    }

    async fn asked_in_three(good_for: Option<Duration>, has: u32) -> (u32, [bool; 3]) {
        let asked = Arc::new(AtomicU32::new(0));
        let lent = Lent {
            good_for,
            asked: asked.clone(),
            has,
        };
        let keys = Keys::new(SharedCredentialsProvider::new(lent));
        let mut got = [false; 3];
        for one in &mut got {
            let answer = keys.get().await;
            if let Err(failure) = &answer {
                assert_eq!(failure.kind, StoreErrorKind::Credentials, "{failure:?}");
            }
            *one = answer.is_ok();
        }
        (asked.load(Ordering::Relaxed), got)
    }

    #[tokio::test]
    async fn keys_are_asked_for_anew_before_they_run_out() {
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(asked_in_three(None, 9).await, (1, [true; 3]));
        assert_eq!(asked_in_three(hour, 9).await, (1, [true; 3]));
        // Good for less than a minute: anew each time, and the old ones where there are no others.
        let short = Some(EARLY / 2);
        assert_eq!(asked_in_three(short, 9).await, (3, [true; 3]));
        assert_eq!(asked_in_three(short, 1).await, (3, [true; 3]));
        let over = Some(Duration::ZERO);
        assert_eq!(asked_in_three(over, 1).await, (3, [true, false, false]));
    }
}
