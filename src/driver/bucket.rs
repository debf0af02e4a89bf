//! What the drivers share that keep documents in buckets: URLs, taken raw, and deletes, many at a
//! time.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::error::{At as _, Failure};
use super::{StoreError, StoreErrorKind};
use crate::batch::{BatchLimits, Batcher};
use crate::model::DriverKind;

/// Single deletes at once, where a server has no batches.
const SINGLES_IN_FLIGHT: usize = 16;

/// Where an object lies: a bucket and a key, verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub bucket: String,
    pub key: String,
}

impl Address {
    pub(super) fn new(bucket: &str, key: &str) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
        }
    }
}

/// The URLs of a driver, and its own words for what stands in them.
pub(super) struct Urls {
    pub driver: DriverKind,
    pub bucket: &'static str,
    pub key: &'static str,
}

impl Urls {
    /// Takes `scheme://bucket/key` apart. As in Anchore the bucket is the URL's, not the
    /// configuration's.
    pub(super) fn address(&self, url: &str) -> Result<Address, Failure> {
        let scheme = self.driver.scheme();
        let (bucket, key) = url
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .and_then(|rest| rest.split_once('/'))
            .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            .ok_or_else(|| {
                let (bucket, key) = (self.bucket, self.key);
                unsupported(format!("is not of the form {scheme}://{bucket}/{key}"))
            })?;
        Ok(Address::new(bucket, key))
    }

    /// The same of an object that is written: into the configured bucket only.
    pub(super) fn address_in(&self, configured: &str, url: &str) -> Result<Address, Failure> {
        let address = self.address(url)?;
        match address.bucket == configured {
            true => Ok(address),
            false => {
                let bucket = self.bucket;
                let message = format!("does not lie in the configured {bucket} {configured:?}");
                Err(unsupported(message))
            }
        }
    }

    /// The URL of what lies at an address.
    pub(super) fn url(&self, address: &Address) -> String {
        let Address { bucket, key } = address;
        format!("{}://{bucket}/{key}", self.driver.scheme())
    }
}

/// All but what RFC 3986 leaves unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes a part of a URL's path, slashes and all.
pub(super) fn encode(part: &str) -> PercentEncode<'_> {
    utf8_percent_encode(part, ENCODED)
}

/// The same of a path, whose slashes stay.
pub(super) fn encode_path(path: &str) -> PercentEncode<'_> {
    const IN_PATH: &AsciiSet = &ENCODED.remove(b'/');
    utf8_percent_encode(path, IN_PATH)
}

pub(super) fn unsupported(why: impl Into<String>) -> Failure {
    Failure::new(StoreErrorKind::Unsupported, why)
}

/// A server that deletes what lies in one bucket.
#[async_trait]
pub(super) trait DeletesInBucket: Send + Sync + 'static {
    /// Deletes objects of this bucket: with one request, where the server takes it, and else
    /// [one by one](one_by_one). One answer for each, in order.
    async fn delete_in(&self, bucket: &str, addresses: &[&Address]) -> Vec<Result<(), Failure>>;
}

/// Deletes one by one, a few at once; one answer for each, in order. (Boxed, since the compiler
/// does not see through a closure over references that it may be sent.)
pub(super) fn one_by_one<'a, F>(
    addresses: &'a [&'a Address],
    delete: impl Fn(&'a Address) -> F + Send + 'a,
) -> BoxFuture<'a, Vec<Result<(), Failure>>>
where
    F: Future<Output = Result<(), Failure>> + Send + 'a,
{
    let deletes = stream::iter(addresses).map(move |address| delete(address));
    deletes.buffered(SINGLES_IN_FLIGHT).collect().boxed()
}

/// Gathers deletes into batches.
#[derive(Debug)]
pub(super) struct Deletes {
    driver: DriverKind,
    batches: Batcher<Address, Result<(), Failure>>,
}

impl Deletes {
    pub(super) fn new(
        driver: DriverKind,
        limits: BatchLimits,
        server: Arc<impl DeletesInBucket>,
    ) -> Self {
        let batches = Batcher::new(limits, move |batch| delete_batch(server.clone(), batch));
        Self { driver, batches }
    }

    /// Deletes what lies at these URLs, each of which `address` takes apart, or refuses. One
    /// answer for each, in order.
    pub(super) async fn delete(
        &self,
        urls: &[String],
        address: impl Fn(&str) -> Result<Address, Failure>,
    ) -> Vec<Result<(), StoreError>> {
        let deletes = urls.iter().map(|url| {
            let address = address(url);
            async move {
                let deleted = match address {
                    Ok(address) => self.delete_one(address).await,
                    Err(failure) => Err(failure),
                };
                deleted.at(self.driver, "delete", url)
            }
        });
        join_all(deletes).await
    }

    async fn delete_one(&self, address: Address) -> Result<(), Failure> {
        let answer = self.batches.submit(address, 1).await;
        answer.unwrap_or_else(|| Err(Failure::broken_off()))
    }
}

/// Deletes objects of any buckets, one bucket after the other.
async fn delete_batch(
    server: Arc<impl DeletesInBucket>,
    addresses: Vec<Address>,
) -> Vec<Result<(), Failure>> {
    let mut buckets: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, address) in addresses.iter().enumerate() {
        buckets.entry(&address.bucket).or_default().push(at);
    }
    // What nothing is said of is not taken for deleted.
    let mut answers = vec![Err(Failure::broken_off()); addresses.len()];
    for (bucket, members) in buckets {
        let wanted: Vec<_> = members.iter().map(|&at| &addresses[at]).collect();
        let said = server.delete_in(bucket, &wanted).await;
        for (at, answer) in members.into_iter().zip(said) {
            answers[at] = answer;
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const URLS: Urls = Urls {
        driver: DriverKind::Swift,
        bucket: "container",
        key: "name",
    };

    /// A server that refuses some, and keeps what it was asked.
    #[derive(Default)]
    struct Refusing(Mutex<Vec<String>>);

    #[async_trait]
    impl DeletesInBucket for Refusing {
        async fn delete_in(
            &self,
            bucket: &str,
            addresses: &[&Address],
        ) -> Vec<Result<(), Failure>> {
            let keys: Vec<_> = addresses.iter().map(|address| &*address.key).collect();
            let asked = format!("{bucket}: {}", keys.join(" "));
            self.0.lock().expect("no panic").push(asked);
            one_by_one(addresses, async |address| {
                match address.key.contains("refused") {
                    true => Err(unsupported(address.key.clone())),
                    false => Ok(()),
                }
            })
            .await
        }
    }

    #[test]
    fn writes_go_into_the_configured_bucket_only() {
        let address = URLS.address_in("c", "swift://c/a/b").unwrap();
        assert_eq!(URLS.url(&address), "swift://c/a/b");
        let failure = URLS.address_in("c", "swift://d/a/b").unwrap_err();
        assert_eq!(
            failure.message,
            "does not lie in the configured container \"c\""
        );
        let failure = URLS.address_in("c", "swift://c").unwrap_err();
        assert_eq!(failure.message, "is not of the form swift://container/name");
    }

    #[tokio::test]
    async fn each_delete_gets_its_own_answer_whatever_bucket_it_lies_in() {
        let server = Arc::new(Refusing::default());
        let at = |text: &str| {
            let (bucket, key) = text.split_once('/').unwrap();
            Address::new(bucket, key)
        };
        let wanted = ["a/1", "b/refused-2", "a/3", "b/4", "a/refused-5"].map(at);
        let answers = delete_batch(server.clone(), wanted.into()).await;
        let said: Vec<_> = answers
            .into_iter()
            .map(|answer| answer.err().map(|failure| failure.message))
            .collect();
        let refused = |key: &str| Some(key.to_owned());
        assert_eq!(
            said,
            [None, refused("refused-2"), None, None, refused("refused-5")]
        );
        let mut asked = server.0.lock().unwrap().clone();
        asked.sort();
        assert_eq!(asked, ["a: 1 3 refused-5", "b: refused-2 4"]);
    }
}
