//! From the command line to an open database, a task and its stores.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::args::{Global, RunArgs};
use crate::catalog::{Catalog, TaskRow, TaskSide};
use crate::config::{ConfigFile, Secret, Section, StoreConfig};
use crate::database::{ConnectOptions, Database, DatabaseUrl};
use crate::engine::{Progress, Settings, StateDir, Stop, TaskFile};

/// Loads a configuration with the process's environment.
pub fn load(path: &Path) -> anyhow::Result<ConfigFile> {
    Ok(ConfigFile::load(path, &|name| std::env::var(name).ok())?)
}

/// The store of a configuration, with its absolute path and its section's name. What a person
/// should know about it is said.
pub fn store(
    config: &ConfigFile,
    analysis_archive: bool,
    global: &Global,
) -> anyhow::Result<(StoreConfig, PathBuf, String)> {
    let (section, name) = match analysis_archive {
        true => (Section::AnalysisArchive, "analysis_archive"),
        false => (Section::ObjectStore, "object_store"),
    };
    let mut store = config.store(section)?;
    if let Some(ca_bundle) = &global.ca_bundle {
        store.trust(ca_bundle);
    }
    for notice in &store.notices {
        tracing::warn!("{}: {notice}", config.path().display());
    }
    let path = std::path::absolute(config.path())
        .with_context(|| format!("cannot tell where {} is", config.path().display()))?;
    Ok((store, path, name.to_owned()))
}

/// A side of a task, from the configuration that it was made with, or from where that is now.
pub fn side(
    moved: Option<&Path>,
    side: &TaskSide,
    global: &Global,
) -> anyhow::Result<(ConfigFile, (StoreConfig, PathBuf, String))> {
    let config = load(moved.unwrap_or(Path::new(&side.config)))?;
    let store = store(&config, side.section == "analysis_archive", global)?;
    Ok((config, store))
}

/// The URL of the database: from the command line, the environment, or a configuration.
pub fn database_url(global: &Global, config: Option<&ConfigFile>) -> anyhow::Result<DatabaseUrl> {
    if let Some(url) = given_database_url(global)? {
        return Ok(url);
    }
    let configured = match config {
        Some(config) => config.database()?,
        None => None,
    };
    match configured {
        Some(database) => parse_url(database.connect.expose()),
        None => bail!(
            "no database is named: give --db-connect URL, set WINDLASS_DB_CONNECT, or put \
             credentials.database.db_connect into the configuration"
        ),
    }
}

/// The URL from the command line or the environment.
pub fn given_database_url(global: &Global) -> anyhow::Result<Option<DatabaseUrl>> {
    let from_environment = || {
        std::env::var("WINDLASS_DB_CONNECT")
            .ok()
            .filter(|u| !u.is_empty())
    };
    match global.db_connect.clone().or_else(from_environment) {
        Some(url) => Ok(Some(parse_url(&url)?)),
        None => Ok(None),
    }
}

fn parse_url(url: &str) -> anyhow::Result<DatabaseUrl> {
    let url = DatabaseUrl::parse(url)?
        .absolute()
        .context("cannot tell where the database is")?;
    Ok(with_environment_password(url))
}

fn with_environment_password(url: DatabaseUrl) -> DatabaseUrl {
    match (url.password(), std::env::var("PGPASSWORD")) {
        (None, Ok(password)) if !password.is_empty() => url.with_password(Secret::new(password)),
        _ => url,
    }
}

/// How to connect, as Anchore's options say.
pub fn connect_options(global: &Global, config: Option<&ConfigFile>) -> ConnectOptions {
    let ssl = config
        .and_then(|config| config.database().ok().flatten())
        .is_some_and(|d| d.ssl);
    ConnectOptions {
        ssl: global.db_use_ssl || ssl,
        retries: global.db_retries,
        connect_timeout: Duration::from_secs(global.db_connect_timeout.max(1)),
        statement_timeout: Some(Duration::from_secs(global.db_timeout.max(1))),
        ..ConnectOptions::default()
    }
}

/// The state directory.
pub fn state_dir(global: &Global) -> anyhow::Result<StateDir> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let path = global
        .state_dir
        .clone()
        .or_else(|| from("XDG_STATE_HOME").map(|dir| dir.join("windlass")))
        .or_else(|| from("HOME").map(|dir| dir.join(".local/state/windlass")))
        .ok_or_else(|| anyhow!("neither XDG_STATE_HOME nor HOME is set: give --state-dir DIR"))?;
    let path = std::path::absolute(&path)
        .with_context(|| format!("cannot tell where {} is", path.display()))?;
    Ok(StateDir::new(path))
}

/// What every run needs.
pub async fn settings(
    global: &Global,
    run: &RunArgs,
    url: DatabaseUrl,
    config: &ConfigFile,
) -> anyhow::Result<Settings> {
    let concurrency = run.concurrency.within_files(super::files::raise_limit())?;
    let connect = connect_options(global, Some(config));
    let database = Database::connect(&url, &connect).await?;
    let minutes = run.max_outage.clamp(0.0, 7.0 * 24.0 * 60.0);
    Ok(Settings {
        database_url: url,
        connect,
        database,
        state_dir: state_dir(global)?,
        concurrency,
        memory_limit: run.memory_limit,
        bandwidth_bytes: run.bwlimit,
        outage_limit: Duration::from_secs_f64(minutes * 60.0),
        force_live_services: run.force_live_services,
        stop: Stop::default(),
        progress: std::sync::Arc::new(Progress::default()),
    })
}

/// A task that was asked for, and the way to its database.
pub struct FoundTask {
    /// The task.
    pub task: TaskRow,
    /// Its catalog.
    pub catalog: Catalog,
    /// Its database.
    pub url: DatabaseUrl,
}

/// Finds a task by its id or UUID: in the database that is given, or by what the state directory
/// knows of it.
pub async fn find_task(global: &Global, wanted: &str) -> anyhow::Result<FoundTask> {
    let url = match given_database_url(global)? {
        Some(url) => url,
        None => url_of_known_task(global, wanted)?,
    };
    let options = connect_options(global, None);
    let database = Database::connect(&url, &options).await?;
    let catalog = Catalog::open(database).await?;
    let task = catalog.task(wanted).await?;
    Ok(FoundTask { task, catalog, url })
}

fn url_of_known_task(global: &Global, wanted: &str) -> anyhow::Result<DatabaseUrl> {
    let state_dir = state_dir(global)?;
    let mut found = state_dir.find(wanted)?;
    // A crash while the plan was made can leave a file of a task that never was; the database knows.
    found.sort_by(|a, b| a.database.cmp(&b.database));
    found.dedup_by(|a, b| a.database == b.database);
    match found.as_slice() {
        [file] => url_of(file),
        [] => {
            let ids: Vec<_> = state_dir
                .all()?
                .iter()
                .map(|f| f.task_id.to_string())
                .collect();
            let known = match ids.is_empty() {
                true => "it knows none".to_owned(),
                false => format!("it knows {}", ids.join(", ")),
            };
            bail!(
                "no task {wanted} is known in {}: {known}; if the task was made on another \
                 machine, give --db-connect URL",
                state_dir.path().display()
            )
        }
        several => {
            let list = several
                .iter()
                .map(|f| format!("\n  {} in {}", f.uuid, f.database));
            bail!(
                "several tasks have the id {wanted}; use the UUID of the one you mean:{}",
                list.collect::<String>()
            )
        }
    }
}

/// The database of a task file; the password is in the configuration or the environment.
pub fn url_of(file: &TaskFile) -> anyhow::Result<DatabaseUrl> {
    let recorded = DatabaseUrl::parse(&file.database)
        .with_context(|| format!("the record of task {} is damaged", file.task_id))?;
    for config in [&file.from_config, &file.to_config] {
        let Ok(Some(database)) = load(config).and_then(|c| Ok(c.database()?)) else {
            continue;
        };
        let Ok(url) = DatabaseUrl::parse(database.connect.expose()).map(DatabaseUrl::absolute)
        else {
            continue;
        };
        match url {
            Ok(url) if url.redacted() == recorded.redacted() => {
                return Ok(with_environment_password(url));
            }
            _ => {}
        }
    }
    Ok(with_environment_password(recorded))
}
