//! The file as a whole: reading it and picking what a migration needs.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::drivers::read_store;
use super::substitute::Variables;
use super::value::{self, Node, Value};
use super::{Compression, ConfigError, DriverConfig, Notice, Secret, StoreConfig};

/// No `config.yaml` of Anchore comes near this.
const TEXT_MAX_BYTES: u64 = 1 << 20;
const SUBSTITUTED_MAX_BYTES: usize = 4 << 20;

/// Reads a file of a size that it may have: a device or a pipe has no end.
pub(super) fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(TEXT_MAX_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > TEXT_MAX_BYTES {
        true => Err(std::io::Error::other(
            "it is larger than 1 MiB, and so none of Anchore's",
        )),
        false => Ok(text),
    }
}

/// Which of a catalog's two stores is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// `services.catalog.object_store`, or `archive`, its older name.
    ObjectStore,
    /// `services.catalog.analysis_archive`, alone.
    AnalysisArchive,
}

/// How to reach Anchore's database, as `credentials.database` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// The SQLAlchemy URL, password and all.
    pub connect: Secret,
    /// `db_connect_args.ssl`.
    pub ssl: bool,
    /// `db_connect_args.timeout`: how long a statement may take.
    pub timeout: Option<Duration>,
    /// `db_connect_args.connect_timeout`.
    pub connect_timeout: Option<Duration>,
}

/// Anchore's `config.yaml`, with variables put in.
pub struct ConfigFile {
    path: PathBuf,
    root: Value,
}

// The tree holds every secret of the deployment.
impl std::fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ConfigFile {
    /// Reads a file; `env` looks up the variables of the environment.
    ///
    /// # Errors
    /// An unreadable file, a variable without a value, or text that is not YAML.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = read_text(path).map_err(|source| ConfigError::Unreadable {
            file: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text, env)
    }

    /// Reads a text as [`load`](Self::load) reads a file; `path` is for messages.
    ///
    /// # Errors
    /// A variable without a value, or text that is not YAML.
    pub fn parse(
        path: &Path,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let variables = Variables::load(env);
        if let Some((line, variable)) = variables.first_unset(text) {
            let (file, hint) = (path.to_owned(), variables.hint);
            return Err(ConfigError::UnsetVariable {
                file,
                line,
                variable,
                hint,
            });
        }
        let not_yaml = |reason| ConfigError::NotYaml {
            file: path.to_owned(),
            reason,
        };
        let text = variables.substitute(text, SUBSTITUTED_MAX_BYTES);
        let text = text.ok_or_else(|| not_yaml("its variables make too much of it".into()))?;
        let root = value::parse(&text).map_err(not_yaml)?;
        Ok(Self {
            path: path.to_owned(),
            root,
        })
    }

    /// The path that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store of a section.
    ///
    /// `object_store` beats `archive`, and an empty section counts as none. Without
    /// either Anchore uses the database: so do we, with a [`Notice`].
    ///
    /// # Errors
    /// A missing or ill-typed key, an unknown driver, an analysis archive that is not
    /// configured, or the legacy `archive_driver`.
    pub fn store(&self, section: Section) -> Result<StoreConfig, ConfigError> {
        let catalog = Node::root(&self.path, &self.root)
            .get("services")?
            .require("catalog", "the settings of Anchore's catalog service")?;
        match section {
            Section::AnalysisArchive => {
                read_store(&catalog.require("analysis_archive", "a store with `storage_driver`")?)
            }
            Section::ObjectStore => self.object_store(&catalog),
        }
    }

    fn object_store(&self, catalog: &Node<'_>) -> Result<StoreConfig, ConfigError> {
        for name in ["object_store", "archive"] {
            let section = catalog.get(name)?;
            if !section.is_falsy() {
                return read_store(&section);
            }
        }
        if !catalog.get("archive_driver")?.is_absent() {
            return Err(ConfigError::LegacyDriver {
                file: self.path.clone(),
            });
        }
        Ok(StoreConfig {
            compression: Compression::default(),
            driver: DriverConfig::Db,
            notices: vec![Notice::DefaultedToDb {
                key: catalog.get("object_store")?.key,
            }],
        })
    }

    /// The database of the deployment, where the file names one.
    ///
    /// # Errors
    /// An ill-typed key.
    pub fn database(&self) -> Result<Option<DatabaseConfig>, ConfigError> {
        let database = Node::root(&self.path, &self.root)
            .get("credentials")?
            .get("database")?;
        let Some(connect) = database.get("db_connect")?.string()? else {
            return Ok(None);
        };
        let arguments = database.get("db_connect_args")?;
        let seconds = |name| Ok(arguments.get(name)?.whole()?.map(Duration::from_secs));
        Ok(Some(DatabaseConfig {
            connect: Secret::new(connect),
            ssl: arguments.get("ssl")?.flag()?.unwrap_or(false),
            timeout: seconds("timeout")?,
            connect_timeout: seconds("connect_timeout")?,
        }))
    }
}
