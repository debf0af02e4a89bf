//! The auditor's view of a task: one page that needs nothing but a browser; and the same page in parts,
//! as a server tells it while the task runs.
//!
//! Pure: it is given what is known ([`Report`]) and writes HTML; [`Tally`] makes the history out
//! of a journal's entries, in flat memory. Nothing here reads a file, a database or a clock.

mod balance;
mod banner;
mod data;
mod findings;
mod frame;
mod html;
mod live;
mod page;
mod plots;
mod proof;
mod series;
mod statement;
mod table;
mod tally;
mod tasks;
mod words;
mod work;

pub use data::{
    Bucket, Cause, Chain, Ending, FINDINGS_MAX, Finding, FindingKind, History, JournalSeen, Made,
    Related, Report, Run, SPREADSHEET_MAX, Side, Signed, Steps, Task, Witness,
};
pub use findings::{csv_name, failures_csv};
pub use frame::Way;
pub use live::{Notice, Now, Part, Served, Speed, Worker, live_title, notice, parts, served_page};
pub use page::page;
pub use series::{Durations, Pace};
pub use statement::statement;
pub use tally::Tally;
pub use tasks::{Listed, list_parts};

#[cfg(test)]
mod tests;
