//! Deletes, many at a time where the server takes them so.

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::client::Server;
use super::error;
use crate::batch::BatchLimits;
use crate::driver::bucket::{Address, DeletesInBucket, one_by_one};
use crate::driver::error::Failure;
use crate::driver::{StoreErrorKind, WRITE_DEADLINE};

/// A server works through a bulk delete two by two, and must be done within the deadline.
pub(super) const LIMITS: BatchLimits = BatchLimits {
    requests: 500,
    weight: usize::MAX,
    in_flight: 4,
};

#[async_trait]
impl DeletesInBucket for Server {
    async fn delete_in(&self, container: &str, addresses: &[&Address]) -> Vec<Result<(), Failure>> {
        let may_be_segmented = match self.may_hold_segmented(container).await {
            Ok(may_be) => may_be,
            Err(failure) => return vec![Err(failure); addresses.len()],
        };
        // A bulk delete would leave the segments of a large object behind.
        if !may_be_segmented && self.delete_many(addresses).await {
            return vec![Ok(()); addresses.len()];
        }
        one_by_one(addresses, async |address| {
            self.delete_single(address, may_be_segmented).await
        })
        .await
    }
}

impl Server {
    /// One request for all. Whatever it does not say of all that they are gone, the single
    /// deletes say one by one: one that is absent counts as deleted.
    pub(super) async fn delete_many(&self, addresses: &[&Address]) -> bool {
        let Ok(limits) = self.limits().await else {
            return false;
        };
        if addresses.len() < 2 || addresses.len() > limits.bulk_deletes {
            return false;
        }
        let lines: Vec<_> = addresses.iter().map(|address| address.path()).collect();
        let lines = lines.join("\n");
        let deleted = self.send(Method::POST, "?bulk-delete", WRITE_DEADLINE, |request| {
            request
                .header("content-type", "text/plain")
                .header("accept", "application/json")
                .body(lines.clone())
        });
        let Ok(response) = deleted.await else {
            return false;
        };
        if response.status() != StatusCode::OK {
            return false;
        }
        // The answer comes while the server works: with blanks that keep the line open.
        let body = error::whole_body_within(response, WRITE_DEADLINE).await;
        body.is_ok_and(|body| all_are_gone(&body, addresses.len()))
    }

    pub(super) async fn delete_single(
        &self,
        address: &Address,
        may_be_segmented: bool,
    ) -> Result<(), Failure> {
        let mut path = address.path();
        let is_slo = may_be_segmented && self.head(address).await?.is_some_and(|head| head.is_slo);
        if is_slo {
            path.push_str("?multipart-manifest=delete");
        }
        let response = self
            .send(Method::DELETE, &path, WRITE_DEADLINE, |request| {
                request.header("accept", "application/json")
            })
            .await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(()),
            status if !status.is_success() => Err(error::refused(response).await),
            _ if is_slo => {
                let body = error::whole_body(response).await?;
                match all_are_gone(&body, 1) {
                    true => Ok(()),
                    false => Err(Failure::new(
                        StoreErrorKind::Unavailable,
                        "not all segments of this large object could be deleted",
                    )),
                }
            }
            _ => Ok(()),
        }
    }
}

/// `{"Response Status": "200 OK", "Number Deleted": 2, "Number Not Found": 1, "Errors": []}`;
/// with nothing found the status is 404.
fn all_are_gone(body: &[u8], at_least: usize) -> bool {
    let Ok(said) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    let number = |name: &str| said[name].as_u64().unwrap_or(0) as usize;
    let errors = said["Errors"].as_array().map_or(0, Vec::len);
    errors == 0 && number("Number Deleted") + number("Number Not Found") >= at_least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_answer_is_believed_only_where_it_is_complete() {
        for (body, gone) in [
            (
                r#"  {"Number Deleted": 2, "Number Not Found": 1, "Errors": []}"#,
                true,
            ),
            (
                r#"{"Number Deleted": 2, "Number Not Found": 0, "Errors": []}"#,
                false,
            ),
            (
                r#"{"Number Deleted": 3, "Number Not Found": 0, "Errors": [["/c/o", "503"]]}"#,
                false,
            ),
            ("<html>", false),
        ] {
            assert_eq!(all_are_gone(body.as_bytes(), 3), gone, "{body}");
        }
    }
}
