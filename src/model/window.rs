//! How long the window of a cut-over would be: from what the end of a pass has measured on the servers of
//! the task, and how many documents there are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Place;

/// The windows of the same task differ by as much on a machine that others use as well.
const SPREAD: f64 = 2.0;

/// What the end of a pass has measured. Times are of one document each, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Where the documents are: new ones are looked for there.
    pub from: Place,
    /// Where they go.
    pub to: Place,
    /// To look for what has changed, in milliseconds: all rows at once.
    pub plan_ms: f64,
    /// To ask a store what it has, beside many others.
    pub proof_us: f64,
    /// To bring a row over.
    pub row_us: f64,
    /// To copy a document and to read it back; none until a pass has copied some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_us: Option<f64>,
}

/// How long the window would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Documents that are staged.
    pub staged: u64,
    /// Documents that are new or have changed since.
    pub changed: u64,
    /// Their stored size together.
    pub changed_bytes: u64,
    /// What is to be expected, in milliseconds.
    pub expected_ms: u64,
    /// It may be as short …
    pub at_least_ms: u64,
    /// … and as long.
    pub at_most_ms: u64,
}

impl Measured {
    /// The window, were it to begin now.
    pub fn forecast(&self, staged: u64, (changed, changed_bytes): (u64, u64)) -> Forecast {
        // Planned at the beginning, and looked at once more at the end; so is each copy.
        let looks = 2.0 * (self.plan_ms * 1e3 + self.proof_us * staged as f64);
        let rows = self.row_us * (staged + changed) as f64;
        let copies = self.copy_us.unwrap_or(0.0) * changed as f64;
        let expected_ms = (looks + rows + copies) / 1e3;
        Forecast {
            staged,
            changed,
            changed_bytes,
            expected_ms: expected_ms as u64,
            at_least_ms: (expected_ms / SPREAD) as u64,
            at_most_ms: (expected_ms * SPREAD) as u64,
        }
    }
}

impl Forecast {
    /// What is to be expected, the least and the most.
    pub fn durations(&self) -> [Duration; 3] {
        [self.expected_ms, self.at_least_ms, self.at_most_ms].map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DriverKind;

    #[test]
    fn it_grows_with_the_rows_and_with_what_has_changed() {
        let measured = Measured {
            from: Place::database(DriverKind::Db),
            to: Place::localfs("/srv"),
            plan_ms: 500.0,
            proof_us: 10.0,
            row_us: 80.0,
            copy_us: Some(1_000.0),
        };
        let nothing = measured.forecast(0, (0, 0));
        assert_eq!(nothing.expected_ms, 1_000);
        let rows = measured.forecast(100_000, (0, 0));
        assert_eq!(rows.expected_ms, 11_000);
        let changed = measured.forecast(99_000, (1_000, 4_096_000));
        assert_eq!(changed.expected_ms, 11_980);
        let [expected, least, most] = changed.durations();
        assert!(least < expected && expected < most, "{changed:?}");
    }
}
