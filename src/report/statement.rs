//! What a report comes to, in a few lines of plain text that can be signed: counts, and the heads of the
//! chains as `check.py` prints them.

use super::data::{JournalSeen, Report};
use super::words;
use crate::model::in_a_line;

/// The statement of a report.
pub fn statement(report: &Report) -> String {
    let (task, s, made) = (&report.task, &report.total, &report.made);
    let lines = [
        "windlass statement, version 1".to_owned(),
        format!(
            "task {} {}: {}, {}",
            task.task_id,
            task.task_uuid,
            task.kind.name(),
            task.state
        ),
        format!("from {}", in_a_line(&task.source.place)),
        format!("to {}", in_a_line(&task.destination.place)),
        format!(
            "planned {} = committed {} + skipped {} + failed {} + accepted {} + remaining {}",
            s.planned, s.committed, s.skipped, s.failed, s.accepted, s.remaining
        ),
        format!(
            "sources: {} deleted, {} kept, {} not deleted",
            s.source_deleted, s.source_kept, s.undeleted
        ),
        format!("copies: {} bytes", s.bytes),
        format!(
            "made {} by windlass {} on {}",
            words::machine_time(made.at_ms),
            made.version,
            in_a_line(&made.host)
        ),
        "heads: task, executor, last entry, its hash".to_owned(),
    ];
    let mut text = lines.join("\n");
    for head in heads(report) {
        text.push('\n');
        text += &head;
    }
    text.push('\n');
    text
}

/// That of the journal that was read, and those that the database knows.
fn heads(report: &Report) -> Vec<String> {
    let uuid = report.task.task_uuid;
    let of_database = report.chains.iter();
    let mut heads: Vec<String> = of_database
        .map(|chain| {
            let head = in_a_line(&chain.head);
            format!("{uuid} {} {} {head}", chain.executor, chain.seq)
        })
        .collect();
    if let JournalSeen::Proven {
        executor,
        seq,
        head,
        ..
    } = &report.journal
    {
        heads.push(format!("{uuid} {executor} {seq} {head}"));
    }
    heads.sort();
    heads.dedup();
    heads
}
