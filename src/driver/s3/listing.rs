//! Objects of the bucket looked at by listing it.

use async_trait::async_trait;

use super::address::URLS;
use super::{Server, is_tag};
use crate::driver::Stat;
use crate::driver::bucket::Address;
use crate::driver::error::Failure;
use crate::driver::listed::{self, ListsKeys, Page};

#[async_trait]
impl ListsKeys for Server {
    async fn page(&self, after: &str) -> Result<Page, Failure> {
        let listed = self.in_its_region(&self.bucket, |sdk| {
            let request = sdk.list_objects_v2().bucket(&self.bucket);
            request.prefix(&self.prefix).start_after(after).send()
        });
        let listed = listed.await?;
        let entries = listed.contents().iter().filter_map(|object| {
            let stat = Stat {
                size: u64::try_from(object.size()?).ok()?,
                // Whether it is one of the bytes, only the object's own headers tell.
                md5: None,
                mark: None,
                tag: object.e_tag().and_then(is_tag),
            };
            Some((object.key()?.to_owned(), stat))
        });
        Ok(Page {
            entries: entries.collect(),
            is_last: listed.is_truncated() != Some(true),
        })
    }

    async fn look(&self, key: &str) -> Result<Option<Stat>, Failure> {
        let address = Address::new(&self.bucket, key);
        self.stat(&URLS.url(&address)).await
    }
}

impl Server {
    /// What lies at these URLs; one answer for each, in order.
    pub(super) async fn stat_many(&self, urls: &[String]) -> Vec<Result<Option<Stat>, Failure>> {
        let addresses: Vec<_> = urls.iter().map(|url| URLS.address(url)).collect();
        let own = addresses.iter().flatten();
        let own = own.filter(|address| address.bucket == self.bucket);
        let keys: Vec<&str> = own.map(|address| address.key.as_str()).collect();
        let found = listed::look(self, &keys).await;
        let mut answers = Vec::with_capacity(urls.len());
        for (url, address) in urls.iter().zip(addresses) {
            answers.push(match address {
                Ok(address) if address.bucket == self.bucket => {
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
