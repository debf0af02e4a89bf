//! What a Swift server's answer means. Messages never hold tokens, keys or passwords.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, StatusCode};

use crate::driver::StoreErrorKind as Kind;
use crate::driver::body::STALLED_AFTER;
use crate::driver::error::{Failure, SAID_MAX_CHARS, SMALL_ANSWER_MAX_BYTES, root_cause};

/// A server's words are read no further than this many bytes.
const SAID_MAX_BYTES: usize = 16 << 10;

/// A request that got no answer. The URL is left out: it may hold user and password.
pub(super) fn not_answered(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    if error.is_timeout() {
        return Failure::new(Kind::Unavailable, "no answer in time");
    }
    Failure::not_answered(
        &error,
        Kind::Unavailable,
        "the auth URL, cacert and insecure",
    )
}

/// A body that broke off while it was read.
pub(super) fn broken_body(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let cause = match error.is_timeout() {
        true => "nothing more came in time".to_owned(),
        false => root_cause(&error),
    };
    Failure::broken_body(&cause)
}

/// A short body, whole: a listing, a manifest, an answer of the auth server. One that does not
/// come to its end soon, or grows and grows, is not waited for.
pub(super) async fn whole_body(response: Response) -> Result<Bytes, Failure> {
    whole_body_within(response, STALLED_AFTER).await
}

pub(super) async fn whole_body_within(
    mut response: Response,
    limit: Duration,
) -> Result<Bytes, Failure> {
    let read = async {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(broken_body)? {
            if body.len() + piece.len() > SMALL_ANSWER_MAX_BYTES {
                return Err(Failure::endless_answer());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    };
    match tokio::time::timeout(limit, read).await {
        Ok(body) => body,
        Err(_) => Err(Failure::broken_body("its end did not come in time")),
    }
}

/// Sorts an answer that is no success, reading a little of its words.
pub(super) async fn refused(response: Response) -> Failure {
    let status = response.status();
    answered(status, &words(response).await)
}

/// Sorts an answer by its status, and by its words where one status has two meanings.
pub(super) fn answered(status: StatusCode, words: &str) -> Failure {
    let kind = match status.as_u16() {
        401 => Kind::Credentials,
        403 => Kind::Denied,
        404 => Kind::NotFound,
        // Quotas have no status of their own.
        413 if words.to_ascii_lowercase().contains("quota") => Kind::Full,
        429 | 498 => Kind::Throttled,
        507 => Kind::Full,
        // A newer write of the same name, a body that came damaged or late: goes well again.
        408 | 409 | 422 | 425 | 499 => Kind::Unavailable,
        503 if words.to_ascii_lowercase().contains("rate limit") => Kind::Throttled,
        300..=399 => Kind::Misconfigured,
        400..=498 | 501 => Kind::Unsupported,
        _ => Kind::Unavailable,
    };
    let said = match (kind, words) {
        // The server's own words may hold what was sent.
        (Kind::Credentials, _) | (_, "") => format!("HTTP {}", status.as_u16()),
        _ => format!("{} (HTTP {})", words.trim_end_matches('.'), status.as_u16()),
    };
    let message = match kind {
        Kind::Credentials => format!(
            "the server refuses the credentials ({said}): check user, key and project, and that \
             they belong to this auth URL"
        ),
        Kind::Full => format!("{said}: free some space or raise the quota, then resume"),
        Kind::Misconfigured => format!("{said}: check the auth URL and the storage URL"),
        _ => said,
    };
    Failure::new(kind, message)
}

/// What a container that is not there means.
pub(super) fn no_container(container: &str) -> Failure {
    Failure::new(
        Kind::NoSuchPlace,
        format!("container {container:?} does not exist: create it, or set create_container: true"),
    )
}

async fn words(mut response: Response) -> String {
    let mut body = Vec::new();
    let read = async {
        while body.len() < SAID_MAX_BYTES
            && let Ok(Some(piece)) = response.chunk().await
        {
            body.extend_from_slice(&piece);
        }
    };
    // The status says enough where its words do not come.
    let _ = tokio::time::timeout(STALLED_AFTER, read).await;
    plain_words(&String::from_utf8_lossy(&body))
}

/// Swift answers in a line of HTML, `<html><h1>Not Found</h1><p>The resource …</p></html>`.
fn plain_words(html: &str) -> String {
    let mut plain = String::new();
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' => {
                in_tag = false;
                plain.push(' ');
            }
            _ if !in_tag => plain.push(c),
            _ => {}
        }
    }
    let words: Vec<_> = plain.split_whitespace().collect();
    words.join(" ").chars().take(SAID_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted() {
        for (status, words, kind) in [
            (401, "", Kind::Credentials),
            (403, "Forbidden", Kind::Denied),
            (404, "", Kind::NotFound),
            (409, "", Kind::Unavailable),
            (413, "Upload exceeds quota.", Kind::Full),
            (413, "Your request is too large.", Kind::Unsupported),
            (422, "", Kind::Unavailable),
            (429, "", Kind::Throttled),
            (498, "Rate Limited", Kind::Throttled),
            (499, "", Kind::Unavailable),
            (500, "", Kind::Unavailable),
            (503, "", Kind::Unavailable),
            (507, "", Kind::Full),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(answered(status, words).kind, kind, "{status} {words}");
        }
    }

    #[test]
    fn refused_credentials_are_not_repeated() {
        let said = answered(StatusCode::UNAUTHORIZED, "no user hunter2").message;
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_page_is_read_as_words() {
        let page = "<html><h1>Not Found</h1><p>The resource could not be found.</p></html>";
        assert_eq!(
            plain_words(page),
            "Not Found The resource could not be found."
        );
    }
}
