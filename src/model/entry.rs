//! The entries of the journal, as they stand in an export. The format is frozen by golden files
//! (`fixtures/journal`); `docs/journal-format.md` tells it to others.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{Cause, ObjectKey, Phase, Policy, TaskKind};

/// The longest entry, in bytes of JSON. sled writes much larger values to files of their own,
/// which it never syncs.
pub const ENTRY_MAX_BYTES: usize = 8 * 1024;

/// The longest error text in an entry, in bytes; what is over is cut.
pub const ERROR_MAX_BYTES: usize = 1024;

/// One line of the journal: something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The version of the format.
    pub v: u32,
    /// The task.
    pub task: Uuid,
    /// The checkpoint that this entry was written to.
    pub executor: Uuid,
    /// Counts from 1 without gaps.
    pub seq: u64,
    /// RFC 3339, UTC, with microseconds.
    pub at: String,
    /// The object it is about; task-level events have none.
    pub object: Option<EntryObject>,
    /// What happened.
    pub event: Event,
}

impl Entry {
    /// The version that this windlass writes.
    pub const VERSION: u32 = 1;
}

impl Event {
    /// Cuts the event's free text, where it has one, to `max_bytes` at a character's end; an
    /// ellipsis shows it.
    pub fn cut_text(&mut self, max_bytes: usize) {
        let text = match self {
            Event::Failed(detail) => &mut detail.error,
            Event::Accepted(detail) => {
                cut(&mut detail.why, max_bytes / 2);
                cut(&mut detail.error, max_bytes / 2);
                return;
            }
            Event::Rebuilt(Rebuilt { why, .. })
            | Event::SourceKept(SourceKept { why })
            | Event::Returned(Returned { why, .. })
            | Event::Skipped(Skipped { why })
            | Event::Repaired(Repaired { why })
            | Event::Interrupted(Interrupted { why, .. }) => why,
            _ => return,
        };
        cut(text, max_bytes);
    }
}

fn cut(text: &mut String, max_bytes: usize) {
    const ELLIPSIS: &str = "…";
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes.saturating_sub(ELLIPSIS.len())));
        text.push_str(ELLIPSIS);
    }
}

/// An object as entries name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryObject {
    /// Its number within the task, from 0.
    pub idx: u64,
    /// `userId`.
    pub user: String,
    /// `bucket`.
    pub bucket: String,
    /// `archiveId`.
    pub id: String,
    /// `documentName`.
    pub document: String,
}

impl EntryObject {
    /// Whether it is what a person calls `user/bucket/id` or `user/bucket/id/document`.
    pub fn is_called(&self, name: &str) -> bool {
        let own = format!("{}/{}/{}", self.user, self.bucket, self.id);
        match name.strip_prefix(&own) {
            Some("") => true,
            Some(rest) => rest.strip_prefix('/') == Some(&self.document),
            None => false,
        }
    }

    /// The object's key in the catalog.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            user: self.user.clone(),
            bucket: self.bucket.clone(),
            id: self.id.clone(),
            document: self.document.clone(),
        }
    }
}

/// Defines the details (each a struct whose fields are written in this order) and the enum over
/// them, so that an event's name stands in one place only.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident $word:literal $object:literal {
        $($(#[$fdoc:meta])* $field:ident: $type:ty),* $(,)?
    })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),* })*

        /// What an entry says has happened, with its detail.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event { $($(#[$doc])* $name($name)),* }

        impl Event {
            /// Every event's name, in the order of the format's table.
            pub const NAMES: &'static [&'static str] = &[$($word),*];

            /// The word in the journal.
            pub fn name(&self) -> &'static str {
                match self { $(Event::$name(_) => $word),* }
            }

            /// Whether it is about one object, rather than the whole task.
            pub fn is_about_object(&self) -> bool {
                match self { $(Event::$name(_) => $object),* }
            }

            fn serialize_detail<S: SerializeStruct>(&self, s: &mut S) -> Result<(), S::Error> {
                match self { $(Event::$name(detail) => s.serialize_field("detail", detail)),* }
            }

            fn read_detail<'de, M: MapAccess<'de>>(word: &str, map: &mut M) -> Result<Self, M::Error> {
                match word {
                    $($word => Ok(Event::$name(map.next_value()?)),)*
                    other => Err(M::Error::custom(format_args!("unknown event {other:?}"))),
                }
            }
        }
    };
}

events! {
    /// The task was planned.
    Created "created" false {
        /// Forward, reverse or delete-source.
        kind: TaskKind,
        /// The task that this one undoes or finishes.
        parent: Option<Uuid>,
        /// The source, without secrets.
        from: String,
        /// The destination, without secrets.
        to: String,
        /// What the operator asked for.
        policy: Policy,
        /// Objects in the plan.
        planned: u64,
        /// Their stored size together, as the catalog has it.
        bytes: u64,
    }
    /// An executor began.
    Started "started" false {
        /// The executor's host name.
        host: String,
        /// Its process id.
        pid: u32,
        /// The version of windlass.
        version: String,
        /// Objects per phase.
        phases: PhaseCounts,
        /// The operating system's user; older entries don't tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The command line, with its secrets as stars; older entries don't tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
    }
    /// An executor took the task up again; a new lease of the lock.
    Resumed "resumed" false {
        /// The executor's host name.
        host: String,
        /// Its process id.
        pid: u32,
        /// The version of windlass.
        version: String,
        /// Objects per phase.
        phases: PhaseCounts,
        /// The operating system's user; older entries don't tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The command line, with its secrets as stars; older entries don't tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
    }
    /// The checkpoint was made anew from the mirror.
    Rebuilt "rebuilt" false {
        /// What was wrong with the old one.
        why: String,
        /// The executor whose checkpoint it replaces.
        old_executor: Option<Uuid>,
        /// Sequence and hash of that checkpoint's last entry known to the mirror.
        old_head: Option<String>,
    }
    /// The destination acknowledged the whole payload.
    Copied "copied" true {
        /// The row's `content_url` before.
        source_url: String,
        /// MD5 of the stored bytes, as the row had it.
        source_digest: Option<String>,
        /// Length of the stored bytes, as the row had it.
        source_size: Option<i64>,
        /// `is_compressed` before.
        source_compressed: Option<bool>,
        /// The row's `created_at`, in seconds.
        created_at: Option<i64>,
        /// The row's `last_updated` before, in seconds.
        last_updated: Option<i64>,
        /// Where the copy is.
        dest_url: String,
        /// MD5 of the bytes stored there.
        dest_digest: String,
        /// Their length.
        dest_size: u64,
        /// Whether they are compressed.
        dest_compressed: bool,
        /// SHA-256 of the plain content.
        content_sha256: String,
        /// Length of the plain content.
        content_size: u64,
    }
    /// The copy was read back and is equal.
    Verified "verified" true {
        /// `full` or `checksum`.
        method: String,
        /// Bytes compared.
        bytes: u64,
        /// The store's own version of them, where it tells one: an ETag, say. As long as it is the
        /// same, so are the bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
    }
    /// The row points at the copy.
    Committed "committed" true {
        /// The row's `content_url` before.
        old_content_url: String,
        /// The row's `content_url` now.
        new_content_url: String,
    }
    /// The source is gone.
    SourceDeleted "source-deleted" true {
        /// Where it was.
        source_url: String,
    }
    /// The source stays, on purpose.
    SourceKept "source-kept" true {
        /// `--nodelete`, or the row that shares it.
        why: String,
    }
    /// A step failed and was given up for this run.
    Failed "failed" true {
        /// The phase that the object stays in.
        phase: Phase,
        /// `retryable`, `throttled`, `permanent` or `fatal`.
        class: String,
        /// How often the step was tried.
        attempt: u32,
        /// What went wrong.
        error: String,
        /// Why, in one word; absent in what was written before there were such words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    }
    /// The object went back to an earlier phase.
    Returned "returned" true {
        /// The phase that it went back to.
        to: Phase,
        /// The reason.
        why: String,
    }
    /// The object is left alone for good.
    Skipped "skipped" true {
        /// The reason.
        why: String,
    }
    /// The run stopped early; the task can be resumed.
    Interrupted "interrupted" false {
        /// The reason.
        why: String,
        /// Objects per phase.
        phases: PhaseCounts,
        /// Bytes copied in this run.
        bytes: u64,
        /// Milliseconds that this run took.
        elapsed_ms: u64,
    }
    /// Everything in the plan came to its end.
    Completed "completed" false {
        /// Objects per phase.
        phases: PhaseCounts,
        /// Bytes copied in this run.
        bytes: u64,
        /// Milliseconds that this run took.
        elapsed_ms: u64,
    }
    /// The run came to its end with failed objects, or could not go on.
    EndedFailed "ended-failed" false {
        /// Objects per phase.
        phases: PhaseCounts,
        /// Objects that failed.
        failed: u64,
        /// Bytes copied in this run.
        bytes: u64,
        /// Milliseconds that this run took.
        elapsed_ms: u64,
    }
    /// The operator leaves a failed object as it is, for good.
    Accepted "accepted" true {
        /// The phase that the object stays in.
        phase: Phase,
        /// Why it had failed.
        cause: Cause,
        /// `user@host`.
        who: String,
        /// The operator's own reason.
        why: String,
        /// The failure, in the words it was journaled with.
        error: String,
    }
    /// A pass over the documents began, while the services run; or the last one, in the cut-over.
    PassBegan "pass-began" false {
        /// Counts from 1.
        n: u32,
        /// Objects in the plan from here on.
        planned: u64,
        /// Objects whose rows have changed since they were planned, in all passes so far.
        superseded: u64,
    }
    /// A pass came to its end: what is staged waits for the next, or for the cut-over.
    PassEnded "pass-ended" false {
        /// The pass.
        n: u32,
        /// Objects that are copied and read back, and not committed.
        staged: u64,
        /// Objects whose content was not what their row says: a service may have been at them.
        waiting: u64,
        /// Bytes copied in this run.
        bytes: u64,
        /// Milliseconds that this run took.
        elapsed_ms: u64,
    }
    /// The cut-over began: from here on rows change.
    CutoverBegan "cutover-began" false {
        /// Objects that were staged by then.
        staged: u64,
    }
    /// Every row that could go over has gone over.
    CutoverCommitted "cutover-committed" false {
        /// Rows that point at the destination.
        rows: u64,
        /// Milliseconds since the run began that has brought it to its end.
        outage_ms: u64,
    }
    /// Copies that their documents had left behind, in passes, were looked for.
    LeftoversCleared "leftovers-cleared" false {
        /// Those that are gone.
        cleared: u64,
        /// Those that stay, since nothing proves whose they are.
        kept: u64,
    }
    /// A committed copy that no longer fitted was written again from its source.
    Repaired "repaired" true {
        /// What was wrong with it.
        why: String,
    }
    /// Shards of an executor whose session had ended were claimed by another. What that executor's journal
    /// has of their objects behind the head belongs to no history.
    Adopted "adopted" false {
        /// Whose they had been.
        executor: Uuid,
        /// Sequence and hash of that executor's last entry known to the mirror at the claim.
        head: String,
        /// Who has claimed them: the executor of this journal, or one that had them before it.
        by: Uuid,
        /// The shards.
        shards: Vec<AdoptedShard>,
    }
}

/// A shard that has changed hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedShard {
    /// Its first object.
    pub first: u64,
    /// Its last object.
    pub last: u64,
    /// The lease that the claim began: of two takeovers the later has the greater.
    pub lease: i32,
}

/// Objects per phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PhaseCounts {
    /// In the plan, not copied.
    pub pending: u64,
    /// Copied, not read back.
    pub copied: u64,
    /// Read back, not committed.
    pub verified: u64,
    /// Committed, source still there.
    pub committed: u64,
    /// Done.
    pub source_deleted: u64,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 7 + usize::from(self.object.is_some());
        let mut s = serializer.serialize_struct("Entry", fields)?;
        s.serialize_field("v", &self.v)?;
        s.serialize_field("task", &self.task)?;
        s.serialize_field("executor", &self.executor)?;
        s.serialize_field("seq", &self.seq)?;
        s.serialize_field("at", &self.at)?;
        s.serialize_field("event", self.event.name())?;
        if let Some(object) = &self.object {
            s.serialize_field("object", object)?;
        }
        self.event.serialize_detail(&mut s)?;
        s.end()
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

/// Reads the fields in the order of the format, and no others: an entry is hashed as it stands,
/// so there is nothing to be lenient about.
struct EntryVisitor;

impl EntryVisitor {
    fn field<'de, T: Deserialize<'de>, M: MapAccess<'de>>(
        map: &mut M,
        name: &'static str,
    ) -> Result<T, M::Error> {
        match map.next_key::<String>()? {
            Some(key) if key == name => map.next_value(),
            Some(key) => Err(M::Error::custom(format_args!(
                "expected {name:?}, found {key:?}"
            ))),
            None => Err(M::Error::missing_field(name)),
        }
    }
}

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a journal entry")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entry, M::Error> {
        let v = Self::field(&mut map, "v")?;
        let task = Self::field(&mut map, "task")?;
        let executor = Self::field(&mut map, "executor")?;
        let seq = Self::field(&mut map, "seq")?;
        let at = Self::field(&mut map, "at")?;
        let word: String = Self::field(&mut map, "event")?;
        let mut key: Option<String> = map.next_key()?;
        let mut object = None;
        if key.as_deref() == Some("object") {
            object = Some(map.next_value()?);
            key = map.next_key()?;
        }
        if key.as_deref() != Some("detail") {
            return Err(M::Error::missing_field("detail"));
        }
        let event = Event::read_detail(&word, &mut map)?;
        if event.is_about_object() != object.is_some() {
            return Err(M::Error::custom(format_args!(
                "{word:?} with or without its object"
            )));
        }
        if let Some(key) = map.next_key::<String>()? {
            return Err(M::Error::custom(format_args!("unexpected field {key:?}")));
        }
        Ok(Entry {
            v,
            task,
            executor,
            seq,
            at,
            object,
            event,
        })
    }
}
