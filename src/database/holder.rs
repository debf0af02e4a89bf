//! Who has the lock, and why one has it not.

use super::DatabaseError;

/// Who holds the lock, as far as can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Its process id, where that can be seen: on SQLite.
    pub pid: Option<i32>,
    /// The server's process that serves it, on PostgreSQL: what `pg_terminate_backend` takes.
    pub backend: Option<i32>,
    /// What it calls itself.
    pub application_name: Option<String>,
    /// Where it connects from; on SQLite the holder's host.
    pub client_addr: Option<String>,
    /// When its session began, RFC 3339.
    pub since: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self
            .application_name
            .as_deref()
            .filter(|name| !name.is_empty());
        write!(f, "{}", name.unwrap_or("a program without a name"))?;
        if let Some(pid) = self.pid {
            write!(f, ", process {pid}")?;
        }
        if let Some(backend) = self.backend {
            write!(f, ", PostgreSQL backend {backend}")?;
        }
        if let Some(from) = &self.client_addr {
            write!(f, ", from {from}")?;
        }
        match &self.since {
            Some(since) => write!(f, ", connected since {since}"),
            None => Ok(()),
        }
    }
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else migrates: windlass or Anchore's own tool.
    #[error("the migration lock is held by {0}; wait until it is done, or end it")]
    HeldBy(Holder),
    /// The lock is shared by workers, and this one waits to have it alone.
    #[error(
        "{0} is in line for the migration lock, and until it has had it no worker is let in; wait \
         until it is done, or end it"
    )]
    InLine(Holder),
    /// A worker's earlier session is not over yet for the server.
    #[error(
        "the database still serves this worker's connection of before: it lets go of it within a \
         minute, or once it is ended"
    )]
    NumberHeld,
    /// The session was lost or released: nothing more may be committed over it.
    #[error(
        "the migration lock is lost: the database connection that held it has ended; resume the task"
    )]
    Lost,
    /// The lock file cannot be used.
    #[error("cannot use the lock file {}: {source}", path.display())]
    File {
        /// The lock file.
        path: std::path::PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl LockError {
    /// Whether a new acquisition may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::HeldBy(_) | Self::InLine(_) | Self::File { .. } => false,
            Self::Lost | Self::NumberHeld => true,
            Self::Database(error) => error.is_retryable(),
        }
    }
}
