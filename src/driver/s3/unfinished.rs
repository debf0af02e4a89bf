//! Multipart uploads that did not come to their end: found again, or cleared away.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::multipart::S3Upload;
use super::{Address, S3, Server, error};
use crate::driver::error::{At as _, Failure};
use crate::driver::{ResumableUpload, ResumableUploads, StoreError, StoreErrorKind, UploadLog};
use crate::model::{DriverKind, Unfinished};

/// Pages of a listing that are looked at: an upload has ten thousand parts at most.
const PAGES_MAX: usize = 16;

#[async_trait]
impl ResumableUploads for S3 {
    async fn upload(
        &self,
        url: &str,
        begun: Option<Unfinished>,
        log: Arc<dyn UploadLog>,
    ) -> Result<Box<dyn ResumableUpload>, StoreError> {
        let address = self.server.own_address(url);
        let address = address.at(DriverKind::S3, "upload", url)?;
        let upload = S3Upload::new(self.server.clone(), url, address);
        Ok(Box::new(upload.logged(begun, log)))
    }

    async fn still_has(
        &self,
        url: &str,
        begun: Unfinished,
    ) -> Result<Option<Unfinished>, StoreError> {
        let found = async {
            let address = self.server.own_address(url)?;
            self.server.still_has(&address, begun).await
        };
        found.await.at(DriverKind::S3, "upload", url)
    }

    async fn abort(&self, url: &str, id: &str) -> Result<(), StoreError> {
        let aborted = async {
            let address = self.server.own_address(url)?;
            self.server.abort(&address, id).await
        };
        aborted.await.at(DriverKind::S3, "abort the upload of", url)
    }
}

impl Server {
    /// What is still there of an upload; `None` where the server does not know it, or does not
    /// tell: then it is aborted, since nobody can go on with it.
    pub(super) async fn still_has(
        &self,
        address: &Address,
        mut known: Unfinished,
    ) -> Result<Option<Unfinished>, Failure> {
        let mut listed: HashMap<i32, (Option<String>, Option<i64>)> = HashMap::new();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let request = self
                .clients
                .of(&address.bucket)
                .list_parts()
                .bucket(&address.bucket)
                .key(&address.key)
                .upload_id(&known.id)
                .set_part_number_marker(after.take());
            let page = match request.send().await {
                Ok(page) => page,
                Err(error) if is_gone(&error) => return Ok(None),
                Err(error) => {
                    unless_untold(listing_failed(error), ())?;
                    // Which parts are there is not known, so none is counted on: it starts over.
                    self.abort_if_possible(address, &known.id).await?;
                    return Ok(None);
                }
            };
            for part in page.parts() {
                let number = part.part_number().unwrap_or_default();
                let said = (part.e_tag().map(str::to_owned), part.size());
                listed.insert(number, said);
            }
            if page.is_truncated() != Some(true) {
                break;
            }
            after = page.next_part_number_marker().map(str::to_owned);
        }
        known.parts.retain(|number, part| {
            let said = i32::try_from(*number).ok().and_then(|n| listed.get(&n));
            said.is_some_and(|(tag, size)| {
                // Some servers list parts without their ETags, or quote them another way.
                let same = |tag: &String| tag.trim_matches('"') == part.tag.trim_matches('"');
                tag.as_ref().is_none_or(same)
                    && size.is_none_or(|size| u64::try_from(size) == Ok(part.size_bytes))
            })
        });
        Ok(Some(known))
    }

    /// Aborts every upload to exactly this key. Nobody else has any business there: the key is
    /// planned, and the migration lock is held.
    pub(super) async fn clear_uploads(&self, address: &Address) -> Result<(), Failure> {
        let (mut key_marker, mut id_marker) = (None, None);
        for _ in 0..PAGES_MAX {
            let request = self
                .clients
                .of(&address.bucket)
                .list_multipart_uploads()
                .bucket(&address.bucket)
                .prefix(&address.key)
                .set_key_marker(key_marker.take())
                .set_upload_id_marker(id_marker.take());
            let page = match request.send().await {
                Ok(page) => page,
                // What rclone's server says where there are none at all.
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return unless_untold(listing_failed(error), ()),
            };
            for upload in page.uploads() {
                if let (Some(key), Some(id)) = (upload.key(), upload.upload_id())
                    && key == address.key
                {
                    tracing::info!("s3: aborting an unfinished upload of {key}");
                    self.abort_if_possible(address, id).await?;
                }
            }
            // Keys come in order: behind another one this one does not come again.
            let may_go_on = page.next_key_marker() == Some(&address.key);
            if page.is_truncated() != Some(true) || !may_go_on {
                break;
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
        Ok(())
    }

    /// Whether the parts of an upload may be listed.
    pub(super) async fn list_parts(&self, address: &Address, id: &str) -> Result<(), Failure> {
        let request = self.clients.of(&address.bucket).list_parts();
        let request = request.bucket(&address.bucket).key(&address.key);
        match request.upload_id(id).send().await {
            Err(error) if !is_gone(&error) => Err(listing_failed(error)),
            _ => Ok(()),
        }
    }

    /// Whether uploads may be listed.
    pub(super) async fn list_uploads(&self, address: &Address) -> Result<(), Failure> {
        let request = self.clients.of(&address.bucket).list_multipart_uploads();
        let request = request.bucket(&address.bucket).prefix(&address.key);
        match request.send().await {
            Err(error) if !is_gone(&error) => Err(listing_failed(error)),
            _ => Ok(()),
        }
    }

    /// Without the right to abort it, an upload stays where it is, and harms nobody.
    async fn abort_if_possible(&self, address: &Address, id: &str) -> Result<(), Failure> {
        match self.abort(address, id).await {
            Err(failure) => unless_untold(failure, ()),
            aborted => aborted,
        }
    }

    /// Aborts an upload; one that is gone counts as aborted.
    pub(super) async fn abort(&self, address: &Address, id: &str) -> Result<(), Failure> {
        let request = self
            .clients
            .of(&address.bucket)
            .abort_multipart_upload()
            .bucket(&address.bucket)
            .key(&address.key)
            .upload_id(id);
        match request.send().await {
            Ok(_) => Ok(()),
            // A server that knows no such request keeps no upload that could do harm.
            Err(error) if is_gone(&error) || error::is_not_implemented(&error) => Ok(()),
            Err(error) => Err(error::failure(error)),
        }
    }
}

fn is_gone<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    SdkError<E, HttpResponse>: ProvideErrorMetadata,
{
    let status = error.raw_response().map(|said| said.status().as_u16());
    match error.code() {
        Some(code) => code == "NoSuchUpload",
        None => status == Some(404),
    }
}

/// A listing that cannot be read tells no more than one that is not there: asking again would not
/// change it.
fn listing_failed<E>(error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let is_unreadable = error::is_unreadable(&error);
    let failure = error::failure(error);
    match is_unreadable {
        true => Failure::new(StoreErrorKind::Unsupported, &failure.message),
        false => failure,
    }
}

/// Listing is a right of its own, and not every server has it: without it uploads start over.
fn unless_untold<T>(failure: Failure, untold: T) -> Result<T, Failure> {
    match failure.kind {
        StoreErrorKind::Denied | StoreErrorKind::Unsupported | StoreErrorKind::NotFound => {
            Ok(untold)
        }
        _ => Err(failure),
    }
}
