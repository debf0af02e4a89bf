//! Objects of the container looked at by listing it.

use async_trait::async_trait;
use serde_json::Value;

use super::address::URLS;
use super::client::Server;
use crate::driver::Stat;
use crate::driver::bucket::Address;
use crate::driver::error::Failure;
use crate::driver::listed::{self, ListsKeys, Page};

/// Names in one page; servers allow ten times as many.
const PAGE_NAMES: usize = 1_000;

#[async_trait]
impl ListsKeys for Server {
    async fn page(&self, after: &str) -> Result<Page, Failure> {
        let listed = self.list(after, PAGE_NAMES).await?;
        Ok(Page {
            is_last: listed.len() < PAGE_NAMES,
            entries: listed.iter().filter_map(entry).collect(),
        })
    }

    async fn look(&self, key: &str) -> Result<Option<Stat>, Failure> {
        let address = Address::new(&self.container, key);
        self.stat(&URLS.url(&address)).await
    }
}

/// Of a manifest a listing tells another ETag than the object itself does, and its own length: it is
/// asked after by itself.
fn entry(listed: &Value) -> Option<(String, Stat)> {
    if listed.get("slo_etag").is_some() {
        return None;
    }
    let stat = Stat {
        size: listed.get("bytes")?.as_u64()?,
        md5: None,
        mark: None,
        tag: listed
            .get("hash")
            .and_then(Value::as_str)
            .map(str::to_owned),
    };
    Some((listed.get("name")?.as_str()?.to_owned(), stat))
}

impl Server {
    pub(super) async fn stat(&self, url: &str) -> Result<Option<Stat>, Failure> {
        let head = self.head(&URLS.address(url)?).await?;
        Ok(head.map(|head| Stat {
            size: head.size,
            md5: head.md5,
            mark: head.mark,
            tag: head.tag,
        }))
    }

    /// What lies at these URLs; one answer for each, in order.
    pub(super) async fn stat_many(&self, urls: &[String]) -> Vec<Result<Option<Stat>, Failure>> {
        let addresses: Vec<_> = urls.iter().map(|url| URLS.address(url)).collect();
        let own = addresses.iter().flatten();
        let own = own.filter(|address| address.bucket == self.container);
        let keys: Vec<&str> = own.map(|address| address.key.as_str()).collect();
        let found = listed::look(self, &keys).await;
        let mut answers = Vec::with_capacity(urls.len());
        for (url, address) in urls.iter().zip(addresses) {
            answers.push(match address {
                Ok(address) if address.bucket == self.container => {
                    found.get(&address.key).cloned().unwrap_or(Ok(None))
                }
                // A row may lead elsewhere; few do.
                Ok(_) => self.stat(url).await,
                Err(failure) => Err(failure),
            });
        }
        answers
    }
}
