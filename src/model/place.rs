use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ObjectKey;

/// The five object-store drivers of Anchore Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// Documents as text in `archive_document`.
    Db,
    /// Documents as bytes in `object_storage`.
    Db2,
    /// Documents as files under one directory.
    Localfs,
    /// Documents in a bucket of an S3 store.
    S3,
    /// Documents in a container of OpenStack Swift.
    Swift,
}

impl DriverKind {
    /// All of them, in the order in which Anchore lists them.
    pub const ALL: [DriverKind; 5] = [
        DriverKind::Db,
        DriverKind::Db2,
        DriverKind::Localfs,
        DriverKind::S3,
        DriverKind::Swift,
    ];

    /// The name used in Anchore's configuration and task tables.
    pub fn name(self) -> &'static str {
        match self {
            DriverKind::Db => "db",
            DriverKind::Db2 => "db2",
            DriverKind::Localfs => "localfs",
            DriverKind::S3 => "s3",
            DriverKind::Swift => "swift",
        }
    }

    /// The scheme of the driver's `content_url`, without `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            DriverKind::Localfs => "file",
            other => other.name(),
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of the five drivers.
#[derive(Debug, thiserror::Error)]
#[error("unknown driver {0:?}: the drivers are db, db2, localfs, s3 and swift")]
pub struct UnknownDriver(String);

impl FromStr for DriverKind {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownDriver(name.to_string()))
    }
}

/// How a store turns an object's key into its `content_url`.
///
/// The rule is a value because two sides need it: the driver builds one URL at a time, the
/// catalog builds them for a whole table inside the database. Nothing is ever escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The driver that the URLs belong to.
    pub driver: DriverKind,
    /// Everything before the part that depends on the key:
    /// `db://`, `s3://bucket/prefix`, `file:///dir/`.
    pub base: String,
}

impl Place {
    /// `db://` or `db2://`.
    pub fn database(driver: DriverKind) -> Self {
        Self {
            driver,
            base: format!("{}://", driver.scheme()),
        }
    }

    /// A directory; a trailing slash makes no other place of it.
    pub fn localfs(dir: &str) -> Self {
        let dir = dir.trim_end_matches('/');
        Self {
            driver: DriverKind::Localfs,
            base: format!("file://{dir}/"),
        }
    }

    /// A bucket or container with a prefix. As in Anchore nothing is put between the prefix and
    /// the user.
    pub fn bucket(driver: DriverKind, bucket: &str, prefix: &str) -> Self {
        Self {
            driver,
            base: format!("{}://{bucket}/{prefix}", driver.scheme()),
        }
    }

    /// The `content_url` that Anchore would give to this object here.
    ///
    /// `md5_hex` is the caller's, so that this stays free of hashing crates; it is called for
    /// localfs alone.
    pub fn url_for(&self, key: &ObjectKey, md5_hex: impl Fn(&str) -> String) -> String {
        let ObjectKey {
            user, bucket, id, ..
        } = key;
        match self.driver {
            DriverKind::Localfs => {
                let id = md5_hex(id);
                format!(
                    "{}{}/{bucket}/{}/{id}.json",
                    self.base,
                    md5_hex(user),
                    &id[..2]
                )
            }
            _ => format!("{}{user}/{bucket}/{id}", self.base),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_built_as_anchore_builds_them() {
        let key = ObjectKey::new("admin", "analysis_data", "sha256:ab/c d");
        let md5 = |text: &str| format!("{:0>32}", text.len());
        assert_eq!(
            Place::database(DriverKind::Db).url_for(&key, md5),
            "db://admin/analysis_data/sha256:ab/c d"
        );
        assert_eq!(
            Place::bucket(DriverKind::S3, "b", "pre").url_for(&key, md5),
            "s3://b/preadmin/analysis_data/sha256:ab/c d"
        );
        assert_eq!(
            Place::localfs("/archive/").url_for(&key, md5),
            format!(
                "file:///archive/{:0>32}/analysis_data/00/{:0>32}.json",
                5, 13
            )
        );
    }

    #[test]
    fn an_unknown_driver_lists_the_five() {
        let error = "s4".parse::<DriverKind>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown driver \"s4\": the drivers are db, db2, localfs, s3 and swift"
        );
    }
}
