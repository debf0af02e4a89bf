//! sqlx's connect options, set one by one.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::{ConnectOptions, PostgresUrl, SslMode, tls};

/// What other users of the database see windlass as.
const APPLICATION_NAME: &str = "windlass";

/// How long SQLite waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Options for PostgreSQL. What the URL does not say is libpq's: `PGPASSWORD`,
/// `PGHOST`, `PGUSER`, `PGSSLMODE` and the like.
pub(super) fn postgres(url: &PostgresUrl, options: &ConnectOptions) -> PgConnectOptions {
    // Without `.pgpass`: sqlx would look it up before it knows host and user.
    let mut pg = PgConnectOptions::new_without_pgpass()
        .application_name(APPLICATION_NAME)
        // Poolers refuse it, and no float is read as text.
        .extra_float_digits(None)
        .disable_statement_logging();
    if let Some(host) = &url.host {
        pg = pg.host(host);
    }
    if let Some(port) = url.port {
        pg = pg.port(port);
    }
    if let Some(user) = &url.user {
        pg = pg.username(user);
    }
    if let Some(password) = &url.password {
        pg = pg.password(password.expose());
    }
    if let Some(file) = &url.ssl_root_cert {
        pg = pg.ssl_root_cert(file);
    }
    if let Some(file) = &url.ssl_cert {
        pg = pg.ssl_client_cert(file);
    }
    if let Some(file) = &url.ssl_key {
        pg = pg.ssl_client_key(file);
    }
    if let Some(mode) = ssl_mode(url, options) {
        pg = pg.ssl_mode(mode);
    }
    pg.database(&url.database)
}

/// The URL's mode, as sqlx has it. What sqlx would do less well never comes here ([`tls`]).
fn ssl_mode(url: &PostgresUrl, options: &ConnectOptions) -> Option<PgSslMode> {
    tls::mode(url, options).map(|mode| match mode {
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
        SslMode::Require => PgSslMode::Require,
        SslMode::Disable => PgSslMode::Disable,
        // sqlx's own `allow` never tries TLS, and a server that wants it would be refused.
        SslMode::Allow | SslMode::Prefer => PgSslMode::Prefer,
    })
}

/// Options for SQLite: durable to a power cut, and never a new file by accident.
pub(super) fn sqlite(path: &Path, options: &ConnectOptions) -> SqliteConnectOptions {
    let sqlite = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(options.create)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging();
    match options.read_only {
        // How the file keeps its journal stands in the file: to change it is to write.
        true => sqlite.pragma("query_only", "ON"),
        false => sqlite.journal_mode(SqliteJournalMode::Wal),
    }
}
