use std::fmt;

use serde::{Deserialize, Serialize};

/// What a failure means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// Timeouts, resets, 5xx: the same step may succeed a little later.
    Retryable,
    /// The store asks for less: wait longer, do less at once.
    Throttled,
    /// This object can't be moved as it is; the others can.
    Permanent,
    /// No object can be moved: credentials, bucket gone, disk full.
    Fatal,
}

impl FailureClass {
    /// The word used in the journal.
    pub fn name(self) -> &'static str {
        match self {
            FailureClass::Retryable => "retryable",
            FailureClass::Throttled => "throttled",
            FailureClass::Permanent => "permanent",
            FailureClass::Fatal => "fatal",
        }
    }

    /// Whether the step may be tried again by itself.
    pub fn is_retryable(self) -> bool {
        matches!(self, FailureClass::Retryable | FailureClass::Throttled)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
