//! What holds the report up: the chains, how to check them without windlass, the configuration.

use super::data::{Chain, JournalSeen, Report, Side, Signed};
use super::html::Html;
use super::page::section;
use super::table::{Cell, Table};
use super::words;
use crate::model::{TaskKind, VerifyMode};

/// The page that tells the format; its lines of Python stand in the report, word for word.
const FORMAT: &str = include_str!("../../docs/journal-format.md");

/// The lines of Python that check an export.
pub fn python() -> &'static str {
    let fenced = FORMAT.split("```python\n").nth(1);
    let lines = fenced.and_then(|rest| rest.split("\n```").next());
    lines.unwrap_or_default()
}

/// The chains and how to check them.
pub fn proof(html: &mut Html, report: &Report) {
    section(html, "proof", |html| {
        html.leaf(
            "p",
            &[],
            "Each step of each object stands in a journal, an append-only file in which each entry \
             carries a hash over itself and the hash before it. No entry can be changed, added or \
             removed without changing every hash behind it. The last hash, the head, is kept in \
             Anchore's database as well, so that a tail that was cut off shows, too.",
        );
        seen(html, report);
        chains(html, &report.chains);
        how_to_check(html, report);
        if let Some(signed) = &report.signed {
            signature(html, report.task.task_id, signed);
        }
    });
}

/// What the report comes to, signed, and how to check that.
fn signature(html: &mut Html, id: i64, signed: &Signed) {
    let name = format!("windlass-task-{id}.txt");
    let minisig = format!("{name}.minisig");
    html.leaf("h3", &[], "The signed statement");
    html.element("p", &[], |html| {
        html.text(
            "Counts and heads, signed with an Ed25519 key when this report was made. Save both files: ",
        );
        html.download(&name, "text/plain", &signed.statement);
        html.text(", ");
        html.download(&minisig, "text/plain", &signed.signature);
        html.text(
            ". Take the public key from whoever signs, and not from this page, which shows only which \
             it is. The second command prints each head of the export that was signed:",
        );
    });
    code(html, "Statement that is signed", &signed.statement);
    code(html, "Signature of it", &signed.signature);
    let check = format!(
        "minisign -Vm {name} -P {}\npython3 check.py journal.jsonl | grep -Fxf - {name}",
        signed.public_key
    );
    code(html, "Commands that check the signature", &check);
}

fn seen(html: &mut Html, report: &Report) {
    match &report.journal {
        JournalSeen::Proven {
            executor,
            seq,
            head,
            has_mirrored_head,
            events,
            commits,
        } => {
            let (class, sign, held) = match has_mirrored_head {
                Some(true) => (
                    "verdict good",
                    "✓",
                    "It has the head that the database knows.",
                ),
                Some(false) => (
                    "verdict bad",
                    "!",
                    "It does not have the head that the database knows: it is an old copy, or its \
                     tail was cut off.",
                ),
                None => ("verdict bad", "!", "The database does not know this chain."),
            };
            html.element("p", &[("class", class)], |html| {
                html.leaf("span", &[("class", "sign"), ("aria-hidden", "true")], sign);
                html.element("span", &[], |html| {
                    html.leaf("strong", &[], "Chain proven. ");
                    html.text(&format!(
                        "For this report the journal of {executor} was read from its first entry \
                         to entry {}; every hash was computed anew and fits. {held} ",
                        words::number(*seq)
                    ));
                    html.text("Its head is ");
                    html.leaf("code", &[], head);
                    html.text(".");
                });
            });
            witnesses(html, report, *commits);
            let row = |(event, entries): &(&'static str, u64)| {
                vec![Cell::Words((*event).into()), Cell::count(*entries)]
            };
            html.element("details", &[], |html| {
                html.leaf("summary", &[], "Entries of the journal by event");
                Table {
                    caption: "Entries by event; a step that was taken again has one more",
                    columns: &["Event", "Entries"],
                    is_long: false,
                }
                .write(html, events.iter().map(row).collect(), None);
            });
        }
        JournalSeen::NotHere { why } => {
            outside_verdict(html, "open", "…", "Journal not read.", why)
        }
        JournalSeen::Damaged { why } => outside_verdict(html, "bad", "!", "Journal damaged.", why),
    }
}

fn outside_verdict(html: &mut Html, class: &str, sign: &str, what: &str, why: &str) {
    let class = format!("verdict {class}");
    html.element("p", &[("class", &class)], |html| {
        html.leaf("span", &[("class", "sign"), ("aria-hidden", "true")], sign);
        html.element("span", &[], |html| {
            html.leaf("strong", &[], what);
            html.text(" ");
            html.outside(why);
        });
    });
}

/// Journal and database, held against each other.
fn witnesses(html: &mut Html, report: &Report, commits: Option<u64>) {
    if report.task.kind != TaskKind::Forward {
        // A clean-up commits nothing, and a reverse not all that it brings to its end.
        return;
    }
    let Some(commits) = commits else {
        let words = "This chain does not begin with the task's first entry (an earlier checkpoint \
                     was lost, or is elsewhere), so its commits can't be held against the database.";
        html.leaf("p", &[], words);
        return;
    };
    let counted = report.total.committed;
    let agree = match commits == counted {
        true => "the two agree",
        false => {
            "they differ: a run is at work, or was killed between a commit and its entry, which the \
             next resume adds, or one of the two was changed by hand"
        }
    };
    html.leaf(
        "p",
        &[],
        &format!(
            "The journal tells of {} that stand, the database of {}: {agree}.",
            words::count(commits, "commit"),
            words::number(counted)
        ),
    );
}

fn chains(html: &mut Html, chains: &[Chain]) {
    let row = |chain: &Chain| {
        vec![
            Cell::Words(chain.executor.to_string()),
            Cell::Number(chain.epoch.to_string(), f64::from(chain.epoch)),
            Cell::Outside(format!("{}, windlass {}", chain.host, chain.version)),
            Cell::Time(chain.heartbeat_ms),
            Cell::count(chain.seq),
            Cell::Names(chain.head.clone(), String::new()),
        ]
    };
    Table {
        caption: "Heads in the database, one for each checkpoint that the task has had",
        columns: &[
            "Executor",
            "Epoch",
            "Last on",
            "Last heard of (UTC)",
            "Entry",
            "Hash of that entry",
        ],
        is_long: false,
    }
    .write(html, chains.iter().map(row).collect(), None);
}

fn how_to_check(html: &mut Html, report: &Report) {
    let (id, uuid) = (report.task.task_id, report.task.task_uuid);
    html.leaf("h3", &[], "How to check it yourself");
    html.element("ol", &[], |html| {
        html.element("li", &[], |html| {
            html.text("On the machine that ran the task, export its journal:");
            code(
                html,
                "Command that exports the journal",
                &format!("windlass journal {uuid} --format jsonl > journal.jsonl"),
            );
        });
        html.element("li", &[], |html| {
            html.text("Check every line with Python alone; save this as ");
            html.leaf("code", &[], "check.py");
            html.text(":");
            code(html, "Python program that checks an export", python());
            code(
                html,
                "Command that runs it",
                "python3 check.py journal.jsonl",
            );
            html.text(
                "It prints task, executor, last entry and its hash, or the first line that breaks \
                 the chain.",
            );
        });
        html.element("li", &[], |html| {
            html.text("Ask Anchore's database for the heads; the export must have each of them:");
            code(
                html,
                "SQL that asks for the heads",
                &format!(
                    "SELECT executor, seq, head FROM windlass_executors WHERE task_id = {id};"
                ),
            );
        });
    });
}

/// Lines to copy. They can be scrolled, so the keyboard must reach them.
fn code(html: &mut Html, label: &str, text: &str) {
    let attributes = [("tabindex", "0"), ("role", "region"), ("aria-label", label)];
    html.element("pre", &attributes, |html| html.leaf("code", &[], text));
}

/// Both sides and what the operator asked for. Secrets never come here: they are in the
/// configuration files alone.
pub fn configuration(html: &mut Html, report: &Report) {
    let task = &report.task;
    section(html, "configuration", |html| {
        html.element("div", &[("class", "sides")], |html| {
            side(html, "Source", &task.source);
            side(html, "Destination", &task.destination);
        });
        html.leaf("h3", &[], "Policy");
        let policy = &task.policy;
        let only = |names: &[String], all: &str| match names.is_empty() {
            true => all.to_owned(),
            false => names.join(", "),
        };
        facts(
            html,
            &[
                (
                    "Verification",
                    match policy.verify {
                        VerifyMode::Full => "full: every copy read back and hashed".into(),
                        VerifyMode::Checksum => {
                            "checksum: the store's own, and read back where it has none".into()
                        }
                    },
                ),
                (
                    "Sources",
                    match policy.nodelete {
                        true => "kept (--nodelete)".into(),
                        false => "deleted behind the commit".into(),
                    },
                ),
                (
                    "Other content at the destination",
                    match policy.overwrite {
                        true => "replaced, where no row pointed at it (--overwrite)".into(),
                        false => "left alone".into(),
                    },
                ),
                ("Buckets", only(&policy.buckets, "all")),
                ("Users", only(&policy.users, "all")),
                (
                    "The source driver's other places",
                    match policy.include_elsewhere {
                        true => "included (--include-elsewhere)".into(),
                        false => "left alone".into(),
                    },
                ),
            ],
        );
        html.leaf("h3", &[], "Identity");
        facts(
            html,
            &[
                ("Task", format!("{} ({})", task.task_id, task.task_uuid)),
                ("Kind", task.kind.name().into()),
                ("Database", task.database.clone()),
            ],
        );
    });
}

fn side(html: &mut Html, name: &'static str, side: &Side) {
    html.element("div", &[], |html| {
        html.leaf("h3", &[], name);
        facts(
            html,
            &[
                ("Driver", side.driver.clone()),
                ("Place", side.place.clone()),
                ("Configuration file", side.config.clone()),
                ("Section", side.section.clone()),
                ("Fingerprint of the place", side.fingerprint.clone()),
            ],
        );
    });
}

fn facts(html: &mut Html, facts: &[(&'static str, String)]) {
    html.element("dl", &[("class", "facts")], |html| {
        for (name, value) in facts {
            // A hash has a line of its own, and stays in one piece.
            let is_long = value.split_whitespace().any(|word| word.len() > 40);
            let class = if is_long { "long" } else { "short" };
            html.element("div", &[("class", class)], |html| {
                html.leaf("dt", &[], name);
                html.element("dd", &[], |html| html.outside(value));
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_of_the_format_is_found() {
        let python = python();
        assert!(python.starts_with("import hashlib"), "{python}");
        assert!(python.lines().count() >= 8 && python.ends_with("head.hex())"));
    }
}
