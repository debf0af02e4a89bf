//! Deletes, many at a time where the server takes them so.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::address::Address;
use super::client::Server;
use super::error;
use crate::batch::BatchLimits;
use crate::driver::error::Failure;
use crate::driver::{StoreErrorKind, WRITE_DEADLINE};

/// A server works through a bulk delete two by two, and must be done within the deadline.
pub(super) const LIMITS: BatchLimits = BatchLimits {
    requests: 500,
    weight: usize::MAX,
    in_flight: 4,
};

const SINGLES_IN_FLIGHT: usize = 16;

/// Deletes objects; one answer for each, in order.
pub(super) async fn batch(
    server: Arc<Server>,
    addresses: Vec<Address>,
) -> Vec<Result<(), Failure>> {
    let mut answers = vec![Ok(()); addresses.len()];
    let mut singles = Vec::new();
    for (container, members) in by_container(&addresses) {
        match server.may_hold_segmented(container).await {
            // A bulk delete would leave the segments of a large object behind.
            Ok(true) => singles.extend(members.into_iter().map(|at| (at, true))),
            Ok(false) => {
                let named: Vec<_> = members.iter().map(|&at| &addresses[at]).collect();
                if !server.delete_many(&named).await {
                    singles.extend(members.into_iter().map(|at| (at, false)));
                }
            }
            Err(failure) => members
                .into_iter()
                .for_each(|at| answers[at] = Err(failure.clone())),
        }
    }
    let deleted: Vec<_> = stream::iter(singles)
        .map(async |(at, may_be_segmented)| {
            let deleted = server.delete_single(&addresses[at], may_be_segmented);
            (at, deleted.await)
        })
        .buffer_unordered(SINGLES_IN_FLIGHT)
        .collect()
        .await;
    for (at, answer) in deleted {
        answers[at] = answer;
    }
    answers
}

fn by_container(addresses: &[Address]) -> HashMap<&str, Vec<usize>> {
    let mut containers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, address) in addresses.iter().enumerate() {
        containers.entry(&address.container).or_default().push(at);
    }
    containers
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
