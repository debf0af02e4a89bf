//! What has to hold before the first byte is moved.

use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use crate::catalog::{Catalog, LiveService, SchemaFindings, TaskRow, TaskSide};
use crate::config::StoreConfig;
use crate::database::ConnectOptions;
use crate::digest;
use crate::driver::{Driver, StoreError, StoreErrorKind, WRITE_DEADLINE};
use crate::engine::flow::lock::HEARTBEAT;
use crate::engine::flow::retry_store::retry_store;
use crate::engine::{EngineError, Settings, Store};
use crate::model::{DriverKind, ObjectKey, Policy, Stage};

/// Anchore's services renew their heartbeat every 60 s. One that is older than that and what the
/// renewal itself may take is of a service that has stopped.
const SERVICE_SILENCE_S: i64 = 70;

/// How often young heartbeats are looked at again.
const SERVICE_LOOK: Duration = Duration::from_secs(1);

/// What two stores must be to each other.
type GateOfBoth = fn(&Store, &Store, &Policy) -> Result<(), EngineError>;

/// What both stores tell of themselves: asked before anything else. `doctor` asks each of them.
pub const OF_BOTH: [GateOfBoth; 2] = [
    |from, to, _| refuse_same_place(from, to),
    refuse_unsafe_elsewhere,
];

/// Two configurations of one place, as far as they tell themselves.
fn refuse_same_place(from: &Store, to: &Store) -> Result<(), EngineError> {
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

/// Refuses two servers with a bucket of the same name: a row's `content_url` does not name the
/// server, so that nobody could tell which of its documents have been moved.
pub fn refuse_same_urls(from: &Store, to: &Store) -> Result<(), EngineError> {
    match from.driver.place() == to.driver.place() {
        true => Err(EngineError::SameUrls {
            place: from.config.place(),
        }),
        false => Ok(()),
    }
}

/// Refuses `--include-elsewhere` where it could not be safe: a file outside of the configured
/// directory is not deleted, and a link could make it the very copy that was just written.
fn refuse_unsafe_elsewhere(from: &Store, to: &Store, policy: &Policy) -> Result<(), EngineError> {
    let is_localfs = |store: &Store| store.driver.kind() == DriverKind::Localfs;
    match policy.include_elsewhere && is_localfs(from) && (is_localfs(to) || !policy.nodelete) {
        true => Err(EngineError::ElsewhereOnLocalfs),
        false => Ok(()),
    }
}

/// Refuses a database user that is not allowed what a task needs: it would fail in its middle.
pub async fn refuse_missing_rights(
    catalog: &Catalog,
    stores: [&StoreConfig; 2],
) -> Result<(), EngineError> {
    let lacks = catalog.missing_rights(&kinds(&stores)).await?;
    let grants: Vec<String> = lacks.into_iter().map(|lack| lack.remedy).collect();
    match grants.is_empty() {
        true => Ok(()),
        false => Err(EngineError::Rights {
            grants: grants.join("\n  "),
        }),
    }
}

/// The catalog, for a task between two such stores.
pub async fn open_catalog(
    settings: &Settings,
    stores: [&StoreConfig; 2],
) -> Result<Catalog, EngineError> {
    Ok(Catalog::open_for_task(settings.database.clone(), &kinds(&stores)).await?)
}

/// The questions of such a task before the lock, where the catalog has been opened before.
pub async fn ask_ahead(catalog: &Catalog, stores: [&StoreConfig; 2]) -> Result<(), EngineError> {
    Ok(catalog.ask_ahead_of_gates(&kinds(&stores)).await?)
}

/// Refuses tables of Anchore's that lack what windlass needs, or ask for more than it knows of. What
/// it does not know and can leave alone is told.
pub async fn refuse_other_schema(
    catalog: &Catalog,
    stores: [&StoreConfig; 2],
) -> Result<(), EngineError> {
    told(other_schema(catalog, &stores).await?);
    Ok(())
}

/// The same; the columns that are left alone, each as `table.column`.
pub async fn other_schema(
    catalog: &Catalog,
    stores: &[&StoreConfig],
) -> Result<Vec<String>, EngineError> {
    unknown_of(catalog.look_at_schema(&kinds(stores)).await?)
}

/// The same for who only reads: what a task would write to besides may be missing.
pub async fn refuse_unreadable_schema(
    catalog: &Catalog,
    store: &StoreConfig,
) -> Result<(), EngineError> {
    let findings = catalog.look_at_schema_to_read(&kinds(&[store])).await?;
    told(unknown_of(findings)?);
    Ok(())
}

fn kinds(stores: &[&StoreConfig]) -> Vec<DriverKind> {
    let kinds = stores.iter().map(|store| store.driver.name().parse());
    kinds.flatten().collect()
}

fn unknown_of(mut findings: SchemaFindings) -> Result<Vec<String>, EngineError> {
    if findings.refused.is_empty() {
        return Ok(findings.unknown);
    }
    if !findings.unknown.is_empty() {
        let unknown = findings.unknown.join(", ");
        findings.refused.push(format!("new: {unknown}"));
    }
    Err(EngineError::OtherSchema {
        what: findings.refused.join("; "),
    })
}

fn told(unknown: Vec<String>) {
    if !unknown.is_empty() {
        tracing::warn!(
            "columns of Anchore's that windlass does not know, and leaves as they are: {}",
            unknown.join(", ")
        );
    }
}

/// Whether a task goes on beside services: while its documents are only staged, or by the operator's word that
/// services run with the new configuration.
pub fn goes_on_beside_services(task: &TaskRow) -> bool {
    task.stage == Some(Stage::Staging) || task.policy.services_on_new_config
}

/// Refuses to work beside live Anchore services: they would write where we read. Services that were
/// stopped a moment ago have young heartbeats, too: whether one is renewed tells them apart, and
/// is waited for.
pub async fn refuse_live_services(catalog: &Catalog, force: bool) -> Result<(), EngineError> {
    let first = young_services(catalog).await?;
    if first.is_empty() {
        return Ok(());
    }
    if force {
        tracing::warn!(
            "going on although Anchore services seem to be running: {}",
            named(&first)
        );
        return Ok(());
    }
    tracing::warn!(
        "Anchore services have told of themselves lately: {}; waiting {SERVICE_SILENCE_S} s at \
         most to see whether they still do",
        named(&first)
    );
    let since = Instant::now();
    loop {
        tokio::time::sleep(SERVICE_LOOK).await;
        let young = young_services(catalog).await?;
        let (known, renewed): (Vec<_>, Vec<_>) = young.into_iter().partition(|service| {
            let is_it = |s: &&LiveService| (&s.host, &s.name) == (&service.host, &service.name);
            let before = first.iter().find(is_it);
            before.is_some_and(|before| before.heartbeat == service.heartbeat)
        });
        if !renewed.is_empty() {
            return Err(EngineError::LiveServices {
                services: named(&renewed),
            });
        }
        // A clock that is ahead of ours makes a heartbeat look young for longer; what was not
        // renewed for so long will not be.
        if known.is_empty() || since.elapsed().as_secs() >= SERVICE_SILENCE_S.unsigned_abs() {
            return Ok(());
        }
    }
}

/// Refuses services that have told of themselves lately, without waiting for what they do next.
pub async fn refuse_young_services(catalog: &Catalog) -> Result<(), EngineError> {
    match young_services(catalog).await?.as_slice() {
        [] => Ok(()),
        young => Err(EngineError::LiveServices {
            services: named(young),
        }),
    }
}

async fn young_services(catalog: &Catalog) -> Result<Vec<LiveService>, EngineError> {
    let now_s = jiff::Timestamp::now().as_second();
    Ok(catalog.live_services(now_s, SERVICE_SILENCE_S).await?)
}

fn named(services: &[LiveService]) -> String {
    let named = services
        .iter()
        .map(|s| format!("{} on {} ({} s ago)", s.name, s.host, s.age_s));
    named.collect::<Vec<_>>().join(", ")
}

/// Waits until nothing that another task's dead executor has sent can still arrive at a store:
/// writes and deletes there can't be fenced, but they have a deadline.
pub async fn wait_for_neighbours(
    catalog: &Catalog,
    task_id: Option<i64>,
    connect: &ConnectOptions,
) -> Result<(), EngineError> {
    if let Some((age_s, rest)) = time_to_wait(catalog, task_id, connect).await? {
        let seconds = rest.as_secs();
        tracing::warn!(
            "another task's process died or was stopped in mid-write; its last sign is {age_s} s \
             old: waiting {seconds} s until nothing that it had sent to a store can still arrive"
        );
        tokio::time::sleep(rest).await;
    }
    Ok(())
}

/// Whether a new task would have to [wait](wait_for_neighbours).
pub async fn has_to_wait(catalog: &Catalog, connect: &ConnectOptions) -> Result<bool, EngineError> {
    Ok(time_to_wait(catalog, None, connect).await?.is_some())
}

/// How many seconds ago another task's process died, and for how long what it had sent can still
/// arrive.
pub async fn time_to_wait(
    catalog: &Catalog,
    task_id: Option<i64>,
    connect: &ConnectOptions,
) -> Result<Option<(i64, Duration)>, EngineError> {
    if !catalog.has_schema().await? {
        return Ok(None);
    }
    let Some(age_s) = catalog.unclean_neighbour_age_s(task_id).await? else {
        return Ok(None);
    };
    Ok(may_still_arrive(age_s, connect).map(|rest| (age_s, rest)))
}

/// For how long what a process has sent to a store can still arrive, `age_s` seconds after the last
/// sign of it.
pub fn may_still_arrive(age_s: i64, connect: &ConnectOptions) -> Option<Duration> {
    let age = Duration::from_secs(u64::try_from(age_s).unwrap_or(0));
    // It may have been cut off from the database alone, and have gone on until it noticed: when it
    // asked after the lock again, and, with options like ours, gave the answer up.
    let settled = WRITE_DEADLINE + HEARTBEAT + connect.silence_limit();
    settled.checked_sub(age)
}

/// Whether the destination holds nothing. Where that can't be told it counts as if it did, and each
/// key is looked at by itself before it is written.
pub async fn is_empty(to: &Store) -> Result<bool, EngineError> {
    match retry_store(async || to.driver.is_empty().await).await {
        Err(error)
            if matches!(
                error.kind,
                StoreErrorKind::Denied | StoreErrorKind::Unsupported
            ) =>
        {
            tracing::warn!(
                "{error}: it can't be seen whether the destination is empty, so that each key is \
                 looked at by itself before it is written"
            );
            Ok(false)
        }
        empty => Ok(empty?),
    }
}

/// Proves that two places are two: what is written to one must not be seen in the other.
///
/// The probe's name is always the same and its content is new each time, so that one which a
/// crash has left behind is overwritten and removed by the next migration.
pub async fn refuse_aliases(from: &Store, to: &Store) -> Result<(), EngineError> {
    if from.driver.kind() != to.driver.kind() {
        return Ok(());
    }
    let key = probe_key();
    let seen = is_seen(to.driver.as_ref(), from.driver.as_ref(), &key).await?
        || match is_seen(from.driver.as_ref(), to.driver.as_ref(), &key).await {
            Ok(seen) => seen,
            // A source that can't be written can't be probed from its side; the other side has
            // been.
            Err(error) => {
                tracing::info!("the source can't be probed by writing to it: {error}");
                false
            }
        };
    refuse_seen(from, to, seen)
}

/// The same for who may write to the destination alone. The probe has a name of its own: beside a
/// migration that begins, neither must take the other's away.
pub async fn refuse_visible_writes(
    from: &Store,
    to: &Store,
    key: &ObjectKey,
) -> Result<(), EngineError> {
    if from.driver.kind() != to.driver.kind() {
        return Ok(());
    }
    let seen = is_seen(to.driver.as_ref(), from.driver.as_ref(), key).await?;
    refuse_seen(from, to, seen)
}

fn refuse_seen(from: &Store, to: &Store, seen: bool) -> Result<(), EngineError> {
    match seen {
        true => Err(EngineError::Alias {
            from: from.config.place(),
            to: to.config.place(),
        }),
        false => Ok(()),
    }
}

fn probe_key() -> ObjectKey {
    ObjectKey::new("windlass", "windlass-probe", "alias")
}

async fn is_seen(
    written: &dyn Driver,
    looked_at: &dyn Driver,
    key: &ObjectKey,
) -> Result<bool, StoreError> {
    let nonce = Bytes::from(format!("windlass alias probe {}", Uuid::new_v4()));
    let url = written.url_for(key);
    written
        .put(&url, nonce.clone(), digest::md5(&nonce))
        .await?;
    let there = looked_at.url_for(key);
    let most = nonce.len() as u64;
    let found = async {
        let found = looked_at.get(&there, None).await?;
        found.at_most(most, looked_at.kind(), &there).bytes().await
    };
    let found = found.await;
    remove(written, key).await?;
    match found {
        Ok(found) => Ok(found == nonce),
        // Without the right to list, a store says of what is missing that it is denied.
        Err(error) if error.kind == StoreErrorKind::Denied => match looked_at.stat(&there).await? {
            None => Ok(false),
            Some(_) => Err(error),
        },
        // Nothing is there, or what was never the probe.
        Err(error)
            if matches!(
                error.kind,
                StoreErrorKind::NotFound | StoreErrorKind::Corrupt
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn remove(driver: &dyn Driver, key: &ObjectKey) -> Result<(), StoreError> {
    driver
        .delete(&[driver.url_for(key)])
        .await
        .into_iter()
        .collect()
}

/// Refuses a configuration that no longer means the place that the task has recorded.
pub fn refuse_changed_place(
    task: &TaskRow,
    side: &'static str,
    recorded: &TaskSide,
    config: &StoreConfig,
) -> Result<(), EngineError> {
    match recorded.fingerprint == config.fingerprint() {
        true => Ok(()),
        false => Err(EngineError::PlaceChanged {
            task_id: task.task_id,
            side,
            config: recorded.config.clone(),
            place: recorded.place.clone(),
        }),
    }
}
