//! The objects that did not come to a good end, with their reasons.

use super::data::{Cause, Finding, FindingKind, Report};
use super::html::Html;
use super::page::section;
use super::table::{Cell, Table};
use super::words;

/// The causes, counted over all; then the first objects one by one.
pub fn findings(html: &mut Html, report: &Report) {
    section(html, "findings", |html| {
        let s = &report.total;
        // What was accepted behind the commit is among the kept ones.
        let accepted = report.causes.iter();
        let accepted: u64 = accepted
            .filter(|cause| cause.what == FindingKind::Accepted)
            .map(|cause| cause.objects)
            .sum();
        let all = s.failed + s.undeleted + s.skipped + accepted;
        if all == 0 {
            let words = "None: no object failed, none was skipped, no source was left undeleted.";
            html.leaf("p", &[], words);
            return;
        }
        html.leaf(
            "p",
            &[],
            "A failed object's row points at its source as before, an undeleted one's at the \
             destination; nothing of either was lost. A resume tries both again. An accepted one \
             had failed, and the operator leaves it as it is: its reason says who and why. A \
             skipped object's row was changed by somebody else, and is left alone.",
        );
        Table {
            caption: "Causes, counted over all of these objects",
            columns: &[
                "Outcome",
                "Cause",
                "Phase that they stay in",
                "Class",
                "Objects",
            ],
            is_long: false,
        }
        .write(html, report.causes.iter().map(cause_row).collect(), None);
        Table {
            caption: &caption(report.findings.len() as u64, all),
            columns: &["Object", "Document", "Outcome", "Tries", "Reason"],
            is_long: true,
        }
        .write(
            html,
            report.findings.iter().map(finding_row).collect(),
            None,
        );
        if all > report.findings.len() as u64 {
            let more = words::number(all - report.findings.len() as u64);
            let id = report.task.task_id;
            html.element("p", &[], |html| {
                html.text(&format!(
                    "{more} more are not on this page; these list all: "
                ));
                html.leaf(
                    "code",
                    &[],
                    &format!("windlass journal {id} --event failed"),
                );
                html.text(", ");
                html.leaf(
                    "code",
                    &[],
                    &format!("windlass journal {id} --event skipped"),
                );
                html.text(".");
            });
        }
    });
}

fn caption(shown: u64, all: u64) -> String {
    match shown < all {
        true => format!(
            "The first {} of {} objects, one by one",
            words::number(shown),
            words::number(all)
        ),
        false => format!("{}, one by one", words::count(all, "object")),
    }
}

fn cause_row(cause: &Cause) -> Vec<Cell> {
    vec![
        Cell::Words(cause.what.name().into()),
        Cell::Outside(or_dash(&cause.cause)),
        Cell::Outside(cause.phase.clone()),
        Cell::Outside(or_dash(&cause.class)),
        Cell::count(cause.objects),
    ]
}

fn finding_row(finding: &Finding) -> Vec<Cell> {
    let object = format!("{}/{}/{}", finding.user, finding.bucket, finding.id);
    let outcome = match finding.what {
        FindingKind::Skipped => String::new(),
        _ => format!("while {}: {}", finding.phase, or_dash(&finding.cause)),
    };
    vec![
        Cell::Outside(object),
        Cell::Outside(finding.document.clone()),
        Cell::Both(finding.what.name().into(), outcome),
        Cell::count(finding.attempts),
        Cell::Outside(finding.why.clone()),
    ]
}

fn or_dash(text: &str) -> String {
    match text.is_empty() {
        true => "–".into(),
        false => text.into(),
    }
}
