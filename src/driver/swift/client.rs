//! Requests to a Swift server: the connection, the token, and what the server says of itself.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::address::URLS;
use super::auth::{Access, Login};
use super::error;
use crate::config::SwiftConfig;
use crate::driver::body::watched;
use crate::driver::bucket::Address;
use crate::driver::bucket::encode;
use crate::driver::error::{Failure, has_scheme};
use crate::driver::proxy::{self, Asked};
use crate::driver::{Reader, StoreErrorKind, WRITE_DEADLINE};
use crate::model::DriverKind;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One request, up to its answer's first byte; the body of an answer is watched by itself.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer about the segments' container holds.
const SEGMENTS_KNOWN_FOR: Duration = Duration::from_secs(60);

pub(super) const CONTENT_TYPE: &str = "application/octet-stream";
/// What an object's mark is called on the wire.
const MARK_HEADER: &str = "x-object-meta-windlass-task";

/// What a server that does not tell has, by Swift's own defaults.
const DEFAULT_LIMITS: Limits = Limits {
    file_max_bytes: (5 << 30) + 2,
    name_max_bytes: 1024,
    bulk_deletes: 0,
    slo_segments: 1000,
};

/// A server's limits, as it tells them at `/info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of one object, or of one segment.
    pub file_max_bytes: u64,
    /// Bytes of an object's name in UTF-8.
    pub name_max_bytes: usize,
    /// Deletes in one request; 0 where the server has no such request.
    pub bulk_deletes: usize,
    /// Segments of one large object; 0 where the server has no static large objects.
    pub slo_segments: usize,
}

/// One container at one server.
#[derive(Debug)]
pub(super) struct Server {
    http: Client,
    login: Login,
    /// Held while logging in, so that all who were refused wait for one new token.
    access: Mutex<Option<Arc<Access>>>,
    limits: OnceCell<Limits>,
    /// Swift's own version, where the server tells it.
    pub version: OnceLock<String>,
    segments: Mutex<Option<(bool, Instant)>>,
    pub container: String,
    pub prefix: String,
    pub create_container: bool,
    /// What new objects are marked with.
    pub mark: OnceLock<String>,
}

/// What HEAD tells of an object.
pub(super) struct Head {
    pub size: u64,
    /// Of a plain object, where it is the MD5 of its bytes.
    pub md5: Option<String>,
    pub is_slo: bool,
    /// The ETag, whatever it is of.
    pub tag: Option<String>,
    /// The task that has written it, where it says so.
    pub mark: Option<String>,
}

impl Server {
    pub(super) fn new(config: &SwiftConfig) -> Result<Self, Failure> {
        Ok(Self {
            http: connect(config)?,
            login: Login::of(config)?,
            access: Mutex::new(None),
            limits: OnceCell::new(),
            version: OnceLock::new(),
            segments: Mutex::new(None),
            container: config.container.clone(),
            prefix: config.anchore_key_prefix.clone(),
            create_container: config.create_container,
            mark: OnceLock::new(),
        })
    }

    /// The token and the account; a new token where `refused` is still the one in use.
    async fn access(&self, refused: Option<&Access>) -> Result<Arc<Access>, Failure> {
        let mut slot = self.access.lock().await;
        if let Some(access) = &*slot
            && refused.is_none_or(|refused| refused.token != access.token)
        {
            return Ok(access.clone());
        }
        let login = self.login.log_in(&self.http);
        let access = tokio::time::timeout(REQUEST_TIMEOUT, login).await;
        let access = Arc::new(access.unwrap_or_else(|_| Err(no_answer()))?);
        *slot = Some(access.clone());
        Ok(access)
    }

    /// Forgets a token that the server no longer takes.
    async fn drop_access(&self, refused: &Access) {
        let mut slot = self.access.lock().await;
        if slot
            .as_ref()
            .is_some_and(|access| access.token == refused.token)
        {
            *slot = None;
        }
    }

    /// Sends a request below the account's URL, once more with a new token where the old one has
    /// run out. Any answer is an answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let access = self.access(None).await?;
        let response = self.send_as(&access, &method, path, limit, &with).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.login.is_renewable() {
            return Ok(response);
        }
        drop(response);
        let access = self.access(Some(&access)).await?;
        self.send_as(&access, &method, path, limit, &with).await
    }

    async fn send_as(
        &self,
        access: &Access,
        method: &Method,
        path: &str,
        limit: Duration,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let url = format!("{}{path}", access.storage_url);
        let request = self.http.request(method.clone(), url);
        let request = with(request).header("x-auth-token", access.token.expose());
        let sent = tokio::time::timeout(limit, request.send()).await;
        sent.map_err(|_| no_answer())?.map_err(error::not_answered)
    }

    pub(super) async fn limits(&self) -> Result<&Limits, Failure> {
        self.limits
            .get_or_try_init(|| async {
                let access = self.access(None).await?;
                let Some(url) = info_url(&access.storage_url) else {
                    return Ok(DEFAULT_LIMITS);
                };
                let sent = tokio::time::timeout(REQUEST_TIMEOUT, self.http.get(url).send()).await;
                let response = sent
                    .map_err(|_| no_answer())?
                    .map_err(error::not_answered)?;
                if !response.status().is_success() {
                    return Ok(DEFAULT_LIMITS);
                }
                let body = error::whole_body(response).await?;
                let Ok(info) = serde_json::from_slice::<Value>(&body) else {
                    return Ok(DEFAULT_LIMITS);
                };
                if let Some(version) = info["swift"]["version"].as_str() {
                    let _ = self.version.set(version.to_owned());
                }
                Ok(read_limits(&info))
            })
            .await
    }

    pub(super) async fn get(&self, url: &str) -> Result<Reader, Failure> {
        let address = URLS.address(url)?;
        let response = self
            .send(Method::GET, &address.path(), REQUEST_TIMEOUT, |request| {
                request
            })
            .await?;
        if response.status() == StatusCode::NOT_FOUND && address.bucket == self.container {
            // One status for both: an object that is gone, or all of them.
            if !self.has_container(&self.container).await? {
                return Err(error::no_container(&self.container));
            }
        }
        if response.status() != StatusCode::OK {
            return Err(error::refused(response).await);
        }
        let (size, tag) = (content_length(&response), etag(&response));
        let body = response.bytes_stream().map_err(error::broken_body);
        Ok(Reader {
            size,
            tag,
            stream: watched(body, DriverKind::Swift, url),
        })
    }

    /// One PUT. The server checks the MD5 against what arrived; its own of it.
    pub(super) async fn put(
        &self,
        address: &Address,
        body: Bytes,
        md5: [u8; 16],
        limit: Duration,
    ) -> Result<Option<String>, Failure> {
        let (md5, path) = (hex::encode(md5), address.path());
        let put = self.send(Method::PUT, &path, limit, |request| {
            self.marked(request)
                .header("content-type", CONTENT_TYPE)
                .header("etag", &md5)
                // Left out for an empty body otherwise, and Swift wants it.
                .header(CONTENT_LENGTH, body.len())
                .body(body.clone())
        });
        let response = put.await?;
        match response.status() {
            StatusCode::CREATED => Ok(etag(&response)),
            // 202: a newer write of the same name has won, and ours is gone.
            status if status.is_success() => Ok(None),
            StatusCode::NOT_FOUND => Err(error::no_container(&address.bucket)),
            _ => Err(error::refused(response).await),
        }
    }

    /// A request that makes an object, with the object's mark.
    pub(super) fn marked(&self, request: RequestBuilder) -> RequestBuilder {
        match self.mark.get() {
            Some(mark) => request.header(MARK_HEADER, mark),
            None => request,
        }
    }

    /// One PUT of a body that is still being made; the server's MD5 of what arrived.
    pub(super) async fn put_streamed(
        &self,
        address: &Address,
        body: reqwest::Body,
    ) -> Result<Option<String>, Failure> {
        let access = self.access(None).await?;
        let url = format!("{}{}", access.storage_url, address.path());
        let request = self.http.put(url).header("content-type", CONTENT_TYPE);
        let request = self.marked(request.header("x-auth-token", access.token.expose()));
        // No limit here: the sender watches that it goes on.
        let response = request
            .body(body)
            .send()
            .await
            .map_err(error::not_answered)?;
        match response.status() {
            status if status.is_success() => Ok(etag(&response)),
            StatusCode::NOT_FOUND => Err(error::no_container(&address.bucket)),
            StatusCode::UNAUTHORIZED if self.login.is_renewable() => {
                // What has been sent cannot be sent again from here.
                self.drop_access(&access).await;
                Err(Failure::new(
                    StoreErrorKind::Unavailable,
                    "the token ran out while the object was sent",
                ))
            }
            _ => Err(error::refused(response).await),
        }
    }

    pub(super) async fn head(&self, address: &Address) -> Result<Option<Head>, Failure> {
        let response = self
            .send(Method::HEAD, &address.path(), REQUEST_TIMEOUT, |request| {
                request
            })
            .await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(error::refused(response).await);
        }
        let has = |name: &str| response.headers().contains_key(name);
        let is_slo = has("x-static-large-object");
        let is_plain = !is_slo && !has("x-object-manifest");
        Ok(Some(Head {
            size: content_length(&response).unwrap_or(0),
            md5: etag(&response).filter(|_| is_plain),
            is_slo,
            tag: etag(&response),
            mark: response
                .headers()
                .get(MARK_HEADER)
                .and_then(|mark| mark.to_str().ok())
                .map(str::to_owned),
        }))
    }

    pub(super) async fn has_container(&self, container: &str) -> Result<bool, Failure> {
        let path = format!("/{}", encode(container));
        let response = self
            .send(Method::HEAD, &path, REQUEST_TIMEOUT, |request| request)
            .await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(error::refused(response).await),
        }
    }

    pub(super) async fn make_container(&self, container: &str) -> Result<(), Failure> {
        let path = format!("/{}", encode(container));
        let response = self
            .send(Method::PUT, &path, WRITE_DEADLINE, |request| {
                request.header(CONTENT_LENGTH, 0)
            })
            .await?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(error::refused(response).await),
        }
    }

    /// Whether large objects may be in this container: then their segments' container is there,
    /// for ours and for those of OpenStack's own tools.
    pub(super) async fn may_hold_segmented(&self, container: &str) -> Result<bool, Failure> {
        if container != self.container {
            return self.has_segments_of(container).await;
        }
        let mut known = self.segments.lock().await;
        if let Some((there, since)) = &*known
            && since.elapsed() < SEGMENTS_KNOWN_FOR
        {
            return Ok(*there);
        }
        let there = self.has_segments_of(container).await?;
        *known = Some((there, Instant::now()));
        Ok(there)
    }

    async fn has_segments_of(&self, container: &str) -> Result<bool, Failure> {
        match self.has_container(&segments_container(container)).await {
            // Who may not see it has nothing to delete there, either.
            Err(failure) if failure.kind == StoreErrorKind::Denied => Ok(false),
            answer => answer,
        }
    }

    pub(super) async fn forget_segments(&self) {
        *self.segments.lock().await = None;
    }

    pub(super) async fn is_empty(&self) -> Result<bool, Failure> {
        let path = format!(
            "/{}?format=json&limit=1&prefix={}",
            encode(&self.container),
            encode(&self.prefix)
        );
        let response = self
            .send(Method::GET, &path, REQUEST_TIMEOUT, |request| request)
            .await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Err(error::no_container(&self.container)),
            StatusCode::NO_CONTENT => return Ok(true),
            status if status.is_success() => {}
            _ => return Err(error::refused(response).await),
        }
        let body = error::whole_body(response).await?;
        let listed: Vec<Value> = serde_json::from_slice(&body).map_err(|_| {
            Failure::new(
                StoreErrorKind::Unavailable,
                "the listing cannot be understood",
            )
        })?;
        Ok(listed.is_empty())
    }
}

/// By the convention of OpenStack's own tools.
pub(super) fn segments_container(container: &str) -> String {
    format!("{container}_segments")
}

fn no_answer() -> Failure {
    Failure::new(StoreErrorKind::Unavailable, "no answer in time")
}

/// From the header: of an answer to HEAD the body's own length is 0.
fn content_length(response: &Response) -> Option<u64> {
    let length = response.headers().get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The ETag where it has the form of an MD5.
fn etag(response: &Response) -> Option<String> {
    let etag = response.headers().get("etag")?.to_str().ok()?;
    let etag = etag.trim_matches('"');
    let is_md5 = etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_md5.then(|| etag.to_ascii_lowercase())
}

/// `/info` lies at the root of the server.
fn info_url(storage_url: &str) -> Option<Url> {
    Url::parse(storage_url).ok()?.join("/info").ok()
}

fn read_limits(info: &Value) -> Limits {
    let number = |section: &str, name: &str| info[section][name].as_u64();
    let or = |value: Option<u64>, default: u64| value.filter(|n| *n > 0).unwrap_or(default);
    let name = or(
        number("swift", "max_object_name_length"),
        DEFAULT_LIMITS.name_max_bytes as u64,
    );
    Limits {
        file_max_bytes: or(
            number("swift", "max_file_size"),
            DEFAULT_LIMITS.file_max_bytes,
        ),
        name_max_bytes: name as usize,
        bulk_deletes: number("bulk_delete", "max_deletes_per_request").unwrap_or(0) as usize,
        slo_segments: number("slo", "max_manifest_segments").unwrap_or(0) as usize,
    }
}

fn connect(config: &SwiftConfig) -> Result<Client, Failure> {
    for option in ["auth", "os_auth_url", "os_storage_url"] {
        if let Some(url) = config.option(option) {
            has_scheme(option, url)?;
        }
    }
    let first = |names: &[&str]| names.iter().find_map(|name| config.option(name));
    let unusable = |what: &str, why: String| {
        let message = format!("option {what}: {why}");
        Failure::new(StoreErrorKind::Misconfigured, message)
    };
    let read = |what: &str, path: &str| {
        std::fs::read(path).map_err(|error| unusable(what, format!("cannot read {path}: {error}")))
    };
    // The one that all other connections use, unless the program has chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        // A redirected write would arrive as a read, and credentials go to no other host.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .proxy(reqwest::Proxy::custom(|url| {
            let asked = Asked {
                scheme: url.scheme(),
                host: url.host_str()?,
                port: url.port(),
            };
            let proxy = proxy::from_environment(asked)?;
            Url::parse(proxy.expose()).ok()
        }));
    if let Some(path) = first(&["cacert", "os_cacert"]) {
        let pem = read("cacert", path)?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(unusable("cacert", "has no certificate in PEM form".into()));
        }
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some(path) = first(&["cert", "os_cert"]) {
        let mut pem = read("cert", path)?;
        if let Some(path) = config.option("os_key") {
            pem.extend_from_slice(&read("os_key", path)?);
        }
        let identity = Identity::from_pem(&pem);
        let identity =
            identity.map_err(|_| unusable("cert", "no PEM certificate with its key".into()))?;
        builder = builder.identity(identity);
    }
    if config.option("insecure").is_some_and(is_true) {
        builder = builder.danger_accept_invalid_certs(true);
    }
    builder
        .build()
        .map_err(|error| unusable("cacert", error.without_url().to_string()))
}

/// As swiftclient reads its switches.
fn is_true(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "true" | "1" | "yes" | "on" | "t" | "y"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_come_from_info() {
        let info = json!({
            "swift": { "max_file_size": 100, "max_object_name_length": 50 },
            "bulk_delete": { "max_deletes_per_request": 10 },
        });
        let limits = read_limits(&info);
        assert_eq!((limits.file_max_bytes, limits.name_max_bytes), (100, 50));
        assert_eq!((limits.bulk_deletes, limits.slo_segments), (10, 0));
        let url = info_url("http://host:80/v1/AUTH_a").unwrap();
        assert_eq!(url.as_str(), "http://host/info");
    }
}
