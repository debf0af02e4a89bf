//! Documents in Anchore's own database: `db` keeps them as text in `archive_document`, `db2` as
//! bytes in `object_storage`. One driver over two forms.
//!
//! Small rows are read, written and deleted in batches; each batch is one statement.

mod delete;
mod failure;
mod form;
mod names;
mod rows;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use futures::{StreamExt, stream};

use self::form::{Form, RowKey, Value};
use self::rows::{Rows, Stored};
use self::statements::Statements;
use super::error::Failure;
use super::{Driver, Fence, Namesakes, Reader, Receipt, Stat, StoreError, StoreErrorKind, Upload};
use crate::batch::{BatchLimits, Batcher};
use crate::database::Database;
use crate::model::Place;

/// Objects up to this size are read together with others.
const SMALL_BYTES: u64 = 256 << 10;
/// Bytes are read in slices of this size; text has to be read whole.
const SLICE_BYTES: u64 = 4 << 20;
/// Neither database holds a value of 1 GB, nor takes a message of one.
const VALUE_MAX_BYTES: usize = 999_000_000;

const GETS: BatchLimits = BatchLimits {
    requests: 256,
    weight: 8 << 20,
    in_flight: 2,
};
const PUTS: BatchLimits = GETS;
/// All go over one connection, one after the other.
const DELETES: BatchLimits = BatchLimits {
    requests: 1000,
    weight: usize::MAX,
    in_flight: 1,
};

/// Documents whose MD5 one statement asks for: it takes the database a moment, and no more.
const STATS: usize = 500;

type Put = (RowKey, Value);

/// The `db` and `db2` drivers.
#[derive(Debug)]
pub(super) struct Db {
    place: Place,
    rows: Arc<Rows>,
    gets: Batcher<RowKey, Result<Option<Stored>, Failure>>,
    puts: Batcher<Put, Result<(), Failure>>,
    deletes: Batcher<RowKey, Result<(), Failure>>,
}

impl Db {
    /// The `db` driver.
    pub(super) fn documents(database: &Database, fence: Fence) -> Self {
        Self::new(Form::Documents, database.clone(), fence)
    }

    /// The `db2` driver.
    pub(super) fn objects(database: &Database, fence: Fence) -> Self {
        Self::new(Form::Objects, database.clone(), fence)
    }

    fn new(form: Form, database: Database, fence: Fence) -> Self {
        let one_writer = matches!(database, Database::Sqlite(_));
        let rows = Arc::new(Rows {
            database,
            form,
            fence,
            sql: Statements::of(form),
        });
        let puts = BatchLimits {
            in_flight: if one_writer { 1 } else { PUTS.in_flight },
            ..PUTS
        };
        Self {
            place: Place::database(form.kind()),
            gets: batcher(&rows, GETS, get_batch),
            puts: batcher(&rows, puts, put_batch),
            deletes: batcher(&rows, DELETES, delete_batch),
            rows,
        }
    }

    fn key(&self, operation: &'static str, url: &str) -> Result<RowKey, StoreError> {
        let key = self.rows.form.key(url);
        key.map_err(|why| {
            self.error(
                operation,
                url,
                Failure::new(StoreErrorKind::Unsupported, why),
            )
        })
    }

    fn error(&self, operation: &'static str, url: &str, failure: Failure) -> StoreError {
        failure.at(self.place.driver, operation, url)
    }

    async fn get_whole(&self, key: RowKey, size: Option<u64>) -> Result<Bytes, Failure> {
        let stored = match size {
            Some(size) if size <= SMALL_BYTES => {
                let weight = key.len_bytes() + size as usize;
                let answer = self.gets.submit(key, weight).await;
                answer.unwrap_or_else(|| Err(Failure::broken_off()))?
            }
            _ => self.rows.get_one(key).await?,
        };
        plain(stored.ok_or_else(not_found)?)
    }

    /// Bytes come in slices, so that a large object is never whole in memory.
    async fn get_slices(&self, url: &str, key: RowKey) -> Result<Reader, Failure> {
        let first = self.rows.slice(&key, 0, SLICE_BYTES).await?;
        let (first, total) = first.ok_or_else(not_found)?;
        let rest = (self.rows.clone(), key, url.to_string(), first.len() as u64);
        let rest = stream::try_unfold(rest, move |(rows, key, url, at)| async move {
            if at >= total {
                return Ok(None);
            }
            let slice = match rows.slice(&key, at, SLICE_BYTES).await {
                Ok(Some((slice, now))) if now == total && !slice.is_empty() => Ok(slice),
                Ok(_) => Err(Failure::new(
                    StoreErrorKind::Unavailable,
                    "changed while it was read",
                )),
                Err(failure) => Err(failure),
            };
            let slice = slice.map_err(|failure| failure.at(rows.form.kind(), "get", &url))?;
            let at = at + slice.len() as u64;
            Ok(Some((slice, (rows, key, url, at))))
        });
        Ok(Reader {
            size: Some(total),
            tag: None,
            stream: stream::once(async move { Ok(first) }).chain(rest).boxed(),
        })
    }

    async fn measure(&self, key: RowKey) -> Result<Option<Stat>, Failure> {
        match &self.rows.database {
            Database::Postgres(pool) => self.rows.stat(pool, &key).await,
            Database::Sqlite(_) => {
                let Some(stored) = self.rows.get_one(key).await? else {
                    return Ok(None);
                };
                let size = plain(stored)?.len() as u64;
                Ok(Some(Stat {
                    size,
                    md5: None,
                    mark: None,
                    tag: None,
                }))
            }
        }
    }
}

#[async_trait]
impl Driver for Db {
    fn place(&self) -> &Place {
        &self.place
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.prepare_to_read().await?;
        for sql in &self.rows.sql.may_write {
            let may = self.rows.may(sql).await;
            may.map_err(|failure| self.error("open", &self.place.base, no_privilege(failure)))?;
        }
        Ok(())
    }

    async fn prepare_to_read(&self) -> Result<(), StoreError> {
        let may = self.rows.may(&self.rows.sql.may_read).await;
        may.map_err(|failure| self.error("open", &self.place.base, no_privilege(failure)))
    }

    async fn get(&self, url: &str, size: Option<u64>) -> Result<Reader, StoreError> {
        let key = self.key("get", url)?;
        let small = size.is_some_and(|size| size <= SMALL_BYTES);
        let reader = match self.rows.form {
            Form::Objects if !small => self.get_slices(url, key).await,
            _ => self.get_whole(key, size).await.map(Reader::whole),
        };
        reader.map_err(|failure| self.error("get", url, failure))
    }

    async fn put(&self, url: &str, body: Bytes, _md5: [u8; 16]) -> Result<Receipt, StoreError> {
        let key = self.key("put", url)?;
        let value = self.rows.encode(body);
        let weight = key.len_bytes() + value.len_bytes();
        if weight > VALUE_MAX_BYTES {
            return Err(self.error("put", url, too_large()));
        }
        let answer = self.puts.submit((key, value), weight).await;
        answer
            .unwrap_or_else(|| Err(Failure::broken_off()))
            .map_err(|failure| self.error("put", url, failure))?;
        Ok(Receipt::default())
    }

    async fn upload(&self, url: &str) -> Result<Box<dyn Upload>, StoreError> {
        let key = self.key("upload", url)?;
        Ok(Box::new(DbUpload {
            url: url.to_string(),
            key,
            body: BytesMut::new(),
            rows: self.rows.clone(),
        }))
    }

    async fn stat(&self, url: &str) -> Result<Option<Stat>, StoreError> {
        let key = self.key("stat", url)?;
        let measured = self.measure(key).await;
        measured.map_err(|failure| self.error("stat", url, failure))
    }

    async fn stat_many(&self, urls: &[String]) -> Vec<Result<Option<Stat>, StoreError>> {
        let mut answers = Vec::with_capacity(urls.len());
        for urls in urls.chunks(STATS) {
            let keys: Vec<_> = urls.iter().map(|url| self.key("stat", url)).collect();
            let wanted: Vec<RowKey> = keys.iter().flatten().cloned().collect();
            let found = match self.rows.stat_many(&wanted).await {
                Ok(found) => found,
                Err(failure) => wanted.iter().map(|_| Err(failure.clone())).collect(),
            };
            let mut found = found.into_iter();
            answers.extend(keys.into_iter().zip(urls).map(|(key, url)| {
                key?;
                let stat = found.next().unwrap_or_else(|| Err(Failure::broken_off()));
                stat.map_err(|failure| self.error("stat", url, failure))
            }));
        }
        answers
    }

    async fn delete(&self, urls: &[String]) -> Vec<Result<(), StoreError>> {
        let deletes = urls.iter().map(async |url| {
            let key = self.key("delete", url)?;
            let answer = self.deletes.submit(key, 1).await;
            answer
                .unwrap_or_else(|| Err(Failure::broken_off()))
                .map_err(|failure| self.error("delete", url, failure))
        });
        join_all(deletes).await
    }

    async fn namesakes(
        &self,
        url: &str,
        (size, md5): (u64, String),
    ) -> Result<Namesakes, StoreError> {
        if self.rows.form == Form::Objects {
            return Ok(Namesakes::default());
        }
        let key = self.key("stat", url)?;
        let beside = self.rows.namesakes(&key, (size, md5)).await;
        beside.map_err(|failure| self.error("stat", url, failure))
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        let any = self.rows.any().await;
        any.map(|any| !any)
            .map_err(|failure| self.error("list", &self.place.base, failure))
    }
}

/// A database takes a value whole, so this gathers it.
struct DbUpload {
    url: String,
    key: RowKey,
    body: BytesMut,
    rows: Arc<Rows>,
}

#[async_trait]
impl Upload for DbUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        if self.body.len() + bytes.len() > VALUE_MAX_BYTES {
            return Err(too_large().at(self.rows.form.kind(), "upload", &self.url));
        }
        self.body.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), StoreError> {
        let Self {
            url,
            key,
            body,
            rows,
        } = *self;
        let value = rows.encode(body.freeze());
        let stored = match key.len_bytes() + value.len_bytes() > VALUE_MAX_BYTES {
            true => Err(too_large()),
            false => rows.put_one(key, value).await,
        };
        stored.map_err(|failure| failure.at(rows.form.kind(), "upload", &url))
    }

    async fn abort(self: Box<Self>) {}
}

fn batcher<Q, R, F, Fut>(rows: &Arc<Rows>, limits: BatchLimits, run: F) -> Batcher<Q, R>
where
    Q: Send + 'static,
    R: Send + 'static,
    F: Fn(Arc<Rows>, Vec<Q>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Vec<R>> + Send + 'static,
{
    let rows = rows.clone();
    Batcher::new(limits, move |batch| run(rows.clone(), batch))
}

/// Reads a batch in one statement; where one of its rows can't be read, in halves, so that the
/// others do not fail with it.
async fn get_batch(rows: Arc<Rows>, keys: Vec<RowKey>) -> Vec<Result<Option<Stored>, Failure>> {
    let mut answers = Vec::with_capacity(keys.len());
    let mut parts = vec![keys.as_slice()];
    while let Some(part) = parts.pop() {
        match rows.get(part).await {
            Ok(found) => answers.extend(found),
            Err(failure) if failure.divides(part, &mut parts) => {}
            Err(failure) => answers.extend(part.iter().map(|_| Err(failure.clone()))),
        }
    }
    answers
}

/// Writes a batch in one statement; where one of its objects cannot be stored, each by itself,
/// so that the others are not refused with it.
async fn put_batch(rows: Arc<Rows>, batch: Vec<Put>) -> Vec<Result<(), Failure>> {
    // One statement may not touch a row twice; of two writers of one key either may win.
    let mut places = HashMap::new();
    let mut unique: Vec<Put> = Vec::with_capacity(batch.len());
    let mut at = Vec::with_capacity(batch.len());
    for (key, value) in batch {
        let place = *places.entry(key.clone()).or_insert(unique.len());
        at.push(place);
        match unique.get_mut(place) {
            Some(earlier) => earlier.1 = value,
            None => unique.push((key, value)),
        }
    }
    let answers = match rows.put(&unique).await {
        Ok(()) => vec![Ok(()); unique.len()],
        Err(failure) if unique.len() > 1 && failure.kind == StoreErrorKind::Unsupported => {
            let mut answers = Vec::with_capacity(unique.len());
            for one in &unique {
                answers.push(rows.put(std::slice::from_ref(one)).await);
            }
            answers
        }
        Err(failure) => vec![Err(failure); unique.len()],
    };
    at.into_iter().map(|place| answers[place].clone()).collect()
}

/// Deletes a batch in one transaction; where one of its rows can't be deleted, in halves.
async fn delete_batch(rows: Arc<Rows>, keys: Vec<RowKey>) -> Vec<Result<(), Failure>> {
    let mut answers = Vec::with_capacity(keys.len());
    let mut parts = vec![keys.as_slice()];
    while let Some(part) = parts.pop() {
        match rows.delete(part).await {
            Ok(deleted) => answers.extend(deleted),
            Err(failure) if failure.divides(part, &mut parts) => {}
            Err(failure) => answers.extend(part.iter().map(|_| Err(failure.clone()))),
        }
    }
    answers
}

fn plain(stored: Stored) -> Result<Bytes, Failure> {
    if !stored.b64 {
        return Ok(stored.raw);
    }
    form::decode_bytes(&stored.raw)
        .map(Bytes::from)
        .ok_or_else(|| Failure::new(StoreErrorKind::Corrupt, "its base64 cannot be decoded"))
}

fn not_found() -> Failure {
    Failure::new(StoreErrorKind::NotFound, "no such row")
}

fn too_large() -> Failure {
    let message = "a database value cannot be as large as 1 GB: \
                   choose localfs, s3 or swift for such objects";
    Failure::new(StoreErrorKind::Unsupported, message)
}

/// While the store is made ready, whatever is refused concerns all objects.
fn no_privilege(failure: Failure) -> Failure {
    let kind = match failure.kind {
        StoreErrorKind::Denied | StoreErrorKind::Unsupported => StoreErrorKind::Misconfigured,
        kind => kind,
    };
    Failure { kind, ..failure }
}

/// User, bucket and id of the row that a URL of `archive_document` names.
pub(super) fn row_of(url: &str) -> Option<[String; 3]> {
    let key = Form::Documents.key(url).ok()?;
    Some([key.user, key.bucket, key.id])
}
