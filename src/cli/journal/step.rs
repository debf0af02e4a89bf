//! One step of a history, in words: from an entry of the journal, or from the mirror.

use uuid::Uuid;

use crate::cli::format;
use crate::model::{Adopted, Cause, Copied, Entry, EntryObject, Event, Phase, PhaseCounts};

/// A step, ready to be shown.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The entry; none where only the mirror knows of it.
    pub seq: Option<u64>,
    /// When; none where nobody knows.
    pub at: Option<String>,
    /// The checkpoint.
    pub executor: Option<Uuid>,
    /// The process: host and number.
    pub process: Option<(String, u32)>,
    /// The event's name.
    pub event: &'static str,
    /// The phase that it leads to or leaves the object in, where it names one.
    pub phase: Option<Phase>,
    /// The object, where it is about one.
    pub object: Option<EntryObject>,
    /// What happened, by label.
    pub detail: Vec<(&'static str, String)>,
    /// The copy, where one was made.
    pub copy: Option<Copied>,
    /// Of a failure: its class, and how often it was tried.
    pub failure: Option<(String, u32)>,
}

impl Step {
    /// `host:pid`, as far as it is known.
    pub fn who(&self) -> String {
        let process = self.process.as_ref();
        process.map_or_else(String::new, |(host, pid)| format!("{host}:{pid}"))
    }
}

/// Knows which process wrote the entries that come by.
pub struct Witness {
    executor: Uuid,
    process: Option<(String, u32)>,
}

impl Witness {
    /// At the beginning of a checkpoint's journal.
    pub fn new(executor: Uuid) -> Self {
        Self {
            executor,
            process: None,
        }
    }

    /// The step that an entry tells of. Entries have to come in their order, all of them.
    pub fn step(&mut self, entry: Entry) -> Step {
        match &entry.event {
            Event::Started(e) => self.process = Some((e.host.clone(), e.pid)),
            Event::Resumed(e) => self.process = Some((e.host.clone(), e.pid)),
            _ => {}
        }
        Step {
            seq: Some(entry.seq),
            at: Some(entry.at),
            executor: Some(self.executor),
            process: self.process.clone(),
            object: entry.object,
            ..Step::of(entry.event)
        }
    }
}

impl Step {
    /// What an event says by itself.
    pub fn of(event: Event) -> Self {
        let mut step = Self {
            event: event.name(),
            phase: phase_of(&event),
            detail: detail(&event),
            ..Self::default()
        };
        match event {
            Event::Copied(copied) => step.copy = Some(copied),
            Event::Failed(failed) => step.failure = Some((failed.class, failed.attempt)),
            _ => {}
        }
        step
    }
}

/// The phase that an event leads to, or leaves its object in. `skipped` does not say which.
fn phase_of(event: &Event) -> Option<Phase> {
    match event {
        Event::Copied(_) => Some(Phase::Copied),
        Event::Verified(_) => Some(Phase::Verified),
        Event::Committed(_) | Event::SourceKept(_) => Some(Phase::Committed),
        Event::SourceDeleted(_) => Some(Phase::SourceDeleted),
        Event::Failed(failed) => Some(failed.phase),
        Event::Returned(returned) => Some(returned.to),
        Event::Accepted(accepted) => Some(accepted.phase),
        _ => None,
    }
}

fn process(
    host: &str,
    pid: u32,
    version: &str,
    phases: &PhaseCounts,
    (user, command): (&Option<String>, &Option<String>),
) -> Vec<(&'static str, String)> {
    let on = format!("{host} as process {pid}, windlass {version}");
    let mut said = vec![("on", on), ("with", self::phases(phases))];
    said.extend(user.clone().map(|user| ("by", user)));
    said.extend(command.clone().map(|command| ("typed", command)));
    said
}

fn ended(phases: &PhaseCounts, bytes: u64, elapsed_ms: u64) -> Vec<(&'static str, String)> {
    let copied = format::bytes(bytes);
    vec![
        ("with", self::phases(phases)),
        (
            "copied",
            format!("{copied} to the destination in {elapsed_ms} ms"),
        ),
    ]
}

fn detail(event: &Event) -> Vec<(&'static str, String)> {
    match event {
        Event::Created(e) => vec![
            ("kind", e.kind.name().into()),
            ("from", e.from.clone()),
            ("to", e.to.clone()),
            (
                "planned",
                format!(
                    "{}, {} bytes as stored at the source",
                    format::count(e.planned, "object"),
                    e.bytes
                ),
            ),
        ],
        Event::Started(e) => {
            let by = (&e.user, &e.command);
            process(&e.host, e.pid, &e.version, &e.phases, by)
        }
        Event::Resumed(e) => {
            let by = (&e.user, &e.command);
            process(&e.host, e.pid, &e.version, &e.phases, by)
        }
        Event::Rebuilt(e) => {
            let behind = e.old_head.clone().map(|head| ("behind", head));
            std::iter::once(("why", e.why.clone()))
                .chain(behind)
                .collect()
        }
        Event::Copied(e) => copied(e),
        Event::Verified(e) => match e.method.as_str() {
            "full" => vec![("read back", format!("in full, {} bytes", e.bytes))],
            method => vec![("by", format!("{method}, {} bytes", e.bytes))],
        },
        Event::Committed(e) => vec![
            ("row", e.old_content_url.clone()),
            ("now", e.new_content_url.clone()),
        ],
        Event::SourceDeleted(e) => vec![("source", e.source_url.clone())],
        Event::SourceKept(e) => vec![("why", e.why.clone())],
        Event::Failed(e) => vec![
            (
                "while",
                format!("{}, {}, attempt {}", e.phase, e.class, e.attempt),
            ),
            ("cause", e.cause.unwrap_or(Cause::Other).to_string()),
            ("error", e.error.clone()),
        ],
        Event::Returned(e) => vec![("to", e.to.to_string()), ("why", e.why.clone())],
        Event::Skipped(e) => vec![("why", e.why.clone())],
        Event::Accepted(e) => vec![
            ("by", e.who.clone()),
            ("why", e.why.clone()),
            ("cause", e.cause.to_string()),
            ("error", e.error.clone()),
        ],
        Event::Interrupted(_) | Event::Completed(_) | Event::EndedFailed(_) => of_end(event),
        Event::PassBegan(_)
        | Event::PassEnded(_)
        | Event::CutoverBegan(_)
        | Event::CutoverCommitted(_)
        | Event::LeftoversCleared(_) => of_pass(event),
        Event::Repaired(e) => vec![("why", e.why.clone())],
        Event::Adopted(e) => adopted(e),
    }
}

/// What the end of a run tells.
fn of_end(event: &Event) -> Vec<(&'static str, String)> {
    match event {
        Event::Interrupted(e) => {
            let why = ("why", e.why.clone());
            let ended = ended(&e.phases, e.bytes, e.elapsed_ms);
            std::iter::once(why).chain(ended).collect()
        }
        Event::Completed(e) => ended(&e.phases, e.bytes, e.elapsed_ms),
        Event::EndedFailed(e) => {
            let failed = ("failed", format::count(e.failed, "object"));
            let ended = ended(&e.phases, e.bytes, e.elapsed_ms);
            std::iter::once(failed).chain(ended).collect()
        }
        _ => Vec::new(),
    }
}

/// What a pass, or the cut-over, tells.
fn of_pass(event: &Event) -> Vec<(&'static str, String)> {
    match event {
        Event::PassBegan(e) => vec![
            ("pass", e.n.to_string()),
            ("planned", format::count(e.planned, "object")),
            ("superseded", e.superseded.to_string()),
        ],
        Event::PassEnded(e) => vec![
            ("pass", e.n.to_string()),
            ("staged", format::count(e.staged, "object")),
            ("waiting", e.waiting.to_string()),
            (
                "copied",
                format!(
                    "{} to the destination in {} ms",
                    format::bytes(e.bytes),
                    e.elapsed_ms
                ),
            ),
        ],
        Event::CutoverBegan(e) => vec![("staged", format::count(e.staged, "object"))],
        Event::CutoverCommitted(e) => vec![
            ("rows", e.rows.to_string()),
            ("after", format!("{} ms", e.outage_ms)),
        ],
        Event::LeftoversCleared(e) => vec![
            ("cleared", e.cleared.to_string()),
            ("kept", e.kept.to_string()),
        ],
        _ => Vec::new(),
    }
}

fn adopted(e: &Adopted) -> Vec<(&'static str, String)> {
    let shards = e.shards.iter();
    let shards = shards.map(|s| format!("{}-{} (lease {})", s.first, s.last, s.lease));
    vec![
        ("from", e.executor.to_string()),
        ("behind", e.head.clone()),
        ("by", e.by.to_string()),
        ("objects", shards.collect::<Vec<_>>().join(", ")),
    ]
}

fn copied(e: &Copied) -> Vec<(&'static str, String)> {
    let stored = |url: &str, size: Option<i64>, digest: Option<&str>, compressed: Option<bool>| {
        let size = size.map_or_else(|| "unknown size".into(), |size| format!("{size} bytes"));
        let digest = digest.unwrap_or("unknown");
        let compressed = if compressed == Some(true) {
            ", compressed"
        } else {
            ""
        };
        format!("{url} ({size}, MD5 {digest}{compressed})")
    };
    let from = stored(
        &e.source_url,
        e.source_size,
        e.source_digest.as_deref(),
        e.source_compressed,
    );
    let (size, compressed) = (e.dest_size as i64, Some(e.dest_compressed));
    let to = stored(&e.dest_url, Some(size), Some(&e.dest_digest), compressed);
    vec![
        ("from", from),
        ("to", to),
        (
            "content",
            format!("{} bytes, SHA-256 {}", e.content_size, e.content_sha256),
        ),
    ]
}

fn phases(phases: &PhaseCounts) -> String {
    let all = [
        ("pending", phases.pending),
        ("copied", phases.copied),
        ("verified", phases.verified),
        ("committed", phases.committed),
        ("source-deleted", phases.source_deleted),
    ];
    let there = all.iter().filter(|(_, count)| *count > 0);
    let words: Vec<_> = there
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    match words.is_empty() {
        true => "no objects".into(),
        false => words.join(", "),
    }
}
