//! Documents in an S3 bucket: `s3://{bucket}/{prefix}{user}/{bucket}/{id}`.

mod address;
mod answers;
mod client;
mod delete;
mod direct;
mod error;
mod keys;
mod listing;
mod multipart;
mod prepare;
mod region;
mod rights;
mod single;
#[cfg(test)]
mod tests;
mod unfinished;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::TryStreamExt as _;
use http_body_util::BodyExt as _;

use self::address::URLS;
use self::direct::{Answer, Direct, Request};
use self::multipart::S3Upload;
use self::region::Clients;
use super::body::watched;
use super::bucket::{Address, Deletes};
use super::error::{At as _, Failure, root_cause};
use super::{Driver, Lack, Reader, Receipt, Replaces, Stat, StoreError, StoreErrorKind};
use super::{ResumableUploads, Upload, UploadsInOnePiece};
use crate::config::S3Config;
use crate::model::{DriverKind, Place};

/// What Anchore's own library sends.
const CONTENT_TYPE: &str = "binary/octet-stream";

/// The metadata that names the task which has written an object.
const MARK: &str = "windlass-task";
const MARK_HEADER: &str = "x-amz-meta-windlass-task";

/// The s3 driver.
#[derive(Debug)]
pub(super) struct S3 {
    place: Place,
    server: Arc<Server>,
    deletes: Deletes,
}

/// A bucket at a server.
#[derive(Debug)]
struct Server {
    clients: Clients,
    direct: Direct,
    bucket: String,
    prefix: String,
    create_bucket: bool,
    /// Where new buckets are made; `None` in AWS's first region and at other servers.
    location: Option<String>,
    on_aws: bool,
    /// Whether these credentials have turned out not to be allowed to list the bucket.
    is_unlistable: AtomicBool,
    /// Whether the server has turned out to have no multipart uploads.
    no_multipart: AtomicBool,
    /// For people, without what may be secret in a URL.
    name: String,
    /// What new objects are marked with.
    mark: OnceLock<String>,
}

impl S3 {
    pub(super) async fn new(config: &S3Config) -> Result<Self, StoreError> {
        let place = Place::bucket(DriverKind::S3, &config.bucket, &config.prefix);
        let connection = client::connect(config).await;
        let client::Connection { sdk, direct, proxy } =
            connection.at(DriverKind::S3, "open", &place.base)?;
        let on_aws = config.url.is_none();
        let location = sdk.config().region().map(|region| region.to_string());
        let host = config.url.as_ref();
        let host = host.map_or("AWS".into(), |url| host_of(url.expose()));
        let server = Arc::new(Server {
            clients: Clients::new(sdk),
            direct,
            is_unlistable: AtomicBool::new(false),
            no_multipart: AtomicBool::new(false),
            bucket: config.bucket.clone(),
            prefix: config.prefix.clone(),
            create_bucket: config.create_bucket,
            location: location.filter(|region| on_aws && region != "us-east-1"),
            on_aws,
            name: match proxy {
                Some(proxy) => format!("{host} through the proxy {proxy}"),
                None => host,
            },
            mark: OnceLock::new(),
        });
        Ok(Self {
            place,
            deletes: Deletes::new(DriverKind::S3, delete::LIMITS, server.clone()),
            server,
        })
    }
}

/// Host and port of a URL.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.to_owned()
}

impl Server {
    /// Where a write goes: into the configured bucket, under a key that no other can meet.
    fn own_address(&self, url: &str) -> Result<Address, Failure> {
        let address = URLS.address_in(&self.bucket, url)?;
        address.is_distinct(self.on_aws)?;
        Ok(address)
    }

    async fn get(&self, url: &str) -> Result<Reader, Failure> {
        let address = URLS.address(url)?;
        let elsewhere = address.bucket != self.bucket;
        let object = self.ask("GET", &address);
        let object = object.await.map_err(|failure| {
            match failure.kind {
                // Only a row that points to another bucket is wrong, not the whole store.
                StoreErrorKind::NoSuchPlace if elsewhere => Failure {
                    kind: StoreErrorKind::NotFound,
                    ..failure
                },
                _ => failure,
            }
        });
        let object = match object {
            Err(failure) if failure.kind == StoreErrorKind::Denied => {
                return Err(self.denied_or_missing(&address, failure).await);
            }
            object => object?,
        };
        let size = length(&object);
        let tag = tag_of(&object);
        let body = object.into_body().into_data_stream();
        let body = body.map_err(|error| Failure::broken_body(&root_cause(&*error)));
        Ok(Reader {
            size,
            tag,
            stream: watched(body, DriverKind::S3, url),
        })
    }

    /// One PUT. The server checks the MD5 against what arrived, so that an acknowledged write
    /// is a right one. The MD5 is among the signed headers and thereby binds the body, so that a
    /// SHA-256 of it would only double the cost: Anchore's own library leaves it out as well.
    async fn put(
        &self,
        address: &Address,
        body: Bytes,
        md5: [u8; 16],
        replaces: &Replaces,
    ) -> Result<Receipt, Failure> {
        let mut headers = vec![
            ("content-type", CONTENT_TYPE.to_owned()),
            ("content-md5", STANDARD.encode(md5)),
        ];
        let Conditions {
            if_none_match,
            if_match,
        } = Conditions::of(replaces);
        headers.extend(if_none_match.map(|any| ("if-none-match", any)));
        headers.extend(if_match.map(|tag| ("if-match", tag)));
        headers.extend(self.mark.get().map(|mark| (MARK_HEADER, mark.clone())));
        let request = Request {
            method: "PUT",
            address,
            headers,
            body,
        };
        let put = self.direct.send(&self.clients, &request).await;
        let answer = put.map_err(error::as_of_a_write)?;
        Ok(Receipt {
            md5: md5_of(&answer),
        })
    }

    /// Asks for an object, or about it.
    async fn ask(&self, method: &'static str, address: &Address) -> Result<Answer, Failure> {
        let request = Request {
            method,
            address,
            headers: Vec::new(),
            body: Bytes::new(),
        };
        self.direct.send(&self.clients, &request).await
    }

    /// The metadata of a new object.
    fn marked(&self) -> Option<HashMap<String, String>> {
        let mark = self.mark.get()?;
        Some(HashMap::from([(MARK.to_owned(), mark.clone())]))
    }

    async fn stat(&self, url: &str) -> Result<Option<Stat>, Failure> {
        let address = URLS.address(url)?;
        match self.ask("HEAD", &address).await {
            Ok(head) => Ok(Some(Stat {
                size: length(&head).unwrap_or(0),
                md5: md5_of(&head),
                mark: head.headers().get(MARK_HEADER).map(str::to_owned),
                tag: tag_of(&head),
            })),
            Err(failure) if failure.kind == StoreErrorKind::NotFound => Ok(None),
            // So is every key that is missing, where the bucket can't be listed.
            Err(failure)
                if failure.kind == StoreErrorKind::Denied
                    && !self.may_be_there(&address).await? =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn is_empty(&self) -> Result<bool, Failure> {
        let listed = self.in_its_region(&self.bucket, |sdk| {
            let request = sdk.list_objects_v2().bucket(&self.bucket);
            request.prefix(&self.prefix).max_keys(1).send()
        });
        Ok(listed.await?.contents().is_empty())
    }

    /// Asks, and once more where the answer says that the bucket is in another region.
    async fn in_its_region<T, E, F>(
        &self,
        bucket: &str,
        ask: impl Fn(aws_sdk_s3::Client) -> F,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let answer = match ask(self.clients.of(bucket)).await {
            Err(error) if self.clients.learn(bucket, &error) => ask(self.clients.of(bucket)).await,
            answer => answer,
        };
        answer.map_err(error::failure)
    }
}

/// The headers that say what a write may replace.
struct Conditions {
    if_none_match: Option<String>,
    if_match: Option<String>,
}

impl Conditions {
    fn of(replaces: &Replaces) -> Self {
        let (if_none_match, if_match) = match replaces {
            Replaces::Anything => (None, None),
            Replaces::Nothing => (Some("*".to_owned()), None),
            Replaces::Version(tag) => (None, Some(format!("\"{tag}\""))),
        };
        Self {
            if_none_match,
            if_match,
        }
    }
}

/// The length that an answer tells.
fn length(answer: &Answer) -> Option<u64> {
    answer.headers().get("content-length")?.parse().ok()
}

/// The object's ETag, as a listing has it, too: some servers put it in quotation marks, and some only here
/// or there.
fn tag_of(answer: &Answer) -> Option<String> {
    is_tag(answer.headers().get("etag")?)
}

fn is_tag(etag: &str) -> Option<String> {
    let tag = etag.trim_matches('"');
    (!tag.is_empty()).then(|| tag.to_owned())
}

/// The MD5 of the object, where its ETag is one: not after a multipart upload, nor under a key
/// of the customer's or of KMS.
fn md5_of(answer: &Answer) -> Option<String> {
    let said = |name: &str| answer.headers().get(name);
    let keyed = said("x-amz-server-side-encryption-customer-algorithm").is_some()
        || said("x-amz-server-side-encryption-aws-kms-key-id").is_some()
        || said("x-amz-server-side-encryption").is_some_and(|how| how != "AES256");
    let etag = said("etag")?.trim_matches('"');
    let digits = etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && !keyed).then(|| etag.to_ascii_lowercase())
}

#[async_trait]
impl Driver for S3 {
    fn place(&self) -> &Place {
        &self.place
    }

    fn mark_writes(&self, mark: String) {
        // A driver is opened for one task.
        let _ = self.server.mark.set(mark);
    }

    fn has_marks(&self) -> bool {
        true
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        let ready = self.server.prepare().await;
        ready.at(DriverKind::S3, "open", &self.place.base)
    }

    async fn prepare_to_read(&self) -> Result<(), StoreError> {
        let ready = self.server.prepare_to_read().await;
        ready.at(DriverKind::S3, "open", &self.place.base)
    }

    async fn get(&self, url: &str, _size: Option<u64>) -> Result<Reader, StoreError> {
        let reader = self.server.get(url).await;
        reader.at(DriverKind::S3, "get", url)
    }

    async fn put(&self, url: &str, body: Bytes, md5: [u8; 16]) -> Result<Receipt, StoreError> {
        self.put_over(url, body, md5, &Replaces::Anything).await
    }

    async fn put_over(
        &self,
        url: &str,
        body: Bytes,
        md5: [u8; 16],
        replaces: &Replaces,
    ) -> Result<Receipt, StoreError> {
        let put = async {
            let address = self.server.own_address(url)?;
            self.server.put(&address, body, md5, replaces).await
        };
        put.await.at(DriverKind::S3, "put", url)
    }

    async fn heeds_conditions(&self) -> Result<bool, StoreError> {
        let heeds = self.server.heeds_conditions().await;
        heeds.at(DriverKind::S3, "try out", &self.place.base)
    }

    async fn upload(&self, url: &str) -> Result<Box<dyn Upload>, StoreError> {
        let address = self.server.own_address(url);
        let address = address.at(DriverKind::S3, "upload", url)?;
        Ok(Box::new(S3Upload::new(self.server.clone(), url, address)))
    }

    fn resumable(&self) -> Option<&dyn ResumableUploads> {
        Some(self)
    }

    fn in_one_piece(&self) -> Option<&dyn UploadsInOnePiece> {
        match self.server.no_multipart.load(Ordering::Relaxed) {
            true => Some(self),
            false => None,
        }
    }

    async fn stat(&self, url: &str) -> Result<Option<Stat>, StoreError> {
        let found = self.server.stat(url).await;
        found.at(DriverKind::S3, "stat", url)
    }

    async fn stat_many(&self, urls: &[String]) -> Vec<Result<Option<Stat>, StoreError>> {
        let stats = self.server.stat_many(urls).await;
        let stats = stats.into_iter().zip(urls);
        stats
            .map(|(stat, url)| stat.at(DriverKind::S3, "stat", url))
            .collect()
    }

    async fn delete(&self, urls: &[String]) -> Vec<Result<(), StoreError>> {
        let deleted = self.deletes.delete(urls, |url| {
            let address = URLS.address(url)?;
            address.is_distinct(self.server.on_aws)?;
            Ok(address)
        });
        deleted.await
    }

    fn server(&self) -> Option<String> {
        self.server.direct.server().cloned()
    }

    async fn lacking(&self) -> Result<Vec<Lack>, StoreError> {
        let lacking = self.server.lacking().await;
        lacking.at(DriverKind::S3, "try out", &self.place.base)
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        let empty = self.server.is_empty().await;
        empty.at(DriverKind::S3, "list", &self.place.base)
    }
}

/// The bucket and the key of a URL.
pub(super) fn key_of(url: &str) -> Option<(String, String)> {
    let address = URLS.address(url).ok()?;
    Some((address.bucket, address.key))
}
