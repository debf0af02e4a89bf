//! Deletes, many at a time.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest as _;

use super::{Server, error};
use crate::batch::BatchLimits;
use crate::driver::StoreErrorKind;
use crate::driver::bucket::{Address, DeletesInBucket, one_by_one};
use crate::driver::error::Failure;

/// A thousand is what one request may name.
pub(super) const LIMITS: BatchLimits = BatchLimits {
    requests: 1000,
    weight: usize::MAX,
    in_flight: 2,
};

#[async_trait]
impl DeletesInBucket for Server {
    async fn delete_in(&self, bucket: &str, addresses: &[&Address]) -> Vec<Result<(), Failure>> {
        let fitting = addresses.iter().filter(|address| address.fits_xml());
        let keys: Vec<_> = fitting.map(|address| &*address.key).collect();
        let said = self.delete_many(bucket, &keys).await;
        one_by_one(addresses, async |address| match said.get(&*address.key) {
            Some(answer) => answer.clone(),
            None => self.delete_single(address).await,
        })
        .await
    }
}

impl Server {
    /// One request for all, and what was said of each. Of none, where the keys should be deleted
    /// one by one.
    async fn delete_many<'a>(
        &self,
        bucket: &str,
        keys: &[&'a str],
    ) -> HashMap<&'a str, Result<(), Failure>> {
        let each = |answer: Result<(), Failure>| {
            let answers = keys.iter().map(|key| (*key, answer.clone()));
            answers.collect::<HashMap<_, _>>()
        };
        let Some(wanted) = all_of(keys).filter(|_| keys.len() > 1) else {
            return HashMap::new();
        };
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
                return HashMap::new();
            }
            Err(error) => return each(Err(error::failure(error))),
        };
        let mut answers = each(Ok(()));
        for failed in said.errors() {
            let code = failed.code().unwrap_or_default();
            let failure = error::answered(200, code, failed.message().unwrap_or_default());
            if failure.kind != StoreErrorKind::NotFound
                && let Some(answer) = failed.key().and_then(|key| answers.get_mut(key))
            {
                *answer = Err(failure);
            }
        }
        answers
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

/// What one request asks for.
fn all_of(keys: &[&str]) -> Option<Delete> {
    let named = keys
        .iter()
        .map(|key| ObjectIdentifier::builder().key(*key).build());
    let named = named.collect::<Result<Vec<_>, _>>().ok()?;
    let wanted = Delete::builder().set_objects(Some(named)).quiet(true);
    wanted.build().ok()
}

/// A server without batches, or one that trips over something in this one, refuses it as such.
fn has_no_batches(status: u16) -> bool {
    matches!(status, 400 | 405 | 411 | 501)
}
