//! A history put together from the mirror: it keeps the latest of each kind of step and when it
//! was, and of failures only the last and how many.

use super::step::Step;
use crate::catalog::MirroredRow;
use crate::model::{
    Accepted, Cause, Committed, Copied, Event, Failed, Phase, Skipped, SourceDeleted, SourceKept,
    Verified,
};

/// The steps that the mirror tells of an object, in the order of the way.
pub fn steps(row: &MirroredRow) -> Vec<Step> {
    let mut events = Vec::new();
    if let (Some(at), Some(copied)) = (&row.copied_at, copied(row)) {
        events.push((Some(at.clone()), Event::Copied(copied)));
    }
    if let Some(at) = &row.verified_at {
        let verified = Verified {
            method: "a method that the mirror does not keep".into(),
            bytes: row
                .dest
                .size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or(0),
            tag: None,
        };
        events.push((Some(at.clone()), Event::Verified(verified)));
    }
    if let Some(at) = &row.committed_at {
        let committed = Committed {
            old_content_url: row.source.url.clone(),
            new_content_url: row.dest.url.clone().unwrap_or_default(),
        };
        events.push((Some(at.clone()), Event::Committed(committed)));
    }
    if let Some(at) = &row.source_deleted_at {
        let source_url = row.source.url.clone();
        let deleted = SourceDeleted { source_url };
        events.push((Some(at.clone()), Event::SourceDeleted(deleted)));
    }
    events.extend(outcome(row).map(|event| (None, event)));
    let step = |(at, event): (Option<String>, Event)| Step {
        at: at.map(|at| in_full(&at)),
        object: Some(row.object.clone()),
        ..Step::of(event)
    };
    events.into_iter().map(step).collect()
}

/// A time in the journal's form: SQLite keeps the commit's with three decimals.
fn in_full(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => format!("{at:.6}"),
        Err(_) => at.to_owned(),
    }
}

fn copied(row: &MirroredRow) -> Option<Copied> {
    Some(Copied {
        source_url: row.source.url.clone(),
        source_digest: row.source.digest.clone(),
        source_size: row.source.size,
        source_compressed: row.source.compressed,
        created_at: row.source.created_at,
        last_updated: row.source.last_updated,
        dest_url: row.dest.url.clone()?,
        dest_digest: row.dest.digest.clone()?,
        dest_size: row.dest.size.and_then(|size| u64::try_from(size).ok())?,
        dest_compressed: row.dest.compressed?,
        content_sha256: row.content_sha256.clone()?,
        content_size: row.content_size.and_then(|size| u64::try_from(size).ok())?,
    })
}

/// What holds it where it is; the mirror does not keep since when.
fn outcome(row: &MirroredRow) -> Option<Event> {
    let why = row.last_error.clone().unwrap_or_default();
    let cause = row.cause.as_deref().and_then(|word| word.parse().ok());
    match row.outcome.as_deref()? {
        "failed" => Some(Event::Failed(Failed {
            phase: row.phase.parse().unwrap_or(Phase::Pending),
            class: row.failure_class.clone().unwrap_or_default(),
            attempt: u32::try_from(row.attempts).unwrap_or(0),
            error: why,
            cause,
        })),
        // Who and why stand in the mirror's one text.
        "accepted" => Some(Event::Accepted(Accepted {
            phase: row.phase.parse().unwrap_or(Phase::Pending),
            cause: cause.unwrap_or(Cause::Other),
            who: "the operator".into(),
            why,
            error: String::new(),
        })),
        "skipped" => Some(Event::Skipped(Skipped { why })),
        "source-kept" => Some(Event::SourceKept(SourceKept { why })),
        _ => None,
    }
}

/// A step as a line of JSON. Its key says that it is no entry: there is no hash to check.
pub fn json(step: &Step) -> String {
    let detail: serde_json::Map<_, _> = step
        .detail
        .iter()
        .map(|(label, text)| ((*label).to_owned(), text.as_str().into()))
        .collect();
    let value = serde_json::json!({
        "at": step.at, "event": step.event, "object": step.object, "detail": detail,
    });
    serde_json::json!({ "mirror": value }).to_string()
}
