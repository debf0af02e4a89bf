//! A real PostgreSQL: one server for the whole test binary, one database for each test.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::guarded::{Account, Guarded, command_as, free_ports, server_dir};
use super::{percent_decode, percent_encode};

/// Every character that a URL parser may stumble over: whoever passes it on unquoted can't connect.
const PASSWORD: &str = "p@ss#w:rd%2F";
const USER: &str = "windlass";
const SCHEMA: &str = include_str!("../../../fixtures/anchore/schema.postgres.sql");
const START_LIMIT: Duration = Duration::from_secs(60);

/// A database of its own, with Anchore's tables in it.
pub struct Database {
    /// SQLAlchemy's form, as Anchore's `db_connect` has it: the password percent-encoded.
    pub url: String,
    pub pool: PgPool,
    pub name: String,
    pub place: Place,
}

/// Where a server is and how one logs in.
#[derive(Clone, Debug)]
pub struct Place {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
}

impl Place {
    /// Reads `postgresql://user:password@host:port/…`, user and password percent-encoded.
    fn parse(url: &str) -> Option<Self> {
        let rest = url.split_once("://")?.1;
        let (login, rest) = rest.rsplit_once('@')?;
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let authority = rest.split('/').next()?;
        let (host, port) = authority.split_once(':').unwrap_or((authority, "5432"));
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
            user: percent_decode(user),
            password: percent_decode(password),
        })
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .password(&self.password)
            .database(database)
    }

    /// The URL of one of this server's databases, in SQLAlchemy's form.
    pub fn url(&self, database: &str) -> String {
        let (user, password) = (percent_encode(&self.user), percent_encode(&self.password));
        format!(
            "postgresql://{user}:{password}@{}:{}/{database}",
            self.host, self.port
        )
    }

    async fn run(&self, database: &str, statement: String) {
        let mut connection = PgConnection::connect_with(&self.options(database))
            .await
            .unwrap_or_else(|error| panic!("can't connect to the test server: {error}"));
        connection
            .execute(AssertSqlSafe(statement.clone()))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
        connection.close().await.expect("the connection closes");
    }

    /// Makes a role that may log in, with what else is said of it, and may do nothing yet.
    pub async fn make_role(&self, role: &str, limits: &str) {
        let create = format!("CREATE ROLE {role} LOGIN PASSWORD 'few' {limits}");
        self.run("postgres", create).await;
    }

    /// The URL of one of this server's databases for such a role.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!(
            "postgresql://{role}:few@{}:{}/{database}",
            self.host, self.port
        )
    }

    /// Makes the database that all others are copied from: quicker than the DDL for each test.
    async fn make_template(&self) -> String {
        let template = format!("windlass_template_{}", Uuid::new_v4().simple());
        self.run("postgres", format!("CREATE DATABASE {template}"))
            .await;
        let mut connection = PgConnection::connect_with(&self.options(&template))
            .await
            .expect("the new template answers");
        sqlx::raw_sql(SCHEMA)
            .execute(&mut connection)
            .await
            .expect("Anchore's tables are made");
        connection.close().await.expect("the connection closes");
        template
    }

    async fn copy_template(&self, template: &str) -> Database {
        let name = format!("windlass_test_{}", Uuid::new_v4().simple());
        self.run(
            "postgres",
            format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )
        .await;
        self.database(name).await
    }

    /// A new database that keeps its text in this encoding, with Anchore's tables.
    pub async fn database_in(&self, encoding: &str) -> Database {
        let name = format!("windlass_test_{}", Uuid::new_v4().simple());
        let create = format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        self.run("postgres", create).await;
        let database = self.database(name).await;
        sqlx::raw_sql(SCHEMA)
            .execute(&database.pool)
            .await
            .expect("Anchore's tables are made");
        database
    }

    async fn database(&self, name: String) -> Database {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(self.options(&name))
            .await
            .expect("the new database answers");
        Database {
            url: self.url(&name),
            pool,
            name,
            place: self.clone(),
        }
    }
}

impl Database {
    /// A copy of it as it is now, like a replica that follows no further. All connections are cut.
    pub async fn snapshot(&self) -> String {
        let copy = format!("{}_replica", self.name);
        self.without_connections(format!("CREATE DATABASE {copy} TEMPLATE {}", self.name))
            .await;
        copy
    }

    /// The copy takes its place under its name, as after a failover: what the copy has not got is
    /// lost, however well it was acknowledged. All connections are cut.
    pub async fn fail_over_to(&self, copy: &str) {
        let name = &self.name;
        self.without_connections(format!("ALTER DATABASE {name} RENAME TO {name}_lost"))
            .await;
        let promote = format!("ALTER DATABASE {copy} RENAME TO {name}");
        self.place.run("postgres", promote).await;
    }

    /// Runs a statement that needs the database for itself, in a moment when nobody is in it.
    async fn without_connections(&self, statement: String) {
        let name = &self.name;
        let close = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
        self.place.run("postgres", close).await;
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        let empty = format!(
            "DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = '{name}') LOOP
               PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01); END LOOP; END $$"
        );
        self.place.run("postgres", end).await;
        self.place.run("postgres", empty).await;
        self.place.run("postgres", statement).await;
        // The old name, unless it was given away with the statement.
        let open = format!(
            "UPDATE pg_database SET datallowconn = true WHERE datname IN ('{name}', '{name}_replica')"
        );
        self.place.run("postgres", open).await;
    }
}

struct Shared {
    place: Place,
    template: String,
    /// Kept for its log; a static is never dropped, the guard outside sees to the end.
    _server: Option<Guarded>,
}

/// A new database on the shared server, or on the one that `WINDLASS_TEST_POSTGRES_URL` names
/// (there it stays behind, to be looked at).
pub async fn fresh_database() -> Database {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    let shared = SHARED
        .get_or_init(|| async {
            let (place, server) = match std::env::var("WINDLASS_TEST_POSTGRES_URL") {
                Ok(url) => {
                    let place = Place::parse(&url).expect(
                        "WINDLASS_TEST_POSTGRES_URL must read postgresql://user:password@host:port/db",
                    );
                    (place, None)
                }
                Err(_) => {
                    let (place, server, _) = launch(&binaries(), &[]).await;
                    (place, Some(server))
                }
            };
            let template = place.make_template().await;
            Shared { place, template, _server: server }
        })
        .await;
    shared.place.copy_template(&shared.template).await
}

/// A server for one test, which may stop it and start it again. Gone when dropped.
pub struct OwnServer {
    server: Guarded,
    dir: PathBuf,
    place: Place,
    template: String,
}

impl OwnServer {
    pub async fn start() -> Self {
        Self::launch(&binaries(), &[]).await
    }

    /// With room for so many clients.
    pub async fn with_room_for(connections: u32) -> Self {
        let settings = [
            format!("max_connections={connections}"),
            "superuser_reserved_connections=1".to_owned(),
        ];
        Self::launch(&binaries(), &settings).await
    }

    /// Of another major version than the distribution's, as scripts/test has installed it.
    pub async fn of_version(major: u32) -> Self {
        Self::launch(&other_binaries(major), &[]).await
    }

    async fn launch(bin: &Path, settings: &[String]) -> Self {
        let (place, server, dir) = launch(bin, settings).await;
        let template = place.make_template().await;
        Self {
            server,
            dir,
            place,
            template,
        }
    }

    pub async fn fresh_database(&self) -> Database {
        self.place.copy_template(&self.template).await
    }

    /// From its next start on it follows another server, which it does not hear of.
    pub fn make_standby(&self) {
        let signal = self.dir.join("data/standby.signal");
        fs::write(&signal, "").expect("the signal file is written");
        if let Some(account) = Account::unprivileged() {
            chown(&signal, Some(account.uid), Some(account.gid)).expect("root may chown");
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// As a power cut would look to clients: no shutdown checkpoint, all connections cut.
    pub fn stop_immediate(&self) {
        self.server.stop("QUIT");
    }

    /// As `systemctl restart` would: running transactions are rolled back, then it shuts down.
    pub fn stop_fast(&self) {
        self.server.stop("INT");
    }

    /// On the same port; returns when it answers.
    pub async fn restart(&self) {
        self.server.restart();
        wait_until_answers(&self.place, &self.server)
            .await
            .expect("the server starts again");
    }
}

/// Starts a new server on a free port; a port that somebody else took meanwhile is given up.
async fn launch(bin: &Path, settings: &[String]) -> (Place, Guarded, PathBuf) {
    let mut last = String::new();
    for _ in 0..3 {
        let [port] = free_ports();
        let place = Place {
            host: "127.0.0.1".to_owned(),
            port,
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
        };
        let (server, dir) = initialise_and_start(bin, port, settings);
        match wait_until_answers(&place, &server).await {
            Ok(()) => return (place, server, dir),
            Err(why) => last = format!("{why}\n{}", server.log_tail()),
        }
    }
    panic!("PostgreSQL did not start: {last}");
}

fn initialise_and_start(bin: &Path, port: u16, more: &[String]) -> (Guarded, PathBuf) {
    let account = Account::unprivileged();
    let dir = server_dir("postgres", account);
    let bin = reachable(bin, account, &dir);
    let data = dir.join("data");
    let password_file = dir.join("password");
    fs::write(&password_file, PASSWORD).expect("the password file is written");
    if let Some(account) = account {
        chown(&password_file, Some(account.uid), Some(account.gid)).expect("root may chown");
    }
    let output = command_as(account, &bin.join("initdb"), &dir)
        .args([
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ])
        .arg(format!("--username={USER}"))
        .arg(format!("--pwfile={}", password_file.display()))
        .arg(format!("--pgdata={}", data.display()))
        .output()
        .expect("initdb starts");
    assert!(
        output.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    let mut args = vec!["-D".to_owned(), data.display().to_string()];
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        // Nobody cuts this machine's power; a crash of the server alone loses nothing without it.
        "fsync=off",
        "full_page_writes=off",
        "timezone=UTC",
        // What a test asks for should fail in a test, and not wait for ever.
        "idle_in_transaction_session_timeout=10min",
        &format!("port={port}"),
    ] {
        args.extend(["-c".to_owned(), setting.to_owned()]);
    }
    for setting in more {
        args.extend(["-c".to_owned(), setting.clone()]);
    }
    // SIGQUIT: the immediate shutdown, which also removes the shared memory.
    let server = Guarded::start(&dir, account, "QUIT", &bin.join("postgres"), &args, &[]);
    (server, dir)
}

/// Programs below a directory that the account can't enter (root's own, say) are copied to where
/// it can.
fn reachable(bin: &Path, account: Option<Account>, dir: &Path) -> PathBuf {
    let is_open =
        |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if account.is_none() || bin.ancestors().all(is_open) {
        return bin.to_owned();
    }
    let native = bin.parent().expect("bin lies beside lib and share");
    let copied = Command::new("cp")
        .arg("-rL")
        .arg(native)
        .arg(dir.join("native"))
        .status();
    assert!(copied.expect("cp starts").success(), "the server is copied");
    dir.join("native/bin")
}

async fn wait_until_answers(place: &Place, server: &Guarded) -> Result<(), String> {
    let started = Instant::now();
    loop {
        match PgConnection::connect_with(&place.options("postgres")).await {
            Ok(connection) => {
                connection
                    .close()
                    .await
                    .map_err(|error| error.to_string())?;
                return Ok(());
            }
            Err(error) if !server.is_alive() => return Err(format!("it ended: {error}")),
            Err(error) if started.elapsed() > START_LIMIT => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Whether the tests of other versions are left out.
pub fn without_other_versions() -> bool {
    std::env::var_os("WINDLASS_TEST_WITHOUT_OTHER_POSTGRES").is_some_and(|value| !value.is_empty())
}

fn other_binaries(major: u32) -> PathBuf {
    let installed = format!("target/test-postgres/{major}/native/bin");
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(installed);
    let bin = bin.canonicalize().unwrap_or(bin);
    assert!(
        bin.join("initdb").exists(),
        "no PostgreSQL {major} at {}: scripts/test installs it, or set \
         WINDLASS_TEST_WITHOUT_OTHER_POSTGRES=1 to leave out what needs it",
        bin.display()
    );
    bin
}

/// Where initdb and postgres are: on PATH, or the newest of Debian's version directories.
fn binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists());
    on_path
        .or_else(newest_version_directory)
        .unwrap_or_else(|| {
            panic!(
                "no PostgreSQL server on this machine: scripts/test says which package to install, \
             or set WINDLASS_TEST_POSTGRES_URL"
            )
        })
}

fn newest_version_directory() -> Option<PathBuf> {
    let versions = fs::read_dir(Path::new("/usr/lib/postgresql"))
        .ok()?
        .flatten();
    versions
        .filter_map(|entry| {
            let version: u32 = entry
                .path()
                .file_name()
                .and_then(OsStr::to_str)?
                .parse()
                .ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
}
