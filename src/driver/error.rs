use std::error::Error;

use crate::model::{DriverKind, FailureClass};

/// A server's words are cut to this many characters.
pub(super) const SAID_MAX_CHARS: usize = 300;

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
            StoreErrorKind::Unavailable => FailureClass::Retryable,
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
        match cause.contains("certificate") {
            true => Self::new(
                StoreErrorKind::Misconfigured,
                format!("no TLS connection: {cause}: check {check}"),
            ),
            false => Self::new(otherwise, cause),
        }
    }

    /// A body that broke off while it was read.
    pub(super) fn broken_body(cause: &str) -> Self {
        Self::new(
            StoreErrorKind::Unavailable,
            format!("the body broke off: {cause}"),
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
