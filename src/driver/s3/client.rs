//! The SDK's client, set up for S3 servers of any make.

use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use crate::config::{S3Auth, S3Config};
use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

/// Where the configuration names none: what AWS itself takes, and other servers don't look at.
const DEFAULT_REGION: &str = "us-east-1";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One request, up to its answer's first byte; the body of an answer is watched by itself.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may stand still.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// Makes the client. Nothing is sent yet, except for finding credentials with `iamauto`.
pub(super) async fn connect(config: &S3Config) -> Result<aws_sdk_s3::Client, Failure> {
    let region = config.region.as_deref().filter(|region| !region.is_empty());
    let region = Region::new(region.unwrap_or(DEFAULT_REGION).to_owned());
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(trust(config.ca_bundle.as_deref())?)
        .build_https();
    let credentials = match &config.auth {
        S3Auth::Keys {
            access_key,
            secret_key,
        } => SharedCredentialsProvider::new(Credentials::new(
            access_key.expose(),
            secret_key.expose(),
            None,
            None,
            "configuration",
        )),
        S3Auth::IamAuto => {
            let chain = aws_config::defaults(BehaviorVersion::latest())
                .http_client(http.clone())
                .region(region.clone());
            let found = chain.load().await.credentials_provider();
            found.ok_or_else(|| {
                let message = "iamauto: AWS's default chain offers no credentials here";
                Failure::new(StoreErrorKind::Credentials, message)
            })?
        }
    };
    let mut builder = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .http_client(http)
        .credentials_provider(credentials)
        // The SDK's default trailers were stored inside objects by one server and refused by
        // others; what we send carries a Content-MD5 instead.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Retries are made in one place, the engine, which reads the source again.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(REQUEST_TIMEOUT))
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALLED_AFTER)
                .build(),
        );
    if let Some(url) = &config.url {
        // Servers of one's own rarely have a DNS name for every bucket.
        builder = builder.endpoint_url(url.expose()).force_path_style(true);
    }
    Ok(aws_sdk_s3::Client::from_conf(builder.build()))
}

/// The system's certificates, and those of a private authority where one is named.
fn trust(ca_bundle: Option<&Path>) -> Result<TlsContext, Failure> {
    let mut store = TrustStore::default();
    if let Some(path) = ca_bundle {
        let unusable = |why: String| {
            let message = format!("--ca-bundle {}: {why}", path.display());
            Failure::new(StoreErrorKind::Misconfigured, message)
        };
        let pem = std::fs::read(path).map_err(|error| unusable(format!("cannot read: {error}")))?;
        // Asked beforehand: the SDK panics where there is none.
        match reqwest::Certificate::from_pem_bundle(&pem) {
            Ok(found) if !found.is_empty() => {}
            _ => return Err(unusable("has no certificate in PEM form".into())),
        }
        store = store.with_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(store).build();
    context.map_err(|error| Failure::new(StoreErrorKind::Misconfigured, error.to_string()))
}

/// The limits of one request that may take this long.
pub(super) fn timeouts(request: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(request)
        .operation_attempt_timeout(request)
        .build()
}
