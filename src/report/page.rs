//! The page: one file, no network. Its policy (CSP) allows nothing but the very style and script
//! that stand in it, named by their hashes: whatever might slip in would not run.

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::data::{Related, Report, Task};
use super::html::Html;
use super::{balance, findings, proof, table, words, work};
use crate::model::{TaskKind, TaskState};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Identifiers and names of the sections, in their order.
const SECTIONS: [(&str, &str); 6] = [
    ("balance", "Reconciliation"),
    ("work", "Work over time"),
    ("buckets", "Buckets"),
    ("findings", "Failures"),
    ("proof", "Proof"),
    ("configuration", "Configuration"),
];

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut html = Html::default();
    html.fixed("<!DOCTYPE html>\n");
    html.element("html", &[("lang", "en")], |html| {
        html.element("head", &[], |html| head(html, report));
        html.fixed("\n");
        html.element("body", &[], |html| {
            html.leaf(
                "a",
                &[("class", "skip"), ("href", "#main")],
                "Skip to the report",
            );
            html.element("header", &[], |html| banner(html, report));
            navigation(html);
            html.element("main", &[("id", "main"), ("tabindex", "-1")], |html| {
                balance::balance(html, report);
                work::work(html, report);
                balance::buckets(html, report);
                findings::findings(html, report);
                proof::proof(html, report);
                proof::configuration(html, report);
            });
            html.element("footer", &[], |html| footer(html, report));
            html.element("script", &[], |html| html.fixed(SCRIPT));
        });
    });
    html.fixed("\n");
    html.finish()
}

fn head(html: &mut Html, report: &Report) {
    html.void("meta", &[("charset", "utf-8")]);
    let policy = policy();
    let attributes = [
        ("http-equiv", "Content-Security-Policy"),
        ("content", &*policy),
    ];
    html.void("meta", &attributes);
    let viewport = "width=device-width, initial-scale=1";
    html.void("meta", &[("name", "viewport"), ("content", viewport)]);
    html.void(
        "meta",
        &[("name", "color-scheme"), ("content", "light dark")],
    );
    html.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
    let task = &report.task;
    let title = format!(
        "{}: {} → {}",
        name(task.kind, task.task_id),
        task.source.place,
        task.destination.place
    );
    html.leaf("title", &[], &title);
    html.element("style", &[], |html| html.fixed(STYLE));
}

fn policy() -> String {
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn name(kind: TaskKind, id: i64) -> String {
    let kind = match kind {
        TaskKind::Forward => "Migration",
        TaskKind::Reverse => "Reversal",
        TaskKind::DeleteSource => "Deletion of sources",
    };
    format!("{kind}, task {id}")
}

fn banner(html: &mut Html, report: &Report) {
    let task = &report.task;
    html.leaf("p", &[("class", "maker")], "windlass report");
    html.leaf("h1", &[], &name(task.kind, task.task_id));
    html.element("p", &[("class", "way")], |html| {
        html.element("code", &[], |html| html.outside(&task.source.place));
        html.leaf("span", &[("class", "to")], " → ");
        html.element("code", &[], |html| html.outside(&task.destination.place));
    });
    let verdict = verdict(report);
    html.element("p", &[("class", verdict.class)], |html| {
        let sign = [("class", "sign"), ("aria-hidden", "true")];
        html.leaf("span", &sign, verdict.sign);
        html.element("span", &[], |html| {
            html.leaf("strong", &[], capital(task.state));
            if let Some(reverse) = reverse_of(task) {
                html.leaf("strong", &[], ", and reversed by ");
                html.element("strong", &[], |html| html.outside(&related_words(reverse)));
            }
            html.text(&format!(". {}", verdict.words));
            if let Some(command) = &verdict.command {
                html.leaf("code", &[], command);
            }
        });
    });
    html.element("p", &[("class", "when")], |html| {
        html.text("Planned ");
        table::time(html, task.created_ms);
        html.text(" UTC");
        let ended = report
            .chains
            .iter()
            .filter_map(|chain| chain.ended_ms)
            .max();
        if let (Some(ended), false) = (ended, task.state == TaskState::Running) {
            html.text(", ended ");
            table::time(html, ended);
            html.text(" UTC");
        }
        let worked = report.history.pace.worked_ms;
        if worked > 0 {
            html.text(&format!(", worked at for {}", words::duration(worked)));
        }
        html.text(".");
    });
    let to_parent = match task.kind {
        TaskKind::Reverse => "reverses",
        TaskKind::Forward | TaskKind::DeleteSource => "belongs to",
    };
    let parent = task.parent.iter().map(|parent| (to_parent, parent));
    let children = task.children.iter().map(|child| match is_reverse(child) {
        true => ("was reversed by", child),
        false => ("is followed by", child),
    });
    for (how, related) in parent.chain(children) {
        html.element("p", &[("class", "when")], |html| {
            html.text(&format!("This task {how} "));
            html.outside(&related_words(related));
            html.text(".");
        });
    }
}

fn is_reverse(related: &Related) -> bool {
    related.kind.as_deref() == Some(TaskKind::Reverse.name())
}

/// The task that undoes this one: whatever its own state is, it is at its end.
fn reverse_of(task: &Task) -> Option<&Related> {
    task.children.iter().find(|child| is_reverse(child))
}

fn related_words(related: &Related) -> String {
    let id = related.task_id.map(|id| format!("task {id}"));
    let mut text = id.unwrap_or_else(|| "a task that is no longer in the database".into());
    let kind_and_state = [&related.kind, &related.state].map(|word| word.as_deref());
    let known: Vec<&str> = kind_and_state.into_iter().flatten().collect();
    if !known.is_empty() {
        text += &format!(" ({})", known.join(", "));
    }
    text + &format!(", {}", related.task_uuid)
}

fn capital(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "Running",
        TaskState::Interrupted => "Interrupted",
        TaskState::Staged => "Staged",
        TaskState::Complete => "Complete",
        TaskState::Failed => "Failed",
    }
}

/// What is said at the top.
struct Verdict {
    class: &'static str,
    sign: &'static str,
    words: String,
    /// What goes on from here.
    command: Option<String>,
}

impl Verdict {
    fn new(class: &'static str, words: String) -> Self {
        let sign = match class {
            "verdict good" => "✓",
            "verdict bad" => "!",
            _ => "…",
        };
        Self {
            class,
            sign,
            words,
            command: None,
        }
    }

    fn resume(mut self, task_id: i64) -> Self {
        self.command = Some(format!("windlass resume {task_id}"));
        self
    }
}

/// What is to be said of the task's state; nothing goes on with one that was reversed.
fn verdict(report: &Report) -> Verdict {
    let verdict = verdict_of_state(report);
    match reverse_of(&report.task) {
        None => verdict,
        Some(_) => Verdict {
            words: match verdict.words.split_once(" To ") {
                Some((words, _)) if verdict.command.is_some() => words.to_owned(),
                _ => verdict.words,
            },
            command: None,
            ..verdict
        },
    }
}

fn verdict_of_state(report: &Report) -> Verdict {
    let s = &report.total;
    let task = &report.task;
    if !s.reconciles() {
        let words = "The counts below do not add up: the database was changed by hand, or by a \
                     newer windlass.";
        return Verdict::new("verdict bad", words.into());
    }
    let of = format!(
        "{} of {} committed",
        words::number(s.committed),
        words::count(s.planned, "object")
    );
    let trouble = [
        (s.failed, "failed"),
        (s.undeleted, "could not be deleted at the source"),
        (s.accepted, "failed and accepted as they are"),
        (
            s.skipped,
            "left alone since somebody else had changed the row",
        ),
    ];
    let trouble = trouble.iter().filter(|(amount, _)| *amount > 0);
    let trouble: String = trouble
        .map(|(amount, what)| format!("; {} {what}", words::number(*amount)))
        .collect();
    match task.state {
        TaskState::Complete => {
            let proven = match (task.kind, trouble.is_empty()) {
                (TaskKind::Forward, true) => ", each behind a proven copy",
                _ => "",
            };
            Verdict::new("verdict good", format!("{of}{proven}{trouble}."))
        }
        TaskState::Failed => Verdict::new("verdict bad", format!("{of}{trouble}. To try again: "))
            .resume(task.task_id),
        TaskState::Interrupted => {
            Verdict::new("verdict open", format!("{of}{trouble}. To go on: ")).resume(task.task_id)
        }
        TaskState::Staged => Verdict::new(
            "verdict open",
            format!(
                "{} copied and proven while the services run; no row has changed yet{trouble}.",
                words::count(s.staged, "object")
            ),
        ),
        TaskState::Running => Verdict::new(
            "verdict open",
            format!(
                "{of}{trouble} when this was written. Its process was at work, or had died \
                 without a word."
            ),
        ),
    }
}

fn navigation(html: &mut Html) {
    html.element("nav", &[("aria-label", "Sections")], |html| {
        html.element("ul", &[], |html| {
            for (id, name) in SECTIONS {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_cannot_end_their_element() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</") && !text.contains("<!--"));
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("url("));
        }
    }
}
