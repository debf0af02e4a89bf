//! The query part of a database URL: `?sslmode=require&…`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Secret;

use super::url::{HostPort, Target, TlsVersions};
use super::{DatabaseUrlError, PostgresUrl, SslMode};

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

impl SslMode {
    /// As libpq writes it.
    pub fn name(self) -> &'static str {
        let found = SSL_MODES.iter().find(|(_, mode)| *mode == self);
        found.map_or("prefer", |(name, _)| name)
    }
}

const SSL_FLAGS: [&str; 3] = ["ssl", "ssl_context", "requiressl"];

/// Sets what the options say. They beat the URL's other parts, as in libpq and in SQLAlchemy.
/// Several of one name are a list: SQLAlchemy names several hosts so.
pub(super) fn apply(
    url: &mut PostgresUrl,
    options: Vec<(String, String)>,
    pg8000: bool,
) -> Result<(), DatabaseUrlError> {
    let mut lists: [Vec<String>; 3] = Default::default();
    // `ssl: true` raises what `sslmode` says, wherever it stands.
    let (flags, others): (Vec<_>, Vec<_>) = options
        .into_iter()
        .partition(|(name, _)| SSL_FLAGS.contains(&name.as_str()));
    for (name, value) in others.into_iter().chain(flags) {
        match name.as_str() {
            "host" => lists[0].push(value),
            "port" => lists[1].push(value),
            "hostaddr" => lists[2].push(value),
            _ => set(url, &name, value, pg8000)?,
        }
    }
    let [hosts, ports, addresses] = lists.map(|list| list.join(","));
    set_servers(url, &hosts, &ports, &addresses)
}

/// `host`, `port` and `hostaddr`, each a list with commas, or empty.
fn set_servers(
    url: &mut PostgresUrl,
    hosts: &str,
    ports: &str,
    addresses: &str,
) -> Result<(), DatabaseUrlError> {
    if !hosts.is_empty() {
        let ports = url.hosts().into_iter().map(|host| host.port);
        let ports: Vec<_> = ports.collect();
        let mut named = Vec::new();
        for (at, host) in hosts.split(',').enumerate() {
            let given = match host.starts_with('/') || host.parse::<std::net::Ipv6Addr>().is_ok() {
                true => HostPort {
                    host: Some(host.to_owned()),
                    port: None,
                },
                false => super::parse::split_hosts(host)?.remove(0),
            };
            let port = ports.get(at).or(ports.first()).copied().flatten();
            named.push(HostPort {
                port: given.port.or(port),
                ..given
            });
        }
        url.set_hosts(named);
    }
    if !addresses.is_empty() {
        url.addresses = addresses.split(',').map(str::to_owned).collect();
        if url.host.is_none() && url.more_hosts.is_empty() {
            let port = url.port;
            let host = |address: &String| HostPort {
                host: Some(address.clone()),
                port,
            };
            url.set_hosts(url.addresses.iter().map(host).collect());
        }
        if url.addresses.len() != url.hosts().len() {
            return Err(wrong("hostaddr", "as many addresses as there are hosts"));
        }
    }
    if !ports.is_empty() {
        let ports: Result<Vec<_>, _> = ports.split(',').map(super::parse::read_port).collect();
        let (ports, mut hosts) = (ports?, url.hosts());
        if ports.len() != 1 && ports.len() != hosts.len() {
            return Err(wrong(
                "port",
                "one number from 1 to 65535, or one for each host",
            ));
        }
        for (at, host) in hosts.iter_mut().enumerate() {
            host.port = ports.get(at).copied().unwrap_or(ports[0]);
        }
        url.set_hosts(hosts);
    }
    Ok(())
}

fn set(
    url: &mut PostgresUrl,
    name: &str,
    value: String,
    pg8000: bool,
) -> Result<(), DatabaseUrlError> {
    match name {
        "sslmode" => url.ssl_mode = Some(ssl_mode(&value)?),
        // pg8000 makes a context that verifies nothing of `true`; others are Python objects.
        "ssl" | "ssl_context" | "requiressl" if truth(&value) => raise_to_require(url),
        "ssl" | "ssl_context" | "requiressl" if is_false(&value) => {}
        "ssl" | "ssl_context" | "requiressl" => return Err(wrong("ssl", "true or false")),
        "sslrootcert" => url.ssl_root_cert = Some(PathBuf::from(value)),
        "sslcert" => url.ssl_cert = Some(PathBuf::from(value)),
        "sslkey" => url.ssl_key = Some(PathBuf::from(value)),
        "connect_timeout" => url.connect_timeout = seconds("connect_timeout", &value)?,
        "timeout" => {
            let limit = seconds("timeout", &value)?;
            url.connect_limit = limit;
            url.answer_limit = limit.filter(|_| pg8000);
        }
        "options" => url.settings = settings(&value)?,
        "user" => url.user = Some(value),
        "password" => {
            url.password = Some(Secret::new(value));
            url.raw_password = None;
        }
        "dbname" | "database" => url.database = value,
        "unix_sock" => set_unix_sock(url, &value)?,
        "target_session_attrs" => url.target = target(&value)?,
        "ssl_min_protocol_version" | "ssl_max_protocol_version" => {
            set_versions(url, name == "ssl_min_protocol_version", &value)?;
        }
        "sslnegotiation" => match value.as_str() {
            "postgres" => url.ssl_direct = false,
            "direct" => url.ssl_direct = true,
            _ => return Err(wrong("sslnegotiation", "postgres or direct")),
        },
        _ => return super::libpq::treat(url, name, &value),
    }
    Ok(())
}

fn raise_to_require(url: &mut PostgresUrl) {
    match url.ssl_mode {
        Some(SslMode::VerifyCa | SslMode::VerifyFull) => {}
        _ => url.ssl_mode = Some(SslMode::Require),
    }
}

pub(super) fn truth(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "true" | "yes" | "on" | "1"
    )
}

fn is_false(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "false" | "no" | "off" | "0"
    )
}

/// pg8000 takes the socket itself, `/run/postgresql/.s.PGSQL.5432`.
fn set_unix_sock(url: &mut PostgresUrl, path: &str) -> Result<(), DatabaseUrlError> {
    let split = path.rsplit_once("/.s.PGSQL.");
    let read = split.and_then(|(dir, port)| Some((dir, port.parse().ok().filter(|p| *p > 0)?)));
    let (dir, port) = read.ok_or(wrong("unix_sock", "DIRECTORY/.s.PGSQL.PORT"))?;
    url.set_hosts(vec![HostPort {
        host: Some(dir.to_owned()),
        port: Some(port),
    }]);
    Ok(())
}

fn target(value: &str) -> Result<Target, DatabaseUrlError> {
    match value {
        "any" => Ok(Target::Any),
        "read-write" => Ok(Target::ReadWrite),
        "primary" => Ok(Target::Primary),
        "read-only" | "standby" | "prefer-standby" => Err(DatabaseUrlError::Refused {
            name: "target_session_attrs",
            why: "windlass writes, and a standby takes no writes; use read-write or primary",
        }),
        _ => Err(wrong("target_session_attrs", "any, read-write or primary")),
    }
}

fn set_versions(url: &mut PostgresUrl, is_min: bool, value: &str) -> Result<(), DatabaseUrlError> {
    let version = value.to_ascii_lowercase();
    match (is_min, version.as_str()) {
        (true, "tlsv1" | "tlsv1.1" | "tlsv1.2") | (false, "tlsv1.3") => {}
        (true, "tlsv1.3") => url.tls_versions = TlsVersions::Only13,
        (false, "tlsv1.2") => url.tls_versions = TlsVersions::Only12,
        (false, "tlsv1" | "tlsv1.1") => {
            return Err(DatabaseUrlError::Refused {
                name: "ssl_max_protocol_version",
                why: "windlass speaks no TLS older than 1.2; let the server take TLSv1.2",
            });
        }
        (true, _) => return Err(wrong("ssl_min_protocol_version", "TLSv1.2 or TLSv1.3")),
        (false, _) => return Err(wrong("ssl_max_protocol_version", "TLSv1.2 or TLSv1.3")),
    }
    Ok(())
}

/// The options of a URL in the form that [`apply`] reads, without the password; with the hosts
/// where they cannot stand in the URL itself.
pub(super) fn render(url: &PostgresUrl, with_hosts: bool) -> String {
    let path = |path: &Option<PathBuf>| {
        path.as_deref()
            .map(Path::display)
            .map(|path| path.to_string())
    };
    let mode = url.ssl_mode.map(SslMode::name);
    let settings = url
        .settings
        .iter()
        .map(|(name, value)| format!("-c {name}={value}"));
    let settings = settings.collect::<Vec<_>>().join(" ");
    let hosts = url.hosts().into_iter().map(|h| h.host.unwrap_or_default());
    let hosts = with_hosts.then(|| hosts.collect::<Vec<_>>().join(","));
    let target = match url.target {
        Target::Any => None,
        Target::ReadWrite => Some("read-write".to_owned()),
        Target::Primary => Some("primary".to_owned()),
    };
    let versions = |wanted, text: &str| (url.tls_versions == wanted).then(|| text.to_owned());
    let addresses = Some(url.addresses.join(",")).filter(|list| !list.is_empty());
    let options = [
        ("host", hosts),
        ("hostaddr", addresses),
        ("target_session_attrs", target),
        (
            "ssl_min_protocol_version",
            versions(TlsVersions::Only13, "TLSv1.3"),
        ),
        (
            "ssl_max_protocol_version",
            versions(TlsVersions::Only12, "TLSv1.2"),
        ),
        (
            "sslnegotiation",
            url.ssl_direct.then(|| "direct".to_owned()),
        ),
        ("sslmode", mode.map(str::to_owned)),
        ("sslrootcert", path(&url.ssl_root_cert)),
        ("sslcert", path(&url.ssl_cert)),
        ("sslkey", path(&url.ssl_key)),
        (
            "connect_timeout",
            url.connect_timeout.map(|limit| limit.as_secs().to_string()),
        ),
        (
            "timeout",
            url.connect_limit.map(|limit| limit.as_secs().to_string()),
        ),
        (
            "options",
            Some(settings).filter(|settings| !settings.is_empty()),
        ),
    ];
    let mut out = String::new();
    for (name, value) in options {
        if let Some(value) = value {
            out.push(if out.is_empty() { '?' } else { '&' });
            out += &format!("{name}={}", quote(&value));
        }
    }
    out
}

/// `name=value` pairs, decoded, as Python's `parse_qsl` splits them: pairs without a
/// value are left out.
pub(super) fn pairs(options: &str) -> Vec<(String, String)> {
    let pairs = options
        .split(['&', ';'])
        .filter_map(|pair| pair.split_once('='));
    let pairs = pairs.filter(|(_, value)| !value.is_empty());
    let decode = |text: &str| unquote(&text.replace('+', " "));
    pairs
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// An unknown option's error. A name that does not look like one may be a piece of a
/// password, and is not shown.
pub(super) fn unknown(name: &str) -> DatabaseUrlError {
    let plain = name.len() <= 40
        && name
            .chars()
            .all(|char| char.is_ascii_lowercase() || char == '_');
    let name = if plain { name } else { "(not a plain name)" };
    DatabaseUrlError::UnknownOption {
        name: name.to_owned(),
    }
}

pub(super) fn wrong(name: &'static str, expected: &'static str) -> DatabaseUrlError {
    DatabaseUrlError::OptionValue { name, expected }
}

pub(super) fn ssl_mode(value: &str) -> Result<SslMode, DatabaseUrlError> {
    let found = SSL_MODES.iter().find(|(name, _)| *name == value);
    found.map(|(_, mode)| *mode).ok_or(wrong(
        "sslmode",
        "disable, allow, prefer, require, verify-ca or verify-full",
    ))
}

/// Zero and less mean "no limit" to libpq; here they mean "not given".
fn seconds(name: &'static str, value: &str) -> Result<Option<Duration>, DatabaseUrlError> {
    let seconds: i64 = value
        .trim()
        .parse()
        .map_err(|_| wrong(name, "a whole number of seconds"))?;
    Ok(u64::try_from(seconds)
        .ok()
        .filter(|&seconds| seconds > 0)
        .map(Duration::from_secs))
}

/// `-c name=value` or `-cname=value`, separated by blanks.
fn settings(value: &str) -> Result<Vec<(String, String)>, DatabaseUrlError> {
    let wrong = || wrong("options", "-c name=value, several with blanks between");
    let mut words = value.split_whitespace();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c").ok_or_else(wrong)? {
            "" => words.next().ok_or_else(wrong)?,
            setting => setting,
        };
        let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
        settings.push((name.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

/// Percent-decodes; what is no escape stays, as in Python.
pub(super) fn unquote(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten();
        let decoded = escaped.and_then(|digits| Some(hex(digits[0])? << 4 | hex(digits[1])?));
        out.push(decoded.unwrap_or(bytes[at]));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Percent-encodes all but letters, digits and `-._~`.
pub(super) fn quote(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => write!(out, "%{byte:02X}").expect("writing to a string"),
        }
        out
    })
}
