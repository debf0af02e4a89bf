//! A store as configured: its driver, its place, its compression.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{EndpointUrl, Notice, Secret};

/// The drivers that Anchore has, by the names it knows them by.
pub const DRIVER_NAMES: [&str; 5] = ["db", "db2", "localfs", "s3", "swift"];

/// One store section of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// When documents are compressed.
    pub compression: Compression,
    /// The driver and its options.
    pub driver: DriverConfig,
    /// What a person should know about this section.
    pub notices: Vec<Notice>,
}

/// When documents are compressed. A driver may still refuse to (`db` does).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// On only where the file says true.
    pub enabled: bool,
    /// Documents up to this many KiB stay as they are.
    pub min_size_kbytes: u64,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            enabled: false,
            min_size_kbytes: 100,
        }
    }
}

/// A driver with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverConfig {
    /// Text rows of `archive_document`.
    Db,
    /// Rows of `object_storage`.
    Db2,
    /// Files under a directory.
    Localfs(LocalfsConfig),
    /// Objects in an S3 bucket.
    S3(S3Config),
    /// Objects in a Swift container.
    Swift(SwiftConfig),
}

impl DriverConfig {
    /// The driver's name, as Anchore writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Db2 => "db2",
            Self::Localfs(_) => "localfs",
            Self::S3(_) => "s3",
            Self::Swift(_) => "swift",
        }
    }
}

/// Options of the localfs driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalfsConfig {
    /// The directory, absolute.
    pub archive_data_dir: PathBuf,
}

/// Options of the s3 driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// Who asks.
    pub auth: S3Auth,
    /// The server, where it is not AWS.
    pub url: Option<EndpointUrl>,
    /// The region; `None` where not given, null or false.
    pub region: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// Make the bucket where it is missing.
    pub create_bucket: bool,
    /// Put before every key, without a separator.
    pub prefix: String,
    /// Certificates to trust besides the system's, as PEM: from the command line alone.
    pub ca_bundle: Option<PathBuf>,
}

/// Credentials of the s3 driver. Both keys win over `iamauto`, as in Anchore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Auth {
    /// Keys from the file.
    Keys {
        /// The access key id.
        access_key: Secret,
        /// The secret key.
        secret_key: Secret,
    },
    /// `iamauto`: the default chain of AWS (environment, profile, instance role).
    IamAuto,
}

/// Options of the swift driver.
#[derive(Clone, PartialEq, Eq)]
pub struct SwiftConfig {
    /// The container.
    pub container: String,
    /// Make the container where it is missing.
    pub create_container: bool,
    /// Put before every key, without a separator.
    pub anchore_key_prefix: String,
    /// Everything else, by the names that swiftclient knows. All are treated as
    /// secrets; nulls are left out, true and false are `true` and `false`.
    pub options: BTreeMap<String, Secret>,
}

impl SwiftConfig {
    /// One of swiftclient's options, where it is given and not empty.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options
            .get(name)
            .map(Secret::expose)
            .filter(|value| !value.is_empty())
    }

    /// What tells one Swift account from another, as far as options can tell:
    /// the auth server and the project. The user is not part of it, except for the
    /// account in TempAuth's `account:user`.
    fn account(&self) -> Vec<String> {
        let first = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| self.option(name))
                .unwrap_or("")
                .to_owned()
        };
        let server = EndpointUrl::new(first(&["os_storage_url", "os_auth_url", "auth"])).identity();
        let project = first(&[
            "os_project_id",
            "os_tenant_id",
            "os_project_name",
            "os_tenant_name",
        ]);
        let account = match project.is_empty() {
            true => first(&["user"]).split(':').next().unwrap_or("").to_owned(),
            false => project,
        };
        vec![server, account]
    }
}

impl fmt::Debug for SwiftConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwiftConfig")
            .field("container", &self.container)
            .field("create_container", &self.create_container)
            .field("anchore_key_prefix", &self.anchore_key_prefix)
            .field("options", &self.options)
            .finish()
    }
}

impl StoreConfig {
    /// Trusts the certificates of this file as well. What the configuration itself names wins.
    pub fn trust(&mut self, ca_bundle: &std::path::Path) {
        match &mut self.driver {
            DriverConfig::S3(s3) => s3.ca_bundle = Some(ca_bundle.to_owned()),
            DriverConfig::Swift(swift)
                if swift.option("cacert").is_none() && swift.option("os_cacert").is_none() =>
            {
                let path = Secret::new(ca_bundle.to_string_lossy());
                swift.options.insert("cacert".into(), path);
            }
            _ => {}
        }
    }

    /// The store's place, for people: no secrets, and no server.
    pub fn place(&self) -> String {
        match &self.driver {
            DriverConfig::Db => "db://".into(),
            DriverConfig::Db2 => "db2://".into(),
            DriverConfig::Localfs(fs) => format!("file://{}", fs.archive_data_dir.display()),
            DriverConfig::S3(s3) => format!("s3://{}/{}", s3.bucket, s3.prefix),
            DriverConfig::Swift(swift) => {
                format!("swift://{}/{}", swift.container, swift.anchore_key_prefix)
            }
        }
    }

    /// Whether Anchore, with this store configured, would find documents that lie in the other: it
    /// takes bucket, container and path out of a document's URL, and server and account from here.
    pub fn reaches(&self, other: &StoreConfig) -> bool {
        match (&self.driver, &other.driver) {
            (DriverConfig::S3(a), DriverConfig::S3(b)) => {
                let server = |s3: &S3Config| s3.url.as_ref().map(EndpointUrl::identity);
                server(a) == server(b)
            }
            (DriverConfig::Swift(a), DriverConfig::Swift(b)) => a.account() == b.account(),
            (a, b) => a.name() == b.name(),
        }
    }

    /// Tells whether a configuration still means the place it meant: SHA-256 in hex
    /// over driver, server and place, without credentials (keys may be rotated).
    ///
    /// The directory of localfs is resolved where it exists, so that a link to it is
    /// the same place.
    pub fn fingerprint(&self) -> String {
        let parts = match &self.driver {
            DriverConfig::Db | DriverConfig::Db2 => vec![],
            DriverConfig::Localfs(fs) => {
                let dir = &fs.archive_data_dir;
                let dir = dir
                    .canonicalize()
                    .unwrap_or_else(|_| dir.components().collect());
                vec![dir.to_string_lossy().into_owned()]
            }
            DriverConfig::S3(s3) => {
                let server = s3
                    .url
                    .as_ref()
                    .map(EndpointUrl::identity)
                    .unwrap_or_default();
                vec![server, s3.bucket.clone(), s3.prefix.clone()]
            }
            DriverConfig::Swift(swift) => {
                let place = [swift.container.clone(), swift.anchore_key_prefix.clone()];
                [swift.account(), place.to_vec()].concat()
            }
        };
        let mut hasher = Sha256::new();
        for part in std::iter::once(self.driver.name().to_owned()).chain(parts) {
            // The length goes first: `a` + `bc` is not `ab` + `c`.
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hex::encode(hasher.finalize())
    }
}
