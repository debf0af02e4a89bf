//! Large objects, sent in parts of which a few are under way at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::Digest as _;
use tokio::task::JoinSet;

use super::client::timeouts;
use super::direct::REQUEST_TIMEOUT;
use super::{Address, CONTENT_TYPE, Conditions, Server, URLS, error};
use crate::driver::error::{At as _, Failure};
use crate::driver::{Replaces, ResumableUpload, Upload, UploadLog};
use crate::driver::{StoreError, StoreErrorKind, WRITE_DEADLINE};
use crate::model::{DriverKind, Part, Unfinished};

/// The first thousand parts have this size, the next thousand twice that, and so on: the end is
/// not known at the beginning, and 10,000 parts must do for any object.
const PART_BYTES: usize = 8 << 20;
const PARTS_OF_ONE_SIZE: u32 = 1000;
/// Bytes under way, besides the part that is being filled. Larger parts go one by one.
const IN_FLIGHT_BYTES: usize = 3 * PART_BYTES;

/// An object on its way to the bucket.
pub(super) struct S3Upload {
    url: String,
    server: Arc<Server>,
    address: Address,
    part: Vec<u8>,
    /// Known from the first full part on; until then it may become a single PUT.
    begun: Option<Begun>,
    /// Told of each step; what it has been told survives this.
    log: Option<Arc<dyn UploadLog>>,
    /// Parts that the server has from an earlier run.
    known: BTreeMap<u32, Part>,
    replaces: Replaces,
}

/// A multipart upload that the server knows of.
struct Begun {
    id: String,
    sent: u32,
    under_way: JoinSet<Result<CompletedPart, Failure>>,
    done: Vec<CompletedPart>,
}

impl S3Upload {
    pub(super) fn new(server: Arc<Server>, url: &str, address: Address) -> Self {
        Self {
            url: url.to_string(),
            server,
            address,
            part: Vec::new(),
            begun: None,
            log: None,
            known: BTreeMap::new(),
            replaces: Replaces::Anything,
        }
    }

    /// Keeps its place in a log, and goes on with what an earlier one has come to.
    pub(super) fn logged(mut self, begun: Option<Unfinished>, log: Arc<dyn UploadLog>) -> Self {
        self.log = Some(log);
        if let Some(Unfinished { id, parts }) = begun {
            self.known = parts;
            self.begun = Some(Begun::new(id));
        }
        self
    }

    fn part_bytes(&self) -> usize {
        part_bytes(self.begun.as_ref().map_or(0, |begun| begun.sent))
    }

    async fn add(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            // A full part waits for one more byte, so that the end never is an empty part.
            if self.part.len() == self.part_bytes() {
                self.send_part().await?;
            }
            if self.part.is_empty() {
                self.part.reserve_exact(self.part_bytes());
            }
            let room = self.part_bytes() - self.part.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.part.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        if self.log.is_some() {
            self.server.clear_uploads(&self.address).await?;
        }
        let id = self.server.begin(&self.address).await?;
        self.begun = Some(Begun::new(id.clone()));
        if let Some(log) = &self.log {
            log.begun(&id).await;
        }
        Ok(())
    }

    async fn send_part(&mut self) -> Result<(), Failure> {
        if self.begun.is_none() {
            self.begin().await?;
        }
        let Some(begun) = &mut self.begun else {
            return Err(Failure::broken_off());
        };
        let body = Bytes::from(std::mem::take(&mut self.part));
        let at_once = (IN_FLIGHT_BYTES / body.len().max(1)).clamp(1, 3);
        while begun.under_way.len() >= at_once {
            begun.join_one().await?;
        }
        begun.sent += 1;
        let (server, address) = (self.server.clone(), self.address.clone());
        let (id, number) = (begun.id.clone(), begun.sent);
        let (log, known) = (self.log.clone(), self.known.remove(&number));
        begun.under_way.spawn(async move {
            let (size_bytes, md5) = (body.len() as u64, md5::Md5::digest(&body).into());
            // What is there is held against what was read again, since it may have changed.
            if let Some(known) = known.filter(|k| k.size_bytes == size_bytes && k.md5 == md5) {
                return Ok(completed(number, known.tag));
            }
            let tag = server.send_part(&address, id, number, body, md5).await?;
            if let Some(log) = log {
                let part = Part {
                    number,
                    size_bytes,
                    md5,
                    tag: tag.clone(),
                };
                log.sent(part).await;
            }
            Ok(completed(number, tag))
        });
        Ok(())
    }

    async fn complete(&mut self) -> Result<(), Failure> {
        if self.begun.is_none() {
            let body = Bytes::from(std::mem::take(&mut self.part));
            let md5 = md5::Md5::digest(&body).into();
            let put = self.server.put(&self.address, body, md5, &self.replaces);
            return put.await.map(drop);
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        let Some(begun) = &mut self.begun else {
            return Err(Failure::broken_off());
        };
        while !begun.under_way.is_empty() {
            begun.join_one().await?;
        }
        begun.done.sort_by_key(CompletedPart::part_number);
        let parts = std::mem::take(&mut begun.done);
        self.server
            .complete(&self.address, &begun.id, parts, &self.replaces)
            .await?;
        self.begun = None;
        Ok(())
    }
}

impl Begun {
    fn new(id: String) -> Self {
        Self {
            id,
            sent: 0,
            under_way: JoinSet::new(),
            done: Vec::new(),
        }
    }

    async fn join_one(&mut self) -> Result<(), Failure> {
        match self.under_way.join_next().await {
            Some(Ok(part)) => self.done.push(part?),
            Some(Err(_)) => return Err(Failure::broken_off()),
            None => {}
        }
        Ok(())
    }

    /// Parts cost money until somebody removes them, so an upload is never just forgotten.
    async fn abort(mut self, server: Arc<Server>, address: Address) {
        // A part that arrives after the abort would stay.
        self.under_way.shutdown().await;
        if let Err(failure) = server.abort(&address, &self.id).await {
            tracing::warn!(
                "s3: the unfinished upload {} of {} could not be aborted: {}",
                self.id,
                URLS.url(&address),
                failure.message
            );
        }
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let added = self.add(&bytes).await;
        added.at(DriverKind::S3, "upload", &self.url)
    }

    fn replaces(&mut self, replaces: Replaces) {
        self.replaces = replaces;
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let completed = self.complete().await;
        completed.at(DriverKind::S3, "upload", &self.url)
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(begun) = self.begun.take() {
            begun.abort(self.server.clone(), self.address.clone()).await;
        }
    }
}

#[async_trait]
impl ResumableUpload for S3Upload {
    async fn suspend(mut self: Box<Self>) {
        if let Some(mut begun) = self.begun.take() {
            // None of its parts may still arrive when the next run sends them again.
            begun.under_way.shutdown().await;
        }
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let Some(begun) = self.begun.take() else {
            return;
        };
        // Another run goes on with it, or clears it away.
        if self.log.is_some() {
            return;
        }
        // Outside of a runtime the program is ending, and the parts are left to the bucket's own
        // rules, as they are after a crash.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(begun.abort(self.server.clone(), self.address.clone()));
        }
    }
}

impl Server {
    pub(super) async fn begin(&self, address: &Address) -> Result<String, Failure> {
        let request = self
            .clients
            .of(&address.bucket)
            .create_multipart_upload()
            .bucket(&address.bucket)
            .key(&address.key)
            .content_type(CONTENT_TYPE)
            .set_metadata(self.marked());
        let begun = request.send().await.map_err(|error| {
            if !error::is_not_implemented(&error) {
                return error::write_failure(error);
            }
            self.no_multipart.store(true, Ordering::Relaxed);
            let message =
                "the server has no multipart uploads: the object goes again, in one piece";
            Failure::new(StoreErrorKind::Unavailable, message)
        })?;
        begun.upload_id.ok_or_else(|| {
            let message = "the server began an upload without naming it";
            Failure::new(StoreErrorKind::Unavailable, message)
        })
    }

    /// Sends a part; the server's name for it.
    pub(super) async fn send_part(
        &self,
        address: &Address,
        id: String,
        number: u32,
        body: Bytes,
        md5: [u8; 16],
    ) -> Result<String, Failure> {
        // A part by itself has no effect, so a large one may take its time.
        let limit = REQUEST_TIMEOUT * (body.len().div_ceil(PART_BYTES).max(1) as u32);
        let request = self
            .clients
            .of(&address.bucket)
            .upload_part()
            .bucket(&address.bucket)
            .key(&address.key)
            .upload_id(id)
            .part_number(number as i32)
            .content_md5(STANDARD.encode(md5))
            .body(ByteStream::from(body));
        let request = request.customize().disable_payload_signing();
        let request = request.config_override(within(limit));
        let sent = request.send().await.map_err(error::failure)?;
        sent.e_tag.ok_or_else(|| {
            let message = "the server took a part without naming it";
            Failure::new(StoreErrorKind::Unavailable, message)
        })
    }

    /// Puts the parts together, which takes servers a while. The SDK takes an error in the body
    /// of an answer 200 for the error it is.
    pub(super) async fn complete(
        &self,
        address: &Address,
        id: &str,
        parts: Vec<CompletedPart>,
        replaces: &Replaces,
    ) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let Conditions {
            if_none_match,
            if_match,
        } = Conditions::of(replaces);
        let request = self
            .clients
            .of(&address.bucket)
            .complete_multipart_upload()
            .bucket(&address.bucket)
            .key(&address.key)
            .upload_id(id)
            .multipart_upload(parts)
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        let request = request.customize().config_override(within(WRITE_DEADLINE));
        let completed = request.send().await.map_err(error::failure)?;
        match completed.e_tag {
            Some(_) => Ok(()),
            None => Err(Failure::new(
                StoreErrorKind::Unavailable,
                "the server did not confirm the completed upload",
            )),
        }
    }
}

pub(super) fn completed(number: u32, tag: String) -> CompletedPart {
    CompletedPart::builder()
        .part_number(number as i32)
        .e_tag(tag)
        .build()
}

fn within(limit: Duration) -> Builder {
    Builder::new().timeout_config(timeouts(limit))
}

fn part_bytes(sent: u32) -> usize {
    PART_BYTES << (sent / PARTS_OF_ONE_SIZE).min(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_do_for_the_largest_object() {
        let largest = 5 << 40;
        let all: usize = (0..10_000).map(part_bytes).sum();
        assert!(all > largest);
        assert!(part_bytes(9_999) <= 5 << 30, "a part is at most 5 GiB");
    }
}
