//! Journals are read where that holds nobody else up.

use std::io;

use crate::audit::AuditError;
use crate::journal::JournalError;

pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AuditError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| unreadable(io::Error::other(error)))
}

pub fn unreadable(source: io::Error) -> AuditError {
    AuditError::Journal(JournalError::Io {
        path: "the export".into(),
        source,
    })
}
