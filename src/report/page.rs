//! The page as a file: it needs no network and asks for none.

use super::banner::{banner, title};
use super::data::Report;
use super::findings::{self, Spreadsheet};
use super::frame::{Way, document, skip};
use super::html::Html;
use super::{balance, proof, table, work};

/// Identifiers and names of all sections, in their order.
const SECTIONS: [(&str, &str); 7] = [
    ("now", "Now"),
    ("balance", "Reconciliation"),
    ("work", "Work over time"),
    ("buckets", "Buckets"),
    ("findings", "Failures"),
    ("proof", "Proof"),
    ("configuration", "Configuration"),
];

/// The one that only a page has that is told anew.
const LIVE_ONLY: &str = "now";

/// The whole page.
pub fn page(report: &Report) -> String {
    document(Way::File, &title(report), |html| {
        skip(html, "Skip to the report");
        html.element("header", &[], |html| banner(html, report, None));
        navigation(html, Way::File);
        html.element("main", &[("id", "main"), ("tabindex", "-1")], |html| {
            balance::balance(html, report);
            work::work(html, report);
            balance::buckets(html, report);
            findings::findings(html, report, Spreadsheet::Within);
            proof::proof(html, report);
            proof::configuration(html, report);
        });
        html.element("footer", &[], |html| footer(html, report));
    })
}

/// Links to the sections.
pub fn navigation(html: &mut Html, way: Way) {
    html.element("nav", &[("aria-label", "Sections")], |html| {
        html.element("ul", &[], |html| {
            let is_there = |(id, _): &&(&str, &str)| way == Way::Served || *id != LIVE_ONLY;
            for (id, name) in SECTIONS.iter().filter(is_there) {
                let target = format!("#{id}");
                html.element("li", &[], |html| html.leaf("a", &[("href", &target)], name));
            }
        });
    });
}

fn footer(html: &mut Html, report: &Report) {
    let made = &report.made;
    html.element("p", &[], |html| {
        html.text(&format!("Made by windlass {} on ", made.version));
        html.outside(&made.host);
        html.text(" at ");
        table::time(html, made.at_ms);
        html.text(" UTC. All times are UTC. This file needs no network and asks for none.");
    });
}

/// A section of the page with its heading.
pub fn section(html: &mut Html, id: &'static str, fill: impl FnOnce(&mut Html)) {
    let heading = format!("{id}-heading");
    let name = SECTIONS.iter().find(|(known, _)| *known == id);
    let attributes = [("id", id), ("aria-labelledby", &*heading)];
    html.element("section", &attributes, |html| {
        html.leaf("h2", &[("id", &heading)], name.map_or(id, |(_, name)| name));
        fill(html);
    });
}
