use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;

use super::Localfs;
use crate::config::LocalfsConfig;
use crate::driver::conformance::conform;
use crate::driver::{Driver, StoreErrorKind};
use crate::model::ObjectKey;

fn localfs(dir: &Path) -> Localfs {
    Localfs::new(&LocalfsConfig {
        archive_data_dir: dir.to_owned(),
    })
    .unwrap()
}

async fn put(driver: &Localfs, url: &str) -> Result<(), StoreErrorKind> {
    let put = driver.put(url, Bytes::from_static(b"x"), [0; 16]).await;
    put.map_err(|error| error.kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn localfs_conforms_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    conform(&localfs(&root)).await;
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test]
async fn a_document_lies_where_anchore_looks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let driver = localfs(dir.path());
    let key = ObjectKey::new("admin", "analysis_data", "sha256:ab/c");
    put(&driver, &driver.url_for(&key)).await.unwrap();
    // The MD5 of `admin`, and of the id.
    let path =
        "21232f297a57a5a743894a0e4a801fc3/analysis_data/21/214222114c47322100b9b35cd92423d9.json";
    assert_eq!(fs::read(dir.path().join(path)).unwrap(), b"x");
}

#[tokio::test]
async fn nothing_is_written_or_deleted_through_a_link_that_leads_out() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let driver = localfs(dir.path());
    let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
    let below = url.strip_prefix(&driver.place().base).unwrap();
    let (user, file) = below.split_once('/').unwrap();
    symlink(other.path(), dir.path().join(user)).unwrap();

    assert_eq!(put(&driver, &url).await, Err(StoreErrorKind::Unsupported));
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);

    let outside = other.path().join(file);
    fs::create_dir_all(outside.parent().unwrap()).unwrap();
    fs::write(&outside, "kept").unwrap();
    let deleted = driver.delete(&[url]).await;
    assert_eq!(
        deleted[0].as_ref().unwrap_err().kind,
        StoreErrorKind::Unsupported
    );
    assert!(outside.exists());
}

#[tokio::test]
async fn a_place_that_cannot_work_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let refused = async |path: &Path| localfs(path).prepare().await.unwrap_err();

    let error = refused(&dir.path().join("not/there")).await;
    assert_eq!(error.kind, StoreErrorKind::NoSuchPlace, "{error}");

    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let error = refused(dir.path()).await;
    assert_eq!(error.kind, StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("holds \"notes.txt\""), "{error}");

    let error = refused(&dir.path().join("notes.txt")).await;
    assert_eq!(error.kind, StoreErrorKind::Misconfigured, "{error}");

    let gone = localfs(&dir.path().join("gone"));
    let error = gone.prepare_to_read().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSuchPlace, "{error}");
    let url = gone.url_for(&ObjectKey::new("u", "b", "i"));
    assert_eq!(put(&gone, &url).await, Err(StoreErrorKind::NoSuchPlace));
}

#[tokio::test]
async fn a_killed_writers_file_is_cleared_away_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let driver = localfs(dir.path());
    let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
    let file = dir
        .path()
        .join(url.strip_prefix(&driver.place().base).unwrap());
    let folder = file.parent().unwrap();
    fs::create_dir_all(folder).unwrap();
    let (old, new) = (
        folder.join(".windlass-1.tmp"),
        folder.join(".windlass-2.tmp"),
    );
    fs::write(&new, "being written").unwrap();
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
    let left_over = fs::File::create(&old).unwrap();
    left_over.set_modified(yesterday).unwrap();

    assert!(
        driver.is_empty().await.unwrap(),
        "temporary files are no documents"
    );
    put(&driver, &url).await.unwrap();
    assert!(!old.exists() && new.exists() && file.exists());
}
