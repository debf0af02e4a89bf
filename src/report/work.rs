//! The work over time: runs, throughput, and how long the steps took.

use super::data::{Chain, Ending, Report, Run, Witness};
use super::html::Html;
use super::page::section;
use super::plots::{self, Words};
use super::series::{Durations, Pace};
use super::table::{Cell, Table};
use super::words;

/// Runs, then throughput, then steps.
pub fn work(html: &mut Html, report: &Report) {
    over_time(html, report, |html| match report.history.runs.is_empty() {
        true => executors(html, &report.chains),
        false => runs(html, report),
    });
}

/// The same where those who work are told elsewhere.
pub fn work_by_others(html: &mut Html, report: &Report) {
    over_time(html, report, |_| {});
}

fn over_time(html: &mut Html, report: &Report, workers: impl FnOnce(&mut Html)) {
    section(html, "work", |html| {
        html.leaf("p", &[], told_by(report));
        workers(html);
        html.leaf("h3", &[], "Throughput");
        throughput(html, &report.history.pace);
        html.leaf("h3", &[], "How long the steps took");
        steps(html, report);
    });
}

fn told_by(report: &Report) -> &'static str {
    match report.history.told_by {
        Witness::Journal => {
            "The times in this section were read from the journal, entry by entry. The time of \
             work is the time within runs; what lies between two runs is left out."
        }
        Witness::Mirror => {
            "The times in this section come from the mirror in the database, which has the last \
             time of each step of each object, and not from the journal: see Proof for the reason. \
             Breaks of more than a minute are left out of the time of work."
        }
    }
}

fn runs(html: &mut Html, report: &Report) {
    html.leaf("h3", &[], "Runs");
    let runs = &report.history.runs;
    let from = runs.iter().map(|run| run.began_ms).min().unwrap_or(0);
    let to = runs.iter().map(|run| run.ended_ms).max().unwrap_or(0);
    let whole = (to - from).max(1) as f64;
    let place = |ms: i64| (ms - from) as f64 * 100.0 / whole;
    let row = |run: &Run| {
        let began = if run.resumed { "resumed" } else { "started" };
        vec![
            Cell::Number(run.number.to_string(), run.number as f64),
            Cell::Time(run.began_ms),
            Cell::duration((run.ended_ms - run.began_ms).max(0) as u64),
            Cell::Outside(by(run)),
            Cell::Both(began.into(), before(run)),
            ending(run),
            Cell::count(run.copied),
            Cell::count(run.committed),
            Cell::bytes(run.bytes),
            Cell::Strip(place(run.began_ms), place(run.ended_ms)),
        ]
    };
    Table {
        caption: "Who worked at the task and when, by the journal",
        columns: &[
            "Run",
            "Began (UTC)",
            "Took",
            "By",
            "How it began",
            "How it ended",
            "Copied",
            "Committed",
            "Bytes written",
            "Between first and last",
        ],
        is_long: false,
    }
    .write(html, runs.iter().map(row).collect(), None);
    commands(html, runs);
    if report.history.runs_left_out > 0 {
        let left_out = words::count(report.history.runs_left_out, "run");
        let words = format!("{left_out} in the middle are left out of this table.");
        html.leaf("p", &[], &words);
    }
}

fn by(run: &Run) -> String {
    let process = format!(
        "{}, process {}, windlass {}",
        run.host, run.pid, run.version
    );
    match &run.user {
        Some(user) => format!("{user} on {process}"),
        None => process,
    }
}

/// What was typed for each run, where the journal tells it.
fn commands(html: &mut Html, runs: &[Run]) {
    let told: Vec<_> = runs
        .iter()
        .filter_map(|run| Some((run, run.command.as_ref()?)))
        .collect();
    if told.is_empty() {
        return;
    }
    let row = |(run, command): &(&Run, &String)| {
        vec![
            Cell::Number(run.number.to_string(), run.number as f64),
            Cell::Outside((*command).clone()),
        ]
    };
    html.element("details", &[], |html| {
        html.leaf("summary", &[], "What was typed");
        Table {
            caption: "The command line of each run, with its secrets as stars",
            columns: &["Run", "Command line"],
            is_long: false,
        }
        .write(html, told.iter().map(row).collect(), None);
    });
}

/// What happened before a run, and to its lock within it.
fn before(run: &Run) -> String {
    let rebuilt = run.rebuilt.as_ref();
    let rebuilt = rebuilt.map(|why| format!("the checkpoint was made anew: {why}"));
    let lock = (run.lock_regained > 0).then(|| {
        let times = words::count(run.lock_regained, "time");
        format!("the migration lock was lost and taken again {times}")
    });
    let parts: Vec<String> = rebuilt.into_iter().chain(lock).collect();
    parts.join("; ")
}

fn ending(run: &Run) -> Cell {
    let (word, more) = match &run.ending {
        Ending::Completed => ("completed", String::new()),
        Ending::Staged => ("pass ended", String::new()),
        Ending::Failed { objects } => ("ended", format!("with {} failed", words::number(*objects))),
        Ending::Interrupted { why } => ("interrupted", why.clone()),
        Ending::Silent => (
            "without a word",
            "(killed, or its machine went down)".into(),
        ),
    };
    Cell::Both(word.into(), more)
}

/// Where the journal does not tell runs, the database tells who was there last.
fn executors(html: &mut Html, chains: &[Chain]) {
    html.leaf("h3", &[], "Who worked at it");
    let row = |chain: &Chain| {
        let end = match chain.ended_ms {
            Some(_) => "ended in good order",
            None => "at work, or ended without a word",
        };
        vec![
            Cell::Outside(chain.host.clone()),
            Cell::Number(chain.pid.to_string(), chain.pid as f64),
            Cell::Outside(chain.version.clone()),
            Cell::Time(chain.started_ms),
            Cell::Time(chain.ended_ms.unwrap_or(chain.heartbeat_ms)),
            Cell::Words(end.into()),
        ]
    };
    Table {
        caption: "The last process that worked with each checkpoint, by the database",
        columns: &[
            "Host",
            "Process",
            "windlass",
            "Began (UTC)",
            "Last heard of (UTC)",
            "Its end",
        ],
        is_long: false,
    }
    .write(html, chains.iter().map(row).collect(), None);
}

fn throughput(html: &mut Html, pace: &Pace) {
    if pace.bytes.is_empty() {
        html.leaf("p", &[], "No object has been copied yet.");
        return;
    }
    let rate = |amounts: &[u64]| -> Vec<f64> {
        let by_second = |(at, amount): (usize, &u64)| {
            // A lone last moment would make a rate of its own out of a few milliseconds.
            let length = pace.length_ms(at).max(pace.width_ms / 2);
            *amount as f64 * 1000.0 / length as f64
        };
        amounts.iter().enumerate().map(by_second).collect()
    };
    let (bytes, objects) = (rate(&pace.bytes), rate(&pace.objects));
    let highest = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
    let mean = |amounts: &[u64]| {
        amounts.iter().sum::<u64>() as f64 * 1000.0 / pace.worked_ms.max(1) as f64
    };
    let (unit, size) = words::byte_unit(highest(&bytes));
    let scaled: Vec<f64> = bytes.iter().map(|rate| rate / size).collect();
    let (time_unit, _) = words::time_unit(pace.worked_ms);
    let x_axis = format!("{time_unit} of work");
    let stretch = words::duration(pace.width_ms);
    html.element("div", &[("class", "plots")], |html| {
        let summary = format!(
            "{:.1} {unit}/s on average, {:.1} {unit}/s at most over {stretch}",
            mean(&pace.bytes) / size,
            highest(&scaled)
        );
        let words = Words {
            id: "pace-bytes",
            title: "Bytes written to the destination",
            description: &described(&summary, pace),
            y_axis: &format!("{unit} per second"),
            x_axis: &x_axis,
        };
        figure(html, &words, &summary, |html| {
            plots::pace(html, &words, pace, &scaled)
        });
        let summary = format!(
            "{} objects/s on average, {} objects/s at most over {stretch}",
            words::short(mean(&pace.objects)),
            words::short(highest(&objects))
        );
        let words = Words {
            id: "pace-objects",
            title: "Objects committed",
            description: &described(&summary, pace),
            y_axis: "objects per second",
            x_axis: &x_axis,
        };
        figure(html, &words, &summary, |html| {
            plots::pace(html, &words, pace, &objects)
        });
    });
    as_table(html, |html| pace_table(html, pace, &scaled, unit));
}

fn described(summary: &str, pace: &Pace) -> String {
    let worked = words::duration(pace.worked_ms);
    let runs = words::count(pace.cuts_ms.len() as u64 + 1, "run");
    format!("{summary}, over {worked} of work in {runs}. The table below has every value.")
}

fn pace_table(html: &mut Html, pace: &Pace, scaled: &[f64], unit: &str) {
    let row = |at: usize| {
        let from = at as u64 * pace.width_ms;
        let to = from + pace.length_ms(at);
        vec![
            Cell::Number(
                format!("{} – {}", words::duration(from), words::duration(to)),
                from as f64,
            ),
            Cell::bytes(pace.bytes[at]),
            Cell::Number(format!("{:.2} {unit}/s", scaled[at]), scaled[at]),
            Cell::count(pace.objects[at]),
        ]
    };
    Table {
        caption: "Throughput by stretch of the time of work",
        columns: &["From – to", "Bytes written", "Rate", "Objects committed"],
        is_long: false,
    }
    .write(html, (0..pace.bytes.len()).map(row).collect(), None);
}

fn steps(html: &mut Html, report: &Report) {
    let steps = &report.history.steps;
    let steps = [
        ("step-verify", "Copied until read back", &steps.verify),
        ("step-commit", "Read back until committed", &steps.commit),
        (
            "step-delete",
            "Committed until source deleted",
            &steps.delete_source,
        ),
    ];
    let seen: Vec<_> = steps
        .into_iter()
        .filter(|(_, _, step)| step.objects() > 0)
        .collect();
    if seen.is_empty() {
        html.leaf("p", &[], "No step has been timed yet.");
        return;
    }
    html.leaf(
        "p",
        &[],
        "From the record of one step to the record of the next, waiting included. When the \
         copying of an object began is not recorded, so its own duration is not known.",
    );
    let durations: Vec<&Durations> = seen.iter().map(|(_, _, step)| *step).collect();
    let bins = plots::common_bins(&durations);
    html.element("div", &[("class", "plots three")], |html| {
        for (id, title, step) in &seen {
            let within = |share| words::duration(step.within_ms(share).unwrap_or(0));
            let summary = format!("half within {}, 99 % within {}", within(0.5), within(0.99));
            let words = Words {
                id,
                title,
                description: &format!(
                    "{} objects: {summary}, the longest {}. The axis of time is logarithmic.",
                    words::number(step.objects()),
                    words::duration(step.longest_ms)
                ),
                y_axis: "objects",
                x_axis: "duration (logarithmic)",
            };
            figure(html, &words, &summary, |html| {
                plots::durations(html, &words, step, bins);
            });
        }
    });
    as_table(html, |html| steps_table(html, &seen));
}

fn steps_table(html: &mut Html, steps: &[(&'static str, &'static str, &Durations)]) {
    let row = |(_, title, step): &(&str, &'static str, &Durations)| {
        let within = |share| Cell::duration(step.within_ms(share).unwrap_or(0));
        vec![
            Cell::Words((*title).into()),
            Cell::count(step.objects()),
            within(0.5),
            within(0.9),
            within(0.99),
            Cell::duration(step.longest_ms),
        ]
    };
    Table {
        caption: "Durations of the steps, exact to a quarter of their value; the longest exactly",
        columns: &[
            "Step",
            "Objects",
            "Half within",
            "90 % within",
            "99 % within",
            "Longest",
        ],
        is_long: false,
    }
    .write(html, steps.iter().map(row).collect(), None);
}

fn figure(html: &mut Html, words: &Words<'_>, summary: &str, draw: impl FnOnce(&mut Html)) {
    html.element("figure", &[], |html| {
        html.element("figcaption", &[], |html| {
            html.leaf("strong", &[], words.title);
            html.leaf("span", &[], summary);
        });
        draw(html);
    });
}

fn as_table(html: &mut Html, fill: impl FnOnce(&mut Html)) {
    html.element("details", &[], |html| {
        html.leaf("summary", &[], "The same as a table");
        fill(html);
    });
}
