//! The two stores: what `check` does at the destination, reading at the source, and what both tell of
//! themselves.

use std::path::Path;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::database::round_trip;
use super::here::FileSystem;
use super::page::{OBJECT_STORE, Page, Side};
use crate::catalog::Rehearsed;
use crate::cli::check;
use crate::cli::fault::Code;
use crate::cli::format::{bytes, count};
use crate::config::{DriverConfig, EndpointUrl, StoreConfig};
use crate::digest::md5_hex;
use crate::driver::{Driver, StoreErrorKind, bounded};
use crate::engine::{Store, gates};
use crate::model::{DriverKind, ObjectKey, Policy};

/// Round trips of which the middle one is told.
const ROUNDS: usize = 5;

/// Documents that are read at the source, where nobody asks for a sample.
pub const READ: u32 = 3;

/// A key that no document has: its user has been made up a moment ago.
fn nobodys_key() -> ObjectKey {
    let user = format!("windlass-doctor-{}", Uuid::new_v4());
    ObjectKey::new(user, "windlass-doctor", "probe")
}

/// Whether the source can be read.
pub async fn ask_source(page: &mut Page, from: &Store) -> bool {
    let can_be_read = from.driver.prepare_to_read().await;
    let is_well = page.gate(Side::Source, OBJECT_STORE, can_be_read, |()| {
        format!("{} can be read", from.config.place())
    });
    about(page, Side::Source, from, is_well).await;
    is_well
}

/// Whether the destination can be written, read and deleted from; nothing is made there that has to be
/// made first. Whether it can be worked with as it is.
pub async fn ask_destination(page: &mut Page, to: &Store) -> bool {
    let read = to.driver.prepare_to_read().await;
    let is_missing = matches!(&read, Err(error) if error.kind == StoreErrorKind::NoSuchPlace);
    if let (true, Some(by)) = (is_missing, makes_its_place(&to.config.driver)) {
        page.warn(
            Side::Destination,
            OBJECT_STORE,
            format!("{} is not there yet", to.config.place()),
            format!("nothing: a migration makes it ({by}); until then it can't be tried out"),
        );
        about(page, Side::Destination, to, false).await;
        return false;
    }
    let is_well = match check::work(to.driver.as_ref()).await {
        Err(error) => {
            page.error(Side::Destination, OBJECT_STORE, error);
            false
        }
        Ok(lacks) => of_lacks(page, to, &lacks),
    };
    about(page, Side::Destination, to, is_well).await;
    is_well
}

fn of_lacks(page: &mut Page, to: &Store, lacks: &[crate::driver::Lack]) -> bool {
    let place = to.config.place();
    let worst = lacks.iter().find(|lack| lack.instead.is_none());
    match worst.or(lacks.first()) {
        None => page.ok(
            Side::Destination,
            OBJECT_STORE,
            format!("{place}: wrote, read back, compared and deleted a probe"),
        ),
        Some(lack) => {
            let found = format!(
                "{place} works, but for {}, {} ({})",
                lack.right, lack.what_for, lack.said
            );
            match lack.instead {
                Some(instead) => page.warn(
                    Side::Destination,
                    OBJECT_STORE,
                    found,
                    format!("grant it; without it, {instead}"),
                ),
                None => {
                    let next = "grant it: without it a migration fails".to_owned();
                    let with = (Code::StoreDenied, Some(next));
                    page.fail(Side::Destination, OBJECT_STORE, found, with);
                }
            }
        }
    }
    worst.is_none()
}

/// What lets a migration make the place where it is missing.
fn makes_its_place(driver: &DriverConfig) -> Option<&'static str> {
    match driver {
        DriverConfig::S3(s3) if s3.create_bucket => Some("create_bucket"),
        DriverConfig::Swift(swift) if swift.create_container => Some("create_container"),
        _ => None,
    }
}

/// A directory that was not there before: what tries it out makes it. Dropped, it takes it away again,
/// unless something is in it.
pub struct Made<'a>(Option<&'a Path>);

impl<'a> Made<'a> {
    pub fn unless_there(store: &'a Store) -> Self {
        match &store.config.driver {
            DriverConfig::Localfs(localfs) if !localfs.archive_data_dir.exists() => {
                Self(Some(&localfs.archive_data_dir))
            }
            _ => Self(None),
        }
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if let Some(dir) = self.0 {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// The server, the encryption and the time that an answer takes.
async fn about(page: &mut Page, side: Side, store: &Store, answers: bool) {
    match &store.config.driver {
        DriverConfig::Db | DriverConfig::Db2 => return,
        DriverConfig::Localfs(localfs) => {
            if let Some(system) = FileSystem::of(&localfs.archive_data_dir) {
                page.ok(side, "server", format!("a directory on {}", system.name()));
            }
        }
        DriverConfig::S3(_) | DriverConfig::Swift(_) => encryption(page, side, &store.config),
    }
    if !answers {
        page.not_asked(side, &["latency"], "the store does not work");
        return;
    }
    match latency(store.driver.as_ref()).await {
        Some(time) => page.ok(side, "latency", round_trip(time)),
        None => page.not_asked(
            side,
            &["latency"],
            "the store does not tell of single objects",
        ),
    }
    if let DriverConfig::S3(_) | DriverConfig::Swift(_) = &store.config.driver {
        let told = store.driver.server();
        page.ok(
            side,
            "server",
            told.unwrap_or_else(|| "it does not tell what it is".into()),
        );
    }
}

fn encryption(page: &mut Page, side: Side, store: &StoreConfig) {
    let url = match &store.driver {
        DriverConfig::S3(s3) => s3.url.as_ref().map(ToString::to_string),
        DriverConfig::Swift(swift) => ["os_storage_url", "os_auth_url", "auth"]
            .iter()
            .find_map(|name| swift.option(name))
            .map(|url| EndpointUrl::new(url).redacted()),
        _ => None,
    };
    // Without a URL it is AWS.
    let url = url.unwrap_or_else(|| "https://".into());
    let scheme = url.split("://").next().unwrap_or_default();
    match (scheme.eq_ignore_ascii_case("https"), is_this_machine(&url)) {
        (true, _) => page.ok(side, "encryption", "https"),
        (false, true) => page.ok(
            side,
            "encryption",
            "none; what is said does not leave this machine",
        ),
        (false, false) => page.warn(
            side,
            "encryption",
            format!("none: {url}"),
            "an https:// URL, where others could listen on the way",
        ),
    }
}

fn is_this_machine(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let is_at = |name: &str| {
        let behind = host.strip_prefix(name);
        behind.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    };
    host.starts_with("127.") || is_at("localhost") || is_at("[::1]")
}

async fn latency(driver: &dyn Driver) -> Option<Duration> {
    let url = driver.url_for(&nobodys_key());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let since = Instant::now();
        driver.stat(&url).await.ok()?;
        rounds.push(since.elapsed());
    }
    rounds.sort();
    rounds.get(ROUNDS / 2).copied()
}

/// Whether the two fit each other, as far as they tell themselves.
pub fn ask_both(page: &mut Page, from: &Store, to: &Store, policy: &Policy) -> bool {
    let gates = gates::OF_BOTH.iter().map(|gate| gate(from, to, policy));
    let gates = gates.chain([gates::refuse_same_urls(from, to)]);
    let refused: Vec<_> = gates.filter_map(Result::err).collect();
    let is_well = refused.is_empty();
    // Two of the same place have the same URLs, too.
    match refused.into_iter().next() {
        Some(error) => page.error(Side::Both, "fit", error),
        None => page.ok(
            Side::Both,
            "fit",
            format!(
                "{} and {} are two places",
                from.config.place(),
                to.config.place()
            ),
        ),
    }
    is_well
}

/// Whether what is written to the destination is seen at the source.
pub async fn ask_two_places(page: &mut Page, from: &Store, to: &Store) -> bool {
    let seen = gates::refuse_visible_writes(from, to, &nobodys_key()).await;
    let same_kind = from.driver.kind() == to.driver.kind();
    page.gate(Side::Both, "two-places", seen, |()| match same_kind {
        true => "what is written to the destination is not seen at the source".into(),
        false => "the drivers differ".into(),
    })
}

/// Reads some documents at the source.
pub async fn ask_documents(page: &mut Page, from: &Store, documents: &[Rehearsed]) {
    let mut wrong = Vec::new();
    for document in documents {
        match read(from.driver.as_ref(), document).await {
            Ok(None) => {}
            Ok(Some(why)) => wrong.push(why),
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::Corrupt
                ) =>
            {
                wrong.push(error.to_string());
            }
            Err(error) => return page.error(Side::Source, "documents", error),
        }
    }
    let read = count(documents.len() as u64, "document");
    match wrong.first() {
        None => page.ok(
            Side::Source,
            "documents",
            format!("{read} read, chosen by chance: each as its row says"),
        ),
        Some(first) => page.warn(
            Side::Source,
            "documents",
            format!("of {read}, chosen by chance, {} not as told: {first}", wrong.len()),
            "windlass verify reads all of them and names those that differ; a migration leaves them",
        ),
    }
}

/// Why a document is not what its row says, where it is not. A large one is only begun.
async fn read(
    driver: &dyn Driver,
    document: &Rehearsed,
) -> Result<Option<String>, crate::driver::StoreError> {
    const WHOLE_MAX_BYTES: i64 = 8 << 20;
    let (url, row) = (&document.row.url, &document.row);
    let size = row.size.and_then(|size| u64::try_from(size).ok());
    let mut reader = bounded::read(driver, url, size).await?;
    if row.size.is_none_or(|size| size > WHOLE_MAX_BYTES) {
        use futures::StreamExt as _;
        return reader.stream.next().await.transpose().map(|_| None);
    }
    let stored = reader.bytes().await?;
    let found = md5_hex(&stored);
    let differs = row
        .digest
        .as_ref()
        .filter(|digest| !digest.eq_ignore_ascii_case(&found));
    Ok(differs.map(|digest| format!("{url} has the MD5 {found}, its row says {digest}")))
}

/// Whether a directory has room for so many documents.
pub fn ask_space(page: &mut Page, to: &Store, objects: u64, size: u64) {
    let DriverConfig::Localfs(localfs) = &to.config.driver else {
        return;
    };
    // One that could not be made says nothing of the disk that it is to be on.
    let system = localfs.archive_data_dir.exists();
    let system = system.then(|| FileSystem::of(&localfs.archive_data_dir));
    let Some(system) = system.flatten() else {
        return;
    };
    let free = system.free_bytes();
    // A document has two directories of its own at worst.
    let files = system
        .free_files()
        .filter(|free| *free < objects.saturating_mul(3));
    let found = format!("{} free, {} are to come", bytes(free), bytes(size));
    match (free > size, files) {
        (true, None) => page.ok(Side::Destination, "space", found),
        (true, Some(files)) if files > objects => page.warn(
            Side::Destination,
            "space",
            format!("{found}; {files} more files can be made, for {objects} documents"),
            "directories are files, too: see that there are enough (df -i)",
        ),
        (_, files) => {
            let files = files.map_or(String::new(), |files| {
                format!("; {files} more files can be made, for {objects} documents")
            });
            let next =
                match to.driver.kind() == DriverKind::Localfs && to.config.compression.enabled {
                    true => "make room; compressed they take less, and how much less nobody knows",
                    false => "make room there, or name a directory on another disk",
                };
            page.fail(
                Side::Destination,
                "space",
                format!("{found}{files}"),
                (Code::StoreFull, Some(next.into())),
            );
        }
    }
}
