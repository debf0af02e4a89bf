//! What an audit has found.

use serde::Serialize;

use crate::catalog::ListedRow;
use crate::model::ObjectKey;

/// What is listed by name; the counts go on.
const FINDINGS_MAX: usize = 100;

/// What became of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The document is there, and is what the row says.
    Ok,
    /// Nothing is there.
    Missing,
    /// Other bytes are there than the row says.
    Differs,
    /// It lies in a place that this configuration does not name.
    Elsewhere,
    /// The store does not give it away, or the row has no URL.
    Unreadable,
    /// An object of the task whose row has been removed since.
    Removed,
}

impl Outcome {
    /// Whether the document is not what its row says.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Missing | Self::Differs | Self::Unreadable)
    }
}

/// A row that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `user/bucket/id`.
    pub object: String,
    /// Where it should be.
    pub url: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why.
    pub why: String,
}

/// Counts by outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// All rows.
    pub rows: u64,
    /// There, and right.
    pub ok: u64,
    /// Not there.
    pub missing: u64,
    /// There, and not what the row says.
    pub differs: u64,
    /// In places that were not looked at.
    pub elsewhere: u64,
    /// Not to be had.
    pub unreadable: u64,
    /// Objects of a task whose rows have been removed since: nothing is left to be looked at.
    pub removed: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The first hundred that are not well.
    pub findings: Vec<Finding>,
}

impl AuditReport {
    /// Whether all that was looked at is there and right.
    pub fn is_clean(&self) -> bool {
        self.missing + self.differs + self.unreadable == 0
    }

    pub(super) fn add(
        &mut self,
        key: &ObjectKey,
        row: Option<ListedRow>,
        (outcome, why): (Outcome, String),
        bytes: u64,
    ) {
        self.rows += 1;
        self.bytes += bytes;
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Missing => &mut self.missing,
            Outcome::Differs => &mut self.differs,
            Outcome::Elsewhere => &mut self.elsewhere,
            Outcome::Unreadable => &mut self.unreadable,
            Outcome::Removed => &mut self.removed,
        } += 1;
        if outcome.is_bad() && self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                object: key.to_string(),
                url: row.and_then(|row| row.url),
                outcome,
                why,
            });
        }
    }
}
