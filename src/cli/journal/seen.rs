//! What a journal has, for the one whose filter found nothing in it.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::Filter;
use super::step::Step;

/// Places that are named, of which a deployment has few.
const NAMED_MAX: usize = 20;

/// What has gone by.
#[derive(Debug, Default)]
pub struct Seen {
    shown: u64,
    matched: BTreeSet<&'static str>,
    events: BTreeMap<&'static str, u64>,
    phases: BTreeMap<&'static str, u64>,
    example: Option<String>,
    places: BTreeSet<String>,
    first: Option<String>,
    last: Option<String>,
}

impl Seen {
    /// One more step; whether it is to be shown.
    pub fn passes(&mut self, filter: &Filter, step: &Step) -> bool {
        let each = filter.each(step);
        let matching = each.iter().filter(|(_, wants)| *wants);
        self.matched.extend(matching.map(|(option, _)| *option));
        *self.events.entry(step.event).or_default() += 1;
        if let Some(phase) = step.phase {
            *self.phases.entry(phase.name()).or_default() += 1;
        }
        if let Some(object) = &step.object {
            if self.example.is_none() {
                let key = format!("{}/{}/{}", object.user, object.bucket, object.id);
                self.example = Some(key);
            }
            if self.places.len() < NAMED_MAX {
                let place = format!("{}/{}", object.user, object.bucket);
                self.places.insert(place);
            }
        }
        if let Some(at) = &step.at {
            self.first.get_or_insert_with(|| at.clone());
            self.last = Some(at.clone());
        }
        let wants = each.iter().all(|(_, wants)| *wants);
        self.shown += u64::from(wants);
        wants
    }

    /// Whether nothing has gone by.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Why nothing was shown; nothing where something was, or where there is nothing at all.
    pub fn why_nothing(&self, filter: &Filter) -> Option<String> {
        if self.shown > 0 || filter.is_empty() || self.events.is_empty() {
            return None;
        }
        let options = ["--object", "--event", "--phase", "--since and --until"];
        let unmatched = options.into_iter().filter(|o| !self.matched.contains(o));
        let mut whys: Vec<String> = unmatched
            .map(|option| {
                format!(
                    "{} matches nothing: {}",
                    filter.given(option),
                    self.there(option)
                )
            })
            .collect();
        if whys.is_empty() {
            whys.push("each of these matches something, and nothing matches all of them".into());
        }
        Some(whys.join("; "))
    }

    fn there(&self, option: &str) -> String {
        let counted = |counts: &BTreeMap<&'static str, u64>| {
            let each = counts
                .iter()
                .map(|(name, count)| format!("{name} ({count})"));
            format!("there are {}", each.collect::<Vec<_>>().join(", "))
        };
        match option {
            "--object" => {
                let places: Vec<_> = self.places.iter().map(String::as_str).collect();
                format!(
                    "objects are named USER/BUCKET/ID, such as {}; there are some of {}",
                    self.example.as_deref().unwrap_or("admin/analysis_data/1"),
                    places.join(", ")
                )
            }
            "--event" => counted(&self.events),
            "--phase" => counted(&self.phases),
            _ => format!(
                "the entries are from {} to {}",
                self.first.as_deref().unwrap_or("no time"),
                self.last.as_deref().unwrap_or("no time")
            ),
        }
    }
}
