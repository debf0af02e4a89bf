//! Objects whose bytes come one after the other.
//!
//! Swift takes a body of unknown length in one PUT, so an object stays one object, as Anchore
//! writes it. Only what is larger than the server's limit for one (5 GiB) becomes a static large
//! object: that shows only when the limit is reached, so such an object is sent twice, the second
//! time in segments.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use md5::{Digest as _, Md5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::Server;
use super::segments::Segments;
use super::{Address, TooLarge};
use crate::driver::body::STALLED_AFTER;
use crate::driver::error::{At as _, Failure};
use crate::driver::{StoreError, StoreErrorKind, Upload, WRITE_DEADLINE};
use crate::model::DriverKind;

/// Pieces that wait for the connection.
const WAITING_PIECES: usize = 4;

/// An object on its way to the container.
pub(super) struct SwiftUpload {
    url: String,
    server: Arc<Server>,
    way: Way,
}

enum Way {
    Streamed(Streamed),
    Segmented(Segments),
}

/// One PUT under way.
struct Streamed {
    address: Address,
    /// Known from the first byte on.
    under_way: Option<UnderWay>,
    md5: Md5,
    sent_bytes: u64,
    too_large: TooLarge,
}

struct UnderWay {
    /// `None` is the end; a sender that is just dropped breaks the request off, and the server
    /// keeps nothing.
    pieces: mpsc::Sender<Option<Bytes>>,
    answer: JoinHandle<Result<Option<String>, Failure>>,
}

impl SwiftUpload {
    pub(super) fn new(
        server: Arc<Server>,
        url: &str,
        address: Address,
        too_large: TooLarge,
    ) -> Self {
        let way = match too_large.contains(url) {
            true => Way::Segmented(Segments::new(server.clone(), address)),
            false => Way::Streamed(Streamed {
                address,
                under_way: None,
                md5: Md5::new(),
                sent_bytes: 0,
                too_large,
            }),
        };
        Self {
            url: url.to_string(),
            server,
            way,
        }
    }

    async fn add(&mut self, bytes: Bytes) -> Result<(), Failure> {
        match &mut self.way {
            Way::Segmented(segments) => segments.add(&bytes).await,
            Way::Streamed(streamed) => streamed.add(&self.server, &self.url, bytes).await,
        }
    }
}

impl Streamed {
    async fn add(&mut self, server: &Arc<Server>, url: &str, bytes: Bytes) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let limits = server.limits().await?;
        self.sent_bytes += bytes.len() as u64;
        if self.sent_bytes > limits.file_max_bytes {
            return Err(self.in_segments_then(url, limits.slo_segments > 0));
        }
        self.md5.update(&bytes);
        let under_way = self
            .under_way
            .get_or_insert_with(|| UnderWay::begin(server.clone(), self.address.clone()));
        match under_way.send(Some(bytes)).await {
            true => Ok(()),
            false => Err(self.why_it_stopped().await),
        }
    }

    fn in_segments_then(&mut self, url: &str, can_be: bool) -> Failure {
        self.under_way = None;
        match can_be {
            true => {
                self.too_large.insert(url);
                Failure::new(
                    StoreErrorKind::Unavailable,
                    "larger than this server takes in one piece: it goes again, in segments",
                )
            }
            false => Failure::new(
                StoreErrorKind::Unsupported,
                "larger than this server takes in one piece, and it has no static large objects",
            ),
        }
    }

    /// The server hung up, or stands still.
    async fn why_it_stopped(&mut self) -> Failure {
        let stalled = Failure::new(
            StoreErrorKind::Unavailable,
            "the server takes no more bytes",
        );
        let Some(UnderWay { pieces, mut answer }) = self.under_way.take() else {
            return stalled;
        };
        drop(pieces);
        let said = tokio::time::timeout(STALLED_AFTER, &mut answer).await;
        answer.abort();
        match said {
            Ok(Ok(Err(failure))) => failure,
            _ => stalled,
        }
    }

    async fn finish(mut self, server: &Arc<Server>) -> Result<(), Failure> {
        let md5: [u8; 16] = std::mem::take(&mut self.md5).finalize().into();
        let old = server.segments_of(&self.address).await?;
        let Some(under_way) = &mut self.under_way else {
            let put = server.put(&self.address, Bytes::new(), md5, WRITE_DEADLINE);
            put.await?;
            server.delete_segments(old).await;
            return Ok(());
        };
        if !under_way.send(None).await {
            return Err(self.why_it_stopped().await);
        }
        let mut under_way = self.under_way.take().ok_or_else(Failure::broken_off)?;
        let answer = tokio::time::timeout(WRITE_DEADLINE, &mut under_way.answer).await;
        under_way.answer.abort();
        let stored = match answer {
            Ok(Ok(stored)) => stored?,
            Ok(Err(_)) => return Err(Failure::broken_off()),
            Err(_) => {
                let message = "no answer in time";
                return Err(Failure::new(StoreErrorKind::Unavailable, message));
            }
        };
        server.delete_segments(old).await;
        match stored.is_none_or(|stored| stored == hex::encode(md5)) {
            true => Ok(()),
            false => Err(Failure::new(
                StoreErrorKind::Unavailable,
                "the server has stored other bytes than were sent",
            )),
        }
    }
}

impl UnderWay {
    fn begin(server: Arc<Server>, address: Address) -> Self {
        let (pieces, waiting) = mpsc::channel::<Option<Bytes>>(WAITING_PIECES);
        let body = stream::unfold(Some(waiting), |waiting| async {
            let mut waiting = waiting?;
            match waiting.recv().await {
                Some(Some(piece)) => Some((Ok(piece), Some(waiting))),
                Some(None) => None,
                None => Some((Err(io::Error::other("given up")), None)),
            }
        });
        let body = reqwest::Body::wrap_stream(body);
        let answer = tokio::spawn(async move { server.put_streamed(&address, body).await });
        Self { pieces, answer }
    }

    async fn send(&self, piece: Option<Bytes>) -> bool {
        let sent = self.pieces.send(piece);
        matches!(tokio::time::timeout(STALLED_AFTER, sent).await, Ok(Ok(())))
    }
}

#[async_trait]
impl Upload for SwiftUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let added = self.add(bytes).await;
        added.at(DriverKind::Swift, "upload", &self.url)
    }

    async fn finish(self: Box<Self>) -> Result<(), StoreError> {
        let finished = match self.way {
            Way::Streamed(streamed) => streamed.finish(&self.server).await,
            Way::Segmented(segments) => segments.finish().await,
        };
        finished.at(DriverKind::Swift, "upload", &self.url)
    }

    async fn abort(self: Box<Self>) {
        match self.way {
            Way::Streamed(mut streamed) => {
                if let Some(UnderWay { pieces, answer }) = streamed.under_way.take() {
                    drop(pieces);
                    // Until the server has seen the end of it, it might still take the body.
                    let _ = tokio::time::timeout(STALLED_AFTER, answer).await;
                }
            }
            Way::Segmented(segments) => segments.abort().await,
        }
    }
}
