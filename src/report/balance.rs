//! The reconciliation, and the same by bucket.

use super::data::{Bucket, Report};
use super::html::Html;
use super::page::section;
use super::plots;
use super::table::{Cell, Table};
use super::words;
use crate::model::Summary;

/// planned = committed + skipped + failed + accepted + remaining.
pub fn balance(html: &mut Html, report: &Report) {
    let s = &report.total;
    section(html, "balance", |html| {
        html.element("dl", &[("class", "ledger")], |html| {
            line(html, "planned", "", "planned", s.planned);
            line(html, "committed", "=", "committed", s.committed);
            line(html, "skipped", "+", "skipped", s.skipped);
            line(html, "failed", "+", "failed", s.failed);
            if s.accepted > 0 {
                line(html, "skipped", "+", "accepted as they are", s.accepted);
            }
            line(html, "remaining", "+", "remaining", s.remaining);
        });
        let parts = [
            ("committed", s.committed),
            ("skipped", s.skipped + s.accepted),
            ("failed", s.failed),
            ("remaining", s.remaining),
        ];
        plots::shares(html, &parts);
        html.leaf("p", &[], &adds_up(s));
        html.leaf(
            "h3",
            &[],
            "What became of the sources of what was committed",
        );
        html.element("dl", &[("class", "ledger small")], |html| {
            let open =
                s.committed - (s.source_deleted + s.source_kept + s.undeleted).min(s.committed);
            line(html, "committed", "", "committed", s.committed);
            line(html, "deleted", "=", "source deleted", s.source_deleted);
            line(html, "kept", "+", "source kept on purpose", s.source_kept);
            line(
                html,
                "failed",
                "+",
                "source not deleted (undeleted)",
                s.undeleted,
            );
            line(html, "remaining", "+", "still to be deleted", open);
        });
        html.leaf(
            "p",
            &[],
            &format!(
                "Planned: {} as stored at the source. Committed: {} as stored at the source, {} as \
                 stored at the destination, {} plain (they differ where one side compresses). \
                 Counted in the database, in one transaction, from windlass's row of each object.",
                words::bytes(report.task.planned_bytes),
                words::bytes(s.source_stored_bytes),
                words::bytes(s.bytes),
                words::bytes(s.plain_bytes)
            ),
        );
    });
}

fn adds_up(s: &Summary) -> String {
    let mut sum = vec![s.committed, s.skipped, s.failed, s.remaining];
    if s.accepted > 0 {
        sum.insert(3, s.accepted);
    }
    let sum: Vec<_> = sum.into_iter().map(words::number).collect();
    let is = if s.reconciles() {
        "It adds up"
    } else {
        "It does not add up"
    };
    format!("{is}: {} = {}.", words::number(s.planned), sum.join(" + "))
}

fn line(html: &mut Html, class: &'static str, sign: &str, name: &str, amount: u64) {
    let class = match amount {
        0 => "none".to_owned(),
        _ => class.to_owned(),
    };
    html.element("div", &[("class", &class)], |html| {
        html.element("dt", &[], |html| {
            html.leaf(
                "span",
                &[("class", "operator"), ("aria-hidden", "true")],
                sign,
            );
            html.text(name);
        });
        html.leaf("dd", &[], &words::number(amount));
    });
}

/// What became of the objects of each bucket.
pub fn buckets(html: &mut Html, report: &Report) {
    section(html, "buckets", |html| {
        if report.buckets.is_empty() {
            html.leaf("p", &[], "The plan has no objects.");
            return;
        }
        let table = Table {
            caption: "Objects and bytes by bucket of Anchore's, and what became of them",
            columns: &[
                "Bucket",
                "Planned",
                "Committed",
                "Skipped",
                "Failed",
                "Remaining",
                "Deleted at source",
                "Kept at source",
                "Undeleted",
                "Bytes at source, stored",
                "Bytes of copies, stored",
            ],
            is_long: true,
        };
        let rows = report.buckets.iter().map(row).collect();
        let total = Bucket {
            name: String::new(),
            source_bytes: report.task.planned_bytes,
            summary: report.total,
        };
        let mut total = row(&total);
        total[0] = Cell::Words("all buckets".into());
        table.write(html, rows, Some(total));
    });
}

/// The longest name that may take its width from the ten numbers beside it; Anchore's own are shorter.
const BUCKET_MAX_CHARS: usize = 24;

fn row(bucket: &Bucket) -> Vec<Cell> {
    let s = &bucket.summary;
    let name = bucket.name.clone();
    vec![
        match name.chars().count() <= BUCKET_MAX_CHARS {
            true => Cell::Names(name, String::new()),
            false => Cell::Outside(name),
        },
        Cell::count(s.planned),
        Cell::count(s.committed),
        Cell::count(s.skipped),
        Cell::count(s.failed),
        Cell::count(s.remaining),
        Cell::count(s.source_deleted),
        Cell::count(s.source_kept),
        Cell::count(s.undeleted),
        Cell::bytes(bucket.source_bytes),
        Cell::bytes(s.bytes),
    ]
}
