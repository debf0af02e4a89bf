//! The grammar of SQLAlchemy 1.3's database URLs (Anchore's), with libpq's lists of hosts.

use std::path::Path;

use super::url::{HostPort, RawPassword};
use super::{DatabaseUrl, DatabaseUrlError, PostgresUrl, query};
use crate::config::Secret;

const POSTGRES_SCHEMES: [&str; 4] = [
    "postgresql",
    "postgres",
    "postgresql+pg8000",
    "postgresql+psycopg2",
];
const SQLITE_SCHEMES: [&str; 2] = ["sqlite", "sqlite+pysqlite"];

/// Reads a URL that may lack the database's name.
pub(super) fn parts(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
    let (scheme, rest) = text
        .trim()
        .split_once("://")
        .ok_or(DatabaseUrlError::NoScheme)?;
    if SQLITE_SCHEMES.contains(&scheme) {
        return parse_sqlite(rest);
    }
    if POSTGRES_SCHEMES.contains(&scheme) {
        let pg8000 = scheme.ends_with("+pg8000");
        return parse_postgres(rest, pg8000).map(DatabaseUrl::Postgres);
    }
    Err(DatabaseUrlError::Scheme)
}

fn parse_sqlite(rest: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
    const EXPECTED: &str = "three slashes before a relative path (sqlite:///archive.db) and four before an absolute one";
    let wrong = DatabaseUrlError::Part {
        part: "path",
        expected: EXPECTED,
    };
    let (path, options) = split_query(rest.strip_prefix('/').ok_or(wrong.clone())?);
    if path.is_empty() || path == ":memory:" || path.ends_with('/') {
        return Err(wrong);
    }
    match query::pairs(options).into_iter().next() {
        Some((name, _)) => Err(query::unknown(&name)),
        None => Ok(DatabaseUrl::Sqlite {
            path: Path::new(path).to_owned(),
        }),
    }
}

fn parse_postgres(rest: &str, pg8000: bool) -> Result<PostgresUrl, DatabaseUrlError> {
    let (user, password, rest) = split_login(rest);
    let (authority, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let hosts = split_hosts(authority)?;
    let (database, options) = split_query(rest.strip_prefix('/').unwrap_or(rest));
    let mut url = PostgresUrl {
        user: user.filter(|user| !user.is_empty()).map(query::unquote),
        password: password.map(|password| Secret::new(query::unquote(password))),
        database: database.to_owned(),
        ..PostgresUrl::default()
    };
    url.raw_password = password
        .filter(|raw| url.password.as_ref().is_some_and(|p| p.expose() != *raw))
        .map(RawPassword::new);
    url.set_hosts(hosts);
    query::apply(&mut url, query::pairs(options), pg8000)?;
    Ok(url)
}

/// `user`, `password` and the rest, by SQLAlchemy's greedy rule.
fn split_login(rest: &str) -> (Option<&str>, Option<&str>, &str) {
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    if rest[end..].starts_with(':')
        && let Some(at) = rest.rfind('@').filter(|&at| at > end)
    {
        return (
            Some(&rest[..end]),
            Some(&rest[end + 1..at]),
            &rest[at + 1..],
        );
    }
    match rest[..end].rfind('@') {
        Some(at) => (Some(&rest[..at]), None, &rest[at + 1..]),
        None => (None, None, rest),
    }
}

/// `host:port`, several with commas between, as libpq has them.
pub(super) fn split_hosts(authority: &str) -> Result<Vec<HostPort>, DatabaseUrlError> {
    let hosts: Result<Vec<_>, _> = authority.split(',').map(split_host).collect();
    let mut hosts = hosts?;
    // One port for all stands behind the last.
    if let [first @ .., HostPort { port: last, .. }] = hosts.as_mut_slice()
        && first.iter().all(|host| host.port.is_none())
    {
        first.iter_mut().for_each(|host| host.port = *last);
    }
    Ok(hosts)
}

fn split_host(text: &str) -> Result<HostPort, DatabaseUrlError> {
    let wrong = DatabaseUrlError::Part {
        part: "host",
        expected: "a name, an IPv4 address, or an IPv6 address in brackets",
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, port) = inner.split_once(']').ok_or(wrong.clone())?;
            if address.parse::<std::net::Ipv6Addr>().is_err()
                || !(port.is_empty() || port.starts_with(':'))
            {
                return Err(wrong);
            }
            (address, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if !text.starts_with('[') && host.contains(['?', '#', '[', ']', ' ']) {
        return Err(wrong);
    }
    Ok(HostPort {
        host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        port: port.map(read_port).transpose()?.flatten(),
    })
}

pub(super) fn read_port(digits: &str) -> Result<Option<u16>, DatabaseUrlError> {
    if digits.is_empty() {
        return Ok(None);
    }
    let port = digits.parse().ok().filter(|&port| port > 0);
    port.map(Some).ok_or(DatabaseUrlError::Part {
        part: "port",
        expected: "a number from 1 to 65535 (a password without its @ and host reads as one)",
    })
}

fn split_query(rest: &str) -> (&str, &str) {
    rest.split_once('?').unwrap_or((rest, ""))
}
