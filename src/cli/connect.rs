//! From the command line to an open database, a task and its stores.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::args::{Global, MovedConfigs, RunArgs};
use super::fault::{Code, refused};
use crate::catalog::{Catalog, TaskRow, TaskSide};
use crate::config::{ConfigFile, Part, Secret, Section, require_variables as require_variables_of};
use crate::database::{ConnectOptions, Database, DatabaseUrl, why_ignored};
use crate::engine::{
    Concurrency, ConfiguredStore, MemoryLimit, Settings, StateDir, Stop, TaskFile,
};
use crate::progress::Progress;

/// Loads a configuration with the process's environment.
pub fn load(path: &Path) -> anyhow::Result<ConfigFile> {
    Ok(ConfigFile::load(path, &|name| std::env::var(name).ok())?)
}

/// The store of a configuration. What a person
/// should know about it is said.
pub fn store(
    config: &ConfigFile,
    analysis_archive: bool,
    global: &Global,
) -> anyhow::Result<ConfiguredStore> {
    let store = store_quietly(config, analysis_archive, global)?;
    for notice in &store.config.notices {
        tracing::warn!("{}: {notice}", config.path().display());
    }
    Ok(store)
}

/// The same, for who says by himself what there is to know.
pub fn store_quietly(
    config: &ConfigFile,
    analysis_archive: bool,
    global: &Global,
) -> anyhow::Result<ConfiguredStore> {
    let mut store = config.store(section(analysis_archive))?;
    if let Some(ca_bundle) = &global.ca_bundle {
        store.trust(ca_bundle);
    }
    let path = std::path::absolute(config.path())
        .with_context(|| format!("cannot tell where {} is", config.path().display()))?;
    Ok(ConfiguredStore {
        config: store,
        path,
        section: section_name(analysis_archive).to_owned(),
    })
}

/// A side of a task, from the configuration that it was made with, or from where that is now.
pub fn side(
    moved: Option<&Path>,
    side: &TaskSide,
    global: &Global,
) -> anyhow::Result<ConfiguredStore> {
    let config = load(moved.unwrap_or(Path::new(&side.config)))?;
    store(&config, is_archive(side), global)
}

/// Both sides of a task; variables without a value are told for both at once.
pub fn sides(
    moved: &MovedConfigs,
    task: &TaskRow,
    global: &Global,
) -> anyhow::Result<(ConfiguredStore, ConfiguredStore)> {
    let (from, to) = (&task.source, &task.destination);
    let open = |moved: &Option<PathBuf>, side: &TaskSide| {
        load(moved.as_deref().unwrap_or(Path::new(&side.config)))
    };
    let configs = (open(&moved.from_config, from)?, open(&moved.to_config, to)?);
    let part = |side| Part::Store(section(is_archive(side)));
    require_variables_of(&[(&configs.0, part(from)), (&configs.1, part(to))])?;
    Ok((
        store(&configs.0, is_archive(from), global)?,
        store(&configs.1, is_archive(to), global)?,
    ))
}

fn is_archive(side: &TaskSide) -> bool {
    side.section == "analysis_archive"
}

/// As a task records it.
pub fn section_name(is_archive: bool) -> &'static str {
    match is_archive {
        true => "analysis_archive",
        false => "object_store",
    }
}

/// The section that is meant.
pub fn section(is_archive: bool) -> Section {
    match is_archive {
        true => Section::AnalysisArchive,
        false => Section::ObjectStore,
    }
}

/// Asks for all variables that the stores of these configurations need, and those of the database
/// in the first of them where nothing else names it: what has no value is told at once.
pub fn require_variables(global: &Global, sides: &[(&ConfigFile, bool)]) -> anyhow::Result<()> {
    let stores = sides
        .iter()
        .map(|(config, is_archive)| (*config, Part::Store(section(*is_archive))));
    let mut parts: Vec<_> = stores.collect();
    if let (Some((config, _)), None) = (sides.first(), given_url(global)) {
        parts.push((config, Part::Database));
    }
    Ok(require_variables_of(&parts)?)
}

/// The URL of the database: from the command line, the environment, or a configuration.
pub fn database_url(global: &Global, config: Option<&ConfigFile>) -> anyhow::Result<DatabaseUrl> {
    if let Some(url) = given_database_url(global)? {
        let Some(config) = config else {
            return Ok(url);
        };
        let place = || format!("{}: db_connect_args", config.path().display());
        let arguments = config.connect_arguments()?;
        return url.with_tls_of(&arguments).with_context(place);
    }
    let configured = match config {
        Some(config) => config.database()?.map(|database| (config, database)),
        None => None,
    };
    match configured {
        Some((config, database)) => {
            let place = || format!("{}: credentials.database", config.path().display());
            found(DatabaseUrl::configured(&database).with_context(place)?)
        }
        None => Err(refused(
            Code::NoDatabaseNamed,
            "no database is named: give --db-connect URL, set WINDLASS_DB_CONNECT, or put \
             credentials.database.db_connect into the configuration",
        )),
    }
}

/// What to say of two configurations that name different databases. They are of one deployment, as
/// a rule: one of them may be the wrong file.
pub fn two_databases(from: &ConfigFile, to: &ConfigFile, used: &DatabaseUrl) -> Option<String> {
    let place = |config: &ConfigFile| {
        let database = config.database().ok().flatten()?;
        let url = DatabaseUrl::configured(&database).ok()?;
        Some(url.absolute().ok()?.place())
    };
    let (of_from, of_to) = (place(from)?, place(to)?);
    (of_from != of_to).then(|| {
        format!(
            "WARNING: the two configurations name different databases: {of_from} in {}, {of_to} in \
             {}; the rows of {} are migrated. Is one of the files of another deployment?",
            from.path().display(),
            to.path().display(),
            used.place()
        )
    })
}

/// The URL from the command line or the environment.
pub fn given_database_url(global: &Global) -> anyhow::Result<Option<DatabaseUrl>> {
    match given_url(global) {
        Some((url, from)) => Ok(Some(found(DatabaseUrl::parse(&url).context(from)?)?)),
        None => Ok(None),
    }
}

/// The text of that URL, and where it is from.
pub fn given_url(global: &Global) -> Option<(String, &'static str)> {
    let from_environment = || {
        let url = std::env::var("WINDLASS_DB_CONNECT").ok();
        url.filter(|url| !url.is_empty())
            .map(|url| (url, "WINDLASS_DB_CONNECT"))
    };
    let given = global.db_connect.clone().map(|url| (url, "--db-connect"));
    given.or_else(from_environment)
}

/// A URL as it will be used, with a word on what of it does nothing.
fn found(url: DatabaseUrl) -> anyhow::Result<DatabaseUrl> {
    for name in url.ignored() {
        let why = why_ignored(name).unwrap_or_default();
        tracing::warn!("the database option {name} is ignored: {why}");
    }
    let url = url
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

/// How to connect, as Anchore's options say; pg8000's `timeout` bounds each answer, too.
pub fn connect_options(global: &Global, url: &DatabaseUrl) -> ConnectOptions {
    let statement = Duration::from_secs(global.db_timeout.max(1));
    ConnectOptions {
        ssl: global.db_use_ssl,
        retries: global.db_retries,
        connect_timeout: Duration::from_secs(global.db_connect_timeout.max(1)),
        statement_timeout: Some(statement.min(url.answer_limit().unwrap_or(statement))),
        ..ConnectOptions::default()
    }
}

/// The state directory.
pub fn state_dir(global: &Global) -> anyhow::Result<StateDir> {
    state_dir_at(global.state_dir.clone())
}

/// The one that is named, or the usual one.
pub fn state_dir_at(named: Option<PathBuf>) -> anyhow::Result<StateDir> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let path = named
        .or_else(|| from("XDG_STATE_HOME").map(|dir| dir.join("windlass")))
        .or_else(|| from("HOME").map(|dir| dir.join(".local/state/windlass")))
        .ok_or_else(|| {
            let why = "neither XDG_STATE_HOME nor HOME is set: give --state-dir DIR";
            refused(Code::StateDir, why)
        })?;
    let path = std::path::absolute(&path)
        .with_context(|| format!("cannot tell where {} is", path.display()))?;
    Ok(StateDir::new(path))
}

/// What every run needs.
pub async fn settings(
    global: &Global,
    run: &RunArgs,
    url: DatabaseUrl,
) -> anyhow::Result<Settings> {
    let concurrency = run.concurrency.within_files(super::files::raise_limit())?;
    let database = Database::connect(&url, &connect_options(global, &url)).await?;
    settings_over(global, run, concurrency, (url, database))
}

/// The same over the connections with which a task was found.
pub fn settings_of_found(
    global: &Global,
    run: &RunArgs,
    found: &FoundTask,
) -> anyhow::Result<Settings> {
    let concurrency = run.concurrency.within_files(super::files::raise_limit())?;
    let database = found.catalog.database().clone();
    settings_over(global, run, concurrency, (found.url.clone(), database))
}

fn settings_over(
    global: &Global,
    run: &RunArgs,
    concurrency: Concurrency,
    (url, database): (DatabaseUrl, Database),
) -> anyhow::Result<Settings> {
    let connect = connect_options(global, &url);
    let minutes = run.max_outage.clamp(0.0, 7.0 * 24.0 * 60.0);
    Ok(Settings {
        database_url: url,
        connect,
        database,
        state_dir: state_dir(global)?,
        concurrency,
        memory_limit: run.memory_limit,
        bandwidth_bytes: run.bwlimit,
        read_bandwidth_bytes: run.bwlimit_read,
        outage_limit: Duration::from_secs_f64(minutes * 60.0),
        force_live_services: run.force_live_services,
        stop: Stop::default(),
        progress: std::sync::Arc::new(Progress::default()),
    })
}

/// The same for what moves nothing.
pub fn quiet_settings(global: &Global, found: &FoundTask) -> anyhow::Result<Settings> {
    Ok(Settings {
        database_url: found.url.clone(),
        connect: connect_options(global, &found.url),
        database: found.catalog.database().clone(),
        state_dir: state_dir(global)?,
        concurrency: Concurrency::default(),
        memory_limit: MemoryLimit::new(u64::MAX)?,
        bandwidth_bytes: None,
        read_bandwidth_bytes: None,
        outage_limit: Duration::ZERO,
        force_live_services: false,
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
/// knows of it. windlass's tables are brought up to date for what is to be done with it.
pub async fn find_task(global: &Global, wanted: &str) -> anyhow::Result<FoundTask> {
    let (catalog, url) = catalog_of(global, wanted).await?;
    catalog.bring_up_to_date().await?;
    let task = catalog.task(wanted).await?;
    Ok(FoundTask { task, catalog, url })
}

/// The catalog in which a task is to be looked for.
async fn catalog_of(global: &Global, wanted: &str) -> anyhow::Result<(Catalog, DatabaseUrl)> {
    let url = url_of_task(global, wanted)?;
    let options = connect_options(global, &url);
    let database = Database::connect(&url, &options).await?;
    Ok((Catalog::open_at_task(database, wanted).await?, url))
}

/// The database in which a task is to be looked for: the one that is given, or the one that the state
/// directory knows.
pub fn url_of_task(global: &Global, wanted: &str) -> anyhow::Result<DatabaseUrl> {
    match given_database_url(global)? {
        Some(url) => Ok(url),
        None => url_of_known_task(global, wanted),
    }
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
            let why = format!(
                "no task {wanted} is known in {}: {known}; if the task was made on another \
                 machine, give --db-connect URL",
                state_dir.path().display()
            );
            Err(refused(Code::UnknownTask, why))
        }
        several => {
            let list = several
                .iter()
                .map(|f| format!("\n  {} in {}", f.uuid, f.database));
            let why = format!(
                "several tasks have the id {wanted}; use the UUID of the one you mean:{}",
                list.collect::<String>()
            );
            Err(refused(Code::AmbiguousTask, why))
        }
    }
}

/// A task to be looked at, without a change to the database.
pub async fn find_task_to_read(global: &Global, wanted: &str) -> anyhow::Result<FoundTask> {
    let (catalog, url) = catalog_of(global, wanted).await?;
    catalog.refuse_older_schema().await?;
    let task = catalog.task(wanted).await?;
    Ok(FoundTask { task, catalog, url })
}

/// The database of a task file; the password is in the configuration or the environment.
pub fn url_of(file: &TaskFile) -> anyhow::Result<DatabaseUrl> {
    let recorded = DatabaseUrl::parse(&file.database)
        .with_context(|| format!("the record of task {} is damaged", file.task_id))?;
    for config in [&file.from_config, &file.to_config] {
        let Ok(Some(database)) = load(config).and_then(|c| Ok(c.database()?)) else {
            continue;
        };
        let Ok(Ok(url)) = DatabaseUrl::configured(&database).map(DatabaseUrl::absolute) else {
            continue;
        };
        if url.is_same_database(&recorded) {
            // What the configuration says today about trust counts, unless the task was made with
            // more than it has ever said.
            let same = match recorded.names_ssl_mode() && !url.names_ssl_mode() {
                true => recorded.with_password_of(&url),
                false => url,
            };
            return Ok(with_environment_password(same));
        }
    }
    Ok(with_environment_password(recorded))
}
