//! The auditor's view of a task: one page that needs nothing but a browser.
//!
//! Pure: it is given what is known ([`Report`]) and writes HTML; [`Tally`] makes the history out
//! of a journal's entries, in flat memory. Nothing here reads a file, a database or a clock.

mod balance;
mod data;
mod findings;
mod html;
mod page;
mod plots;
mod proof;
mod series;
mod table;
mod tally;
mod words;
mod work;

pub use data::{
    Bucket, Cause, Chain, Ending, FINDINGS_MAX, Finding, FindingKind, History, JournalSeen, Made,
    Related, Report, Run, Side, Steps, Task, Witness,
};
pub use page::page;
pub use series::{Durations, Pace};
pub use tally::Tally;

#[cfg(test)]
mod tests;
