//! The right to delete rows: deletes of the database drivers go over the connection that holds
//! the advisory lock, so that a lost lock is a lost delete.

use tokio::sync::watch;

use super::{StoreError, StoreErrorKind};
use crate::database::Session;
use crate::model::DriverKind;

/// Where the engine keeps the session it holds; empty while it has none.
pub type FenceSlot = watch::Sender<Option<Session>>;

/// How a driver comes to the session that holds the advisory lock.
#[derive(Debug, Clone)]
pub enum Fence {
    /// The engine's slot: the session may be lost and acquired anew.
    Locked(watch::Receiver<Option<Session>>),
    /// No lock is held and none is needed: `check` touches only its own probe.
    Open,
}

impl Fence {
    /// The session to delete over; `None` means any connection.
    pub(super) fn session(
        &self,
        driver: DriverKind,
        place: &str,
    ) -> Result<Option<Session>, StoreError> {
        let Fence::Locked(slot) = self else {
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
