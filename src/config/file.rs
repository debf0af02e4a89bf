//! The file as a whole: reading it and picking what a migration needs.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::database::{self, DatabaseConfig};
use super::drivers::{read_store, unset_in_store};
use super::substitute::Variables;
use super::value::{self, Node, Value};
use super::{
    Compression, ConfigError, DriverConfig, Notice, Secret, StoreConfig, UnsetVariable, paste,
};

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
    /// `services.catalog.analysis_archive`; where that is empty, the object store's.
    AnalysisArchive,
}

/// A part of the file that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The store of a section.
    Store(Section),
    /// `credentials.database`.
    Database,
}

/// Asks for the variables of all parts that will be used, so that those without a value are told
/// at once.
///
/// # Errors
/// [`ConfigError::UnsetVariables`], or a part that is not as it should be.
pub fn require_variables(parts: &[(&ConfigFile, Part)]) -> Result<(), ConfigError> {
    let mut missing = Vec::new();
    for (config, part) in parts {
        for variable in config.unset(*part)? {
            if !missing.contains(&variable) {
                missing.push(variable);
            }
        }
    }
    match (missing.is_empty(), parts.first()) {
        (false, Some((config, _))) => Err(ConfigError::UnsetVariables {
            missing,
            hint: config.hint.clone(),
        }),
        _ => Ok(()),
    }
}

/// Anchore's `config.yaml`, with variables put in.
pub struct ConfigFile {
    path: PathBuf,
    root: Value,
    /// Where else variables may stand, for messages.
    hint: String,
    /// As it was written, before variables were put in.
    written: String,
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
    /// An unreadable file, or text that is not YAML.
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
    /// Text that is not YAML.
    pub fn parse(
        path: &Path,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let variables = Variables::load(env);
        let not_yaml = |reason| ConfigError::NotYaml {
            file: path.to_owned(),
            reason,
        };
        let written = text.to_owned();
        let text = variables.substitute(text, SUBSTITUTED_MAX_BYTES);
        let text = text.ok_or_else(|| not_yaml("its variables make too much of it".into()))?;
        let root = value::parse(&text).map_err(not_yaml)?;
        Ok(Self {
            path: path.to_owned(),
            root,
            hint: variables.hint,
            written,
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
    /// A missing or ill-typed key, an unknown driver, a variable without a value, or the
    /// legacy `archive_driver`.
    pub fn store(&self, section: Section) -> Result<StoreConfig, ConfigError> {
        require_variables(&[(self, Part::Store(section))])?;
        let catalog = self.catalog()?;
        let mut store = match self.section(&catalog, section)? {
            Some(node) => read_store(&node)?,
            None if !catalog.get("archive_driver")?.is_absent() => {
                return Err(ConfigError::LegacyDriver {
                    file: self.path.clone(),
                });
            }
            None => StoreConfig {
                compression: Compression::default(),
                driver: DriverConfig::Db,
                notices: vec![Notice::DefaultedToDb {
                    key: catalog.get("object_store")?.key,
                }],
            },
        };
        let archive = catalog.get("analysis_archive")?;
        if section == Section::AnalysisArchive && archive.is_falsy() {
            let key = archive.key;
            store
                .notices
                .insert(0, Notice::ArchiveInObjectStore { key });
        }
        Ok(store)
    }

    /// As it was written, before variables were put in.
    pub(super) fn written(&self) -> &str {
        &self.written
    }

    pub(super) fn root_node(&self) -> Node<'_> {
        Node::root(&self.path, &self.root)
    }

    pub(super) fn catalog(&self) -> Result<Node<'_>, ConfigError> {
        self.root_node()
            .get("services")?
            .require("catalog", "the settings of Anchore's catalog service")
    }

    /// Where a store is described, if anywhere.
    pub(super) fn section<'a>(
        &self,
        catalog: &Node<'a>,
        section: Section,
    ) -> Result<Option<Node<'a>>, ConfigError> {
        let names = match section {
            Section::AnalysisArchive => &["analysis_archive", "object_store", "archive"][..],
            Section::ObjectStore => &["object_store", "archive"],
        };
        for name in names {
            let node = catalog.get(name)?;
            if !node.is_falsy() {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// The variables without a value in a part.
    fn unset(&self, part: Part) -> Result<Vec<UnsetVariable>, ConfigError> {
        let unset = match part {
            Part::Store(section) => match self.section(&self.catalog()?, section)? {
                Some(node) => unset_in_store(&node)?,
                None => Vec::new(),
            },
            Part::Database => database::unset(&self.database_node()?)?,
        };
        let named = unset.into_iter().map(|unset| UnsetVariable {
            file: self.path.clone(),
            line: unset.line,
            name: unset.name,
        });
        Ok(named.collect())
    }

    /// The name of the section that is read for a store: `object_store`, or `archive` where only
    /// that older one is there; `None` where there is no section.
    ///
    /// # Errors
    /// An ill-typed key above it.
    pub fn section_name(&self, section: Section) -> Result<Option<&'static str>, ConfigError> {
        let names: &[&'static str] = match section {
            Section::AnalysisArchive => &["analysis_archive"],
            Section::ObjectStore => &["object_store", "archive"],
        };
        let root = Node::root(&self.path, &self.root);
        let catalog = root.get("services")?.get("catalog")?;
        for name in names {
            if !catalog.get(name)?.is_falsy() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The section as YAML to paste into another file, with variables as they were written and
    /// secrets as stars. Where the file has none, the one that says the same.
    pub fn section_to_paste(&self, section: Section) -> Option<String> {
        match (self.section_name(section).ok()?, section) {
            (Some(name), _) => paste::section(&self.written, name),
            (None, Section::ObjectStore) => {
                Some("object_store:\n  storage_driver:\n    name: db\n    config: {}\n".into())
            }
            (None, Section::AnalysisArchive) => self.section_to_paste(Section::ObjectStore),
        }
    }

    /// The store that Anchore opens for what belongs into a section: the analysis archive's
    /// documents are kept in the object store where there is no section of their own.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub fn opened_by_anchore(&self, section: Section) -> Result<StoreConfig, ConfigError> {
        match self.section_name(section)? {
            Some("analysis_archive") => self.store(Section::AnalysisArchive),
            _ => self.store(Section::ObjectStore),
        }
    }

    /// The database of the deployment, where the file names one.
    ///
    /// # Errors
    /// An ill-typed key, or a variable without a value.
    pub fn database(&self) -> Result<Option<DatabaseConfig>, ConfigError> {
        require_variables(&[(self, Part::Database)])?;
        database::read(&self.database_node()?)
    }

    /// `db_connect_args` by themselves, for a database that is named elsewhere: those whose
    /// variables have values.
    ///
    /// # Errors
    /// An ill-typed key.
    pub fn connect_arguments(&self) -> Result<Vec<(String, Secret)>, ConfigError> {
        database::arguments(&self.database_node()?)
    }

    fn database_node(&self) -> Result<Node<'_>, ConfigError> {
        Node::root(&self.path, &self.root)
            .get("credentials")?
            .get("database")
    }
}
