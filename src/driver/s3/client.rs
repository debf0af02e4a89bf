//! The SDK's client, set up for S3 servers of any make.

use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;

use super::answers::ShortAnswers;
use super::direct::{Direct, REQUEST_TIMEOUT};
use super::keys::Keys;
use super::region;
use crate::config::{S3Auth, S3Config, Secret};
use crate::driver::StoreErrorKind;
use crate::driver::body::STALLED_AFTER;
use crate::driver::error::{Failure, has_scheme};
use crate::driver::proxy::{self, Asked};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The ways to the server.
pub(super) struct Connection {
    pub sdk: aws_sdk_s3::Client,
    pub direct: Direct,
    /// Where the requests go through a proxy: its host and port.
    pub proxy: Option<String>,
}

/// Makes the client. Nothing is sent yet, except for finding credentials with `iamauto`.
pub(super) async fn connect(config: &S3Config) -> Result<Connection, Failure> {
    let endpoint = config.url.as_ref().map(|url| url.expose());
    if let Some(url) = endpoint {
        has_scheme("url", url)?;
    }
    let region = Region::new(region::to_begin_with(config.region.as_deref()).await);
    let trusted = trust(config.ca_bundle.as_deref())?;
    let proxy = match endpoint {
        Some(url) => Asked::of(url).and_then(proxy::from_environment),
        None => proxy::from_environment(Asked {
            scheme: "https",
            host: &format!("{}.s3.{region}.amazonaws.com", config.bucket),
            port: None,
        }),
    };
    let credentials = credentials(config, &region, &trusted).await?;
    let connectors = Connectors::new(trusted, proxy.as_ref())?;
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(REQUEST_TIMEOUT);
    let direct = Direct::new(
        connectors.connector(Some(settings.build())),
        Keys::new(credentials.clone()),
        config.url.clone(),
    );
    let mut builder = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(credentials)
        .region(region)
        .http_client(connectors.client())
        .interceptor(ShortAnswers)
        // The SDK's default trailers were stored inside objects by one server and refused by
        // others; what we send carries a Content-MD5 instead.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Retries are made in one place, the engine, which reads the source again.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(REQUEST_TIMEOUT))
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                // Documents are watched by ourselves: to it a byte a second is enough.
                .download_enabled(false)
                .grace_period(STALLED_AFTER)
                .build(),
        );
    if let Some(url) = endpoint {
        // Servers of one's own rarely have a DNS name for every bucket.
        builder = builder.endpoint_url(url).force_path_style(true);
    }
    Ok(Connection {
        sdk: aws_sdk_s3::Client::from_conf(builder.build()),
        direct,
        proxy: proxy.as_ref().map(proxy::shown),
    })
}

async fn credentials(
    config: &S3Config,
    region: &Region,
    trusted: &TlsContext,
) -> Result<SharedCredentialsProvider, Failure> {
    let (access_key, secret_key) = match &config.auth {
        S3Auth::Keys {
            access_key,
            secret_key,
        } => (access_key.expose(), secret_key.expose()),
        S3Auth::IamAuto => return found_by_aws(region, trusted).await,
    };
    // Temporary keys are nothing without their token, for which the file has no option: where the
    // environment has the very same key, it has the token that belongs to it.
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let token = given("AWS_SESSION_TOKEN").or_else(|| given("AWS_SECURITY_TOKEN"));
    let token = token.filter(|_| given("AWS_ACCESS_KEY_ID").as_deref() == Some(access_key));
    let keys = Credentials::new(access_key, secret_key, token, None, "configuration");
    Ok(SharedCredentialsProvider::new(keys))
}

/// `iamauto`: environment, profile, web identity, container, instance.
async fn found_by_aws(
    region: &Region,
    trusted: &TlsContext,
) -> Result<SharedCredentialsProvider, Failure> {
    let mut chain = aws_config::defaults(BehaviorVersion::latest())
        // Those who hand out credentials are other hosts than the store.
        .http_client(
            Connectors {
                trusted: trusted.clone(),
                proxy: ProxyConfig::from_env(),
            }
            .client(),
        )
        .region(region.clone());
    if let Some(name) = region::profile_name() {
        chain = chain.profile_name(name);
    }
    chain.load().await.credentials_provider().ok_or_else(|| {
        let message = "iamauto: AWS's default chain offers no credentials here";
        Failure::new(StoreErrorKind::Credentials, message)
    })
}

/// What makes connections: whom they trust, and the proxy that they go through.
#[derive(Debug, Clone)]
struct Connectors {
    trusted: TlsContext,
    proxy: ProxyConfig,
}

impl Connectors {
    fn new(trusted: TlsContext, proxy: Option<&Secret>) -> Result<Self, Failure> {
        let Some(url) = proxy else {
            let proxy = ProxyConfig::disabled();
            return Ok(Self { trusted, proxy });
        };
        // What it says of a wrong one may hold the password.
        let proxy = ProxyConfig::all(url.expose()).map_err(|_| {
            let message = format!(
                "the proxy {:?} of the environment is no http:// or https:// URL: check \
                 HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
                proxy::shown(url)
            );
            Failure::new(StoreErrorKind::Misconfigured, message)
        })?;
        Ok(Self { trusted, proxy })
    }

    fn connector(&self, settings: Option<HttpConnectorSettings>) -> Connector {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(self.trusted.clone())
            .proxy_config(self.proxy.clone());
        connector.set_connector_settings(settings);
        connector.build()
    }

    fn client(self) -> SharedHttpClient {
        let client = aws_smithy_http_client::Builder::new();
        client.build_with_connector_fn(move |settings, _| self.connector(settings.cloned()))
    }
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
