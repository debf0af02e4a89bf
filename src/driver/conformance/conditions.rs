//! What a write may replace, where a store heeds it.

use bytes::Bytes;
use md5::Digest as _;

use super::{UPLOAD_BYTES, get, put, url};
use crate::driver::{Driver, Replaces, StoreError, StoreErrorKind};

/// Nothing is asked of a store that does not heed conditions.
pub async fn conditions(driver: &dyn Driver) {
    if !driver.heeds_conditions().await.expect("heeds_conditions") {
        return;
    }
    let (url, large) = (url(driver, "conditional"), vec![7; UPLOAD_BYTES]);
    assert_eq!(
        kind(over(driver, &url, b"1", &Replaces::Nothing).await),
        None
    );
    let version = version(driver, &url).await;
    let other = Replaces::Version("0".repeat(32));
    for refused in [&Replaces::Nothing, &other] {
        let conflict = Some(StoreErrorKind::Conflict);
        assert_eq!(kind(over(driver, &url, b"2", refused).await), conflict);
        assert_eq!(kind(upload(driver, &url, b"2", refused).await), conflict);
        assert_eq!(kind(upload(driver, &url, &large, refused).await), conflict);
    }
    assert_eq!(get(driver, &url, None).await.expect("it is there"), "1");
    let right = Replaces::Version(version);
    assert_eq!(kind(over(driver, &url, b"3", &right).await), None);
    // It is another one now.
    let again = upload(driver, &url, &large, &right).await;
    assert_eq!(kind(again), Some(StoreErrorKind::Conflict));
    let right = Replaces::Version(self::version(driver, &url).await);
    assert_eq!(kind(upload(driver, &url, &large, &right).await), None);
    assert_eq!(get(driver, &url, None).await.expect("it is there"), large);
    put(driver, &url, b"4").await.expect("without a condition");
    let deleted = driver.delete(std::slice::from_ref(&url)).await;
    assert!(deleted[0].is_ok(), "{deleted:?}");
}

fn kind(written: Result<(), StoreError>) -> Option<StoreErrorKind> {
    written.err().map(|error| error.kind)
}

async fn version(driver: &dyn Driver, url: &str) -> String {
    let stat = driver.stat(url).await.expect("stat").expect("it is there");
    stat.tag
        .expect("a store that heeds conditions tells versions")
}

async fn over(
    driver: &dyn Driver,
    url: &str,
    body: &'static [u8],
    replaces: &Replaces,
) -> Result<(), StoreError> {
    let md5 = md5::Md5::digest(body).into();
    let put = driver.put_over(url, Bytes::from_static(body), md5, replaces);
    put.await.map(drop)
}

async fn upload(
    driver: &dyn Driver,
    url: &str,
    body: &[u8],
    replaces: &Replaces,
) -> Result<(), StoreError> {
    let mut upload = driver.upload(url).await?;
    upload.replaces(replaces.clone());
    upload.write(Bytes::copy_from_slice(body)).await?;
    upload.finish().await
}
