//! A large object in one request, for servers that have no multipart uploads. Its bytes pass
//! through: of the whole, only length and MD5 are known beforehand.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::timeouts;
use super::{Address, CONTENT_TYPE, Conditions, S3, Server, error};
use crate::driver::WRITE_DEADLINE;
use crate::driver::body::STALLED_AFTER;
use crate::driver::error::{At as _, Failure};
use crate::driver::{Replaces, StoreError, StoreErrorKind, Upload, UploadsInOnePiece};
use crate::model::DriverKind;

/// The most that one PUT may carry, by S3's own rules.
const SINGLE_MAX_BYTES: u64 = 5 << 30;

/// Pieces that wait for the connection.
const WAITING_PIECES: usize = 4;

/// The sender watches that it goes on; this is only to be longer than any of them.
const WHOLE_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);

#[async_trait]
impl UploadsInOnePiece for S3 {
    async fn upload(
        &self,
        url: &str,
        size: u64,
        md5: [u8; 16],
        replaces: Replaces,
    ) -> Result<Box<dyn Upload>, StoreError> {
        let begun = self.server.own_address(url).and_then(|address| {
            let server = self.server.clone();
            SinglePut::begin(server, url, address, (size, md5, replaces))
        });
        let begun = begun.at(DriverKind::S3, "upload", url)?;
        Ok(Box::new(begun))
    }
}

/// The body of the request.
struct Pieces(mpsc::Receiver<Option<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match ready!(self.0.poll_recv(context)) {
            Some(Some(piece)) => Some(Ok(Frame::data(piece))),
            Some(None) => None,
            None => Some(Err(io::Error::other("given up"))),
        })
    }
}

/// One PUT under way.
struct SinglePut {
    url: String,
    /// `None` is the end; a sender that is just dropped breaks the request off.
    pieces: Option<mpsc::Sender<Option<Bytes>>>,
    answer: JoinHandle<Result<(), Failure>>,
    /// The last bytes so far: they go out with the end alone, so that what is given up can never
    /// become an object.
    held: Bytes,
    left: u64,
}

impl SinglePut {
    fn begin(
        server: Arc<Server>,
        url: &str,
        address: Address,
        (size, md5, replaces): (u64, [u8; 16], Replaces),
    ) -> Result<Self, Failure> {
        if size > SINGLE_MAX_BYTES {
            let message = "is larger than the 5 GiB of one request, and this server has no \
                           multipart uploads: choose another store for it";
            return Err(Failure::new(StoreErrorKind::Unsupported, message));
        }
        let (pieces, body) = mpsc::channel(WAITING_PIECES);
        let body = Pieces(body);
        let answer = tokio::spawn(async move {
            let put = server.put_streamed(&address, body, (size, md5), &replaces);
            put.await
        });
        Ok(Self {
            url: url.to_owned(),
            pieces: Some(pieces),
            answer,
            held: Bytes::new(),
            left: size,
        })
    }

    async fn add(&mut self, bytes: Bytes) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            let message = "the source has grown since it was measured";
            Failure::new(StoreErrorKind::Unavailable, message)
        })?;
        let before = std::mem::replace(&mut self.held, bytes);
        match before.is_empty() {
            true => Ok(()),
            false => self.send(Some(before)).await,
        }
    }

    async fn send(&mut self, piece: Option<Bytes>) -> Result<(), Failure> {
        let Some(pieces) = &self.pieces else {
            return Err(Failure::broken_off());
        };
        match tokio::time::timeout(STALLED_AFTER, pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(self.why_it_stopped().await),
        }
    }

    /// The server hung up, or stands still.
    async fn why_it_stopped(&mut self) -> Failure {
        self.pieces = None;
        match tokio::time::timeout(STALLED_AFTER, &mut self.answer).await {
            Ok(Ok(Err(failure))) => failure,
            _ => {
                self.answer.abort();
                let message = "the server takes no more bytes";
                Failure::new(StoreErrorKind::Unavailable, message)
            }
        }
    }

    async fn complete(&mut self) -> Result<(), Failure> {
        if self.left > 0 {
            let message = "the source has shrunk since it was measured";
            return Err(Failure::new(StoreErrorKind::Unavailable, message));
        }
        let last = std::mem::take(&mut self.held);
        self.send(Some(last)).await?;
        self.send(None).await?;
        match tokio::time::timeout(WRITE_DEADLINE, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::broken_off()),
            Err(_) => {
                self.answer.abort();
                let message = "no answer in time";
                Err(Failure::new(StoreErrorKind::Unavailable, message))
            }
        }
    }
}

#[async_trait]
impl Upload for SinglePut {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let added = self.add(bytes).await;
        added.at(DriverKind::S3, "upload", &self.url)
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let completed = self.complete().await;
        completed.at(DriverKind::S3, "upload", &self.url)
    }

    async fn abort(mut self: Box<Self>) {
        self.pieces = None;
        // Until the server has seen the end of it, it might still read on.
        let _ = tokio::time::timeout(STALLED_AFTER, &mut self.answer).await;
    }
}

impl Server {
    async fn put_streamed(
        &self,
        address: &Address,
        body: Pieces,
        (size, md5): (u64, [u8; 16]),
        replaces: &Replaces,
    ) -> Result<(), Failure> {
        let Conditions {
            if_none_match,
            if_match,
        } = Conditions::of(replaces);
        let request = self
            .clients
            .of(&address.bucket)
            .put_object()
            .bucket(&address.bucket)
            .key(&address.key)
            .content_type(CONTENT_TYPE)
            .set_metadata(self.marked())
            .content_length(i64::try_from(size).unwrap_or(i64::MAX))
            .content_md5(STANDARD.encode(md5))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .body(ByteStream::new(SdkBody::from_body_1_x(body)));
        let unhurried = Builder::new()
            .timeout_config(timeouts(WHOLE_LIMIT))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let request = request.customize().disable_payload_signing();
        let put = request.config_override(unhurried).send().await;
        put.map(drop).map_err(error::write_failure)
    }
}
