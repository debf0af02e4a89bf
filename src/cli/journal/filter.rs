//! Which entries to show.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::step::Step;
use crate::cli::args::JournalArgs;
use crate::model::Phase;

/// What an entry must be to be shown; all that is asked must hold.
#[derive(Debug, Default)]
pub struct Filter {
    object: Option<String>,
    events: Vec<String>,
    phase: Option<Phase>,
    since: Option<String>,
    until: Option<String>,
}

impl Filter {
    /// As the command line has it.
    pub fn of(args: &JournalArgs) -> Self {
        Self {
            object: args.object.clone(),
            events: args.event.clone(),
            phase: args.phase,
            since: args.since.clone(),
            until: args.until.clone(),
        }
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.object.is_none()
            && self.events.is_empty()
            && self.phase.is_none()
            && self.since.is_none()
            && self.until.is_none()
    }

    /// Whether one object's history is asked for.
    pub fn is_of_one_object(&self) -> bool {
        self.object.is_some()
    }

    /// The object, as `user/bucket/id` or `user/bucket/id/document`.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// What each option says to a step by itself; all of them must let it through.
    pub fn each(&self, step: &Step) -> [(&'static str, bool); 4] {
        let is_event = self.events.is_empty() || self.events.iter().any(|e| e == step.event);
        let is_phase = self.phase.is_none_or(|phase| step.phase == Some(phase));
        [
            ("--object", self.wants_object(step)),
            ("--event", is_event),
            ("--phase", is_phase),
            ("--since and --until", self.wants_time(step)),
        ]
    }

    /// An option as it was given.
    pub fn given(&self, option: &str) -> String {
        match option {
            "--object" => format!("--object {}", self.object.as_deref().unwrap_or_default()),
            "--event" => format!("--event {}", self.events.join(" --event ")),
            "--phase" => self
                .phase
                .map_or_else(String::new, |p| format!("--phase {p}")),
            other => other.to_owned(),
        }
    }

    /// Times are text of one form and length, whose order is that of the times. What bears no
    /// time is in no span of it.
    fn wants_time(&self, step: &Step) -> bool {
        let at = step.at.as_deref();
        let is_late = |since: &String| at.is_some_and(|at| at >= since.as_str());
        let is_early = |until: &String| at.is_some_and(|at| at < until.as_str());
        self.since.as_ref().is_none_or(is_late) && self.until.as_ref().is_none_or(is_early)
    }

    fn wants_object(&self, step: &Step) -> bool {
        let Some(wanted) = &self.object else {
            return true;
        };
        let object = step.object.as_ref();
        object.is_some_and(|object| object.is_called(wanted))
    }
}

/// The first moment that `--since` lets through, as entries write times.
pub fn since(text: &str) -> Result<String, String> {
    Ok(words(match read(text)? {
        Moment::Exact(at) => at,
        Moment::Day(date) => midnight(date)?,
    }))
}

/// The first moment that `--until` no longer lets through: a day and a moment both count as
/// within.
pub fn until(text: &str) -> Result<String, String> {
    Ok(words(match read(text)? {
        Moment::Exact(at) => at.checked_add(1.microsecond()).map_err(|e| e.to_string())?,
        Moment::Day(date) => midnight(date.tomorrow().map_err(|e| e.to_string())?)?,
    }))
}

enum Moment {
    Exact(Timestamp),
    Day(Date),
}

fn read(text: &str) -> Result<Moment, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Moment::Exact(at));
    }
    let is_day = !text.contains(['T', 't', ' ']);
    match (is_day, text.parse::<Date>(), text.parse::<DateTime>()) {
        (true, Ok(date), _) => Ok(Moment::Day(date)),
        (false, _, Ok(at)) => {
            let at = at
                .to_zoned_datetime(TimeZone::UTC)
                .map_err(|e| e.to_string())?;
            Ok(Moment::Exact(at.timestamp()))
        }
        _ => Err("expected a time as 2026-11-22T15:30:00Z, or a day as 2026-11-22 (UTC)".into()),
    }
}

fn midnight(date: Date) -> Result<Timestamp, String> {
    let at = date
        .to_zoned_datetime(TimeZone::UTC)
        .map_err(|e| e.to_string())?;
    Ok(at.timestamp())
}

fn words(at: Timestamp) -> String {
    format!("{at:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_within_from_its_beginning_to_its_end() {
        assert_eq!(since("2026-11-22").unwrap(), "2026-11-22T00:00:00.000000Z");
        assert_eq!(until("2026-11-22").unwrap(), "2026-11-23T00:00:00.000000Z");
    }

    #[test]
    fn a_moment_is_within_on_both_sides_and_in_any_zone() {
        let at = "2026-11-22T15:30:00.000001Z";
        assert_eq!(since("2026-11-22T16:30:00.000001+01:00").unwrap(), at);
        assert_eq!(since("2026-11-22T15:30:00.000001").unwrap(), at);
        assert!(until(at).unwrap().as_str() > at);
        assert_eq!(until("2026-11-22T15:30:00Z").unwrap(), at);
    }

    #[test]
    fn what_is_no_time_is_told_with_what_is() {
        for text in ["yesterday", "2026-13-01", "", "15:30"] {
            let said = since(text).unwrap_err();
            assert!(said.contains("2026-11-22"), "{text}: {said}");
        }
    }
}
