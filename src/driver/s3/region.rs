//! The region that requests are signed for: as configured, as boto3 finds it where nothing is
//! configured, and as the store's answers correct it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;

/// What AWS itself takes where nobody names one, and other servers don't look at.
const DEFAULT: &str = "us-east-1";

/// Where an answer names the bucket's region, even without a body.
pub(super) const REGION_HEADER: &str = "x-amz-bucket-region";

/// A name is put into the host of requests to AWS.
const NAME_MAX_BYTES: usize = 64;

/// The region to begin with.
pub(super) async fn to_begin_with(configured: Option<&str>) -> String {
    let given = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let environment = |name| std::env::var(name).ok().as_deref().and_then(given);
    let found = configured
        .and_then(given)
        .or_else(|| environment("AWS_REGION"))
        .or_else(|| environment("AWS_DEFAULT_REGION"));
    match found {
        Some(region) => region,
        None => {
            let mut profile = ProfileFileRegionProvider::builder();
            if let Some(name) = profile_name() {
                profile = profile.profile_name(name);
            }
            let region = profile.build().region().await;
            region.map_or(DEFAULT.to_owned(), |region| region.to_string())
        }
    }
}

/// The profile, by either of the names that boto3 knows.
pub(super) fn profile_name() -> Option<String> {
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    given("AWS_PROFILE").or_else(|| given("AWS_DEFAULT_PROFILE"))
}

/// A client for each bucket whose region has turned out to be another one.
#[derive(Debug)]
pub(super) struct Clients {
    first: Client,
    elsewhere: RwLock<HashMap<String, Client>>,
}

impl Clients {
    pub(super) fn new(first: Client) -> Self {
        Self {
            first,
            elsewhere: RwLock::default(),
        }
    }

    /// The client to ask about a bucket.
    pub(super) fn of(&self, bucket: &str) -> Client {
        let elsewhere = self.elsewhere.read();
        let elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        elsewhere.get(bucket).unwrap_or(&self.first).clone()
    }

    /// Takes to heart what an answer says of a bucket's region; whether that is news.
    pub(super) fn learn<E>(&self, bucket: &str, error: &SdkError<E, HttpResponse>) -> bool {
        region_in(error).is_some_and(|named| self.learn_region(bucket, named))
    }

    /// The same of a region that an answer names. The server stays the configured one: on AWS,
    /// and on AWS alone, its host follows from the region.
    pub(super) fn learn_region(&self, bucket: &str, named: &str) -> bool {
        let Some(named) = checked(named) else {
            return false;
        };
        let known = self.of(bucket);
        let current = known.config().region().map(Region::as_ref);
        if current == Some(&named) {
            return false;
        }
        tracing::info!(
            "s3: bucket {bucket:?} is in region {named} and not in {}: requests are signed for that",
            current.unwrap_or("none")
        );
        let config = known.config().to_builder().region(Region::new(named));
        let client = Client::from_conf(config.build());
        let elsewhere = self.elsewhere.write();
        let mut elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        elsewhere.insert(bucket.to_owned(), client);
        true
    }
}

/// The region that a refusal names: in a header, or in its words.
fn region_in<E>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    let answer = error.raw_response()?;
    if let Some(region) = answer.headers().get(REGION_HEADER) {
        return Some(region);
    }
    let words = std::str::from_utf8(answer.body().bytes()?).ok()?;
    let (_, rest) = words.split_once("<Region>")?;
    Some(rest.split_once("</Region>")?.0)
}

fn checked(region: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let fits = !region.is_empty() && region.len() <= NAME_MAX_BYTES;
    (fits && region.chars().all(allowed)).then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_can_put_another_host_into_a_region() {
        assert_eq!(checked("eu-central-1").as_deref(), Some("eu-central-1"));
        for wrong in ["", "evil.example/", "a.b", "a@b", "a b", &"a".repeat(65)] {
            assert_eq!(checked(wrong), None, "{wrong}");
        }
    }
}
