//! Anchore's `config.yaml`, as an operator would have it.

use std::path::PathBuf;

/// The `object_store` section of a configuration.
#[derive(Clone, Debug)]
pub enum StoreSpec {
    Db {
        compression: Compression,
    },
    Db2 {
        compression: Compression,
    },
    LocalFs {
        dir: PathBuf,
        compression: Compression,
    },
    S3(S3Spec),
    Swift(SwiftSpec),
}

#[derive(Clone, Debug, Default)]
pub struct S3Spec {
    pub url: String,
    pub access_key: String,
    pub secret_key: String,
    pub bucket: String,
    pub create_bucket: bool,
    pub prefix: Option<String>,
    pub region: Option<String>,
    pub compression: Compression,
}

#[derive(Clone, Debug, Default)]
pub struct SwiftSpec {
    /// swiftclient's own: how one logs in.
    pub options: Vec<(&'static str, String)>,
    pub container: String,
    pub create_container: bool,
    pub prefix: Option<String>,
    pub compression: Compression,
}

/// Anchore's defaults: off, 100 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Compression {
    pub enabled: bool,
    pub min_size_kbytes: u32,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            enabled: false,
            min_size_kbytes: 100,
        }
    }
}

impl Compression {
    pub fn above_kbytes(min_size_kbytes: u32) -> Self {
        Self {
            enabled: true,
            min_size_kbytes,
        }
    }
}

/// The whole file, with the database and the stores filled in.
pub fn config(db_url: &str, store: &StoreSpec, analysis_archive: Option<&StoreSpec>) -> String {
    let archive = match analysis_archive {
        Some(store) => format!("    analysis_archive:\n{}", section(store)),
        None => String::new(),
    };
    TEMPLATE
        .replace("@DB_CONNECT@", &quoted(db_url))
        .replace("@OBJECT_STORE@\n", &section(store))
        .replace("@ANALYSIS_ARCHIVE@\n", &archive)
}

/// JSON strings are YAML strings: the one quoting that fits every password.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn section(store: &StoreSpec) -> String {
    let (driver, compression) = match store {
        StoreSpec::Db { compression } => (
            "          name: db\n          config: {}\n".to_owned(),
            compression,
        ),
        StoreSpec::Db2 { compression } => (
            "          name: db2\n          config: {}\n".to_owned(),
            compression,
        ),
        StoreSpec::LocalFs { dir, compression } => {
            let dir = quoted(&dir.display().to_string());
            let driver = format!(
                "          name: localfs\n          config:\n            archive_data_dir: {dir}\n"
            );
            (driver, compression)
        }
        StoreSpec::S3(s3) => (s3_section(s3, quoted), &s3.compression),
        StoreSpec::Swift(swift) => (swift_section(swift, quoted), &swift.compression),
    };
    let enabled = if compression.enabled { "True" } else { "False" };
    let min_size_kbytes = compression.min_size_kbytes;
    format!(
        "      compression:\n        enabled: {enabled}\n        \
         min_size_kbytes: {min_size_kbytes}\n      storage_driver:\n{driver}"
    )
}

fn s3_section(s3: &S3Spec, quoted: impl Fn(&str) -> String) -> String {
    let mut options = vec![
        ("access_key", quoted(&s3.access_key)),
        ("secret_key", quoted(&s3.secret_key)),
        ("url", quoted(&s3.url)),
        (
            "region",
            s3.region.as_deref().map_or("null".to_owned(), &quoted),
        ),
        ("bucket", quoted(&s3.bucket)),
        ("create_bucket", s3.create_bucket.to_string()),
    ];
    if let Some(prefix) = &s3.prefix {
        options.push(("prefix", quoted(prefix)));
    }
    let lines: String = options
        .iter()
        .map(|(name, value)| format!("            {name}: {value}\n"))
        .collect();
    format!("          name: s3\n          config:\n{lines}")
}

fn swift_section(swift: &SwiftSpec, quoted: impl Fn(&str) -> String) -> String {
    let mut options: Vec<_> = swift
        .options
        .iter()
        .map(|(name, value)| (*name, quoted(value)))
        .collect();
    options.push(("container", quoted(&swift.container)));
    options.push(("create_container", swift.create_container.to_string()));
    if let Some(prefix) = &swift.prefix {
        options.push(("anchore_key_prefix", quoted(prefix)));
    }
    let lines: String = options
        .iter()
        .map(|(name, value)| format!("            {name}: {value}\n"))
        .collect();
    format!("          name: swift\n          config:\n{lines}")
}

/// As in Anchore's guide: much that a migration does not need, and must not stumble over.
const TEMPLATE: &str = r#"service_dir: /anchore_service
tmp_dir: /analysis_scratch
log_level: INFO
cleanup_images: true
allow_awsecr_iam_auto: true
host_id: anchore-quickstart
internal_ssl_verify: true
auto_restart_services: false
metrics:
  enabled: false
default_admin_password: foobar
default_admin_email: admin@myanchore
keys:
  secret: null
  public_key_path: null
user_authentication:
  oauth:
    enabled: false
  hashed_passwords: false
credentials:
  database:
    db_connect: @DB_CONNECT@
    db_connect_args:
      timeout: 120
      ssl: false
    db_pool_size: 30
    db_pool_max_overflow: 100
services:
  apiext:
    enabled: true
    endpoint_hostname: engine-api
    listen: 0.0.0.0
    port: 8228
  catalog:
    enabled: true
    require_auth: true
    endpoint_hostname: engine-catalog
    listen: 0.0.0.0
    port: 8228
    cycle_timer_seconds: 1
    cycle_timers:
      image_watcher: 3600
      policy_eval: 3600
    event_log:
      notification:
        enabled: false
    object_store:
@OBJECT_STORE@
@ANALYSIS_ARCHIVE@
  policy_engine:
    enabled: true
    endpoint_hostname: engine-policy-engine
    listen: 0.0.0.0
    port: 8228
"#;
