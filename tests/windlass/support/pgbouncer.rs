//! A real PgBouncer before a PostgreSQL, with its defaults but for the mode.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::guarded::{Account, Guarded, free_ports, server_dir};
use super::percent_encode;
use super::postgres::Place;

const START_LIMIT: Duration = Duration::from_secs(30);

/// Gone when dropped.
pub struct PgBouncer {
    port: u16,
    user: String,
    password: String,
    _server: Guarded,
}

/// Whether the tests that need it are left out.
pub fn is_left_out() -> bool {
    std::env::var_os("WINDLASS_TEST_WITHOUT_PGBOUNCER").is_some_and(|value| !value.is_empty())
}

impl PgBouncer {
    /// `mode` is PgBouncer's pool_mode.
    pub async fn start(before: &Place, mode: &str) -> Self {
        let account = Account::unprivileged();
        let dir = server_dir("pgbouncer", account);
        let [port] = free_ports();
        let (user, password) = (&before.user, &before.password);
        write(
            &dir,
            account,
            "users",
            &format!("\"{user}\" \"{password}\"\n"),
        );
        let config = format!(
            "[databases]\n* = host={} port={}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n\
             auth_file = {}\npool_mode = {mode}\n",
            before.host,
            before.port,
            dir.join("users").display()
        );
        let config = write(&dir, account, "pgbouncer.ini", &config);
        let args = [config.display().to_string()];
        let server = Guarded::start(&dir, account, "INT", &program(), &args, &[]);
        let started = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            assert!(
                server.is_alive() && started.elapsed() < START_LIMIT,
                "PgBouncer did not start: {}",
                server.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            port,
            user: before.user.clone(),
            password: before.password.clone(),
            _server: server,
        }
    }

    /// The URL of one of the server's databases through it, in SQLAlchemy's form.
    pub fn url(&self, database: &str) -> String {
        let (user, password) = (percent_encode(&self.user), percent_encode(&self.password));
        format!(
            "postgresql://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }
}

fn write(dir: &Path, account: Option<Account>, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("its configuration is written");
    if let Some(account) = account {
        chown(&path, Some(account.uid), Some(account.gid)).expect("root may chown");
    }
    path
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        // Debian's, which is not on everybody's PATH.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join("pgbouncer"))
        .find(|program| program.exists());
    found.unwrap_or_else(|| {
        panic!(
            "no PgBouncer on this machine: scripts/test says which package to install, or set \
             WINDLASS_TEST_WITHOUT_PGBOUNCER=1 to leave out what needs it"
        )
    })
}
