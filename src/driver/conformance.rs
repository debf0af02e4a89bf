//! What every driver must do, as one suite that each of them runs on a real store.
//!
//! It is for tests, and panics where a driver does not conform. It is part of the library so
//! that drivers are held to it by unit tests (local stores) and integration tests (servers).

mod conditions;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use md5::Digest as _;

use super::{Driver, Fit, ResumableUpload, Stat, StoreError, StoreErrorKind, UploadLog};
use crate::model::{ObjectKey, Part, Unfinished};

/// Sizes around what drivers treat differently: small batches, pieces, slices, parts.
const UPLOAD_BYTES: usize = 9 << 20;
const PIECE_BYTES: usize = 700_000;

/// What a store by its own making can't do, whoever asks it; with a reason wherever it is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spared {
    /// A key with a part that is longer than a file may be named.
    pub long_parts: bool,
    /// Reading an object while it is overwritten.
    pub reads_beside_writes: bool,
    /// Writing one key by many at once: some may have to be tried again.
    pub writes_at_once: bool,
    /// Deleting many objects at once: some may have to be asked for again.
    pub deletes_at_once: bool,
}

/// Runs the whole suite. The place must be empty, and is empty again at the end.
pub async fn conform(driver: &dyn Driver) {
    conform_but(driver, Spared::default()).await;
}

/// The same without what the store is spared.
pub async fn conform_but(driver: &dyn Driver, spared: Spared) {
    driver.prepare().await.expect("prepare");
    driver.prepare_to_read().await.expect("prepare_to_read");
    assert!(driver.is_empty().await.expect("is_empty"), "empty at first");
    absent(driver).await;
    contents(driver).await;
    overwrite(driver).await;
    uploads(driver).await;
    uploads_that_go_on(driver).await;
    odd_keys(driver, spared).await;
    refusable_keys(driver, spared).await;
    batches(driver, spared).await;
    looks(driver, spared).await;
    if !spared.reads_beside_writes {
        whole_or_nothing(driver).await;
    }
    marks(driver).await;
    conditions::conditions(driver).await;
    assert!(driver.is_empty().await.expect("is_empty"), "empty again");
}

fn url(driver: &dyn Driver, id: &str) -> String {
    driver.url_for(&ObjectKey::new("conform", "some_bucket", id))
}

async fn put(driver: &dyn Driver, url: &str, body: &[u8]) -> Result<(), StoreError> {
    let md5 = md5::Md5::digest(body).into();
    let put = driver.put(url, Bytes::copy_from_slice(body), md5);
    if let Some(said) = put.await?.md5 {
        assert_eq!(said, hex::encode(md5), "the MD5 of what was sent");
    }
    Ok(())
}

async fn get(driver: &dyn Driver, url: &str, size: Option<u64>) -> Result<Bytes, StoreError> {
    let reader = driver.get(url, size).await?;
    let told = reader.size;
    let bytes = reader.bytes().await?;
    if let Some(told) = told {
        assert_eq!(told, bytes.len() as u64, "the reader told the right size");
    }
    Ok(bytes)
}

async fn delete(driver: &dyn Driver, url: &str) {
    let deleted = driver.delete(&[url.to_string()]).await;
    assert_eq!(deleted.len(), 1);
    for answer in deleted {
        answer.expect("delete");
    }
}

async fn delete_at_once(driver: &dyn Driver, urls: &[String], spared: Spared) {
    for (deleted, url) in driver.delete(urls).await.into_iter().zip(urls) {
        match deleted {
            Err(error) if spared.deletes_at_once && error.is_retryable() => {
                delete(driver, url).await;
            }
            deleted => deleted.unwrap_or_else(|error| panic!("{error}")),
        }
    }
}

/// The object is there with these bytes, read with and without knowing its size.
async fn holds(driver: &dyn Driver, url: &str, body: &[u8]) {
    for size in [None, Some(body.len() as u64), Some(0)] {
        let bytes = get(driver, url, size).await.expect("get");
        assert!(bytes == body, "{url}: {} bytes differ", bytes.len());
    }
    let stat = driver.stat(url).await.expect("stat").expect("is there");
    assert_eq!(stat.size, body.len() as u64, "{url}");
    if let Some(md5) = stat.md5 {
        assert_eq!(md5, hex::encode(md5::Md5::digest(body)), "{url}");
    }
}

async fn is_absent(driver: &dyn Driver, url: &str) {
    for size in [None, Some(10)] {
        let error = get(driver, url, size).await.expect_err("nothing is there");
        assert_eq!(error.kind, StoreErrorKind::NotFound, "{error}");
    }
    assert_eq!(driver.stat(url).await.expect("stat"), None, "{url}");
}

async fn absent(driver: &dyn Driver) {
    let url = url(driver, "absent");
    is_absent(driver, &url).await;
    delete(driver, &url).await;
    delete(driver, &url).await;
}

async fn contents(driver: &dyn Driver) {
    let url = url(driver, "contents");
    let every_byte: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for body in [
        &b""[..],
        b"x",
        "{\"document\": \"\\u00e4 \u{e4} \u{1f9f0}\"}".as_bytes(),
        b"a\0b",
        b"\xff\xfe\x80",
        b"\n\r\t =",
        &every_byte,
        &vec![b'7'; 300_000],
        &vec![0x80; 5 << 20],
    ] {
        put(driver, &url, body).await.expect("put");
        holds(driver, &url, body).await;
    }
    assert!(!driver.is_empty().await.expect("is_empty"));
    delete(driver, &url).await;
    is_absent(driver, &url).await;
}

async fn overwrite(driver: &dyn Driver) {
    let url = url(driver, "overwrite");
    for body in [&b"a longer first"[..], b"second", b"second"] {
        put(driver, &url, body).await.expect("put");
        holds(driver, &url, body).await;
    }
    delete(driver, &url).await;
    is_absent(driver, &url).await;
    delete(driver, &url).await;
}

async fn uploads(driver: &dyn Driver) {
    let url = url(driver, "uploads");
    let body: Vec<u8> = (0..UPLOAD_BYTES).map(|at| (at % 251) as u8).collect();
    // Given up where there was nothing, it leaves nothing.
    let mut upload = driver.upload(&url).await.expect("upload");
    let bytes = Bytes::from(vec![1; UPLOAD_BYTES]);
    upload.write(bytes).await.expect("write");
    upload.abort().await;
    is_absent(driver, &url).await;

    for size in [0, 1, 8 << 20, UPLOAD_BYTES] {
        let mut upload = driver.upload(&url).await.expect("upload");
        for piece in body[..size].chunks(PIECE_BYTES) {
            upload
                .write(Bytes::copy_from_slice(piece))
                .await
                .expect("write");
        }
        upload.finish().await.expect("finish");
        holds(driver, &url, &body[..size]).await;
    }

    // One given up and one just forgotten leave what was there.
    for forgotten in [true, false] {
        let mut upload = driver.upload(&url).await.expect("upload");
        upload
            .write(Bytes::from(vec![1; UPLOAD_BYTES]))
            .await
            .expect("write");
        match forgotten {
            true => drop(upload),
            false => upload.abort().await,
        }
        holds(driver, &url, &body).await;
    }
    delete(driver, &url).await;
    is_absent(driver, &url).await;
}

/// What a log was told.
#[derive(Default)]
struct Told(Mutex<Option<Unfinished>>);

#[async_trait]
impl UploadLog for Told {
    async fn begun(&self, id: &str) {
        *self.0.lock().expect("no panic") = Some(Unfinished::new(id));
    }

    async fn sent(&self, part: Part) {
        let mut told = self.0.lock().expect("no panic");
        let unfinished = told.as_mut().expect("begun before a part is sent");
        unfinished.parts.insert(part.number, part);
    }
}

/// Suspended in the middle, an upload shows nothing; gone on with, it is whole; aborted, it is
/// gone.
async fn uploads_that_go_on(driver: &dyn Driver) {
    let Some(uploads) = driver.resumable() else {
        return;
    };
    let url = url(driver, "going on");
    let body: Vec<u8> = (0..2 * UPLOAD_BYTES).map(|at| (at % 253) as u8).collect();
    let told = Arc::new(Told::default());
    let begin = async |begun| {
        let log = told.clone();
        let upload = uploads.upload(&url, begun, log).await;
        upload.expect("upload")
    };
    let write = async |upload: &mut Box<dyn ResumableUpload>, bytes: &[u8]| {
        for piece in bytes.chunks(PIECE_BYTES) {
            let piece = Bytes::copy_from_slice(piece);
            upload.write(piece).await.expect("write");
        }
    };
    let still_there = async || {
        let known = told.0.lock().expect("no panic").clone()?;
        let found = uploads.still_has(&url, known).await;
        found.expect("still_has")
    };
    let mut upload = begin(None).await;
    write(&mut upload, &body[..UPLOAD_BYTES + 1_000]).await;
    upload.suspend().await;
    is_absent(driver, &url).await;
    let begun = still_there().await;
    let mut upload = begin(begun).await;
    write(&mut upload, &body).await;
    upload.finish().await.expect("finish");
    holds(driver, &url, &body).await;

    *told.0.lock().expect("no panic") = None;
    let mut upload = begin(None).await;
    write(&mut upload, &body[..UPLOAD_BYTES]).await;
    upload.suspend().await;
    let id = told.0.lock().expect("no panic").clone();
    let id = id.map_or_else(|| "never-begun".to_owned(), |begun| begun.id);
    uploads.abort(&url, &id).await.expect("abort");
    assert_eq!(still_there().await, None, "aborted");
    uploads.abort(&url, &id).await.expect("abort");
    holds(driver, &url, &body).await;
    delete(driver, &url).await;
    is_absent(driver, &url).await;
}

/// Where a store keeps marks, it does so for objects of one piece and of several.
async fn marks(driver: &dyn Driver) {
    let task = "5e0c1f0a-8a52-4d0e-9a70-0d6d4f1f2b3c";
    driver.mark_writes(task.into());
    let (small, large) = (url(driver, "marked"), url(driver, "marked-large"));
    put(driver, &small, b"small").await.expect("put");
    let mut upload = driver.upload(&large).await.expect("upload");
    let bytes = Bytes::from(vec![7; UPLOAD_BYTES]);
    upload.write(bytes).await.expect("write");
    upload.finish().await.expect("finish");
    for url in [small, large] {
        let stat = driver.stat(&url).await.expect("stat").expect("it is there");
        let mark = driver.has_marks().then(|| task.to_owned());
        assert_eq!(stat.mark, mark, "{url}");
        delete(driver, &url).await;
    }
}

async fn odd_keys(driver: &dyn Driver, spared: Spared) {
    // 900 bytes, in parts that a directory of a file system can name.
    let long = vec!["k".repeat(224); 4].join("/");
    let ids = [
        "with space",
        " leading and trailing ",
        "sha256:0123",
        "one/two/three",
        "hash#sharp",
        "query?a=b&c=d",
        "percent%20%2F%",
        "plus+plus",
        "quote\"'`<&>",
        "ünï/çødé \u{1f9f0}",
        "e\u{301}",
        "\u{e9}",
        ".leading",
        "..leading",
        "dir/.leading/...",
        "tab\tinside",
        "under_score",
        "underXscore",
        "CASE",
        "case",
        &long,
    ];
    for id in ids {
        put(driver, &url(driver, id), id.as_bytes())
            .await
            .unwrap_or_else(|e| panic!("{e}"));
    }
    // All first, then each: keys that a store does not keep apart would show.
    for id in ids {
        holds(driver, &url(driver, id), id.as_bytes()).await;
    }
    let [first, rest @ ..] = &ids;
    delete(driver, &url(driver, first)).await;
    for id in rest {
        holds(driver, &url(driver, id), id.as_bytes()).await;
    }
    let urls: Vec<_> = ids.iter().map(|id| url(driver, id)).collect();
    delete_at_once(driver, &urls, spared).await;
    for url in &urls {
        is_absent(driver, url).await;
    }
}

/// Keys that a store may refuse, in words. What it takes, it keeps apart.
async fn refusable_keys(driver: &dyn Driver, spared: Spared) {
    let long = "k".repeat(900);
    let ids = [
        "merged/below",
        "merged//below",
        "merged/./below",
        "merged/x/../below",
        "merged/below/",
        "/merged/below",
        "merged",
        "merged/below/further",
        "back/slash",
        "back\\slash",
        "control\u{1}\r\n",
        "..",
        "../../../up",
        &long,
    ];
    let mut taken = Vec::new();
    for id in ids {
        if spared.long_parts && id == long {
            continue;
        }
        match put(driver, &url(driver, id), id.as_bytes()).await {
            Ok(()) => taken.push(id),
            Err(error) => assert_eq!(error.kind, StoreErrorKind::Unsupported, "{error}"),
        }
    }
    assert!(taken.contains(&ids[0]));
    for id in &taken {
        holds(driver, &url(driver, id), id.as_bytes()).await;
    }
    while let Some(id) = taken.pop() {
        delete(driver, &url(driver, id)).await;
        for id in &taken {
            holds(driver, &url(driver, id), id.as_bytes()).await;
        }
    }
}

/// Many at once, so that what is batched is.
async fn batches(driver: &dyn Driver, spared: Spared) {
    let urls: Vec<_> = (0..300)
        .map(|n| url(driver, &format!("batch/{n}")))
        .collect();
    let body = |n: usize| vec![(n % 256) as u8; n * 7];
    let puts = urls.iter().enumerate().map(async |(n, url)| {
        put(driver, url, &body(n)).await.expect("put");
    });
    futures::future::join_all(puts).await;
    // The same key by many writers: one of them wins, none fails.
    let same = (0..20).map(|_| put(driver, &urls[0], b""));
    for written in futures::future::join_all(same).await {
        match written {
            Err(error) if spared.writes_at_once && error.is_retryable() => {
                put(driver, &urls[0], b"").await.expect("put");
            }
            written => written.expect("put"),
        }
    }
    let gets = urls.iter().enumerate().map(async |(n, url)| {
        let bytes = get(driver, url, Some(n as u64 * 7)).await.expect("get");
        assert!(bytes == body(n), "{url}");
    });
    futures::future::join_all(gets).await;
    let mut wanted = urls.clone();
    wanted.insert(7, url(driver, "batch/absent"));
    delete_at_once(driver, &wanted, spared).await;
    for url in [&urls[0], &urls[150], &urls[299]] {
        is_absent(driver, url).await;
    }
}

/// Many at once are told of as each by itself; and whatever has changed since a copy was read back shows,
/// or can't be told.
async fn looks(driver: &dyn Driver, spared: Spared) {
    assert!(driver.stat_many(&[]).await.is_empty());
    let urls: Vec<_> = (0..130)
        .map(|n| url(driver, &format!("look/{n:03}?#%/ x")))
        .collect();
    let puts = urls.iter().map(async |url| {
        put(driver, url, url.as_bytes()).await.expect("put");
    });
    futures::future::join_all(puts).await;
    let mut wanted = urls.clone();
    // Out of order, twice, and one that is not there.
    wanted.reverse();
    wanted.push(urls[3].clone());
    wanted.push(url(driver, "look/absent"));
    settle(driver).await;
    let stats = driver.stat_many(&wanted).await;
    assert_eq!(stats.len(), wanted.len());
    for (stat, url) in stats.into_iter().zip(&wanted) {
        let (many, one) = (stat.expect("stat"), driver.stat(url).await.expect("stat"));
        let told = |stat: &Option<Stat>| stat.as_ref().map(|s| (s.size, s.tag.clone()));
        assert_eq!(told(&many), told(&one), "{url}");
        if let (Some(many), Some(md5)) = (many, one.and_then(|one| one.md5)) {
            assert_eq!(many.fit(many.size, &md5, None), Fit::Same, "{url}");
        }
    }
    changes_show(driver, &urls).await;
    delete_at_once(driver, &urls, spared).await;
    small_and_large_keep_their_tag(driver).await;
}

async fn changes_show(driver: &dyn Driver, urls: &[String]) {
    settle(driver).await;
    let tag_of = async |url: &String| driver.get(url, None).await.expect("get").tag;
    let (same, overwritten, truncated, deleted) = (&urls[0], &urls[1], &urls[2], &urls[3]);
    let some = [same, overwritten, truncated, deleted].map(String::clone);
    let mut read_back = Vec::new();
    for url in &some {
        let md5 = hex::encode(md5::Md5::digest(url.as_bytes()));
        read_back.push((url.len() as u64, md5, tag_of(url).await));
    }
    let other = overwritten.replace('o', "0").into_bytes();
    put(driver, overwritten, &other).await.expect("put");
    let shorter = &truncated.as_bytes()[1..];
    put(driver, truncated, shorter).await.expect("put");
    delete(driver, deleted).await;
    // Of what was written a moment ago a store may not be able to tell yet.
    settle(driver).await;
    let stats = driver.stat_many(&some).await;
    let stats: Vec<_> = stats.into_iter().map(|stat| stat.expect("stat")).collect();
    assert_eq!(stats[3], None, "a deleted copy is gone");
    for (at, stat) in stats.iter().flatten().enumerate() {
        let (size, md5, tag) = &read_back[at];
        let fit = stat.fit(*size, md5, tag.as_deref());
        match at {
            0 => assert_eq!(fit, Fit::Same, "{same}"),
            _ => assert!(matches!(fit, Fit::Differs(_)), "{}: {fit:?}", some[at]),
        }
    }
    put(driver, deleted, deleted.as_bytes()).await.expect("put");
}

/// Until the store tells versions of what was just written.
async fn settle(driver: &dyn Driver) {
    if let Some(pause) = driver.tag_settles_after() {
        tokio::time::sleep(pause).await;
    }
}

/// An object in parts has a version, too, which is not its MD5.
async fn small_and_large_keep_their_tag(driver: &dyn Driver) {
    let url = url(driver, "look/large");
    let mut upload = driver.upload(&url).await.expect("upload");
    let bytes = Bytes::from(vec![3; UPLOAD_BYTES]);
    upload.write(bytes.clone()).await.expect("write");
    upload.finish().await.expect("finish");
    settle(driver).await;
    let tag = driver.get(&url, None).await.expect("get").tag;
    let stats = driver.stat_many(std::slice::from_ref(&url)).await;
    let [Ok(Some(stat))] = stats.as_slice() else {
        panic!("{url}: {stats:?}");
    };
    let md5 = hex::encode(md5::Md5::digest(&bytes));
    let fit = stat.fit(UPLOAD_BYTES as u64, &md5, tag.as_deref());
    assert!(!matches!(fit, Fit::Differs(_)), "{url}: {fit:?}");
    delete(driver, &url).await;
}

/// While an object is overwritten again and again, every read sees one of the versions, whole.
async fn whole_or_nothing(driver: &dyn Driver) {
    const ROUNDS: usize = 20;
    let url = url(driver, "overwritten");
    let versions = [vec![b'a'; 1_500_000], vec![b'b'; 2_500_000]];
    put(driver, &url, &versions[0]).await.expect("put");
    let writing = async {
        for round in 0..ROUNDS {
            let body = &versions[round % 2];
            let mut upload = driver.upload(&url).await.expect("upload");
            for piece in body.chunks(PIECE_BYTES) {
                upload
                    .write(Bytes::copy_from_slice(piece))
                    .await
                    .expect("write");
            }
            upload.finish().await.expect("finish");
            put(driver, &url, &versions[(round + 1) % 2])
                .await
                .expect("put");
        }
    };
    let reading = async {
        loop {
            match get(driver, &url, None).await {
                Ok(bytes) => assert!(versions.iter().any(|body| bytes == body), "torn: {url}"),
                // A store may notice that it read across a change, and say so.
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    delete(driver, &url).await;
    is_absent(driver, &url).await;
}
