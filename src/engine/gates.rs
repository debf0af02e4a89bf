//! What has to hold before the first byte is moved.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{EngineError, Store};
use crate::catalog::Catalog;
use crate::digest;
use crate::driver::{Driver, WRITE_DEADLINE};
use crate::model::{DriverKind, ObjectKey, Policy};

/// Anchore's services tell of themselves every few seconds; older heartbeats are of stopped ones.
const SERVICE_HEARTBEAT_S: i64 = 60;

/// Two configurations of one place, as far as they tell themselves.
pub fn refuse_same_place(from: &Store, to: &Store) -> Result<(), EngineError> {
    let same_base = from.driver.place() == to.driver.place();
    let same = match from.config.driver.name() == to.config.driver.name() {
        // A database has no second place for documents.
        true if same_base && from.config.driver.name().starts_with("db") => true,
        true => from.config.fingerprint() == to.config.fingerprint(),
        false => false,
    };
    match same {
        true => Err(EngineError::SamePlace {
            place: from.config.place(),
        }),
        false => Ok(()),
    }
}

/// Refuses `--include-elsewhere` where it could not be safe: a file outside of the configured
/// directory is not deleted, and a link could make it the very copy that was just written.
pub fn refuse_unsafe_elsewhere(
    from: &Store,
    to: &Store,
    policy: &Policy,
) -> Result<(), EngineError> {
    let is_localfs = |store: &Store| store.driver.kind() == DriverKind::Localfs;
    match policy.include_elsewhere && is_localfs(from) && (is_localfs(to) || !policy.nodelete) {
        true => Err(EngineError::ElsewhereOnLocalfs),
        false => Ok(()),
    }
}

/// Refuses to work beside live Anchore services: they would write where we read.
pub async fn refuse_live_services(catalog: &Catalog, force: bool) -> Result<(), EngineError> {
    let now_s = jiff::Timestamp::now().as_second();
    let live = catalog.live_services(now_s, SERVICE_HEARTBEAT_S).await?;
    if live.is_empty() {
        return Ok(());
    }
    let named = live
        .iter()
        .map(|s| format!("{} on {} ({} s ago)", s.name, s.host, s.age_s));
    let services = named.collect::<Vec<_>>().join(", ");
    if force {
        tracing::warn!("going on although Anchore services seem to be running: {services}");
        return Ok(());
    }
    Err(EngineError::LiveServices { services })
}

/// Waits until nothing that another task's dead executor has sent can still arrive at a store:
/// writes and deletes there can't be fenced, but they have a deadline.
pub async fn wait_for_neighbours(
    catalog: &Catalog,
    task_id: Option<i64>,
) -> Result<(), EngineError> {
    if !catalog.has_schema().await? {
        return Ok(());
    }
    let Some(age_s) = catalog.unclean_neighbour_age_s(task_id).await? else {
        return Ok(());
    };
    let age = Duration::from_secs(u64::try_from(age_s).unwrap_or(0));
    if let Some(rest) = WRITE_DEADLINE.checked_sub(age) {
        let seconds = rest.as_secs();
        tracing::warn!(
            "another task's process died {age_s} s ago: waiting {seconds} s until nothing that \
             it had sent to a store can still arrive"
        );
        tokio::time::sleep(rest).await;
    }
    Ok(())
}

/// Proves that two places are two: what is written to one must not be seen in the other.
///
/// The probe is named after the task, so that a crash leaves nothing that a resume would not
/// remove.
pub async fn refuse_aliases(from: &Store, to: &Store, task: Uuid) -> Result<(), EngineError> {
    let seen = is_seen(to.driver.as_ref(), from.driver.as_ref(), task, "forward").await?
        || is_seen(from.driver.as_ref(), to.driver.as_ref(), task, "backward").await?;
    match seen {
        true => Err(EngineError::Alias {
            from: from.config.place(),
            to: to.config.place(),
        }),
        false => Ok(()),
    }
}

fn probe_key(task: Uuid, direction: &str) -> ObjectKey {
    ObjectKey::new("windlass", "windlass-probe", format!("{task}-{direction}"))
}

async fn is_seen(
    written: &dyn Driver,
    looked_at: &dyn Driver,
    task: Uuid,
    direction: &str,
) -> Result<bool, EngineError> {
    if written.kind() != looked_at.kind() {
        return Ok(false);
    }
    let key = probe_key(task, direction);
    let nonce = Bytes::from(format!("windlass alias probe {}", Uuid::new_v4()));
    let url = written.url_for(&key);
    if let Err(error) = written.put(&url, nonce.clone(), digest::md5(&nonce)).await {
        // A source that can't be written can't be probed from its side; the other side has been.
        return match direction {
            "backward" => Ok(false),
            _ => Err(error.into()),
        };
    }
    let found = looked_at.stat(&looked_at.url_for(&key)).await;
    remove(written, &url).await?;
    Ok(found?.is_some())
}

async fn remove(driver: &dyn Driver, url: &str) -> Result<(), EngineError> {
    for deleted in driver.delete(&[url.to_owned()]).await {
        deleted?;
    }
    Ok(())
}

/// Removes probes that a crash may have left behind.
pub async fn remove_probes(from: &Store, to: &Store, task: Uuid) {
    if from.driver.kind() != to.driver.kind() {
        return;
    }
    for (driver, direction) in [(&to.driver, "forward"), (&from.driver, "backward")] {
        let url = driver.url_for(&probe_key(task, direction));
        if let Err(error) = remove(driver.as_ref(), &url).await {
            tracing::warn!("a probe may be left behind: {error}");
        }
    }
}
