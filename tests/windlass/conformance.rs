//! One suite for all five drivers, each on its real server.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::sync::watch;

use windlass::config::{
    Compression, DriverConfig, EndpointUrl, LocalfsConfig, S3Auth, S3Config, Secret, StoreConfig,
    SwiftConfig,
};
use windlass::database::{Claims, ConnectOptions, Database, DatabaseUrl, Session};
use windlass::driver::conformance::conform;
use windlass::driver::{self, Driver, Fence, StoreErrorKind};
use windlass::model::ObjectKey;

use crate::support::{postgres, s3, swift};

/// Half a gibibyte, by `WINDLASS_TEST_BIG=1`.
const BIG_BYTES: usize = 512 << 20;

fn store(driver: DriverConfig) -> StoreConfig {
    StoreConfig {
        compression: Compression::default(),
        driver,
        notices: Vec::new(),
    }
}

async fn connect(database: &postgres::Database) -> (DatabaseUrl, Database) {
    let url = DatabaseUrl::parse(&database.url).expect("the test database's URL");
    let options = ConnectOptions::default();
    let connected = Database::connect(&url, &options).await;
    (url, connected.expect("the test database answers"))
}

/// A driver that needs no database.
pub async fn open(config: DriverConfig) -> Arc<dyn Driver> {
    let url = DatabaseUrl::Sqlite {
        path: ":memory:".into(),
    };
    let options = ConnectOptions {
        create: true,
        ..ConnectOptions::default()
    };
    let database = Database::connect(&url, &options).await.expect("SQLite");
    driver::open(&store(config), &database, Fence::Open)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn s3_config() -> S3Config {
    let server = s3::server().await;
    S3Config {
        auth: S3Auth::Keys {
            access_key: Secret::new(&server.access_key),
            secret_key: Secret::new(&server.secret_key),
        },
        url: Some(EndpointUrl::new(&server.url)),
        region: None,
        bucket: s3::fresh_bucket().await,
        create_bucket: false,
        prefix: "pre".into(),
        ca_bundle: None,
    }
}

async fn swift_config(options: &[(&'static str, String)]) -> SwiftConfig {
    let options = options.iter();
    SwiftConfig {
        container: swift::fresh_container().await,
        create_container: false,
        anchore_key_prefix: "pre".into(),
        options: options
            .map(|(name, value)| ((*name).to_owned(), Secret::new(value)))
            .collect(),
    }
}

async fn tempauth() -> SwiftConfig {
    swift_config(&swift::tempauth_options(swift::USER).await).await
}

fn localfs_config(dir: &tempfile::TempDir) -> DriverConfig {
    DriverConfig::Localfs(LocalfsConfig {
        archive_data_dir: dir.path().join("archive"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn db_and_db2_conform_on_postgresql() {
    let database = postgres::fresh_database().await;
    let (url, connected) = connect(&database).await;
    let session = Session::try_acquire(&url, &ConnectOptions::default()).await;
    let (_slot, fence) = watch::channel(Some(session.expect("the advisory lock is free")));
    for config in [DriverConfig::Db, DriverConfig::Db2] {
        let fence = Fence::Locked(fence.clone(), Claims::default());
        let driver = driver::open(&store(config), &connected, fence).await;
        conform(&*driver.unwrap_or_else(|error| panic!("{error}"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn localfs_conforms() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("archive")).unwrap();
    conform(&*open(localfs_config(&dir)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_conforms_on_seaweedfs() {
    let driver = open(DriverConfig::S3(s3_config().await)).await;
    conform(&*driver).await;
    // Or the suite would have asked it nothing of that.
    assert!(driver.heeds_conditions().await.expect("heeds_conditions"));
}

#[tokio::test(flavor = "multi_thread")]
async fn swift_conforms_on_swift_itself() {
    conform(&*open(DriverConfig::Swift(tempauth().await)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swift_logs_in_by_keystone_of_both_versions() {
    let keystone = &swift::server().await.keystone_url;
    let options = |version: &str, more: &[(&'static str, &str)]| {
        let mut options = vec![
            ("auth_version", version.to_owned()),
            ("os_auth_url", format!("{keystone}/v{version}")),
            ("os_username", swift::USER.to_owned()),
            ("os_password", swift::KEY.to_owned()),
            ("os_region_name", "one".to_owned()),
        ];
        let more = more.iter();
        options.extend(more.map(|(name, value)| (*name, (*value).to_owned())));
        options
    };
    for options in [
        options("2.0", &[("os_tenant_name", swift::ACCOUNT)]),
        options("3", &[("os_project_name", swift::ACCOUNT)]),
        options(
            "3",
            &[
                ("os_project_name", swift::ACCOUNT),
                ("os_user_domain_name", "Default"),
                ("os_project_domain_id", "default"),
            ],
        ),
    ] {
        let driver = open(DriverConfig::Swift(swift_config(&options).await)).await;
        let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
        driver
            .prepare()
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        put(&*driver, &url, b"through keystone").await;
        assert_eq!(read(&*driver, &url).await, &b"through keystone"[..]);
    }

    let mut wrong = options("3", &[("os_project_name", swift::ACCOUNT)]);
    wrong[3].1 = "hunter2".into();
    let driver = open(DriverConfig::Swift(swift_config(&wrong).await)).await;
    let error = driver.prepare().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Credentials, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");

    // Elsewhere nothing would answer: a region that the catalog lacks is told by name.
    let mut wrong = options("3", &[("os_project_name", swift::ACCOUNT)]);
    wrong[4].1 = "three".into();
    let driver = open(DriverConfig::Swift(swift_config(&wrong).await)).await;
    let error = driver.prepare().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("\"three\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn swift_renews_a_token_that_has_run_out() {
    // A server of its own: the tokens of all tests would run out.
    let server = swift::OwnServer::start().await;
    let container = server.fresh_container().await;
    let options = server.place.tempauth_options(swift::USER);
    let mut config = swift_config(&options).await;
    config.container = container;
    let driver = open(DriverConfig::Swift(config)).await;
    driver.prepare().await.unwrap();
    let urls: Vec<_> = (0..20)
        .map(|n| driver.url_for(&ObjectKey::new("u", "b", n.to_string())))
        .collect();
    for _ in 0..2 {
        server.place.forget_tokens().await;
        let puts = urls.iter().map(|url| put(&*driver, url, b"kept"));
        futures::future::join_all(puts).await;
        server.place.forget_tokens().await;
        for url in &urls {
            assert_eq!(read(&*driver, url).await, &b"kept"[..]);
        }
    }
    server.place.forget_tokens().await;
    for deleted in driver.delete(&urls).await {
        deleted.unwrap();
    }
    assert!(driver.is_empty().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn swift_takes_in_segments_what_is_too_large_for_one_object() {
    let config = tempauth().await;
    let container = config.container.clone();
    let segments = format!("{container}_segments");
    let client = swift::server().await.client().await;
    let driver = open(DriverConfig::Swift(config)).await;
    driver.prepare().await.unwrap();
    let url = driver.url_for(&ObjectKey::new("u", "b", "large"));
    let body: Vec<u8> = (0..swift::FILE_MAX_BYTES + (5 << 20))
        .map(|at| (at % 253) as u8)
        .collect();
    let md5 = hex::encode(Md5::digest(&body));

    // The first time shows that it is too large, without a trace; the second time it goes.
    let error = upload(&*driver, &url, &body).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(driver.stat(&url).await.unwrap(), None);
    upload(&*driver, &url, &body).await.unwrap();
    assert_eq!(hex::encode(Md5::digest(read(&*driver, &url).await)), md5);
    let stat = driver.stat(&url).await.unwrap().unwrap();
    assert_eq!((stat.size, stat.md5), (body.len() as u64, None));
    let names = client.list(&segments).await;
    assert_eq!(names.len(), 5, "{names:?}");

    // Written again, given up, forgotten, overwritten by a small one, deleted: no segment of
    // another attempt is left.
    upload(&*driver, &url, &body).await.unwrap();
    assert_eq!(client.list(&segments).await.len(), 5);
    let mut given_up = driver.upload(&url).await.unwrap();
    given_up
        .write(Bytes::from(vec![0; 20 << 20]))
        .await
        .unwrap();
    given_up.abort().await;
    assert_eq!(client.list(&segments).await.len(), 5);
    assert_eq!(hex::encode(Md5::digest(read(&*driver, &url).await)), md5);
    put(&*driver, &url, b"small").await;
    assert_eq!(read(&*driver, &url).await, &b"small"[..]);
    assert!(client.list(&segments).await.is_empty());
    upload(&*driver, &url, &body).await.unwrap();
    let small = driver.url_for(&ObjectKey::new("u", "b", "small"));
    put(&*driver, &small, b"small").await;
    for deleted in driver.delete(&[url, small]).await {
        deleted.unwrap();
    }
    assert!(client.list(&segments).await.is_empty());
    assert!(client.list(&container).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swift_that_cannot_work_is_refused_in_words() {
    let mut missing = tempauth().await;
    missing.container += "-missing";
    let driver = open(DriverConfig::Swift(missing.clone())).await;
    for error in [
        driver.prepare().await.unwrap_err(),
        driver.prepare_to_read().await.unwrap_err(),
        driver.is_empty().await.unwrap_err(),
        driver
            .get(&driver.url_for(&ObjectKey::new("u", "b", "i")), None)
            .await
            .err()
            .unwrap(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::NoSuchPlace, "{error}");
        assert!(error.to_string().contains("create_container"), "{error}");
    }
    missing.create_container = true;
    open(DriverConfig::Swift(missing))
        .await
        .prepare()
        .await
        .unwrap();

    let mut wrong = tempauth().await;
    wrong.options.insert("key".into(), Secret::new("hunter2"));
    let error = open(DriverConfig::Swift(wrong))
        .await
        .prepare()
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Credentials, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");

    // Of the same account, with no rights in it.
    let reader = swift_config(&swift::tempauth_options(swift::READER).await).await;
    let driver = open(DriverConfig::Swift(reader)).await;
    for error in [
        driver.prepare().await.unwrap_err(),
        driver.prepare_to_read().await.unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::Credentials, "{error}");
        assert!(error.to_string().contains("may not"), "{error}");
    }

    let mut away = tempauth().await;
    let nobody = Secret::new("http://127.0.0.1:9/auth/v1.0");
    away.options.insert("auth".into(), nobody);
    let error = open(DriverConfig::Swift(away))
        .await
        .prepare()
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");

    let driver = open(DriverConfig::Swift(tempauth().await)).await;
    let long = driver.url_for(&ObjectKey::new("u", "b", "é".repeat(520)));
    let error = driver.put(&long, Bytes::new(), [0; 16]).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("1024 at most"), "{error}");

    // What arrives damaged is not stored.
    let url = driver.url_for(&ObjectKey::new("u", "b", "damaged"));
    let error = driver
        .put(&url, Bytes::from("x"), [0; 16])
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(driver.stat(&url).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_gibibyte_streams_through_every_driver() {
    if std::env::var_os("WINDLASS_TEST_BIG").is_none() {
        println!("left out: WINDLASS_TEST_BIG=1 takes it in");
        return;
    }
    let database = postgres::fresh_database().await;
    let (_, connected) = connect(&database).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("archive")).unwrap();
    for config in [
        DriverConfig::Db,
        DriverConfig::Db2,
        localfs_config(&dir),
        DriverConfig::S3(s3_config().await),
        DriverConfig::Swift(tempauth().await),
    ] {
        let driver = driver::open(&store(config), &connected, Fence::Open).await;
        let driver = driver.unwrap_or_else(|error| panic!("{error}"));
        driver.prepare().await.unwrap();
        let url = driver.url_for(&ObjectKey::new("u", "b", "big"));
        let started = std::time::Instant::now();
        let md5 = match upload_big(&*driver, &url).await {
            // Swift learns only on the way that it is too large for one object.
            Err(error) if error.is_retryable() => upload_big(&*driver, &url).await,
            uploaded => uploaded,
        };
        let md5 = md5.unwrap_or_else(|error| panic!("{error}"));
        let reader = driver.get(&url, Some(BIG_BYTES as u64)).await.unwrap();
        let mut stream = reader.stream;
        let (mut read, mut size) = (Md5::new(), 0);
        while let Some(piece) = futures::StreamExt::next(&mut stream).await {
            let piece = piece.unwrap();
            size += piece.len();
            read.update(&piece);
        }
        assert_eq!((size, hex::encode(read.finalize())), (BIG_BYTES, md5));
        for deleted in driver.delete(&[url]).await {
            deleted.unwrap();
        }
        println!("{}: {:?}", driver.kind(), started.elapsed());
    }
}

async fn upload_big(
    driver: &dyn Driver,
    url: &str,
) -> Result<String, windlass::driver::StoreError> {
    let mut upload = driver.upload(url).await?;
    let mut md5 = Md5::new();
    for n in 0..BIG_BYTES >> 20 {
        let piece = Bytes::from(vec![b'a' + (n % 26) as u8; 1 << 20]);
        md5.update(&piece);
        if let Err(error) = upload.write(piece).await {
            upload.abort().await;
            return Err(error);
        }
    }
    upload.finish().await?;
    Ok(hex::encode(md5.finalize()))
}

async fn put(driver: &dyn Driver, url: &str, body: &[u8]) {
    let md5 = Md5::digest(body).into();
    let put = driver.put(url, Bytes::copy_from_slice(body), md5).await;
    put.unwrap_or_else(|error| panic!("{error}"));
}

async fn read(driver: &dyn Driver, url: &str) -> Bytes {
    let reader = driver.get(url, None).await;
    let reader = reader.unwrap_or_else(|error| panic!("{error}"));
    let bytes = reader.bytes().await;
    bytes.unwrap_or_else(|error| panic!("{error}"))
}

async fn upload(
    driver: &dyn Driver,
    url: &str,
    body: &[u8],
) -> Result<(), windlass::driver::StoreError> {
    let mut upload = driver.upload(url).await?;
    for piece in body.chunks(1_000_000) {
        if let Err(error) = upload.write(Bytes::copy_from_slice(piece)).await {
            upload.abort().await;
            return Err(error);
        }
    }
    upload.finish().await
}
