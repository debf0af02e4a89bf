//! The page: each check with its answer, for people and for programs.

use serde::{Serialize, Serializer};

use crate::cli::fault::{self, Code};
use crate::cli::printer::{Printer, in_words, result_columns};
use crate::cli::{ExitStatus, format};
use crate::engine::Estimate;
use crate::model::in_a_line;

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Ok,
    /// A migration would begin, and this is worth a word.
    Warn,
    /// A migration would be refused, or fail.
    Fail,
}

/// How a line begins, with the number of its colour.
const MARKS: [(Outcome, &str, u8); 3] = [
    (Outcome::Ok, "  ok  ", 32),
    (Outcome::Warn, "  warn", 33),
    (Outcome::Fail, "  fail", 31),
];

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Here,
    Database,
    Source,
    Destination,
    Both,
}

impl Side {
    const ALL: [Self; 5] = [
        Self::Here,
        Self::Database,
        Self::Source,
        Self::Destination,
        Self::Both,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Database => "database",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Both => "both",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Here => "this machine",
            Self::Database => "the database",
            Self::Source => "the source",
            Self::Destination => "the destination",
            Self::Both => "the migration",
        }
    }
}

impl Serialize for Side {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The check of a store as a whole, which has an exit code of its own.
pub const OBJECT_STORE: &str = "object-store";

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    side: Side,
    outcome: Outcome,
    found: String,
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// A check that could not be made.
#[derive(Debug, Serialize)]
struct NotAsked {
    name: &'static str,
    side: Side,
    why: String,
}

/// How fast a sample went, for programs.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub documents: u64,
    pub bytes: u64,
    pub failed: u64,
    pub elapsed_ms: u64,
    #[serde(flatten)]
    pub estimate: Option<EstimateMs>,
}

/// An estimate of the whole, in milliseconds.
#[derive(Debug, Serialize)]
pub struct EstimateMs {
    documents_per_s: f64,
    bytes_per_s: f64,
    expected_ms: u64,
    at_least_ms: u64,
    at_most_ms: u64,
}

impl From<Estimate> for EstimateMs {
    fn from(estimate: Estimate) -> Self {
        let ms = |of: std::time::Duration| u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
        Self {
            documents_per_s: estimate.documents_per_s,
            bytes_per_s: estimate.bytes_per_s,
            expected_ms: ms(estimate.expected),
            at_least_ms: ms(estimate.at_least),
            at_most_ms: ms(estimate.at_most),
        }
    }
}

/// All checks so far.
#[derive(Debug, Default, Serialize)]
pub struct Page {
    checks: Vec<Check>,
    not_asked: Vec<NotAsked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Measured>,
}

impl Page {
    pub fn ok(&mut self, side: Side, name: &'static str, found: impl Into<String>) {
        self.add(side, name, Outcome::Ok, found.into(), None, None);
    }

    pub fn warn(
        &mut self,
        side: Side,
        name: &'static str,
        found: impl Into<String>,
        next: impl Into<String>,
    ) {
        let next = Some(next.into());
        self.add(side, name, Outcome::Warn, found.into(), next, None);
    }

    pub fn fail(
        &mut self,
        side: Side,
        name: &'static str,
        found: impl Into<String>,
        (code, next): (Code, Option<String>),
    ) {
        let next = next.unwrap_or_else(|| code.next().to_owned());
        let (found, code) = (found.into(), Some(code.name()));
        self.add(side, name, Outcome::Fail, found, Some(next), code);
    }

    /// An error, as a command would have ended with it.
    pub fn error(&mut self, side: Side, name: &'static str, error: impl Into<anyhow::Error>) {
        let error = error.into();
        self.fail(side, name, in_words(&error), (fault::code(&error), None));
    }

    /// The answer of a gate, and what to say where it lets pass.
    pub fn gate<T, E: Into<anyhow::Error>>(
        &mut self,
        side: Side,
        name: &'static str,
        answer: Result<T, E>,
        found: impl FnOnce(T) -> String,
    ) -> bool {
        match answer {
            Ok(answer) => {
                self.ok(side, name, found(answer));
                true
            }
            Err(error) => {
                self.error(side, name, error);
                false
            }
        }
    }

    pub fn not_asked(&mut self, side: Side, names: &[&'static str], why: &str) {
        for name in names {
            let why = why.to_owned();
            self.not_asked.push(NotAsked { name, side, why });
        }
    }

    fn add(
        &mut self,
        side: Side,
        name: &'static str,
        outcome: Outcome,
        found: String,
        next: Option<String>,
        code: Option<&'static str>,
    ) {
        self.checks.push(Check {
            name,
            side,
            outcome,
            found: one_line(&found),
            next: next.map(|next| one_line(&next)),
            code,
        });
    }

    fn count(&self, outcome: Outcome) -> usize {
        let such = self.checks.iter().filter(|check| check.outcome == outcome);
        such.count()
    }

    /// How the command ends.
    pub fn status(&self) -> ExitStatus {
        let mut failed = self.checks.iter().filter(|c| c.outcome == Outcome::Fail);
        match self.count(Outcome::Fail) {
            0 => ExitStatus::Complete,
            _ if failed.all(|check| check.name == OBJECT_STORE) => ExitStatus::CheckFailed,
            _ => ExitStatus::Failed,
        }
    }

    pub fn print(&self, printer: &Printer) {
        let marks = MARKS.map(|(_, mark, colour)| (mark, colour));
        printer.marked(&self.document(), &marks, || self.words());
    }

    fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!(self);
        document["ok"] = (self.count(Outcome::Fail) == 0).into();
        document
    }

    fn words(&self) -> String {
        let columns = result_columns().unwrap_or(80).clamp(50, 100);
        let mut lines = Vec::new();
        for side in Side::ALL {
            let checks: Vec<_> = self.checks.iter().filter(|c| c.side == side).collect();
            if !checks.is_empty() {
                lines.push(format!("{}:", side.title()));
            }
            for check in checks {
                lines.extend(check.lines(columns));
            }
        }
        for (why, names) in self.not_asked_by_reason() {
            let line = format!("not asked: {}: {why}", names.join(", "));
            lines.push(format::folded(&line, Some(columns)));
        }
        lines.push(self.sum());
        lines.join("\n")
    }

    fn not_asked_by_reason(&self) -> Vec<(&str, Vec<String>)> {
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        for one in &self.not_asked {
            let name = match one.side {
                Side::Source | Side::Destination => {
                    format!("{} of {}", shown(one.name), one.side.title())
                }
                _ => shown(one.name),
            };
            match reasons.iter_mut().find(|(why, _)| *why == one.why) {
                Some((_, names)) => names.push(name),
                None => reasons.push((&one.why, vec![name])),
            }
        }
        reasons
    }

    fn sum(&self) -> String {
        let (failed, warned) = (self.count(Outcome::Fail), self.count(Outcome::Warn));
        let all = format::count(self.checks.len() as u64, "check");
        match (failed, warned) {
            (0, 0) => format!("{all}: all is well"),
            (0, _) => format!("{all}: none failed, {warned} to be looked at"),
            (_, 0) => format!("{all}: {failed} failed"),
            _ => format!("{all}: {failed} failed, {warned} more to be looked at"),
        }
    }
}

/// A list has its lines one behind the other here; what else could move text is shown as what it is.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    in_a_line(&lines.join(" ")).into_owned()
}

/// How wide the names are, with the mark before them.
const NAME_COLUMNS: usize = 16;
const BEFORE_COLUMNS: usize = 8 + NAME_COLUMNS;

impl Check {
    fn lines(&self, columns: usize) -> Vec<String> {
        let mark = MARKS.iter().find(|(outcome, ..)| *outcome == self.outcome);
        let mark = mark.map_or("", |(_, mark, _)| mark);
        let name = format::padded(&shown(self.name), NAME_COLUMNS);
        let width = columns - BEFORE_COLUMNS;
        let mut text = vec![self.found.clone()];
        text.extend(self.next.as_ref().map(|next| format!("next: {next}")));
        let text = text.iter().flat_map(|text| wrapped(text, width));
        let text: Vec<String> = text.collect();
        let others = text.iter().skip(1);
        let others = others.map(|line| format!("{}{line}", " ".repeat(BEFORE_COLUMNS)));
        let first = text.first().map(String::as_str).unwrap_or_default();
        let first = format!("{mark}  {name}{first}");
        std::iter::once(first).chain(others).collect()
    }
}

fn shown(name: &str) -> String {
    name.replace('-', " ")
}

fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let folded = format::folded(text, Some(columns));
    let lines = folded.lines().map(|line| line.trim_start().to_owned());
    lines.collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    #[test]
    fn every_line_fits_and_the_next_step_stands_below() {
        let mut page = Page::default();
        page.ok(Side::Database, "server", "PostgreSQL 15.14");
        page.error(
            Side::Destination,
            OBJECT_STORE,
            fault::refused(
                Code::StoreDenied,
                format!("{}\nforged: ok", "word ".repeat(40)),
            ),
        );
        page.warn(Side::Here, "state-directory", "x".repeat(200), "look");
        page.not_asked(
            Side::Both,
            &["plan", "duration"],
            "the database cannot be reached",
        );
        let words = page.words();
        for line in words.lines() {
            assert!(line.width() <= 80, "{line}");
            assert!(!line.starts_with("forged"), "{words}");
        }
        assert!(words.contains("\n                        next: correct the credentials"));
        assert!(words.contains("not asked: plan, duration: the database cannot be reached"));
        assert!(
            words.ends_with("3 checks: 1 failed, 1 more to be looked at"),
            "{words}"
        );
        assert_eq!(page.status(), ExitStatus::CheckFailed);
        page.error(
            Side::Both,
            "fit",
            fault::refused(Code::SamePlace, "the same"),
        );
        assert_eq!(page.status(), ExitStatus::Failed);
        assert_eq!(page.document()["checks"][1]["code"], "store-denied");
    }
}
