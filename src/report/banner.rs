//! The top of the page: what task it is, how it stands in one sentence, and what it has to do with others.

use super::data::{Related, Report, Task};
use super::html::Html;
use super::live::Now;
use super::{table, words};
use crate::model::{TaskKind, TaskState};

/// The task in a line, as the window's title has it.
pub fn title(report: &Report) -> String {
    let task = &report.task;
    format!(
        "{}: {} → {}",
        name(task.kind, task.task_id),
        task.source.place,
        task.destination.place
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

/// The banner; `now` is there where the page is told anew while the task runs.
pub fn banner(html: &mut Html, report: &Report, now: Option<&Now>) {
    let task = &report.task;
    let maker = match now {
        None => "windlass report",
        Some(_) => "windlass, as it stands now",
    };
    html.leaf("p", &[("class", "maker")], maker);
    html.leaf("h1", &[], &name(task.kind, task.task_id));
    html.element("p", &[("class", "way")], |html| {
        html.element("code", &[], |html| html.outside(&task.source.place));
        html.leaf("span", &[("class", "to")], " → ");
        html.element("code", &[], |html| html.outside(&task.destination.place));
    });
    let verdict = verdict(report, now);
    html.element("p", &[("class", verdict.class)], |html| {
        let sign = [("class", "sign"), ("aria-hidden", "true")];
        html.leaf("span", &sign, verdict.sign);
        html.element("span", &[], |html| {
            html.leaf("strong", &[], capital(task.state));
            let headline = match reverse_of(task) {
                Some(reverse) => Some((", and reversed by ", reverse)),
                // The latest of them: an earlier one may have been cut off.
                None => task
                    .children
                    .last()
                    .map(|next| (", and followed by ", next)),
            };
            if let Some((how, other)) = headline {
                html.leaf("strong", &[], how);
                html.element("strong", &[], |html| html.outside(&related_words(other)));
            }
            html.text(&format!(". {}", verdict.words));
            if let Some(command) = &verdict.command {
                html.leaf("code", &[], command);
            }
        });
    });
    when(html, report);
    relations(html, task);
}

/// When it was planned and when it ended.
fn when(html: &mut Html, report: &Report) {
    let task = &report.task;
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
}

/// The tasks that it undoes or finishes, and those that undo or finish it.
fn relations(html: &mut Html, task: &Task) {
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
fn verdict(report: &Report, now: Option<&Now>) -> Verdict {
    let verdict = verdict_of_state(report, now);
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

fn verdict_of_state(report: &Report, now: Option<&Now>) -> Verdict {
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
        TaskState::Running => verdict_of_running(&format!("{of}{trouble}"), task.task_id, now),
    }
}

/// A page that lies in a file can't know what has become of the process; one that looks does.
fn verdict_of_running(counted: &str, task_id: i64, now: Option<&Now>) -> Verdict {
    let at_work = |words: String| Verdict::new("verdict open", words);
    match now.map(|now| now.why_resume.as_deref()) {
        None => at_work(format!(
            "{counted} when this was written. Its process was at work, or had died without a word."
        )),
        Some(None) => at_work(format!("{counted} so far.")),
        Some(Some(why)) => {
            let words = format!("{counted}. The task {why}. To go on: ");
            Verdict::new("verdict bad", words).resume(task_id)
        }
    }
}
