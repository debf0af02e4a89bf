use crate::catalog::CatalogError;
use crate::driver::StoreError;
use crate::journal::JournalError;

/// Why an audit can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A store refused or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog refused or does not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The checkpoint can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
