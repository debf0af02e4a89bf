//! A configuration as it is understood: each option with its value, defaults filled in, and where it is
//! from. No secret is among the values.

use super::file::Section;
use super::value::Node;
use super::{
    ConfigError, ConfigFile, DriverConfig, S3Auth, S3Config, StoreConfig, SwiftConfig, paste,
};

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It stands in the file.
    File,
    /// These variables stand in the file.
    Variables(Vec<String>),
    /// Nothing is said of it.
    Default,
}

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name, with dots below the section.
    pub name: String,
    /// Its value, or stars; `None` where it has none.
    pub value: Option<String>,
    /// Where that is from.
    pub origin: Origin,
}

/// A store's section.
#[derive(Debug, Clone)]
pub struct ShownStore {
    /// The key that is read, whole; `None` where there is no such section.
    pub key: Option<String>,
    /// As it is understood.
    pub store: StoreConfig,
    /// The same, option by option.
    pub settings: Vec<Setting>,
}

impl ConfigFile {
    /// The store of a section, option by option.
    ///
    /// # Errors
    /// As [`store`](ConfigFile::store).
    pub fn shown_store(&self, section: Section) -> Result<ShownStore, ConfigError> {
        let store = self.store(section)?;
        let node = self.section(&self.catalog()?, section)?;
        let origin = |path: &[&str]| match &node {
            Some(node) => self.origin_below(node, path),
            None => Ok(Origin::Default),
        };
        let setting = |path: &[&str], value: Option<String>| -> Result<Setting, ConfigError> {
            Ok(Setting {
                name: path.join("."),
                value,
                origin: origin(path)?,
            })
        };
        let compression = store.compression;
        let mut settings = vec![
            setting(
                &["compression", "enabled"],
                Some(compression.enabled.to_string()),
            )?,
            setting(
                &["compression", "min_size_kbytes"],
                Some(compression.min_size_kbytes.to_string()),
            )?,
            setting(
                &["storage_driver", "name"],
                Some(store.driver.name().to_owned()),
            )?,
        ];
        for (option, value) in options(&store.driver) {
            let value = value.map(|value| paste::shown(&option, &value));
            settings.push(setting(&["storage_driver", "config", &option], value)?);
        }
        let key = node.map(|node| node.key);
        Ok(ShownStore {
            key,
            store,
            settings,
        })
    }

    /// Where the value under a path of keys is from.
    ///
    /// # Errors
    /// An ill-typed key above it.
    pub fn origin(&self, path: &[&str]) -> Result<Origin, ConfigError> {
        self.origin_below(&self.root_node(), path)
    }

    fn origin_below(&self, node: &Node<'_>, path: &[&str]) -> Result<Origin, ConfigError> {
        let mut found = node.clone();
        for name in path {
            found = found.get(name)?;
        }
        if found.is_absent() {
            return Ok(Origin::Default);
        }
        let path: Vec<&str> = found.key.split('.').collect();
        let variables = paste::variables_at(self.written(), &path);
        Ok(match variables.is_empty() {
            true => Origin::File,
            false => Origin::Variables(variables),
        })
    }
}

/// A driver's options with their values, also those that nothing is said of.
fn options(driver: &DriverConfig) -> Vec<(String, Option<String>)> {
    match driver {
        DriverConfig::Db | DriverConfig::Db2 => Vec::new(),
        DriverConfig::Localfs(localfs) => vec![(
            "archive_data_dir".into(),
            Some(localfs.archive_data_dir.display().to_string()),
        )],
        DriverConfig::S3(s3) => of_s3(s3),
        DriverConfig::Swift(swift) => of_swift(swift),
    }
}

fn of_s3(s3: &S3Config) -> Vec<(String, Option<String>)> {
    let mut options = match &s3.auth {
        S3Auth::Keys {
            access_key,
            secret_key,
        } => vec![
            ("access_key", Some(access_key.to_string())),
            ("secret_key", Some(secret_key.to_string())),
        ],
        S3Auth::IamAuto => vec![("iamauto", Some("true".into()))],
    };
    let url = s3.url.as_ref().map(|url| url.expose().to_owned());
    options.extend([
        ("url", url),
        ("region", s3.region.clone()),
        ("bucket", Some(s3.bucket.clone())),
        ("create_bucket", Some(s3.create_bucket.to_string())),
        ("prefix", not_empty(&s3.prefix)),
    ]);
    named(options)
}

fn of_swift(swift: &SwiftConfig) -> Vec<(String, Option<String>)> {
    let create = swift.create_container.to_string();
    let mut options = named(vec![
        ("container", Some(swift.container.clone())),
        ("create_container", Some(create)),
        ("anchore_key_prefix", not_empty(&swift.anchore_key_prefix)),
    ]);
    let others = swift.options.iter();
    options.extend(others.map(|(name, value)| (name.clone(), Some(value.expose().to_owned()))));
    options
}

fn named(options: Vec<(&str, Option<String>)>) -> Vec<(String, Option<String>)> {
    let named = options.into_iter();
    named
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn not_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
