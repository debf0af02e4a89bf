//! The objects that did not come to a good end, with their reasons.

use super::data::{Cause, FINDINGS_MAX, Finding, FindingKind, Report, SPREADSHEET_MAX};
use super::html::Html;
use super::page::section;
use super::table::{Cell, Table};
use super::words;
use crate::model::{self, csv_cell};

/// Where all of these objects are as a table for spreadsheets.
#[derive(Debug, Clone, Copy)]
pub enum Spreadsheet<'a> {
    /// Within the page itself, which asks for nothing.
    Within,
    /// At the server that tells the page, by this path from it.
    At(&'a str),
}

/// The causes, counted over all; then the first objects one by one.
pub fn findings(html: &mut Html, report: &Report, spreadsheet: Spreadsheet<'_>) {
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
                "To mend",
            ],
            is_long: false,
        }
        .write(html, report.causes.iter().map(cause_row).collect(), None);
        match spreadsheet {
            Spreadsheet::Within => within(html, report, all),
            Spreadsheet::At(path) => at_the_server(html, report.task.task_id, path, all),
        }
        let shown = report.findings.iter().take(FINDINGS_MAX);
        Table {
            caption: &caption(shown.len() as u64, all),
            columns: &["Object", "Outcome", "Tries", "Reason"],
            is_long: true,
        }
        .write(html, shown.clone().map(finding_row).collect(), None);
        let left = all.saturating_sub(shown.len() as u64);
        if left > 0 {
            elsewhere(html, report.task.task_id, left);
        }
    });
}

fn elsewhere(html: &mut Html, id: i64, left: u64) {
    html.element("p", &[], |html| {
        let more = words::number(left);
        html.text(&format!(
            "{more} more are not in this table; these list all: "
        ));
        for (at, event) in ["failed", "skipped"].into_iter().enumerate() {
            html.text(if at == 0 { "" } else { ", " });
            let command = format!("windlass journal {id} --event {event} --format csv");
            html.leaf("code", &[], &command);
        }
        html.text(".");
    });
}

fn within(html: &mut Html, report: &Report, all: u64) {
    let csv = failures_csv(&report.findings);
    let size = words::bytes(csv.len() as u64);
    let rows = report.findings.len() as u64;
    download(html, rows, all, &format!(" ({size})"), |html| {
        html.download(&csv_name(report.task.task_id), "text/csv", &csv);
    });
}

fn at_the_server(html: &mut Html, id: i64, path: &str, all: u64) {
    let name = csv_name(id);
    let rows = all.min(SPREADSHEET_MAX as u64);
    download(html, rows, all, "", |html| {
        html.leaf("a", &[("href", path), ("download", &name)], &name);
    });
}

fn download(html: &mut Html, rows: u64, all: u64, size: &str, link: impl FnOnce(&mut Html)) {
    let which = match rows < all {
        true => format!(
            "The first {} of {}",
            words::number(rows),
            words::number(all)
        ),
        false => format!("All {}", words::number(rows)),
    };
    html.element("p", &[("class", "download")], |html| {
        html.text(&format!("{which} as a table for spreadsheets: "));
        link(html);
        html.text(&format!(
            "{size}. What a spreadsheet would take for a formula stands behind an apostrophe in it."
        ));
    });
}

/// What a table of a task's failures is called where it is saved.
pub fn csv_name(id: i64) -> String {
    format!("windlass-task-{id}-failures.csv")
}

const CSV_HEADER: &str = "user,bucket,id,document,outcome,phase,class,cause,tries,reason\r\n";

/// These objects as a table for spreadsheets.
pub fn failures_csv(findings: &[Finding]) -> String {
    let mut csv = CSV_HEADER.to_owned();
    for finding in findings {
        let tries = finding.attempts.to_string();
        let cells = [
            finding.user.as_str(),
            &finding.bucket,
            &finding.id,
            &finding.document,
            finding.what.name(),
            &finding.phase,
            &finding.class,
            &finding.cause,
            &tries,
            &finding.why,
        ];
        csv += &cells.map(csv_cell).join(",");
        csv += "\r\n";
    }
    csv
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
        Cell::Words(remedy(cause).into()),
    ]
}

/// What a person can do about it, before a resume.
fn remedy(cause: &Cause) -> &'static str {
    match (cause.what, cause.cause.parse::<model::Cause>()) {
        (FindingKind::Failed | FindingKind::Undeleted, Ok(cause)) => cause.remedy(),
        _ => "–",
    }
}

fn finding_row(finding: &Finding) -> Vec<Cell> {
    let object = format!("{}/{}/{}", finding.user, finding.bucket, finding.id);
    let outcome = match finding.what {
        FindingKind::Skipped => String::new(),
        _ => format!("while {}: {}", finding.phase, or_dash(&finding.cause)),
    };
    vec![
        Cell::Names(object, finding.document.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_of_the_spreadsheet_is_a_formula() {
        let finding = Finding {
            user: "=cmd|' /C calc'!A0".into(),
            bucket: "+1".into(),
            id: "@SUM(A1)".into(),
            document: "-2,\"x\"".into(),
            what: FindingKind::Failed,
            phase: "pending".into(),
            class: "permanent".into(),
            cause: "other".into(),
            attempts: 2,
            why: "a\nb".into(),
        };
        let rows = failures_csv(&[finding]);
        let row = rows.lines().nth(1).unwrap();
        let expected = "'=cmd|' /C calc'!A0,'+1,'@SUM(A1),\"'-2,\"\"x\"\"\",failed,pending,permanent,other,2,a\\nb";
        assert_eq!(row, expected);
    }
}
