//! Servers whose answers do not come to an end: each is given up with a word of what was wrong, long
//! before memory or patience is used up.

use std::time::{Duration, Instant};

use windlass::config::{
    Compression, DriverConfig, EndpointUrl, S3Auth, S3Config, Secret, StoreConfig, SwiftConfig,
};
use windlass::database::{ConnectOptions, Database, DatabaseUrl};
use windlass::driver::{self, Driver, Fence, StoreError, StoreErrorKind};
use windlass::model::ObjectKey;

use crate::support::raw_server::{Answer, Asked, RawServer};

/// What may be in flight, buffers of both ends included, and the largest short answer.
const SENT_MAX_BYTES: u64 = 40 << 20;
const LIMIT: Duration = Duration::from_secs(15);

pub async fn open(config: DriverConfig) -> std::sync::Arc<dyn Driver> {
    let url = DatabaseUrl::Sqlite {
        path: ":memory:".into(),
    };
    let options = ConnectOptions {
        create: true,
        ..ConnectOptions::default()
    };
    let database = Database::connect(&url, &options).await.expect("SQLite");
    let store = StoreConfig {
        compression: Compression::default(),
        driver: config,
        notices: Vec::new(),
    };
    let opened = driver::open(&store, &database, Fence::Open).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

pub fn s3_at(url: &str) -> S3Config {
    S3Config {
        auth: S3Auth::Keys {
            access_key: Secret::new("key"),
            secret_key: Secret::new("secret"),
        },
        url: Some(EndpointUrl::new(url)),
        region: Some("us-east-1".into()),
        bucket: "bucket".into(),
        create_bucket: false,
        prefix: String::new(),
        ca_bundle: None,
    }
}

async fn s3(server: &RawServer) -> std::sync::Arc<dyn Driver> {
    open(DriverConfig::S3(s3_at(&server.url))).await
}

async fn swift(server: &RawServer) -> std::sync::Arc<dyn Driver> {
    let option = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
    let auth = format!("{}/auth/v1.0", server.url);
    let options = [
        option("auth", &auth),
        option("user", "account:user"),
        option("key", "hunter2"),
    ];
    let config = SwiftConfig {
        container: "container".into(),
        create_container: false,
        anchore_key_prefix: String::new(),
        options: options.into(),
    };
    open(DriverConfig::Swift(config)).await
}

/// Awaits a failure, and says what it was.
async fn failure<T>(asked: impl Future<Output = Result<T, StoreError>>) -> StoreError {
    let began = Instant::now();
    let answer = tokio::time::timeout(LIMIT, asked).await;
    let answer = answer.unwrap_or_else(|_| panic!("not given up within {LIMIT:?}"));
    let error = answer.err().expect("no sound answer has come");
    println!("{:?}: {error}", began.elapsed());
    error
}

/// All of a document, by its catalog's size.
async fn read(driver: &dyn Driver, size: u64) -> Result<(), StoreError> {
    let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
    let reader = driver.get(&url, Some(size)).await?;
    let reader = reader.at_most(size, driver.kind(), &url);
    reader.bytes().await.map(drop)
}

const XML: &str = "200 OK\r\ncontent-type: application/xml";

#[tokio::test(flavor = "multi_thread")]
async fn s3_answers_without_an_end_are_given_up() {
    let server = RawServer::start(|asked: &Asked| match asked {
        Asked { method, target, .. } if method == "GET" && target.contains("list-type") => {
            Answer::Endless(XML.into(), "<x/>")
        }
        Asked { target, .. } if target.contains("uploads") => Answer::EndlessHeaders,
        Asked { method, .. } if method == "GET" => {
            Answer::Endless("200 OK\r\netag: \"e\"".into(), "document")
        }
        Asked { method, .. } if method == "DELETE" => {
            Answer::Endless("403 Forbidden".into(), "<Error>")
        }
        Asked { method, .. } if method == "HEAD" => Answer::EndlessHeaders,
        _ => Answer::whole("200 OK\r\netag: \"e\"", ""),
    });
    let driver = s3(&server).await;
    let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
    let long = failure(read(&*driver, 2000)).await;
    assert_eq!(long.kind, StoreErrorKind::Corrupt, "{long}");
    assert!(
        long.to_string().contains("more than the 2000 bytes"),
        "{long}"
    );
    let listing = failure(driver.is_empty()).await;
    assert!(listing.to_string().contains("does not end"), "{listing}");
    let headers = failure(driver.stat(&url)).await;
    assert!(headers.to_string().contains("headers"), "{headers}");
    let words = failure(async { driver.delete(std::slice::from_ref(&url)).await.remove(0) });
    let words = words.await;
    assert!(words.to_string().contains("does not end"), "{words}");
    // The probe's own size bounds what `check` and `migrate` read of it.
    let probe = failure(driver.prepare()).await;
    assert!(probe.to_string().contains("headers"), "{probe}");
    let sent = server.sent_bytes();
    assert!(sent < 5 * SENT_MAX_BYTES, "{sent} bytes were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_does_not_end_fails_the_check_in_words() {
    let server = RawServer::start(|asked: &Asked| match asked.method.as_str() {
        "GET" => Answer::Endless("200 OK\r\netag: \"e\"".into(), "probe"),
        _ => Answer::whole("200 OK\r\netag: \"e\"", ""),
    });
    let probe = failure(s3(&server).await.prepare()).await;
    assert!(
        probe.to_string().contains("more than the 0 bytes"),
        "{probe}"
    );
    assert!(server.sent_bytes() < SENT_MAX_BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn swift_answers_without_an_end_are_given_up() {
    let server = RawServer::start(|asked: &Asked| {
        let host = asked.headers.iter().find_map(|line| {
            let host = line.to_ascii_lowercase();
            host.strip_prefix("host: ").map(str::to_owned)
        });
        let storage = format!("http://{}/v1/AUTH_a", host.unwrap_or_default());
        match (asked.method.as_str(), asked.target.as_str()) {
            (_, target) if target.starts_with("/auth") => Answer::whole(
                &format!("200 OK\r\nx-auth-token: t\r\nx-storage-url: {storage}"),
                "",
            ),
            ("GET", target) if target.contains("prefix=") => Answer::Endless(XML.into(), "[1,"),
            ("GET", "/info") => Answer::whole("404 Not Found", ""),
            ("GET", target) if target.contains("refused") => {
                Answer::Endless("403 Forbidden".into(), "no ")
            }
            ("GET", _) => Answer::Endless("200 OK".into(), "document"),
            ("HEAD", target) if target.contains("/u/") => Answer::EndlessHeaders,
            _ => Answer::whole("204 No Content", ""),
        }
    });
    let driver = swift(&server).await;
    let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
    let long = failure(read(&*driver, 2000)).await;
    assert!(
        long.to_string().contains("more than the 2000 bytes"),
        "{long}"
    );
    let listing = failure(driver.is_empty()).await;
    assert!(listing.to_string().contains("does not end"), "{listing}");
    let headers = failure(driver.stat(&url)).await;
    assert!(headers.to_string().contains("headers"), "{headers}");
    let refused = driver.url_for(&ObjectKey::new("u", "b", "refused"));
    let words = failure(driver.get(&refused, None)).await;
    assert_eq!(words.kind, StoreErrorKind::Denied, "{words}");
    let sent = server.sent_bytes();
    assert!(sent < 3 * SENT_MAX_BYTES, "{sent} bytes were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_does_not_end_is_given_up() {
    let server = RawServer::start(|_: &Asked| Answer::EndlessHeaders);
    let driver = swift(&server).await;
    let error = failure(driver.is_empty()).await;
    assert!(error.to_string().contains("headers"), "{error}");
    assert!(server.sent_bytes() < SENT_MAX_BYTES);
}
