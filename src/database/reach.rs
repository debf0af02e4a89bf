//! The way to a server: which of several, with which password, and over what.

use std::io;
use std::path::PathBuf;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

use super::dial::{Server, Tunnel};
use super::error::silence;
use super::establish::Settled;
use super::url::{HostPort, Target, bracketed};
use super::{ConnectOptions, PostgresUrl, SslMode, describe, establish, options, server_limit};

/// Opens a connection to the first server of a URL that can be used; with it comes what led there:
/// that server alone, and the password that it took. It is asked a `question` first, where there is one.
pub(super) async fn open(
    url: &PostgresUrl,
    options: &ConnectOptions,
    question: Option<&'static str>,
) -> Result<(Settled, PostgresUrl), sqlx::Error> {
    let url = with_environment(url.clone(), &|name| std::env::var(name).ok())
        .map_err(|why| sqlx::Error::Tls(why.into()))?;
    let hosts = url.hosts();
    if let ([_], Target::Any) = (hosts.as_slice(), url.target) {
        return log_in(&url, options, question).await;
    }
    let limit = server_limit(&url, options);
    let mut reasons = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let one = url.at(host, at);
        let attempt = async {
            let mut found = log_in(&one, options, question).await?;
            let refusal = why_no_writes(&mut found.0.connection, url.target).await?;
            Ok((found, refusal))
        };
        let answer = tokio::time::timeout(limit, attempt).await;
        let why = match answer.unwrap_or_else(|_| Err(silence(limit))) {
            Ok((found, None)) => return Ok(found),
            Ok(((settled, _), Some(why))) => {
                settled.connection.close().await.ok();
                why.to_owned()
            }
            // As in libpq: who is not let in asks at no other door.
            Err(error) if is_login(&error) => return Err(error),
            Err(error) => describe(&error),
        };
        let name = host.host.as_deref().unwrap_or("(default host)");
        let port = host.port.unwrap_or(5432);
        reasons.push(format!("{}:{port}: {why}", bracketed(name)));
    }
    Err(sqlx::Error::Io(io::Error::other(NoServer(
        reasons.join("; "),
    ))))
}

/// Why none of several servers can be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoServer(String);

fn is_login(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("28"))
}

const TAKES_WRITES: &str =
    "SELECT pg_catalog.pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";

async fn why_no_writes(
    connection: &mut PgConnection,
    target: Target,
) -> Result<Option<&'static str>, sqlx::Error> {
    let row = sqlx::raw_sql(TAKES_WRITES).fetch_one(connection).await?;
    let (is_standby, is_read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match (is_standby, is_read_only) {
        (true, _) => Some("it is a standby and takes no writes"),
        (_, true) if target != Target::Primary => {
            Some("its transactions are read-only (default_transaction_read_only)")
        }
        _ => None,
    })
}

/// Logs in with the password, and where that is refused with the password as it was written:
/// scripts paste it raw, and then `%41` is no `A`.
async fn log_in(
    url: &PostgresUrl,
    options: &ConnectOptions,
    question: Option<&'static str>,
) -> Result<(Settled, PostgresUrl), sqlx::Error> {
    let Some(raw) = &url.raw_password else {
        return Ok((connect(url, options, question).await?, url.clone()));
    };
    if !raw.is_right() {
        match connect(url, options, question).await {
            Ok(connection) => return Ok((connection, url.clone())),
            Err(error) if is_login(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let pasted = PostgresUrl {
        password: Some(raw.secret().clone()),
        ..url.clone()
    };
    let connection = connect(&pasted, options, question).await?;
    raw.set_right();
    Ok((connection, pasted))
}

async fn connect(
    url: &PostgresUrl,
    options: &ConnectOptions,
    question: Option<&'static str>,
) -> Result<Settled, sqlx::Error> {
    let pg = options::postgres(url, options);
    match Server::of(url, options)? {
        None => establish::settled(pg, url, options, question).await,
        Some(server) => {
            let tunnel = Tunnel::to(&server).await?;
            establish::settled(tunnel.options(pg), url, options, question).await
        }
    }
}

impl PostgresUrl {
    /// The same URL with one of its hosts alone.
    fn at(&self, host: &HostPort, at: usize) -> Self {
        let mut one = self.clone();
        one.set_hosts(vec![host.clone()]);
        one.addresses = self.addresses.get(at).cloned().into_iter().collect();
        one
    }
}

/// What the URL does not say and libpq would look for elsewhere, of what makes a connection safe.
/// The rest sqlx reads by itself.
fn with_environment(
    mut url: PostgresUrl,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<PostgresUrl, String> {
    let env = |name| env(name).filter(|value| !value.is_empty());
    let file = |name| env(name).map(PathBuf::from);
    let home = env("HOME").map(|home| PathBuf::from(home).join(".postgresql"));
    let at_home = |name| {
        home.as_ref()
            .map(|dir| dir.join(name))
            .filter(|file| file.exists())
    };
    if url.ssl_mode.is_none()
        && let Some(mode) = env("PGSSLMODE")
    {
        url.ssl_mode = Some(super::query::ssl_mode(&mode).map_err(|_| {
            "PGSSLMODE has a wrong value; expected disable, allow, prefer, require, verify-ca or \
             verify-full"
        })?);
    }
    if url.host.is_none() && url.more_hosts.is_empty() {
        url.host = env("PGHOST").filter(|_| env("PGHOSTADDR").is_none());
    }
    if url.ssl_mode.is_some_and(|mode| mode != SslMode::Disable) {
        let root = file("PGSSLROOTCERT").or_else(|| at_home("root.crt"));
        url.ssl_root_cert = url.ssl_root_cert.or(root);
    }
    if url.ssl_cert.is_none() && url.ssl_key.is_none() {
        let pair = (file("PGSSLCERT"), file("PGSSLKEY"));
        let pair = match pair {
            (Some(cert), Some(key)) => Some((cert, key)),
            _ => at_home("postgresql.crt").zip(at_home("postgresql.key")),
        };
        (url.ssl_cert, url.ssl_key) = pair.unzip();
    }
    Ok(url)
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
