//! The query part of a database URL: `?sslmode=require&…`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Secret;

use super::{DatabaseUrlError, PostgresUrl, SslMode};

/// The options that a PostgreSQL URL may have.
pub(super) const KNOWN: [&str; 11] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "options",
    "host",
    "port",
    "user",
    "password",
    "application_name",
];

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

/// Sets what the options say. They beat the URL's other parts, as in libpq.
pub(super) fn apply(url: &mut PostgresUrl, options: &str) -> Result<(), DatabaseUrlError> {
    for (name, value) in pairs(options) {
        match name.as_str() {
            "sslmode" => url.ssl_mode = Some(ssl_mode(&value)?),
            "sslrootcert" => url.ssl_root_cert = Some(PathBuf::from(value)),
            "sslcert" => url.ssl_cert = Some(PathBuf::from(value)),
            "sslkey" => url.ssl_key = Some(PathBuf::from(value)),
            "connect_timeout" => url.connect_timeout = seconds(&value)?,
            "options" => url.settings = settings(&value)?,
            "host" => url.host = Some(value),
            "port" => {
                url.port = Some(
                    value
                        .parse()
                        .map_err(|_| wrong("port", "a number from 1 to 65535"))?,
                )
            }
            "user" => url.user = Some(value),
            "password" => url.password = Some(Secret::new(value)),
            // Known, so that Anchore's own URL works; windlass names itself.
            "application_name" => {}
            _ => return Err(unknown(&name)),
        }
    }
    Ok(())
}

/// The options of a URL in the form that [`apply`] reads, without the password;
/// `socket` is a host that cannot stand in the URL itself.
pub(super) fn render(url: &PostgresUrl, socket: Option<&str>) -> String {
    let path = |path: &Option<PathBuf>| {
        path.as_deref()
            .map(Path::display)
            .map(|path| path.to_string())
    };
    let mode = url
        .ssl_mode
        .and_then(|mode| SSL_MODES.iter().find(|(_, known)| *known == mode));
    let settings = url
        .settings
        .iter()
        .map(|(name, value)| format!("-c {name}={value}"));
    let settings = settings.collect::<Vec<_>>().join(" ");
    let options = [
        ("host", socket.map(str::to_owned)),
        ("sslmode", mode.map(|(name, _)| (*name).to_owned())),
        ("sslrootcert", path(&url.ssl_root_cert)),
        ("sslcert", path(&url.ssl_cert)),
        ("sslkey", path(&url.ssl_key)),
        (
            "connect_timeout",
            url.connect_timeout.map(|limit| limit.as_secs().to_string()),
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

fn wrong(name: &'static str, expected: &'static str) -> DatabaseUrlError {
    DatabaseUrlError::OptionValue { name, expected }
}

fn ssl_mode(value: &str) -> Result<SslMode, DatabaseUrlError> {
    let found = SSL_MODES.iter().find(|(name, _)| *name == value);
    found.map(|(_, mode)| *mode).ok_or(wrong(
        "sslmode",
        "disable, allow, prefer, require, verify-ca or verify-full",
    ))
}

/// Zero and less mean "no limit" to libpq; here they mean "not given".
fn seconds(value: &str) -> Result<Option<Duration>, DatabaseUrlError> {
    let seconds: i64 = value
        .trim()
        .parse()
        .map_err(|_| wrong("connect_timeout", "a whole number of seconds"))?;
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
