//! Why a run ends before its plan does.

use tokio::sync::watch;

/// The reason of an early end. The first one given counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Ctrl-C, or a request to terminate.
    Signal,
    /// A store or the database was away for longer than the limit.
    Outage(String),
    /// No object can be moved until a person has done something.
    Fatal(String),
}

impl StopReason {
    /// For the journal and for people.
    pub fn why(&self) -> String {
        match self {
            StopReason::Signal => "asked to stop".into(),
            StopReason::Outage(why) | StopReason::Fatal(why) => why.clone(),
        }
    }
}

/// A flag that all parts of a run look at. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop {
    reason: watch::Sender<Option<StopReason>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            reason: watch::Sender::new(None),
        }
    }
}

impl Stop {
    /// Asks the run to end; only the first reason is kept.
    pub fn ask(&self, reason: StopReason) {
        self.reason.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason);
            }
            first
        });
    }

    /// The reason, if the run is to end.
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.borrow().clone()
    }

    /// Whether the run is to end.
    pub fn is_asked(&self) -> bool {
        self.reason.borrow().is_some()
    }

    /// Waits until the run is to end.
    pub async fn asked(&self) {
        // The sender lives in self, so the wait can't fail.
        let _ = self.reason.subscribe().wait_for(Option::is_some).await;
    }
}
