use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::CWD;

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
    put.map(drop).map_err(|error| error.kind)
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

/// A kill between the two leaves nothing, on a file system that has files without a name.
#[test]
fn what_is_staged_has_no_name_until_it_is_published() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let tree = super::tree::Tree::new(dir.path().to_owned());
    let target = dir.path().join("a/document");
    let names = || fs::read_dir(dir.path().join("a")).unwrap().count();
    for (content, before) in [("first", 0), ("second", 1)] {
        let mut staged = tree.stage(&target).unwrap();
        std::io::Write::write_all(&mut staged.file, content.as_bytes()).unwrap();
        assert_eq!(names(), before, "on ext4, xfs, btrfs and tmpfs");
        tree.publish(staged).unwrap();
        assert_eq!(names(), 1);
        assert_eq!(fs::read_to_string(&target).unwrap(), content);
    }
}

/// What may stand in a document's place and is none.
fn put_no_file(path: &Path, what: &str) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir(path);
    match what {
        "FIFO" => {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "device" => symlink("/dev/zero", path).unwrap(),
        _ => fs::create_dir(path).unwrap(),
    }
}

/// Neither waited for nor taken for a document, nor replaced or removed as one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let driver = localfs(&dir.path().join("a"));
    driver.prepare().await.unwrap();
    let url = driver.url_for(&ObjectKey::new("u", "b", "i"));
    let path = Path::new(url.strip_prefix("file://").unwrap()).to_owned();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    for what in ["FIFO", "socket", "device", "directory"] {
        put_no_file(&path, what);
        let all = async {
            [
                driver.get(&url, None).await.map(drop),
                driver.get(&url, Some(1)).await.map(drop),
                driver.stat(&url).await.map(drop),
                driver
                    .put(&url, Bytes::from_static(b"x"), [0; 16])
                    .await
                    .map(drop),
                driver.upload(&url).await.map(drop),
                driver.delete(std::slice::from_ref(&url)).await.remove(0),
            ]
        };
        let answers = tokio::time::timeout(Duration::from_secs(20), all).await;
        let Ok(answers) = answers else {
            // Or the runtime would wait for the thread that waits.
            let _ = fs::File::options().write(true).open(&path);
            panic!("a {what} is waited for");
        };
        for answer in answers {
            let error = answer.expect_err(what);
            assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
        assert!(
            fs::symlink_metadata(&path).is_ok(),
            "the {what} is still there"
        );
        assert!(!driver.is_empty().await.unwrap() || what == "directory");
    }
    // One that comes while a document is being written.
    fs::remove_dir(&path).unwrap();
    let mut upload = driver.upload(&url).await.unwrap();
    upload.write(Bytes::from_static(b"x")).await.unwrap();
    put_no_file(&path, "FIFO");
    let error = upload.finish().await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}");
    // One in the place of a directory on the way.
    let above = path.parent().unwrap();
    fs::remove_dir_all(above).unwrap();
    put_no_file(above, "FIFO");
    assert!(driver.put(&url, Bytes::new(), [0; 16]).await.is_err());
    assert_eq!(driver.stat(&url).await.unwrap(), None);
    driver.prepare().await.unwrap();
}
