//! Whether the bucket is there and lets us work in it, tried out as Anchore tries it.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use bytes::Bytes;
use md5::Digest as _;
use uuid::Uuid;

use super::{Address, Server, error};
use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

/// Anchore's own probe lies at the bucket's root, whatever the prefix.
const PROBE_PREFIX: &str = "__anchore_s3_key_self_check__";

impl Server {
    /// Puts, gets and deletes an empty object. The bucket is asked for first: some servers make
    /// one out of a write to a bucket that is only misspelt.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        if self.is_missing().await? {
            self.create().await?;
        }
        let probe = self.probe();
        let md5 = md5::Md5::digest(b"").into();
        let written = self.put(&probe, Bytes::new(), md5).await;
        written.map_err(|failure| self.whole_store("write to", failure))?;
        let read = async {
            let reader = self
                .get(&format!("s3://{}/{}", probe.bucket, probe.key))
                .await?;
            reader.bytes().await.map_err(Failure::from)
        };
        let read = read.await;
        let deleted = self.delete_single(&probe).await;
        read.map_err(|failure| self.whole_store("read from", failure))?;
        deleted.map_err(|failure| self.whole_store("delete from", failure))
    }

    /// Reads an object that is not there: HEAD on the bucket needs the right to list, and its
    /// answer cannot say what is wrong.
    pub(super) async fn prepare_to_read(&self) -> Result<(), Failure> {
        let probe = self.probe();
        let request = self.sdk.get_object().bucket(probe.bucket).key(probe.key);
        match request.send().await.map_err(error::failure) {
            Ok(_) => Ok(()),
            // Without the right to list, AWS says of a missing object that it is denied.
            Err(failure)
                if matches!(
                    failure.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::Denied
                ) =>
            {
                Ok(())
            }
            Err(failure) => Err(self.whole_store("read from", failure)),
        }
    }

    fn probe(&self) -> Address {
        Address {
            bucket: self.bucket.clone(),
            key: format!("{PROBE_PREFIX}{}", Uuid::new_v4()),
        }
    }

    async fn is_missing(&self) -> Result<bool, Failure> {
        let head = self.sdk.head_bucket().bucket(&self.bucket).send().await;
        match head.map_err(error::failure) {
            Err(failure) => match failure.kind {
                StoreErrorKind::NotFound | StoreErrorKind::NoSuchPlace => Ok(true),
                // An answer to HEAD has no words; the probe's will say what is wrong.
                StoreErrorKind::Denied | StoreErrorKind::Unsupported => Ok(false),
                _ => Err(self.whole_store("look at", failure)),
            },
            Ok(_) => Ok(false),
        }
    }

    async fn create(&self) -> Result<(), Failure> {
        if !self.create_bucket {
            return Err(Failure::new(
                StoreErrorKind::NoSuchPlace,
                format!(
                    "bucket {:?} does not exist: create it, or set create_bucket: true",
                    self.bucket
                ),
            ));
        }
        let location = self.location.as_deref().map(|region| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region))
                .build()
        });
        let request = self
            .sdk
            .create_bucket()
            .bucket(&self.bucket)
            .set_create_bucket_configuration(location);
        match request.send().await {
            Ok(_) => Ok(()),
            // Another was quicker.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|said| said.is_bucket_already_owned_by_you()) =>
            {
                Ok(())
            }
            Err(error) => Err(self.whole_store("create", error::failure(error))),
        }
    }

    /// What is refused to the probe would be refused to every object.
    fn whole_store(&self, wanted: &str, failure: Failure) -> Failure {
        match failure.kind {
            StoreErrorKind::Denied => Failure::new(
                StoreErrorKind::Credentials,
                format!(
                    "these credentials may not {wanted} bucket {:?} ({}): grant it to them, or \
                     check access_key, secret_key and bucket",
                    self.bucket, failure.message
                ),
            ),
            StoreErrorKind::Unsupported | StoreErrorKind::NotFound => Failure::new(
                StoreErrorKind::Misconfigured,
                format!(
                    "cannot {wanted} bucket {:?}: {}: check url, region and bucket",
                    self.bucket, failure.message
                ),
            ),
            StoreErrorKind::Unavailable => Failure::new(
                StoreErrorKind::Unavailable,
                format!(
                    "cannot {wanted} bucket {:?} at {}: {}: check that the server runs, and the url",
                    self.bucket, self.name, failure.message
                ),
            ),
            _ => failure,
        }
    }
}
