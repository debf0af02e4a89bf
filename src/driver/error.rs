use std::error::Error;

use crate::model::{DriverKind, FailureClass};

/// A server's words are cut to this many characters.
pub(super) const SAID_MAX_CHARS: usize = 300;

/// No answer that is not a document is larger than this: a listing of a thousand of the longest
/// keys is a fifth of it.
pub(super) const SMALL_ANSWER_MAX_BYTES: usize = 8 << 20;

/// What went wrong at a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no such object.
    NotFound,
    /// The object is there but cannot be what was stored (bad base64, short body).
    Corrupt,
    /// The store does not take this object: its key or size is not for it.
    Unsupported,
    /// The store refuses this object to these credentials.
    Denied,
    /// The credentials are wrong.
    Credentials,
    /// The bucket, container or directory is not there.
    NoSuchPlace,
    /// No space, or a quota is used up.
    Full,
    /// The configuration cannot work.
    Misconfigured,
    /// Something else lies there than this write may replace.
    Conflict,
    /// The store asks for less.
    Throttled,
    /// Time-outs, resets, 5xx.
    Unavailable,
}

/// An operation on a store that failed. The message names the driver, the operation and the
/// object, never a secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{driver}: {operation} {subject}: {message}")]
pub struct StoreError {
    /// The driver.
    pub driver: DriverKind,
    /// What was tried: `get`, `put`, `delete`, …
    pub operation: &'static str,
    /// The object's URL, or the place's.
    pub subject: String,
    /// What went wrong, for the program.
    pub kind: StoreErrorKind,
    /// What went wrong, for people, with what to do where there is something to do.
    pub message: String,
}

impl StoreError {
    /// An error of one operation on one object or place.
    pub fn new(
        driver: DriverKind,
        operation: &'static str,
        subject: impl Into<String>,
        kind: StoreErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self {
            driver,
            operation,
            subject: subject.into(),
            kind,
            message: message.into(),
        }
    }

    /// What it means for the run.
    pub fn class(&self) -> FailureClass {
        match self.kind {
            StoreErrorKind::NotFound
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Unsupported
            | StoreErrorKind::Denied => FailureClass::Permanent,
            StoreErrorKind::Credentials
            | StoreErrorKind::NoSuchPlace
            | StoreErrorKind::Full
            | StoreErrorKind::Misconfigured => FailureClass::Fatal,
            StoreErrorKind::Throttled => FailureClass::Throttled,
            // Whoever looks again finds out what has come in between.
            StoreErrorKind::Conflict | StoreErrorKind::Unavailable => FailureClass::Retryable,
        }
    }

    /// Whether the same operation may succeed a little later.
    pub fn is_retryable(&self) -> bool {
        self.class().is_retryable()
    }
}

/// A failed request, not yet bound to an object: one request may carry many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub kind: StoreErrorKind,
    pub message: String,
}

impl Failure {
    pub(super) fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Binds it to an object or place.
    pub(super) fn at(self, driver: DriverKind, operation: &'static str, url: &str) -> StoreError {
        StoreError::new(driver, operation, url, self.kind, self.message)
    }

    /// A request that got no answer. `check` names what chooses the server and whom to trust.
    pub(super) fn not_answered(
        error: &(dyn Error + 'static),
        otherwise: StoreErrorKind,
        check: &str,
    ) -> Self {
        let cause = root_cause(error);
        match in_words_of_tls(&cause) {
            Some(why) => Self::new(
                StoreErrorKind::Misconfigured,
                format!("no TLS connection: {why}: check {check}"),
            ),
            None => Self::new(otherwise, in_words_of_http(&cause)),
        }
    }

    /// A body that broke off while it was read.
    pub(super) fn broken_body(cause: &str) -> Self {
        Self::new(
            StoreErrorKind::Unavailable,
            format!("the body broke off: {cause}"),
        )
    }

    /// An answer that should be a short one.
    pub(super) fn endless_answer() -> Self {
        Self::new(
            StoreErrorKind::Unavailable,
            format!(
                "the answer does not end: more than {} MiB of it have come, where a short one was \
                 asked for",
                SMALL_ANSWER_MAX_BYTES >> 20
            ),
        )
    }

    /// For work that was cancelled or panicked: nobody knows what became of it.
    pub(super) fn broken_off() -> Self {
        Self::new(StoreErrorKind::Unavailable, "broken off before its end")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.kind, error.message)
    }
}

/// What came of a request, bound to its object or place where it failed.
pub(super) trait At<T> {
    fn at(self, driver: DriverKind, operation: &'static str, url: &str) -> Result<T, StoreError>;
}

impl<T> At<T> for Result<T, Failure> {
    fn at(self, driver: DriverKind, operation: &'static str, url: &str) -> Result<T, StoreError> {
        self.map_err(|failure| failure.at(driver, operation, url))
    }
}

/// The innermost cause says what happened; the layers around it say only that something did.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().chars().take(SAID_MAX_CHARS).collect()
}

/// What the TLS library's sentences mean for whoever runs this. `None` where it is not about TLS.
fn in_words_of_tls(cause: &str) -> Option<String> {
    let known = [
        (
            "InvalidContentType",
            "the server does not speak TLS at this port: write http:// instead of https://, or its \
             TLS port",
        ),
        (
            "CaUsedAsEndEntity",
            "the server shows the certificate of an authority as its own: give it one that is no \
             authority's (basicConstraints CA:FALSE), or set up one that this authority has signed",
        ),
        (
            "UnknownIssuer",
            "the server's certificate is signed by an authority that is not trusted here",
        ),
        (
            "NotValidForName",
            "the server's certificate is for another host name",
        ),
        (
            "Expired",
            "the server's certificate has run out, or the clock here is wrong",
        ),
        (
            "NotValidYet",
            "the server's certificate is not valid yet, or the clock here is wrong",
        ),
        (
            "UnsupportedCertVersion",
            "the server's certificate is of an old version: give it one of version 3",
        ),
        (
            "HandshakeFailure",
            "the server agrees to no TLS version or cipher known here (TLS 1.2 and 1.3)",
        ),
        (
            "ProtocolVersion",
            "the server speaks no TLS version known here (TLS 1.2 and 1.3)",
        ),
        (
            "CertificateRequired",
            "the server asks for a certificate of ours, and none is configured",
        ),
        (
            "BadCertificate",
            "the other side refuses the certificate that is shown",
        ),
    ];
    if let Some((_, why)) = known.iter().find(|(word, _)| cause.contains(word)) {
        return Some((*why).to_owned());
    }
    cause.contains("certificate").then(|| cause.to_owned())
}

/// The same of the HTTP library's.
fn in_words_of_http(cause: &str) -> String {
    let known = [
        (
            "invalid HTTP version",
            "what answers there does not speak HTTP (or speaks TLS: write https://)",
        ),
        (
            "message head is too large",
            "the answer's headers do not end: what answers there is no such server",
        ),
        (
            "tls handshake eof",
            "the server broke the TLS handshake off: it may speak no TLS at this port (http://)",
        ),
        (
            "connection closed before message completed",
            "the server closed the connection without an answer",
        ),
    ];
    let found = known.iter().find(|(word, _)| cause.contains(word));
    found.map_or_else(|| cause.to_owned(), |(_, why)| (*why).to_owned())
}

/// Refuses a server's URL without a scheme: to connect to it would fail with a riddle.
pub(super) fn has_scheme(option: &str, url: &str) -> Result<(), Failure> {
    let scheme = url
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    let why = match scheme.as_deref() {
        Some("http" | "https") => return Ok(()),
        Some(_) => "begins with neither http:// nor https://",
        None => "has no scheme: put http:// or https:// in front of the host",
    };
    let message = format!("option {option}: the URL {why}");
    Err(Failure::new(StoreErrorKind::Misconfigured, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_libraries_are_told_in_words() {
        for (cause, words) in [
            (
                "received corrupt message of type InvalidContentType",
                "write http:// instead",
            ),
            (
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "basicConstraints",
            ),
            (
                "invalid peer certificate: UnknownIssuer",
                "not trusted here",
            ),
            (
                "invalid peer certificate: certificate expired: Expired",
                "has run out",
            ),
        ] {
            let error = std::io::Error::other(cause);
            let failure = Failure::not_answered(&error, StoreErrorKind::Unavailable, "the url");
            assert_eq!(failure.kind, StoreErrorKind::Misconfigured, "{failure:?}");
            assert!(failure.message.contains(words), "{failure:?}");
            assert!(failure.message.ends_with("check the url"), "{failure:?}");
        }
        let refused = std::io::Error::other("Connection refused (os error 111)");
        let failure = Failure::not_answered(&refused, StoreErrorKind::Unavailable, "the url");
        assert_eq!(failure.message, "Connection refused (os error 111)");
        assert_eq!(failure.kind, StoreErrorKind::Unavailable);
    }

    #[test]
    fn a_url_needs_its_scheme() {
        for good in ["http://h", "HTTPS://h:9000/p"] {
            assert_eq!(has_scheme("url", good), Ok(()));
        }
        for wrong in ["minio:9000", "s3.local", "ftp://h", ""] {
            let failure = has_scheme("url", wrong).unwrap_err();
            assert!(failure.message.contains("http://"), "{failure:?}");
        }
    }
}
