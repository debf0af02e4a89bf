//! The page as a server tells it while the task runs: in parts, so that only what has changed need be
//! told anew.

use uuid::Uuid;

use super::banner::{banner, title};
use super::data::Report;
use super::findings::{self, Spreadsheet};
use super::frame::{Way, document, skip};
use super::html::Html;
use super::page::{navigation, section};
use super::table::{Cell, Table};
use super::{balance, proof, table, words, work};
use crate::model::TaskState;

/// What a look at a task tells beside its report.
#[derive(Debug, Clone, Default)]
pub struct Now {
    /// Why it can be resumed, where it can: its process is no more, say.
    pub why_resume: Option<String>,
    /// How fast it goes, where that is known.
    pub speed: Option<Speed>,
    /// Who works at it, or has worked at it, the latest first.
    pub workers: Vec<Worker>,
    /// Where its failures are as a table for spreadsheets, from the page.
    pub failures: String,
}

/// How fast a task goes.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Objects committed.
    pub objects_per_s: f64,
    /// Bytes of their copies.
    pub bytes_per_s: f64,
    /// Seconds until the last one, at this rate.
    pub left_s: Option<u64>,
}

/// One executor: a checkpoint at work.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its UUID.
    pub executor: Uuid,
    /// 1 for the task's first.
    pub epoch: i32,
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: i64,
    /// The version of windlass.
    pub version: String,
    /// When it began.
    pub began_ms: i64,
    /// Seconds since it was last heard of.
    pub heard_s: u64,
    /// Whether it has ended in good order.
    pub has_ended: bool,
    /// Entries in its journal.
    pub entries: u64,
    /// Objects whose last step was this executor's, and that are committed.
    pub committed: u64,
    /// The same of those that failed.
    pub failed: u64,
    /// The same of those on their way.
    pub under_way: u64,
}

/// A piece of a page that is told by itself.
#[derive(Debug, Clone)]
pub struct Part {
    /// The identifier of its element.
    pub id: &'static str,
    html: Html,
}

impl Part {
    /// Its element.
    pub fn markup(&self) -> &str {
        self.html.written()
    }
}

/// What stands above everything: whether the page is as new as it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It has been asked, and has not answered yet.
    Asking,
    /// The database answers.
    Live {
        /// Seconds until it is asked again, at least.
        again_s: u64,
    },
    /// It has been asked for a while, and may have much to count.
    Waiting {
        /// When it was asked, in milliseconds since 1970.
        asked_ms: i64,
    },
    /// It does not, for this reason.
    Away {
        /// In the words of the error.
        why: String,
        /// Since when, in milliseconds since 1970.
        since_ms: i64,
    },
}

/// A part of a page: an element with this identifier.
pub(super) fn part(id: &'static str, fill: impl FnOnce(&mut Html)) -> Part {
    let mut html = Html::default();
    fill(&mut html);
    Part { id, html }
}

/// The parts that say how new the page is. `looked_ms`: when the database was last asked with success.
pub fn notice(notice: &Notice, looked_ms: Option<i64>) -> [Part; 2] {
    let words = part("notice", |html| {
        let class = match notice {
            Notice::Asking | Notice::Waiting { .. } => "asking",
            Notice::Live { .. } => "live",
            Notice::Away { .. } => "away",
        };
        let attributes = [("id", "notice"), ("class", class), ("role", "status")];
        html.element("p", &attributes, |html| match notice {
            Notice::Asking => html.text("The database has been asked; its answer comes by itself."),
            Notice::Waiting { asked_ms } => {
                html.text("The database was asked at ");
                table::time(html, *asked_ms);
                html.text(" UTC, and has not answered yet.");
            }
            Notice::Live { .. } => html.text("Live"),
            Notice::Away { why, since_ms } => {
                html.leaf("strong", &[], "The database is away");
                html.text(" since ");
                table::time(html, *since_ms);
                html.text(" UTC; it is asked again and again. It says: ");
                html.outside(why);
            }
        });
    });
    let clock = part("clock", |html| {
        html.element("p", &[("id", "clock")], |html| match looked_ms {
            Some(looked_ms) => {
                html.text("As of ");
                table::time(html, looked_ms);
                html.text(" UTC");
                if let Notice::Live { again_s } = notice {
                    let again = words::count(*again_s, "second");
                    html.text(&format!(", again in {again}"));
                }
            }
            None => html.text("Nothing has been seen yet"),
        });
    });
    [words, clock]
}

/// The parts of a task's page.
pub fn parts(report: &Report, now: &Now) -> Vec<Part> {
    vec![
        part("top", |html| {
            html.element("header", &[("id", "top")], |html| {
                banner(html, report, Some(now));
            });
        }),
        part("now", |html| at_present(html, report, now)),
        part("balance", |html| balance::balance(html, report)),
        part("work", |html| work::work_by_others(html, report)),
        part("buckets", |html| balance::buckets(html, report)),
        part("findings", |html| {
            findings::findings(html, report, Spreadsheet::At(&now.failures));
        }),
        part("proof", |html| proof::proof(html, report)),
        part("configuration", |html| proof::configuration(html, report)),
    ]
}

/// The window's title: how far it is comes first, since a tab has little room.
pub fn live_title(report: &Report) -> String {
    let s = &report.total;
    let done = s.planned - s.remaining.min(s.planned);
    let percent = (done * 100).checked_div(s.planned).unwrap_or(100);
    let trouble = match s.failed + s.undeleted {
        0 => String::new(),
        failed => format!(", {} failed", words::number(failed)),
    };
    format!("{percent} %{trouble}: {}", title(report))
}

/// What a served page is put together from.
pub struct Served<'a> {
    /// The window's title.
    pub title: &'a str,
    /// Where the list of all tasks is, from here.
    pub list: Option<&'a str>,
    /// Where its events come from, from here.
    pub events: &'a str,
    /// Its parts, in their order.
    pub parts: &'a [Part],
    /// Whether it has the sections of a task.
    pub is_of_task: bool,
    /// The version of windlass, and where it runs.
    pub made_by: (&'a str, &'a str),
}

/// The whole of a served page.
pub fn served_page(served: &Served<'_>) -> String {
    let part = |html: &mut Html, id: &str| {
        let found = served.parts.iter().find(|part| part.id == id);
        found.into_iter().for_each(|part| html.join(&part.html));
    };
    document(Way::Served, served.title, |html| {
        let attributes = [("id", "live"), ("data-events", served.events)];
        skip(html, "Skip to the page");
        html.element("div", &attributes, |html| {
            part(html, "notice");
            part(html, "clock");
        });
        if let Some(list) = served.list {
            html.element("p", &[("class", "up")], |html| {
                html.leaf("a", &[("href", list)], "All tasks");
            });
        }
        part(html, "top");
        if served.is_of_task {
            navigation(html, Way::Served);
        }
        html.element("main", &[("id", "main"), ("tabindex", "-1")], |html| {
            let apart = ["notice", "clock", "top"];
            let main = served.parts.iter().filter(|part| !apart.contains(&part.id));
            main.for_each(|part| html.join(&part.html));
        });
        html.element("footer", &[], |html| {
            html.element("p", &[], |html| {
                let (version, host) = served.made_by;
                html.text(&format!("Told by windlass {version} on "));
                html.outside(host);
                html.text(
                    " from the database alone, which it only reads. All times are UTC. Nothing is \
                     asked of any other server.",
                );
            });
        });
    })
}

/// The present: how far, how fast, how long, and who is at it.
fn at_present(html: &mut Html, report: &Report, now: &Now) {
    section(html, "now", |html| {
        let s = &report.total;
        let done = s.planned - s.remaining.min(s.planned);
        html.element("dl", &[("class", "gauges")], |html| {
            let percent = (done * 100).checked_div(s.planned).unwrap_or(100);
            let of = format!(
                "{} of {}",
                words::number(done),
                words::count(s.planned, "object")
            );
            gauge(html, "through", &format!("{percent} %"), &of);
            let is_running = report.task.state == TaskState::Running && now.why_resume.is_none();
            if let Some(speed) = now.speed.filter(|_| is_running) {
                let bytes = words::bytes(speed.bytes_per_s as u64);
                gauge(
                    html,
                    "at present",
                    &format!("{}/s", words::short(speed.objects_per_s)),
                    &format!("objects, {bytes}/s to the destination"),
                );
                let left = match speed.left_s {
                    Some(0) => "a moment".to_owned(),
                    Some(left_s) => words::duration(left_s * 1000),
                    None => "unknown".to_owned(),
                };
                gauge(html, "left", &left, "at this rate");
            }
            let trouble = s.failed + s.undeleted;
            let what = "failed or not deleted";
            gauge(html, "in trouble", &words::number(trouble), what);
        });
        html.element("h3", &[], |html| html.text("Who works at it"));
        match now.workers.is_empty() {
            true => html.leaf("p", &[], "Nobody has worked at it yet."),
            false => workers(html, &now.workers),
        }
    });
}

fn gauge(html: &mut Html, name: &str, value: &str, more: &str) {
    html.element("div", &[], |html| {
        html.leaf("dt", &[], name);
        html.element("dd", &[], |html| {
            html.leaf("strong", &[], value);
            html.text(" ");
            html.leaf("span", &[], more);
        });
    });
}

/// One that has not been heard of for so long is silent.
const SILENT_S: u64 = 30;

fn workers(html: &mut Html, workers: &[Worker]) {
    let row = |worker: &Worker| {
        let ago = || match worker.heard_s {
            0 => "just now".to_owned(),
            heard_s => format!("{} ago", words::duration(heard_s * 1000)),
        };
        let (state, more) = match (worker.has_ended, worker.heard_s) {
            (true, _) => ("ended", "in good order".to_owned()),
            (false, ..SILENT_S) => ("heard of", ago()),
            (false, _) => ("silent", format!("last heard of {}", ago())),
        };
        vec![
            Cell::Outside(format!("{}, process {}", worker.host, worker.pid)),
            Cell::Both(state.into(), more),
            Cell::Time(worker.began_ms),
            Cell::count(worker.under_way),
            Cell::count(worker.committed),
            Cell::count(worker.failed),
            Cell::count(worker.entries),
            Cell::Words(format!("{}, epoch {}", worker.executor, worker.epoch)),
        ]
    };
    Table {
        caption: "Executors, the latest first; each object counts for the one that took its last step",
        columns: &[
            "Worker",
            "State",
            "Began (UTC)",
            "Under way",
            "Committed",
            "Failed",
            "Journal entries",
            "Executor",
        ],
        is_long: false,
    }
    .write(html, workers.iter().map(row).collect(), None);
}
