//! Whether the bucket is there and lets us work in it, tried out as Anchore tries it.

use std::sync::atomic::Ordering;

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use bytes::Bytes;
use futures::TryFutureExt as _;
use md5::{Digest as _, Md5};
use uuid::Uuid;

use super::multipart::completed;
use super::{Address, Server, URLS, error};
use crate::driver::error::Failure;
use crate::driver::whole_store::WholeStore;
use crate::driver::{Receipt, Replaces, StoreErrorKind};
use crate::model::DriverKind;

/// Anchore's own probe lies at the bucket's root, whatever the prefix.
const PROBE_PREFIX: &str = "__anchore_s3_key_self_check__";

impl Server {
    /// Puts, gets and deletes an empty object. The bucket is asked for first: some servers make
    /// one out of a write to a bucket that is only misspelt.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        if self.is_missing().await? {
            self.create().await?;
        }
        let (probe, store) = (self.probe(), self.whole_store());
        let put = self.put_empty(&probe, &Replaces::Anything).map_ok(drop);
        let get = async {
            let url = URLS.url(&probe);
            let probe = self.get(&url).await?.at_most(0, DriverKind::S3, &url);
            probe.bytes().await?;
            Ok(())
        };
        let delete = || self.delete_single(&probe);
        store.try_out(put, get, delete).await
    }

    async fn put_empty(&self, probe: &Address, replaces: &Replaces) -> Result<Receipt, Failure> {
        let md5 = Md5::digest(b"").into();
        self.put(probe, Bytes::new(), md5, replaces).await
    }

    /// Whether writes may say what they replace: a server that knows nothing of it takes them like any others,
    /// or none of them.
    pub(super) async fn heeds_conditions(&self) -> Result<bool, Failure> {
        let probe = self.probe();
        let heeds = self.heeds_conditions_at(&probe).await;
        self.delete_single(&probe).await?;
        match heeds {
            Err(failure) if failure.kind == StoreErrorKind::Unsupported => Ok(false),
            heeds => heeds,
        }
    }

    async fn heeds_conditions_at(&self, probe: &Address) -> Result<bool, Failure> {
        self.put_empty(probe, &Replaces::Nothing).await?;
        for refused in [Replaces::Nothing, other_version()] {
            if !is_refused(self.put_empty(probe, &refused).await)? {
                return Ok(false);
            }
        }
        let there = self.stat(&URLS.url(probe)).await?;
        let Some(tag) = there.and_then(|there| there.tag) else {
            return Ok(false);
        };
        let right = self.put_empty(probe, &Replaces::Version(tag)).await;
        // There are servers that heed them here, and not where an upload in parts is completed.
        Ok(!is_refused(right)? && self.heeds_conditions_in_parts(probe).await?)
    }

    async fn heeds_conditions_in_parts(&self, probe: &Address) -> Result<bool, Failure> {
        let id = match self.begin(probe).await {
            // It turned out that there are no such uploads.
            Err(_) if self.no_multipart.load(Ordering::Relaxed) => return Ok(true),
            begun => begun?,
        };
        let part = Bytes::from_static(b"part");
        let md5 = Md5::digest(&part).into();
        let heeds = async {
            let tag = self.send_part(probe, id.clone(), 1, part, md5).await?;
            let parts = [completed(1, tag)];
            for refused in [Replaces::Nothing, other_version()] {
                let completed = self.complete(probe, &id, parts.to_vec(), &refused);
                if !is_refused(completed.await)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let heeds = heeds.await;
        if !matches!(heeds, Ok(false)) {
            self.abort(probe, &id).await?;
        }
        heeds
    }

    /// Reads an object that is not there: HEAD on the bucket needs the right to list, and its
    /// answer cannot say what is wrong.
    pub(super) async fn prepare_to_read(&self) -> Result<(), Failure> {
        let probe = self.probe();
        let read = self.in_its_region(&probe.bucket, |sdk| {
            sdk.get_object()
                .bucket(&probe.bucket)
                .key(&probe.key)
                .send()
        });
        match read.await {
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
            Err(failure) => Err(self.whole_store().failure("read from", failure)),
        }
    }

    fn probe(&self) -> Address {
        Address::new(&self.bucket, &format!("{PROBE_PREFIX}{}", Uuid::new_v4()))
    }

    async fn is_missing(&self) -> Result<bool, Failure> {
        let head = self.in_its_region(&self.bucket, |sdk| {
            sdk.head_bucket().bucket(&self.bucket).send()
        });
        match head.await {
            Err(failure) => match failure.kind {
                StoreErrorKind::NotFound | StoreErrorKind::NoSuchPlace => Ok(true),
                // An answer to HEAD has no words; the probe's will say what is wrong.
                StoreErrorKind::Denied | StoreErrorKind::Unsupported => Ok(false),
                _ => Err(self.whole_store().failure("look at", failure)),
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
        let sdk = self.clients.of(&self.bucket);
        let request = sdk
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
            Err(error) => Err(self.whole_store().failure("create", error::failure(error))),
        }
    }

    fn whole_store(&self) -> WholeStore {
        WholeStore {
            name: format!("bucket {:?}", self.bucket),
            server: Some(self.name.clone()),
            who_options: "access_key, secret_key and bucket",
            where_options: "url, region and bucket",
            server_options: "the url",
        }
    }
}

/// Whether a write was refused for what it may replace.
fn is_refused<T>(written: Result<T, Failure>) -> Result<bool, Failure> {
    match written {
        Ok(_) => Ok(false),
        Err(failure) if failure.kind == StoreErrorKind::Conflict => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// A version that nothing has.
fn other_version() -> Replaces {
    Replaces::Version("0".repeat(32))
}
