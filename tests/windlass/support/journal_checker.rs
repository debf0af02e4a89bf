//! The independent check of a journal's export (`windlass journal N --format jsonl`): the hash
//! chain, the sequence, and that no object took a step that the state machine does not have.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// What an export says, and what is wrong with it.
#[derive(Debug, Default)]
pub struct JournalReport {
    pub entries: u64,
    pub events: BTreeMap<String, u64>,
    /// The last phase of each object, by `user/bucket/id/document`; of those that have the same, in
    /// passes that follow each other, the last one's.
    pub phases: BTreeMap<String, Phase>,
    /// How often each object was copied: more than once only where something went wrong.
    pub copies: BTreeMap<String, u64>,
    /// Broken chains, gaps, illegal or doubled transitions.
    pub problems: Vec<String>,
    /// Sources deleted without a `verified` since the last start or resume: proof of an earlier
    /// lock tenure is no proof.
    pub unproved_deletes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The journal was rebuilt on another machine: what went before stands in a lost one.
    Unknown,
    Pending,
    Copied,
    Verified,
    Committed,
    SourceDeleted,
    SourceKept,
    Skipped,
}

impl Phase {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "pending" => Self::Pending,
            "copied" => Self::Copied,
            "verified" => Self::Verified,
            "committed" => Self::Committed,
            "source-deleted" => Self::SourceDeleted,
            "source-kept" => Self::SourceKept,
            _ => return None,
        })
    }
}

/// The chain of one checkpoint.
struct Chain {
    hash: [u8; 32],
    seq: u64,
}

struct Object {
    key: String,
    phase: Phase,
    /// The tenure of its last `verified`.
    verified_in: Option<u64>,
}

#[derive(Default)]
struct Reader {
    report: JournalReport,
    chains: HashMap<String, Chain>,
    /// By their number.
    objects: BTreeMap<u64, Object>,
    /// Counts `started`, `resumed` and `rebuilt`.
    tenure: u64,
    rebuilt: bool,
    reverse: bool,
    /// Its objects begin as committed.
    deletes_sources: bool,
}

/// Checks an export, line by line.
pub fn check_journal(export: &str) -> JournalReport {
    let mut reader = Reader::default();
    for (index, line) in export.lines().enumerate() {
        if let Err(why) = reader.line(line) {
            reader
                .report
                .problems
                .push(format!("line {}: {why}: {line}", index + 1));
        }
    }
    let Reader {
        mut report,
        objects,
        ..
    } = reader;
    report.phases = objects
        .into_values()
        .map(|object| (object.key, object.phase))
        .collect();
    report
}

impl JournalReport {
    #[track_caller]
    pub fn expect_sound(&self) -> &Self {
        let shown = &self.problems[..self.problems.len().min(10)];
        assert!(
            shown.is_empty(),
            "{} problems, first: {shown:#?}",
            self.problems.len()
        );
        assert!(self.entries > 0, "an empty journal");
        self
    }

    pub fn count(&self, event: &str) -> u64 {
        self.events.get(event).copied().unwrap_or(0)
    }

    pub fn objects_in(&self, phase: Phase) -> usize {
        self.phases
            .values()
            .filter(|found| **found == phase)
            .count()
    }
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let rest = line
            .strip_prefix("{\"entry\":")
            .ok_or("does not begin with the entry")?;
        let rest = rest
            .strip_suffix("\"}")
            .ok_or("does not end with the hash")?;
        let (entry, hash) = rest.rsplit_once(",\"hash\":\"").ok_or("no hash")?;
        let json: Value = serde_json::from_str(entry).map_err(|error| error.to_string())?;
        check_shape(entry, &json)?;
        self.report.entries += 1;
        // Both are looked at: a broken chain must not hide an illegal step.
        let linked = self.link(entry, &json, hash);
        let stepped = self.event(&json);
        linked.and(stepped)
    }

    fn link(&mut self, entry: &str, json: &Value, hash: &str) -> Result<(), String> {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let (task, executor) = (text("task"), text("executor"));
        let chain = self
            .chains
            .entry(executor.clone())
            .or_insert_with(|| Chain {
                hash: Sha256::digest(format!("windlass-journal-v1:{task}:{executor}")).into(),
                seq: 0,
            });
        let expected = Sha256::new()
            .chain_update(chain.hash)
            .chain_update(entry)
            .finalize();
        let stated = hex::decode(hash).unwrap_or_default();
        let seq = json["seq"].as_u64().unwrap_or(0);
        let gap = (seq != chain.seq + 1).then(|| format!("seq {seq} after {}", chain.seq));
        // Going on from what the line states, one bad line is one problem and not a thousand.
        chain.seq = seq;
        chain.hash = stated.clone().try_into().unwrap_or(expected.into());
        if let Some(gap) = gap {
            return Err(gap);
        }
        if stated != expected[..] {
            return Err("its hash does not follow from the one before".to_owned());
        }
        Ok(())
    }

    fn event(&mut self, json: &Value) -> Result<(), String> {
        let event = json["event"].as_str().ok_or("no event")?;
        *self.report.events.entry(event.to_owned()).or_default() += 1;
        match event {
            "created" => {
                self.reverse = json["detail"]["kind"] == "reverse";
                self.deletes_sources = json["detail"]["kind"] == "delete-source";
            }
            "started" | "resumed" => self.tenure += 1,
            "rebuilt" => {
                self.tenure += 1;
                self.rebuilt = true;
                // The mirror may lag behind the journal that was lost.
                for object in self.objects.values_mut() {
                    object.phase = Phase::Unknown;
                }
            }
            "interrupted" | "completed" | "ended-failed" | "pass-began" | "pass-ended"
            | "cutover-began" | "cutover-committed" | "leftovers-cleared" => {}
            "copied" | "verified" | "committed" | "source-deleted" | "source-kept" | "failed"
            | "returned" | "skipped" | "accepted" | "repaired" => {
                return self.object_event(event, json);
            }
            _ => return Err(format!("an unknown event {event}")),
        }
        if json.get("object").is_some() {
            return Err("an object in an event of the task".to_owned());
        }
        Ok(())
    }

    fn object_event(&mut self, event: &str, json: &Value) -> Result<(), String> {
        let (index, key) = object_key(&json["object"])?;
        let beginning = match (self.rebuilt, self.deletes_sources) {
            (true, _) => Phase::Unknown,
            (false, true) => Phase::Committed,
            (false, false) => Phase::Pending,
        };
        let tenure = self.tenure;
        let object = self.objects.entry(index).or_insert(Object {
            key: key.clone(),
            phase: beginning,
            verified_in: None,
        });
        if object.key != key {
            return Err(format!("idx {index} was {} before", object.key));
        }
        let before = object.phase;
        let proved_now = object.verified_in == Some(tenure);
        use Phase::*;
        object.phase = match (event, before) {
            ("failed", phase) => phase,
            // Nothing follows it, whatever the phase was.
            ("accepted", Pending | Copied | Verified | Committed | Unknown) => Skipped,
            ("returned", _) => {
                let to = json["detail"]["to"].as_str().unwrap_or_default();
                Phase::named(to).ok_or_else(|| format!("{key} returned to {to:?}"))?
            }
            ("copied", Pending | Unknown) => Copied,
            // What a reverse begins with is not in its journal: where the row has never left its
            // place, only the copy is left to be deleted.
            ("verified", Pending | Unknown) if self.reverse => Unknown,
            ("verified", Copied) => Verified,
            // Behind a lost journal it may be the proof before the commit, or the one before the delete.
            ("verified", Unknown) => Unknown,
            // Proved again, once in each tenure.
            ("verified", Verified | Committed | SourceKept) if !proved_now => before,
            ("committed", Verified | Unknown) => Committed,
            ("source-deleted", Committed | SourceKept | Unknown) => SourceDeleted,
            ("source-kept", Committed | Unknown) => SourceKept,
            ("repaired", SourceKept) => SourceKept,
            ("skipped", Pending | Copied | Verified | Unknown) => Skipped,
            _ => return Err(format!("{event} of {key}, which is {before:?}")),
        };
        match event {
            "copied" => *self.report.copies.entry(key).or_default() += 1,
            "verified" => object.verified_in = Some(tenure),
            "returned" => object.verified_in = None,
            "source-deleted" if !proved_now => self.report.unproved_deletes.push(key),
            _ => {}
        }
        Ok(())
    }
}

/// The number of an object, and its key.
fn object_key(object: &Value) -> Result<(u64, String), String> {
    let field = |name: &str| {
        object[name]
            .as_str()
            .ok_or(format!("no {name} in the object"))
    };
    let key = [
        field("user")?,
        field("bucket")?,
        field("id")?,
        field("document")?,
    ];
    let index = object["idx"].as_u64().ok_or("no idx in the object")?;
    Ok((index, key.join("/")))
}

/// The fields in their order, and a timestamp of the promised form.
fn check_shape(entry: &str, json: &Value) -> Result<(), String> {
    let mut from = 0;
    for name in ["v", "task", "executor", "seq", "at", "event", "detail"] {
        let at = entry[from..].find(&format!("\"{name}\":"));
        from += at.ok_or_else(|| format!("{name} is missing or out of order"))?;
    }
    let at = json["at"].as_str().unwrap_or_default();
    if at.len() != "2026-01-02T03:04:05.678901Z".len() || !at.ends_with('Z') {
        return Err(format!("at is {at:?}, not UTC with microseconds"));
    }
    Ok(())
}
