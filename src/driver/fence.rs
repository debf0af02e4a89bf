//! The right to delete rows: deletes of the database drivers go over the connection that holds
//! the advisory lock, so that a lost lock is a lost delete.

use tokio::sync::watch;

use super::{StoreError, StoreErrorKind};
use crate::database::{Claims, Session, TokenQuestion};
use crate::model::DriverKind;

/// Where the engine keeps the session it holds; empty while it has none.
pub type FenceSlot = watch::Sender<Option<Session>>;

/// How a driver comes to the session that holds the advisory lock.
#[derive(Debug, Clone)]
pub enum Fence {
    /// The engine's slot: the session may be lost and acquired anew. And what the engine has claimed of
    /// its task, which a delete asks for in its own transaction.
    Locked(watch::Receiver<Option<Session>>, Claims),
    /// No lock is held and none is needed: `check` touches only its own probe.
    Open,
}

impl Fence {
    /// What a delete asks first; none where nothing is claimed.
    pub(super) fn question(&self) -> Option<TokenQuestion> {
        match self {
            Fence::Locked(_, claims) => claims.question(),
            Fence::Open => None,
        }
    }

    /// The session to delete over; `None` means any connection.
    pub(super) fn session(
        &self,
        driver: DriverKind,
        place: &str,
    ) -> Result<Option<Session>, StoreError> {
        let Fence::Locked(slot, _) = self else {
            return Ok(None);
        };
        match &*slot.borrow() {
            Some(session) if !session.is_lost() => Ok(Some(session.clone())),
            _ => Err(StoreError::new(
                driver,
                "delete",
                place,
                StoreErrorKind::Unavailable,
                "the advisory lock is not held",
            )),
        }
    }
}
