//! Deletes, many at a time.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use md5::Digest as _;

use super::{Address, Server, error};
use crate::batch::BatchLimits;
use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

/// A thousand is what one request may name.
pub(super) const LIMITS: BatchLimits = BatchLimits {
    requests: 1000,
    weight: usize::MAX,
    in_flight: 2,
};

/// Single deletes at once, where a server has no batches.
const SINGLES_IN_FLIGHT: usize = 16;

/// Deletes objects of any buckets; one answer for each, in order.
pub(super) async fn batch(
    server: Arc<Server>,
    addresses: Vec<Address>,
) -> Vec<Result<(), Failure>> {
    let mut buckets: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut singles = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        match address.fits_xml() {
            true => buckets.entry(&address.bucket).or_default().push(at),
            false => singles.push(at),
        }
    }
    let mut answers = vec![Ok(()); addresses.len()];
    for (bucket, members) in buckets {
        let keys: Vec<_> = members.iter().map(|&at| &*addresses[at].key).collect();
        match server.delete_many(bucket, &keys).await {
            None => singles.extend(members),
            Some(said) => {
                for (at, answer) in members.into_iter().zip(said) {
                    answers[at] = answer;
                }
            }
        }
    }
    let deleted: Vec<_> = stream::iter(singles)
        .map(async |at| (at, server.delete_single(&addresses[at]).await))
        .buffer_unordered(SINGLES_IN_FLIGHT)
        .collect()
        .await;
    for (at, answer) in deleted {
        answers[at] = answer;
    }
    answers
}

impl Server {
    /// One request for all; `None` where the keys should be deleted one by one.
    async fn delete_many(&self, bucket: &str, keys: &[&str]) -> Option<Vec<Result<(), Failure>>> {
        if keys.len() == 1 {
            return None;
        }
        let named = keys
            .iter()
            .map(|key| ObjectIdentifier::builder().key(*key).build());
        let named = named.collect::<Result<Vec<_>, _>>().ok()?;
        let wanted = Delete::builder()
            .set_objects(Some(named))
            .quiet(true)
            .build()
            .ok()?;
        let sdk = self.clients.of(bucket);
        let request = sdk.delete_objects().bucket(bucket).delete(wanted);
        // The SDK sends a CRC32, which is what AWS asks for today; older servers know only the
        // Content-MD5 that was asked for before.
        let request = request.customize().mutate_request(|request| {
            if let Some(body) = request.body().bytes() {
                let md5 = STANDARD.encode(md5::Md5::digest(body));
                request.headers_mut().insert("content-md5", md5);
            }
        });
        let said = match request.send().await {
            Ok(said) => said,
            Err(SdkError::ServiceError(refused))
                if has_no_batches(refused.raw().status().as_u16()) =>
            {
                return None;
            }
            Err(error) => return Some(vec![Err(error::failure(error)); keys.len()]),
        };
        let failed: HashMap<_, _> = said
            .errors()
            .iter()
            .filter_map(|failed| {
                let code = failed.code().unwrap_or_default();
                let failure = error::answered(200, code, failed.message().unwrap_or_default());
                let absent = failure.kind == StoreErrorKind::NotFound;
                (!absent).then_some((failed.key()?, failure))
            })
            .collect();
        let answer = |key: &&str| failed.get(key).cloned().map_or(Ok(()), Err);
        Some(keys.iter().map(answer).collect())
    }

    pub(super) async fn delete_single(&self, address: &Address) -> Result<(), Failure> {
        let request = self
            .clients
            .of(&address.bucket)
            .delete_object()
            .bucket(&address.bucket)
            .key(&address.key);
        match request.send().await.map_err(error::failure) {
            Err(failure) if failure.kind != StoreErrorKind::NotFound => Err(failure),
            _ => Ok(()),
        }
    }
}

/// A server without batches, or one that trips over something in this one, refuses it as such.
fn has_no_batches(status: u16) -> bool {
    matches!(status, 400 | 405 | 411 | 501)
}
