//! What needs no server, and what a given server is asked by hand:
//! `WINDLASS_TEST_S3_URL=… WINDLASS_TEST_S3_ACCESS_KEY=… WINDLASS_TEST_S3_SECRET_KEY=…
//! cargo test --lib s3 -- --ignored`. The suite runs on a real server from `tests/`.

use bytes::Bytes;
use md5::Digest as _;
use uuid::Uuid;

use super::S3;
use crate::config::{EndpointUrl, S3Auth, S3Config, Secret};
use crate::driver::conformance::conform;
use crate::driver::{Driver, StoreErrorKind};
use crate::model::ObjectKey;

fn config(url: &str, access_key: &str, secret_key: &str) -> S3Config {
    S3Config {
        auth: S3Auth::Keys {
            access_key: Secret::new(access_key),
            secret_key: Secret::new(secret_key),
        },
        url: Some(EndpointUrl::new(url)),
        region: None,
        bucket: format!("windlass-{}", Uuid::new_v4()),
        create_bucket: true,
        prefix: "pre".into(),
        ca_bundle: None,
    }
}

fn given() -> S3Config {
    let var = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    config(
        &var("WINDLASS_TEST_S3_URL"),
        &var("WINDLASS_TEST_S3_ACCESS_KEY"),
        &var("WINDLASS_TEST_S3_SECRET_KEY"),
    )
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_back() {
    let s3 = S3::new(&config("http://127.0.0.1:9", "k", "s"))
        .await
        .unwrap();
    let error = s3.prepare().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn writes_stay_in_the_configured_bucket_and_under_their_own_key() {
    let s3 = S3::new(&config("http://127.0.0.1:9", "k", "s"))
        .await
        .unwrap();
    let base = s3.place().base.clone();
    for url in [
        "s3://another/preu/b/i",
        &format!("{base}u/b/a//b"),
        &format!("{base}u/../i"),
        &format!("{base}u/b/"),
    ] {
        let error = s3.put(url, Bytes::new(), [0; 16]).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
        let error = s3.upload(url).await.err().unwrap();
        assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
    }
    let deleted = s3.delete(&[format!("{base}u/b/a//b")]).await.remove(0);
    assert_eq!(deleted.unwrap_err().kind, StoreErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs WINDLASS_TEST_S3_URL; tests/ run the suite on a server of their own"]
async fn s3_conforms() {
    conform(&S3::new(&given()).await.unwrap()).await;
}

#[tokio::test]
#[ignore = "needs WINDLASS_TEST_S3_URL"]
async fn a_store_that_cannot_work_is_refused_in_words() {
    let mut missing = given();
    missing.create_bucket = false;
    let s3 = S3::new(&missing).await.unwrap();
    for error in [
        s3.prepare().await.unwrap_err(),
        s3.prepare_to_read().await.unwrap_err(),
    ] {
        assert_eq!(error.kind, StoreErrorKind::NoSuchPlace, "{error}");
        assert!(error.to_string().contains("create_bucket"), "{error}");
    }

    let mut wrong = given();
    S3::new(&wrong).await.unwrap().prepare().await.unwrap();
    let S3Auth::Keys {
        secret_key,
        access_key,
    } = wrong.auth.clone()
    else {
        unreachable!()
    };
    for auth in [
        S3Auth::Keys {
            access_key,
            secret_key: Secret::new("wrong-secret"),
        },
        S3Auth::Keys {
            access_key: Secret::new("wrong-key"),
            secret_key,
        },
    ] {
        wrong.auth = auth;
        let s3 = S3::new(&wrong).await.unwrap();
        for error in [
            s3.prepare().await.unwrap_err(),
            s3.prepare_to_read().await.unwrap_err(),
        ] {
            assert_eq!(error.kind, StoreErrorKind::Credentials, "{error}");
            assert!(error.to_string().contains("check access_key"), "{error}");
            assert!(!error.to_string().contains("wrong-"), "{error}");
        }
    }
}

#[tokio::test]
#[ignore = "needs WINDLASS_TEST_S3_URL"]
async fn damaged_bytes_are_not_stored_and_uploads_given_up_are_gone() {
    let s3 = S3::new(&given()).await.unwrap();
    s3.prepare().await.unwrap();
    let url = s3.url_for(&ObjectKey::new("u", "b", "i"));
    let wrong = md5::Md5::digest(b"what was meant").into();
    let error = s3
        .put(&url, Bytes::from("what arrived"), wrong)
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(s3.stat(&url).await.unwrap(), None);

    let mut upload = s3.upload(&url).await.unwrap();
    upload.write(Bytes::from(vec![0; 20 << 20])).await.unwrap();
    upload.abort().await;
    let server = &s3.server;
    let sdk = server.clients.of(&server.bucket);
    let uploads = sdk.list_multipart_uploads().bucket(&server.bucket);
    assert!(uploads.send().await.unwrap().uploads().is_empty());
}

#[tokio::test]
#[ignore = "needs WINDLASS_TEST_S3_URL; a gibibyte"]
async fn a_gibibyte_streams_through() {
    let s3 = S3::new(&given()).await.unwrap();
    s3.prepare().await.unwrap();
    let url = s3.url_for(&ObjectKey::new("u", "b", "large"));
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let mut upload = s3.upload(&url).await.unwrap();
    for _ in 0..1024 {
        upload.write(piece.clone()).await.unwrap();
    }
    upload.finish().await.unwrap();
    let stat = s3.stat(&url).await.unwrap().unwrap();
    assert_eq!((stat.size, stat.md5), (1 << 30, None));
    s3.delete(&[url]).await.remove(0).unwrap();
}
