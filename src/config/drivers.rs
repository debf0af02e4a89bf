//! A store section, option by option.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::substitute::Unset;
use super::value::Node;
use super::{
    Compression, ConfigError, DriverConfig, EndpointUrl, LocalfsConfig, Notice, S3Auth, S3Config,
    Secret, StoreConfig, SwiftConfig,
};

const LOCALFS_OPTIONS: &[&str] = &["archive_data_dir"];
const S3_OPTIONS: &[&str] = &[
    "access_key",
    "secret_key",
    "iamauto",
    "url",
    "region",
    "bucket",
    "create_bucket",
    "prefix",
];
/// Anchore's three and those of swiftclient's SwiftService that concern access.
const SWIFT_OPTIONS: &[&str] = &[
    "container",
    "create_container",
    "anchore_key_prefix",
    "auth",
    "auth_type",
    "auth_version",
    "cacert",
    "cert",
    "insecure",
    "key",
    "os_application_credential_id",
    "os_application_credential_secret",
    "os_auth_token",
    "os_auth_type",
    "os_auth_url",
    "os_cacert",
    "os_cert",
    "os_endpoint_type",
    "os_identity_api_version",
    "os_key",
    "os_password",
    "os_project_domain_id",
    "os_project_domain_name",
    "os_project_id",
    "os_project_name",
    "os_region_name",
    "os_service_type",
    "os_storage_url",
    "os_tenant_id",
    "os_tenant_name",
    "os_user_domain_id",
    "os_user_domain_name",
    "os_user_id",
    "os_username",
    "retries",
    "timeout",
    "user",
];

/// Reads a section (`object_store`, `archive` or `analysis_archive`).
pub(super) fn read_store(section: &Node<'_>) -> Result<StoreConfig, ConfigError> {
    let mut notices = Vec::new();
    let known = [
        "compression",
        "storage_driver",
        "migrate_from_storage_driver",
        // Of an analysis archive, in Anchore's guide.
        "enabled",
    ];
    notices.extend(unknown(section, &known)?);
    let compression = read_compression(&section.get("compression")?, &mut notices)?;
    let driver = read_driver(&section.get("storage_driver")?, &mut notices)?;
    Ok(StoreConfig {
        compression,
        driver,
        notices,
    })
}

fn read_compression(
    node: &Node<'_>,
    notices: &mut Vec<Notice>,
) -> Result<Compression, ConfigError> {
    notices.extend(unknown(node, &["enabled", "min_size_kbytes"])?);
    let default = Compression::default();
    let enabled = node.get("enabled")?;
    let on = match enabled.flag() {
        Ok(on) => on.unwrap_or(default.enabled),
        Err(_) => {
            notices.push(Notice::CompressionOff {
                key: enabled.key.clone(),
                found: enabled.found(),
            });
            false
        }
    };
    let min_size_kbytes = node
        .get("min_size_kbytes")?
        .whole()?
        .unwrap_or(default.min_size_kbytes);
    Ok(Compression {
        enabled: on,
        min_size_kbytes,
    })
}

fn read_driver(node: &Node<'_>, notices: &mut Vec<Notice>) -> Result<DriverConfig, ConfigError> {
    notices.extend(unknown(node, &["name", "config"])?);
    let name = node.get("name")?;
    let options = node.get("config")?;
    let Some(written) = name.string()? else {
        notices.push(Notice::DefaultedToDb { key: name.key });
        return Ok(DriverConfig::Db);
    };
    let driver = match written.as_str() {
        "db" => DriverConfig::Db,
        "db2" => DriverConfig::Db2,
        "localfs" => DriverConfig::Localfs(read_localfs(&options)?),
        "s3" => DriverConfig::S3(read_s3(&options)?),
        "swift" => DriverConfig::Swift(read_swift(&options)?),
        _ => return Err(name.unknown_driver(written)),
    };
    notices.extend(unknown(&options, known_options(&written))?);
    Ok(driver)
}

fn known_options(driver: &str) -> &'static [&'static str] {
    match driver {
        "localfs" => LOCALFS_OPTIONS,
        "s3" => S3_OPTIONS,
        "swift" => SWIFT_OPTIONS,
        _ => &[],
    }
}

/// The variables without a value in what [`read_store`] reads of a section.
pub(super) fn unset_in_store(section: &Node<'_>) -> Result<Vec<Unset>, ConfigError> {
    let whole = section.unset();
    if whole.is_empty() || section.names().is_err() {
        return Ok(whole);
    }
    let (compression, driver) = (section.get("compression")?, section.get("storage_driver")?);
    let mut found = compression.get("enabled")?.unset();
    found.extend(compression.get("min_size_kbytes")?.unset());
    let name = driver.get("name")?;
    found.extend(name.unset());
    let options = driver.get("config")?;
    for option in known_options(&name.string()?.unwrap_or_default()) {
        found.extend(options.get(option)?.unset());
    }
    Ok(found)
}

fn unknown(node: &Node<'_>, known: &[&str]) -> Result<Vec<Notice>, ConfigError> {
    let names = node.names()?.into_iter();
    let unknown = names.filter(|name| !known.contains(&name.as_str()));
    Ok(unknown
        .map(|name| Notice::UnknownOption {
            key: format!("{}.{name}", node.key),
        })
        .collect())
}

fn read_localfs(options: &Node<'_>) -> Result<LocalfsConfig, ConfigError> {
    const EXPECTED: &str = "the directory of the documents, as an absolute path";
    let node = options.get("archive_data_dir")?;
    let archive_data_dir = PathBuf::from(node.required_string(EXPECTED)?);
    match archive_data_dir.is_absolute() {
        true => Ok(LocalfsConfig { archive_data_dir }),
        false => Err(node.wrong(EXPECTED)),
    }
}

fn read_s3(options: &Node<'_>) -> Result<S3Config, ConfigError> {
    Ok(S3Config {
        auth: read_s3_auth(options)?,
        url: options.get("url")?.string()?.map(EndpointUrl::new),
        region: options.get("region")?.string()?,
        bucket: options
            .get("bucket")?
            .required_string("the name of the bucket")?,
        create_bucket: options.get("create_bucket")?.flag()?.unwrap_or(false),
        prefix: options.get("prefix")?.string()?.unwrap_or_default(),
        ca_bundle: None,
    })
}

fn read_s3_auth(options: &Node<'_>) -> Result<S3Auth, ConfigError> {
    const ACCESS: &str = "the access key (with `secret_key`), or `iamauto: true`";
    const SECRET: &str = "the secret key (with `access_key`), or `iamauto: true`";
    let access_key = options.get("access_key")?;
    let secret_key = options.get("secret_key")?;
    match (access_key.string()?, secret_key.string()?) {
        (Some(access), Some(secret)) => Ok(S3Auth::Keys {
            access_key: Secret::new(access),
            secret_key: Secret::new(secret),
        }),
        _ if options.get("iamauto")?.flag()? == Some(true) => Ok(S3Auth::IamAuto),
        (None, _) => Err(access_key.missing(ACCESS)),
        (_, None) => Err(secret_key.missing(SECRET)),
    }
}

fn read_swift(options: &Node<'_>) -> Result<SwiftConfig, ConfigError> {
    let own = ["container", "create_container", "anchore_key_prefix"];
    let mut others = BTreeMap::new();
    for name in options.names()? {
        if own.contains(&name.as_str()) {
            continue;
        }
        if let Some(value) = options.get(&name)?.scalar()? {
            others.insert(name, Secret::new(value));
        }
    }
    Ok(SwiftConfig {
        container: options
            .get("container")?
            .required_string("the name of the container")?,
        create_container: options.get("create_container")?.flag()?.unwrap_or(false),
        anchore_key_prefix: options
            .get("anchore_key_prefix")?
            .string()?
            .unwrap_or_default(),
        options: others,
    })
}
