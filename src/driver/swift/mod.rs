//! Documents in an OpenStack Swift container: `swift://{container}/{prefix}{user}/{bucket}/{id}`.

mod address;
mod auth;
mod client;
mod delete;
mod error;
mod prepare;
mod segments;
mod upload;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use self::address::URLS;
use self::client::Server;
use self::upload::SwiftUpload;
use super::bucket::{Address, Deletes};
use super::error::{At as _, Failure};
use super::{Driver, Reader, Receipt, Stat, StoreError, Upload, WRITE_DEADLINE};
use crate::config::SwiftConfig;
use crate::model::{DriverKind, Place};

/// The swift driver.
#[derive(Debug)]
pub(super) struct Swift {
    place: Place,
    server: Arc<Server>,
    deletes: Deletes,
    too_large: TooLarge,
}

/// URLs of objects that have turned out to be larger than the server takes in one piece. They are
/// few: the limit is 5 GiB.
#[derive(Debug, Clone, Default)]
struct TooLarge(Arc<Mutex<HashSet<String>>>);

impl TooLarge {
    fn contains(&self, url: &str) -> bool {
        self.urls().contains(url)
    }

    fn insert(&self, url: &str) {
        self.urls().insert(url.to_string());
    }

    fn urls(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Swift {
    pub(super) fn new(config: &SwiftConfig) -> Result<Self, StoreError> {
        let prefix = &config.anchore_key_prefix;
        let place = Place::bucket(DriverKind::Swift, &config.container, prefix);
        let server = Server::new(config);
        let server = server.at(DriverKind::Swift, "open", &place.base)?;
        let server = Arc::new(server);
        Ok(Self {
            place,
            deletes: Deletes::new(DriverKind::Swift, delete::LIMITS, server.clone()),
            server,
            too_large: TooLarge::default(),
        })
    }

    /// Where a write goes: into the configured container, under a name that Swift can hold.
    async fn own_address(&self, url: &str) -> Result<Address, Failure> {
        let address = URLS.address_in(&self.server.container, url)?;
        address.fits(self.server.limits().await?.name_max_bytes)?;
        Ok(address)
    }

    async fn put_whole(&self, url: &str, body: Bytes, md5: [u8; 16]) -> Result<Receipt, Failure> {
        let address = self.own_address(url).await?;
        let old = self.server.segments_of(&address).await?;
        let put = self.server.put(&address, body, md5, WRITE_DEADLINE);
        let md5 = put.await?;
        self.server.delete_segments(old).await;
        Ok(Receipt { md5 })
    }
}

#[async_trait]
impl Driver for Swift {
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
        ready.at(DriverKind::Swift, "open", &self.place.base)
    }

    async fn prepare_to_read(&self) -> Result<(), StoreError> {
        let ready = self.server.prepare_to_read().await;
        ready.at(DriverKind::Swift, "open", &self.place.base)
    }

    async fn get(&self, url: &str, _size: Option<u64>) -> Result<Reader, StoreError> {
        let reader = self.server.get(url).await;
        reader.at(DriverKind::Swift, "get", url)
    }

    async fn put(&self, url: &str, body: Bytes, md5: [u8; 16]) -> Result<Receipt, StoreError> {
        let put = self.put_whole(url, body, md5).await;
        put.at(DriverKind::Swift, "put", url)
    }

    async fn upload(&self, url: &str) -> Result<Box<dyn Upload>, StoreError> {
        let address = self.own_address(url).await;
        let address = address.at(DriverKind::Swift, "upload", url)?;
        let upload = SwiftUpload::new(self.server.clone(), url, address, self.too_large.clone());
        Ok(Box::new(upload))
    }

    async fn stat(&self, url: &str) -> Result<Option<Stat>, StoreError> {
        let head = async {
            let address = URLS.address(url)?;
            self.server.head(&address).await
        };
        // Also of many: a container's listing may be behind by minutes, and what it says of manifests is
        // not what they say themselves.
        let head = head.await.at(DriverKind::Swift, "stat", url)?;
        Ok(head.map(|head| Stat {
            size: head.size,
            md5: head.md5,
            mark: head.mark,
            tag: head.tag,
        }))
    }

    async fn delete(&self, urls: &[String]) -> Vec<Result<(), StoreError>> {
        self.deletes.delete(urls, |url| URLS.address(url)).await
    }

    fn server(&self) -> Option<String> {
        let version = self.server.version.get();
        version.map(|version| format!("Swift {version}"))
    }

    async fn is_empty(&self) -> Result<bool, StoreError> {
        let empty = self.server.is_empty().await;
        empty.at(DriverKind::Swift, "list", &self.place.base)
    }
}

/// The container and the name of a URL, and the path by which a request names them.
pub(super) fn name_of(url: &str) -> Option<(String, String, String)> {
    let address = URLS.address(url).ok()?;
    let path = address.path();
    Some((address.bucket, address.key, path))
}
