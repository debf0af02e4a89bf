//! What an S3 server's answer means. Messages never hold keys or signatures.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use http_body_util::LengthLimitError;

use crate::driver::StoreErrorKind as Kind;
use crate::driver::error::{Failure, SAID_MAX_CHARS};

/// Sorts what became of a request.
pub(super) fn failure<E>(error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match &error {
        // It was done, or not: only the store can tell, when it is asked again.
        SdkError::ServiceError(_) if is_unreadable(&error) => unreadable(&error),
        SdkError::ServiceError(said) => answered(
            said.raw().status().as_u16(),
            said.err().code().unwrap_or_default(),
            said.err().message().unwrap_or_default(),
        ),
        SdkError::ResponseError(_) if is_endless(&error) => Failure::endless_answer(),
        // An answer that is no S3 answer: a proxy's page, or one that was cut off.
        SdkError::ResponseError(said) => match said.raw().status().as_u16() {
            status @ 400.. => answered(status, "", ""),
            _ => unreadable(&error),
        },
        SdkError::TimeoutError(_) => not_in_time(),
        SdkError::ConstructionFailure(_) => not_sent_or(&error, Kind::Unsupported),
        _ => not_sent(&error),
    }
}

/// The same of a request that writes an object. Where the bucket is there, a write can miss
/// nothing: "not found" then says that this key leads nowhere at this server (moto: one with a
/// line break), and not that the object is missing.
pub(super) fn write_failure<E>(error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    as_of_a_write(failure(error))
}

pub(super) fn as_of_a_write(failure: Failure) -> Failure {
    match failure.kind {
        Kind::NotFound => Failure::new(
            Kind::Unsupported,
            format!(
                "{}: the server takes nothing under this key",
                failure.message
            ),
        ),
        _ => failure,
    }
}

/// Whether the server does not know the operation at all.
pub(super) fn is_not_implemented<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    SdkError<E, HttpResponse>: ProvideErrorMetadata,
{
    let status = error.raw_response().map(|said| said.status().as_u16());
    let known = [
        "NotImplemented",
        "MethodNotAllowed",
        "UnsupportedOperation",
        "NotSupported",
        "OperationNotSupported",
    ];
    matches!(status, Some(405 | 501)) || error.code().is_some_and(|code| known.contains(&code))
}

/// Whether the server says that all went well, in an answer that is not what S3 answers: moto
/// calls a list of parts by another name.
pub(super) fn is_unreadable<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata,
{
    matches!(error, SdkError::ServiceError(said)
        if said.raw().status().is_success() && said.err().code().is_none())
}

fn unreadable<E>(error: &SdkError<E, HttpResponse>) -> Failure {
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let message = format!("the answer (HTTP {status}) cannot be understood");
    Failure::new(Kind::Unavailable, message)
}

fn is_endless(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(cause) = at {
        if cause.is::<LengthLimitError>() {
            return true;
        }
        at = cause.source();
    }
    false
}

/// Sorts an answer by its code, and by its status where the code is none of the known ones.
pub(super) fn answered(status: u16, code: &str, message: &str) -> Failure {
    let kind = by_code(code).unwrap_or_else(|| by_status(status));
    Failure::new(kind, advise(kind, code, &said(status, code, message)))
}

fn by_code(code: &str) -> Option<Kind> {
    Some(match code {
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "InvalidSecurity"
        | "TokenRefreshRequired"
        | "InvalidClientTokenId" => Kind::Credentials,
        "AccessDenied" | "AllAccessDisabled" | "InvalidObjectState" => Kind::Denied,
        "NoSuchBucket" => Kind::NoSuchPlace,
        "NoSuchKey" | "NotFound" => Kind::NotFound,
        "PreconditionFailed" | "ConditionalRequestConflict" => Kind::Conflict,
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "TooManyRequests"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "BandwidthLimitExceeded" => Kind::Throttled,
        "RequestTimeTooSkewed"
        | "RequestExpired"
        | "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException"
        | "InvalidBucketName"
        | "BucketAlreadyExists" => Kind::Misconfigured,
        "QuotaExceeded"
        | "StorageQuotaExceeded"
        | "BucketQuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage"
        | "StorageFull" => Kind::Full,
        "KeyTooLongError"
        | "KeyTooLong"
        | "InvalidObjectName"
        | "XMinioInvalidObjectName"
        | "InvalidURI"
        | "ExistingObjectIsDirectory"
        | "ExistingObjectIsFile"
        | "XMinioParentIsObject"
        | "EntityTooLarge" => Kind::Unsupported,
        // The bytes were damaged or cut on the way, or an upload is no longer known: all of
        // them go well when the whole is sent again.
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "IncompleteBody"
        | "RequestTimeout"
        | "NoSuchUpload"
        | "InvalidPart"
        | "OperationAborted"
        | "InternalError"
        | "ServiceUnavailable" => Kind::Unavailable,
        _ => return None,
    })
}

fn by_status(status: u16) -> Kind {
    match status {
        301 | 307 | 308 => Kind::Misconfigured,
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        408 | 409 | 425 => Kind::Unavailable,
        412 => Kind::Conflict,
        429 => Kind::Throttled,
        507 => Kind::Full,
        400..=499 | 501 => Kind::Unsupported,
        _ => Kind::Unavailable,
    }
}

fn said(status: u16, code: &str, message: &str) -> String {
    let message: String = message.chars().take(SAID_MAX_CHARS).collect();
    match (code, message.as_str()) {
        ("", _) => format!("HTTP {status}"),
        (code, "") => format!("{code} (HTTP {status})"),
        (code, message) => format!("{code}: {} (HTTP {status})", message.trim_end_matches('.')),
    }
}

fn advise(kind: Kind, code: &str, said: &str) -> String {
    match (kind, code) {
        // The server's own words may hold the key.
        (Kind::Credentials, code) => format!(
            "the server refuses the credentials ({code}): \
             check access_key and secret_key, or what iamauto finds"
        ),
        (_, "RequestTimeTooSkewed" | "RequestExpired") => {
            format!("{said}: the clock of this machine, or of the server, is wrong")
        }
        (
            _,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException",
        ) => format!("{said}: check region and url"),
        (_, "InvalidObjectState") => {
            format!("{said}: the object is archived; restore it, then resume")
        }
        (Kind::Full, _) => format!("{said}: free some space or raise the quota, then resume"),
        (Kind::NoSuchPlace, _) => {
            format!("{said}: create the bucket, or set create_bucket: true")
        }
        _ => said.to_string(),
    }
}

pub(super) fn not_in_time() -> Failure {
    Failure::new(Kind::Unavailable, "no answer in time")
}

/// A request that has not come to the server, or got no answer there.
pub(super) fn not_sent(error: &(dyn Error + 'static)) -> Failure {
    not_sent_or(error, Kind::Unavailable)
}

fn not_sent_or(error: &(dyn Error + 'static), otherwise: Kind) -> Failure {
    let mut at = Some(error);
    while let Some(cause) = at {
        if cause.is::<CredentialsError>() {
            let message = "no credentials: iamauto is set, and AWS's default chain (environment, \
                           profile, instance role) offers none here";
            return Failure::new(Kind::Credentials, message);
        }
        at = cause.source();
    }
    Failure::not_answered(error, otherwise, "url and the certificates trusted here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_code_then_by_status() {
        for (status, code, kind) in [
            (403, "InvalidAccessKeyId", Kind::Credentials),
            (403, "SignatureDoesNotMatch", Kind::Credentials),
            (403, "AccessDenied", Kind::Denied),
            (403, "", Kind::Denied),
            (404, "NoSuchBucket", Kind::NoSuchPlace),
            (404, "NoSuchKey", Kind::NotFound),
            (503, "SlowDown", Kind::Throttled),
            (429, "", Kind::Throttled),
            (503, "ServiceUnavailable", Kind::Unavailable),
            (503, "", Kind::Unavailable),
            (500, "InternalError", Kind::Unavailable),
            (403, "RequestTimeTooSkewed", Kind::Misconfigured),
            (507, "XMinioStorageFull", Kind::Full),
            (507, "", Kind::Full),
            (403, "QuotaExceeded", Kind::Full),
            (400, "XMinioAdminBucketQuotaExceeded", Kind::Full),
            (400, "KeyTooLongError", Kind::Unsupported),
            (400, "", Kind::Unsupported),
            (400, "BadDigest", Kind::Unavailable),
            (404, "NoSuchUpload", Kind::Unavailable),
            (412, "PreconditionFailed", Kind::Conflict),
            (409, "ConditionalRequestConflict", Kind::Conflict),
            (412, "", Kind::Conflict),
            (501, "NotImplemented", Kind::Unsupported),
        ] {
            assert_eq!(answered(status, code, "").kind, kind, "{status} {code}");
        }
    }

    #[test]
    fn a_write_that_is_answered_by_not_found_is_refused() {
        for (code, kind) in [
            ("", Kind::Unsupported),
            ("NoSuchKey", Kind::Unsupported),
            ("NoSuchBucket", Kind::NoSuchPlace),
            ("NoSuchUpload", Kind::Unavailable),
        ] {
            let failure = as_of_a_write(answered(404, code, ""));
            assert_eq!(failure.kind, kind, "{code}");
        }
    }

    #[test]
    fn refused_credentials_are_not_repeated() {
        let words = "The key AKIA123 does not exist";
        let message = answered(403, "InvalidAccessKeyId", words).message;
        assert!(!message.contains("AKIA"), "{message}");
        assert!(message.contains("check access_key"), "{message}");
    }
}
