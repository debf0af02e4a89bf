//! PUT, GET and HEAD of single objects, built from the SDK's own lower crates.
//!
//! They are nearly all that a migration sends, and the SDK's orchestrator costs more than such a
//! request itself does. What is seldom (buckets, listings, uploads in parts, batches of deletes)
//! goes through the SDK, with the same settings and into the same table of errors.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::endpoint::Endpoint;
use aws_smithy_xml::decode::{Document, try_data};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::keys::Keys;
use super::{error, region};
use crate::config::EndpointUrl;
use crate::driver::StoreErrorKind;
use crate::driver::bucket::{Address, encode_path};
use crate::driver::error::{Failure, SMALL_ANSWER_MAX_BYTES, root_cause};

/// One request, up to its answer's first byte; the body of an answer is watched by itself.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A request about one object.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub method: &'static str,
    pub address: &'a Address,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// A success. The body of a document has yet to be read; another's has been, so that its
/// connection can be kept.
pub(super) type Answer = HttpResponse;

/// Signs and sends requests, over connections that are kept.
#[derive(Debug)]
pub(super) struct Direct {
    connector: Connector,
    keys: Keys,
    /// `None`: AWS.
    endpoint: Option<EndpointUrl>,
    /// Where the objects of a bucket are reached, by the SDK's own rules.
    origins: RwLock<HashMap<String, Arc<Origin>>>,
    /// What the server calls itself.
    server: OnceLock<String>,
}

/// Where the objects of a bucket are reached.
#[derive(Debug)]
struct Origin {
    region: String,
    /// The URL up to the slash before the key.
    base: String,
    /// The region that requests are signed for; nearly always the one above.
    signed_for: String,
}

/// An answer that is no success.
struct Refusal {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
}

impl Direct {
    pub(super) fn new(connector: Connector, keys: Keys, endpoint: Option<EndpointUrl>) -> Self {
        Self {
            connector,
            keys,
            endpoint,
            origins: RwLock::default(),
            server: OnceLock::new(),
        }
    }

    /// What the server calls itself, where it has answered and does.
    pub(super) fn server(&self) -> Option<&String> {
        self.server.get()
    }

    /// Sends a request to the bucket in its region, and once more to the one that the answer names
    /// where it names another.
    pub(super) async fn send(
        &self,
        regions: &region::Clients,
        request: &Request<'_>,
    ) -> Result<Answer, Failure> {
        let bucket = &request.address.bucket;
        let mut refusal = match self.send_to(&regions.of(bucket), request).await? {
            Ok(answer) => return Ok(answer),
            Err(refusal) => refusal,
        };
        let named = refusal.region.take();
        if named.is_some_and(|named| regions.learn_region(bucket, &named)) {
            match self.send_to(&regions.of(bucket), request).await? {
                Ok(answer) => return Ok(answer),
                Err(second) => refusal = second,
            }
        }
        let Refusal {
            status,
            code,
            message,
            ..
        } = refusal;
        Err(error::answered(status, &code, &message))
    }

    async fn send_to(
        &self,
        sdk: &aws_sdk_s3::Client,
        request: &Request<'_>,
    ) -> Result<Result<Answer, Refusal>, Failure> {
        let region = sdk.config().region().map_or("", |region| region.as_ref());
        let origin = self.origin(&request.address.bucket, region).await?;
        let signed = self.signed(&origin, request).await?;
        let exchange = async {
            let answer = self.connector.call(signed).await;
            let mut answer = answer.map_err(|error| error::not_sent(&error))?;
            if let Some(server) = answer.headers().get("server") {
                let _ = self.server.set(server.to_owned());
            }
            if !answer.status().is_success() {
                return Refusal::read(answer).await.map(Err);
            }
            if request.method != "GET" {
                small_body(answer.take_body()).await?;
            }
            Ok(Ok(answer))
        };
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await;
        answer.unwrap_or_else(|_| Err(error::not_in_time()))
    }

    async fn origin(&self, bucket: &str, region: &str) -> Result<Arc<Origin>, Failure> {
        {
            let known = self.origins.read();
            let known = known.unwrap_or_else(PoisonError::into_inner);
            if let Some(origin) = known.get(bucket).filter(|known| known.region == region) {
                return Ok(origin.clone());
            }
        }
        let origin = Arc::new(self.resolve(bucket, region).await?);
        let known = self.origins.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.insert(bucket.to_owned(), origin.clone());
        Ok(origin)
    }

    async fn resolve(&self, bucket: &str, region: &str) -> Result<Origin, Failure> {
        let unusable = |why: &str| {
            let message = format!("no request can be sent to bucket {bucket:?}: {why}");
            Failure::new(StoreErrorKind::Misconfigured, message)
        };
        let params = Params::builder()
            .bucket(bucket)
            .region(region)
            .set_endpoint(self.endpoint.as_ref().map(|url| url.expose().to_owned()))
            .force_path_style(self.endpoint.is_some())
            .build()
            .map_err(|error| unusable(&error.to_string()))?;
        let resolver = DefaultResolver::new();
        let endpoint = resolver.resolve_endpoint(&params).await;
        let endpoint = endpoint.map_err(|error| unusable(&root_cause(&*error)))?;
        let signed_for = signing_region(&endpoint, region).ok_or_else(|| {
            unusable("it is a directory bucket or an access point of many regions, which windlass does not know")
        })?;
        Ok(Origin {
            region: region.to_owned(),
            base: format!("{}/", endpoint.url().trim_end_matches('/')),
            signed_for,
        })
    }

    async fn signed(&self, origin: &Origin, request: &Request<'_>) -> Result<HttpRequest, Failure> {
        let key = encode_path(&request.address.key);
        let url = format!("{}{key}", origin.base);
        let identity = self.keys.get().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&origin.signed_for)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(settings())
            .build()
            .map_err(|error| unsendable(&error))?;
        // The MD5 of a body is among the signed headers and thereby binds it.
        let body = match request.body.is_empty() {
            true => SignableBody::empty(),
            false => SignableBody::UnsignedPayload,
        };
        let headers = request.headers.iter();
        let headers = headers.map(|(name, value)| (*name, value.as_str()));
        let signable = SignableRequest::new(request.method, url.as_str(), headers, body);
        let signable = signable.map_err(|error| unsendable(&error))?;
        let signed = sign(signable, &params.into()).map_err(|error| unsendable(&error))?;
        let (signature, _) = signed.into_parts();

        let mut built = HttpRequest::new(SdkBody::from(request.body.clone()));
        let method = built.set_method(request.method);
        method.map_err(|error| unsendable(&error))?;
        built.set_uri(url).map_err(|error| unsendable(&error))?;
        let mut add = |name: &'static str, value: &str| {
            let added = built.headers_mut().try_insert(name, value.to_owned());
            added.map(drop).map_err(|error| unsendable(&error))
        };
        add("user-agent", USER_AGENT)?;
        for (name, value) in &request.headers {
            add(name, value)?;
        }
        let (signature, _) = signature.into_parts();
        for header in signature {
            add(header.name(), header.value())?;
        }
        Ok(built)
    }
}

/// The region to sign for; `None` where the endpoint takes no ordinary signature.
fn signing_region(endpoint: &Endpoint, otherwise: &str) -> Option<String> {
    let Some(schemes) = endpoint.properties().get("authSchemes") else {
        return Some(otherwise.to_owned());
    };
    let ordinary = schemes.as_array()?.iter().find_map(|scheme| {
        let scheme = scheme.as_object()?;
        let text = |name: &str| scheme.get(name).and_then(|value| value.as_string());
        let is_ordinary = text("name") == Some("sigv4") && text("signingName") == Some(SERVICE);
        is_ordinary.then(|| text("signingRegion").unwrap_or(otherwise))
    })?;
    Some(ordinary.to_owned())
}

const SERVICE: &str = "s3";
const USER_AGENT: &str = concat!("windlass/", env!("CARGO_PKG_VERSION"));

/// As S3 wants it: paths are encoded once, and taken as they are.
fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings
}

fn unsendable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let message = format!("no request can be made of it: {}", root_cause(error));
    Failure::new(StoreErrorKind::Unsupported, message)
}

impl Refusal {
    async fn read(mut answer: HttpResponse) -> Result<Self, Failure> {
        let status = answer.status().as_u16();
        let header = answer.headers().get(region::REGION_HEADER);
        let header = header.map(str::to_owned);
        let body = small_body(answer.take_body()).await?;
        let words = std::str::from_utf8(&body).unwrap_or_default();
        let mut said = Self {
            status,
            code: String::new(),
            message: String::new(),
            region: None,
        };
        let mut named = None;
        let mut document = Document::new(words);
        if let Ok(mut root) = document.root_element() {
            while let Some(mut element) = root.next_tag() {
                let name = element.start_el().local().to_owned();
                let Ok(text) = try_data(&mut element) else {
                    break;
                };
                match name.as_str() {
                    "Code" => said.code = text.into_owned(),
                    "Message" => said.message = text.into_owned(),
                    "Region" => named = Some(text.into_owned()),
                    _ => {}
                }
            }
        }
        said.region = header.or(named);
        Ok(said)
    }
}

/// The body of an answer that should be a short one.
async fn small_body(body: SdkBody) -> Result<Bytes, Failure> {
    let body = Limited::new(body, SMALL_ANSWER_MAX_BYTES);
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::endless_answer()),
        Err(error) => Err(Failure::broken_body(&root_cause(&*error))),
    }
}
