use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use super::{StoreError, StoreErrorKind};
use crate::digest::md5_hex;
use crate::model::{DriverKind, ObjectKey, Part, Place, Unfinished};

/// What every store must do, held by one conformance suite.
///
/// Objects are named by the `content_url` that stands in the catalog, taken raw. Every write is
/// atomic: a reader sees the old object, the new one or none, never half of one, and so does a
/// machine that lost its power. Every step can be repeated.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// How this store turns keys into URLs.
    fn place(&self) -> &Place;

    /// Which of the five drivers this is.
    fn kind(&self) -> DriverKind {
        self.place().driver
    }

    /// The `content_url` that an object has here.
    fn url_for(&self, key: &ObjectKey) -> String {
        self.place().url_for(key, |text| md5_hex(text))
    }

    /// Makes sure that the store can be used: the bucket or directory is there (or is made,
    /// where the configuration says so) and can be written.
    async fn prepare(&self) -> Result<(), StoreError>;

    /// Makes sure that the store can be read, and changes nothing in it.
    async fn prepare_to_read(&self) -> Result<(), StoreError>;

    /// Whose writes these are from now on, where the store keeps that with an object
    /// ([`Stat::mark`]): the task's UUID. Anchore does not look at it.
    fn mark_writes(&self, mark: String) {
        drop(mark);
    }

    /// Whether the store keeps such marks.
    fn has_marks(&self) -> bool {
        false
    }

    /// The stored bytes of an object. `size` is what the catalog believes, where it does; small
    /// objects may be read together.
    async fn get(&self, url: &str, size: Option<u64>) -> Result<Reader, StoreError>;

    /// Stores a whole object, replacing what was there. `md5` is the digest of `body`.
    async fn put(&self, url: &str, body: Bytes, md5: [u8; 16]) -> Result<Receipt, StoreError>;

    /// The same of a store that [heeds](Self::heeds_conditions) what a write may replace: it is refused as a
    /// [conflict](StoreErrorKind::Conflict) where anything else lies there.
    async fn put_over(
        &self,
        url: &str,
        body: Bytes,
        md5: [u8; 16],
        replaces: &Replaces,
    ) -> Result<Receipt, StoreError> {
        let _ = replaces;
        self.put(url, body, md5).await
    }

    /// Whether writes can say what they may replace, tried out at the store itself.
    async fn heeds_conditions(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Begins to store an object whose parts come one after the other.
    async fn upload(&self, url: &str) -> Result<Box<dyn Upload>, StoreError>;

    /// Uploads that another run can go on with; `None` where they begin anew, and leave nothing
    /// behind that would have to be cleared away.
    fn resumable(&self) -> Option<&dyn ResumableUploads> {
        None
    }

    /// Uploads in one piece, where the store has turned out to take an object of any size in no
    /// other way. An upload that finds it out fails, and may be tried again.
    fn in_one_piece(&self) -> Option<&dyn UploadsInOnePiece> {
        None
    }

    /// What the store says of an object without sending it; `None` where there is none.
    async fn stat(&self, url: &str) -> Result<Option<Stat>, StoreError>;

    /// How long after a write the store tells a version of it, where it does not at once ([`Stat::tag`]).
    fn tag_settles_after(&self) -> Option<Duration> {
        None
    }

    /// The same of many objects: one answer for each, in order.
    async fn stat_many(&self, urls: &[String]) -> Vec<Result<Option<Stat>, StoreError>> {
        let urls: Vec<String> = urls.to_vec();
        let stats = urls.into_iter().map(async move |url| self.stat(&url).await);
        stream::iter(stats).buffered(STATS_AT_ONCE).collect().await
    }

    /// What else a reader could take for the object at `url`, which is to be of this length and MD5:
    /// in a store that finds objects by less than what it keeps them by.
    async fn namesakes(&self, url: &str, document: (u64, String)) -> Result<Namesakes, StoreError> {
        drop((url, document));
        Ok(Namesakes::default())
    }

    /// Deletes objects; one that is absent counts as deleted. One answer for each, in order.
    async fn delete(&self, urls: &[String]) -> Vec<Result<(), StoreError>>;

    /// Whether the whole place holds nothing: one listing of one key.
    async fn is_empty(&self) -> Result<bool, StoreError>;

    /// Name and version of the server, where it has told them in an answer.
    fn server(&self) -> Option<String> {
        None
    }

    /// Tries out what a migration asks of a store beside writing, reading and deleting one object,
    /// and tells what the credentials may not do.
    async fn lacking(&self) -> Result<Vec<Lack>, StoreError> {
        Ok(Vec::new())
    }
}

/// What a write may replace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Replaces {
    /// Whatever lies there.
    #[default]
    Anything,
    /// Nothing: no object may lie there.
    Nothing,
    /// The object of this version ([`Stat::tag`]).
    Version(String),
}

/// Objects that are asked after at once, where a store tells of each by itself.
const STATS_AT_ONCE: usize = 32;

/// Something that a store does not let these credentials do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The right, by the store's own name for it, and what it has to be granted on.
    pub right: String,
    /// What a migration needs it for.
    pub what_for: &'static str,
    /// What the store said.
    pub said: String,
    /// What is done without it; `None` where nothing can be.
    pub instead: Option<&'static str>,
}

/// Objects that a reader of one URL may meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namesakes {
    /// Whether there is one that a write to the URL would replace.
    pub own: bool,
    /// The names of others that differ from the object.
    pub differing: Vec<String>,
}

impl Default for Namesakes {
    fn default() -> Self {
        Self {
            own: true,
            differing: Vec::new(),
        }
    }
}

/// What a store says of an object that it has just taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// MD5 in hex of the bytes as it has them, where it has computed that itself and says so.
    pub md5: Option<String>,
}

/// What a store says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Length of the stored bytes.
    pub size: u64,
    /// MD5 of the stored bytes in hex, where the store itself vouches for it. The ETag of a
    /// multipart upload is no MD5 and does not stand here.
    pub md5: Option<String>,
    /// The mark of whoever has written it, where there is one.
    pub mark: Option<String>,
    /// The store's own version of the bytes, where it has one: to be compared with itself alone.
    pub tag: Option<String>,
}

/// Whether a copy is still what it was when it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It is.
    Same,
    /// It is not; in words.
    Differs(String),
    /// The store does not say enough.
    CannotTell,
}

impl Stat {
    /// Holds it against what is known of a copy: its length and MD5, and the version that the store had
    /// of it when it was read back.
    pub fn fit(&self, size: u64, md5: &str, tag: Option<&str>) -> Fit {
        if self.size != size {
            return Fit::Differs(format!("{} bytes lie there, not {size}", self.size));
        }
        match (&self.md5, &self.tag, tag) {
            (Some(there), _, _) if there == md5 => Fit::Same,
            (Some(there), _, _) => Fit::Differs(format!("the MD5 there is {there}, not {md5}")),
            (None, Some(there), _) if there == md5 => Fit::Same,
            (None, Some(there), Some(tag)) if there == tag => Fit::Same,
            (None, Some(there), Some(tag)) => {
                Fit::Differs(format!("its version there is {there}, not {tag}"))
            }
            (None, _, _) => Fit::CannotTell,
        }
    }
}

/// An object being stored in parts. Until `finish` has answered, readers see nothing of it;
/// dropped without `finish` it leaves nothing behind that a reader could see.
#[async_trait]
pub trait Upload: Send {
    /// Adds bytes. The parts that go out are of the store's size, not the caller's.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// What it may replace when it becomes visible, in a store that heeds that.
    fn replaces(&mut self, replaces: Replaces) {
        drop(replaces);
    }

    /// Makes the whole object visible, durably.
    async fn finish(self: Box<Self>) -> Result<(), StoreError>;

    /// Gives up, and clears away what has been sent.
    async fn abort(self: Box<Self>);
}

/// Uploads that can be gone on with in the middle of an object. The store keeps what it has of one
/// until it is finished or aborted, whatever becomes of the run that has begun it.
#[async_trait]
pub trait ResumableUploads: Send + Sync {
    /// Begins to store an object, and tells `log` of each step, so that another run can go on with
    /// it. `begun` is what [`still_has`](Self::still_has) has found of an earlier one: the whole
    /// object is written once more, and only what is missing or differs is sent.
    async fn upload(
        &self,
        url: &str,
        begun: Option<Unfinished>,
        log: Arc<dyn UploadLog>,
    ) -> Result<Box<dyn ResumableUpload>, StoreError>;

    /// What the store still has of an unfinished upload; `None` where it knows of none, because
    /// it was aborted, or completed.
    async fn still_has(
        &self,
        url: &str,
        begun: Unfinished,
    ) -> Result<Option<Unfinished>, StoreError>;

    /// Clears an unfinished upload away; one that is gone counts as cleared away.
    async fn abort(&self, url: &str, id: &str) -> Result<(), StoreError>;
}

/// An upload whose steps are told to a log. Dropped without an end, it is as if suspended.
#[async_trait]
pub trait ResumableUpload: Upload {
    /// Ends for now. What has been sent and told to the log stays, for another run to go on with.
    async fn suspend(self: Box<Self>);
}

/// Keeps what has become of an upload, so that another run can go on with it.
#[async_trait]
pub trait UploadLog: Send + Sync {
    /// The store has begun it, under this name.
    async fn begun(&self, id: &str);

    /// The store has a part of it.
    async fn sent(&self, part: Part);
}

/// Uploads that go with one request only, which names their length and MD5 beforehand.
#[async_trait]
pub trait UploadsInOnePiece: Send + Sync {
    /// Begins to store an object of which so much is known.
    async fn upload(
        &self,
        url: &str,
        size: u64,
        md5: [u8; 16],
        replaces: Replaces,
    ) -> Result<Box<dyn Upload>, StoreError>;
}

/// The stored bytes of an object, as they come.
pub struct Reader {
    /// Their length, where the store tells it beforehand.
    pub size: Option<u64>,
    /// The store's own version of them, as [`Stat::tag`].
    pub tag: Option<String>,
    /// The bytes, in pieces.
    pub stream: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl Reader {
    /// A reader over bytes that are already here.
    pub fn whole(bytes: Bytes) -> Self {
        let size = Some(bytes.len() as u64);
        Self {
            size,
            tag: None,
            stream: stream::once(async move { Ok(bytes) }).boxed(),
        }
    }

    /// Fails where more than `most` bytes come: a body need not have an end, whatever its server
    /// says of it.
    pub fn at_most(self, most: u64, driver: DriverKind, url: &str) -> Self {
        let state = (self.stream, most, url.to_owned());
        let stream = stream::try_unfold(state, move |(mut body, left, url)| async move {
            let Some(piece) = body.next().await.transpose()? else {
                return Ok(None);
            };
            match left.checked_sub(piece.len() as u64) {
                Some(left) => Ok(Some((piece, (body, left, url)))),
                None => Err(too_long(driver, &url, most)),
            }
        });
        Self {
            size: self.size,
            tag: self.tag,
            stream: stream.boxed(),
        }
    }

    /// All the bytes in one piece; for objects that are known to be small, or are
    /// [bounded](Self::at_most).
    pub async fn bytes(mut self) -> Result<Bytes, StoreError> {
        let Some(first) = self.stream.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.stream.next().await.transpose()? else {
            return Ok(first);
        };
        let mut all = Vec::with_capacity(self.size.unwrap_or(0).min(64 << 20) as usize);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = self.stream.next().await.transpose()? {
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }
}

/// The stored bytes are not those that were written, however they would go on.
fn too_long(driver: DriverKind, url: &str, most: u64) -> StoreError {
    let message = format!("more than the {most} bytes that it should have are sent");
    StoreError::new(driver, "get", url, StoreErrorKind::Corrupt, message)
}
