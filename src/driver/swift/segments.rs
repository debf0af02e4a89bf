//! Static large objects: segments in a container of their own, and a manifest that names them.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::address::URLS;
use super::client::{Server, segments_container};
use super::error;
use crate::digest::md5_hex;
use crate::driver::bucket::Address;
use crate::driver::error::Failure;
use crate::driver::{StoreErrorKind, WRITE_DEADLINE};

/// The first hundred segments have this size, the next hundred twice that, and so on: the end is
/// not known at the beginning, and a thousand segments must do.
const SEGMENT_BYTES: usize = 8 << 20;
const SEGMENTS_OF_ONE_SIZE: usize = 100;
/// Bytes under way, besides the segment that is being filled. Larger segments go one by one.
const IN_FLIGHT_BYTES: usize = 3 * SEGMENT_BYTES;

/// A large object on its way.
pub(super) struct Segments {
    server: Arc<Server>,
    address: Address,
    /// What all names of its segments begin with; no other attempt shares it.
    stem: String,
    segment: Vec<u8>,
    sent: usize,
    under_way: JoinSet<Result<Sent, Failure>>,
    done: Vec<Sent>,
}

/// A segment that the server has.
struct Sent {
    number: usize,
    size_bytes: usize,
    md5: String,
}

impl Segments {
    pub(super) fn new(server: Arc<Server>, address: Address) -> Self {
        // The object's own name would not always fit with more behind it.
        let stem = format!("windlass/{}/{}", md5_hex(&address.key), Uuid::new_v4());
        Self {
            server,
            address,
            stem,
            segment: Vec::new(),
            sent: 0,
            under_way: JoinSet::new(),
            done: Vec::new(),
        }
    }

    fn segment_bytes(&self, file_max_bytes: u64) -> usize {
        let most = usize::try_from(file_max_bytes).unwrap_or(usize::MAX);
        segment_bytes(self.sent).min(most)
    }

    fn segment_address(&self, number: usize) -> Address {
        let container = segments_container(&self.address.bucket);
        Address::new(&container, &format!("{}/{number:08}", self.stem))
    }

    pub(super) async fn add(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        let limits = *self.server.limits().await?;
        while !bytes.is_empty() {
            if self.segment.len() == self.segment_bytes(limits.file_max_bytes) {
                if self.sent + 1 >= limits.slo_segments {
                    return Err(Failure::new(
                        StoreErrorKind::Unsupported,
                        "larger than this server takes, even in segments",
                    ));
                }
                self.send_segment().await?;
            }
            let room = self.segment_bytes(limits.file_max_bytes) - self.segment.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.segment.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    async fn send_segment(&mut self) -> Result<(), Failure> {
        if self.sent == 0 {
            let container = segments_container(&self.address.bucket);
            let made = self.server.make_container(&container).await;
            made.map_err(|failure| Failure {
                message: format!(
                    "container {container:?} for the segments of large objects: {}",
                    failure.message
                ),
                ..failure
            })?;
            self.server.forget_segments().await;
        }
        let body = Bytes::from(std::mem::take(&mut self.segment));
        let at_once = (IN_FLIGHT_BYTES / body.len().max(1)).clamp(1, 3);
        while self.under_way.len() >= at_once {
            self.join_one().await?;
        }
        let number = self.sent;
        self.sent += 1;
        let (server, address) = (self.server.clone(), self.segment_address(number));
        self.under_way.spawn(async move {
            let (md5, size_bytes): ([u8; 16], _) = (Md5::digest(&body).into(), body.len());
            // A segment by itself has no effect, so a large one may take its time.
            let limit = WRITE_DEADLINE * (size_bytes.div_ceil(SEGMENT_BYTES).max(1) as u32);
            server.put(&address, body, md5, limit).await?;
            Ok(Sent {
                number,
                size_bytes,
                md5: hex::encode(md5),
            })
        });
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), Failure> {
        match self.under_way.join_next().await {
            Some(Ok(sent)) => self.done.push(sent?),
            Some(Err(_)) => return Err(Failure::broken_off()),
            None => {}
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        let finished = self.complete().await;
        match finished {
            // The segments are the object's now.
            Ok(()) => self.sent = 0,
            // Given up, unless the manifest may have been stored: then they may be needed.
            Err((_, true)) => self.sent = 0,
            Err((_, false)) => self.clear_away().await,
        }
        finished.map_err(|(failure, _)| failure)
    }

    /// The error comes with whether the manifest may be stored all the same.
    async fn complete(&mut self) -> Result<(), (Failure, bool)> {
        let before = |failure| (failure, false);
        self.send_segment().await.map_err(before)?;
        while !self.under_way.is_empty() {
            self.join_one().await.map_err(before)?;
        }
        self.done.sort_by_key(|sent| sent.number);
        let segments: Vec<_> = self
            .done
            .iter()
            .map(|sent| {
                let Address { bucket, key } = self.segment_address(sent.number);
                json!({
                    "path": format!("/{bucket}/{key}"),
                    "etag": sent.md5,
                    "size_bytes": sent.size_bytes,
                })
            })
            .collect();
        let old = self
            .server
            .segments_of(&self.address)
            .await
            .map_err(before)?;
        let manifest = self.server.put_manifest(&self.address, json!(segments));
        manifest.await.map_err(|failure| {
            let unknown = failure.kind == StoreErrorKind::Unavailable;
            (failure, unknown)
        })?;
        self.server.delete_segments(old).await;
        Ok(())
    }

    pub(super) async fn abort(mut self) {
        self.clear_away().await;
    }

    async fn clear_away(&mut self) {
        self.under_way.shutdown().await;
        let sent = std::mem::take(&mut self.sent);
        let addresses = (0..sent).map(|number| self.segment_address(number));
        let addresses = addresses.collect();
        self.server.delete_segments(addresses).await;
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        if self.sent == 0 {
            return;
        }
        let addresses: Vec<_> = (0..self.sent).map(|n| self.segment_address(n)).collect();
        self.under_way.abort_all();
        let server = self.server.clone();
        // Outside of a runtime the program is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { server.delete_segments(addresses).await });
        }
    }
}

impl Server {
    async fn put_manifest(&self, address: &Address, segments: Value) -> Result<(), Failure> {
        let path = format!("{}?multipart-manifest=put", address.path());
        let body = segments.to_string();
        let put = self.send(Method::PUT, &path, WRITE_DEADLINE, |request| {
            self.marked(request)
                .header("content-type", super::client::CONTENT_TYPE)
                .body(body.clone())
        });
        let response = put.await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Err(error::no_container(&address.bucket)),
            _ => Err(error::refused(response).await),
        }
    }

    /// The segments of what lies at an address; none unless it is a static large object.
    pub(super) async fn segments_of(&self, address: &Address) -> Result<Vec<Address>, Failure> {
        if !self.may_hold_segmented(&address.bucket).await? {
            return Ok(Vec::new());
        }
        if !self.head(address).await?.is_some_and(|head| head.is_slo) {
            return Ok(Vec::new());
        }
        let path = format!("{}?multipart-manifest=get&format=raw", address.path());
        let response = self
            .send(Method::GET, &path, WRITE_DEADLINE, |request| request)
            .await?;
        if !response.status().is_success() {
            return Err(error::refused(response).await);
        }
        let body = error::whole_body(response).await?;
        let listed: Vec<Value> = serde_json::from_slice(&body).unwrap_or_default();
        let paths = listed.iter().filter_map(|segment| segment["path"].as_str());
        let addresses = paths.filter_map(|path| {
            let (container, name) = path.strip_prefix('/')?.split_once('/')?;
            Some(Address::new(container, name))
        });
        Ok(addresses.collect())
    }

    /// Clears away segments that no object has any more. They cost space until somebody does.
    pub(super) async fn delete_segments(&self, addresses: Vec<Address>) {
        for chunk in addresses.chunks(super::delete::LIMITS.requests) {
            let named: Vec<_> = chunk.iter().collect();
            if self.delete_many(&named).await {
                continue;
            }
            for address in chunk {
                if let Err(failure) = self.delete_single(address, false).await {
                    tracing::warn!(
                        "swift: the segment {} is left behind: {}",
                        URLS.url(address),
                        failure.message
                    );
                }
            }
        }
    }
}

fn segment_bytes(sent: usize) -> usize {
    SEGMENT_BYTES << (sent / SEGMENTS_OF_ONE_SIZE).min(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_segments_do_for_any_document() {
        let all: usize = (0..1000).map(segment_bytes).sum();
        assert!(all > 500 << 30);
        assert!(segment_bytes(999) < 5 << 30, "a segment is an object");
    }
}
