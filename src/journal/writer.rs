//! The one thread that writes. It takes what has arrived, chains it, writes and syncs it once,
//! and answers all: so a hundred tasks share one fsync.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use tokio::sync::oneshot;

use super::chain::{self, Head};
use super::codec::EntryV1;
use super::dir::{self, Lock};
use super::error::JournalError;
use super::ledger::{Found, Ledger};
use super::segment::Segment;
use super::store::Store;
use super::{Appended, NewEntry, Options, seal};
use crate::model::{ENTRY_MAX_BYTES, ERROR_MAX_BYTES, Entry};

/// Entries in one commit; a single larger request makes a commit of its own.
const COMMIT_ENTRIES: usize = 1024;

/// Sealed entries dropped from sled along with one commit, so that no commit takes long.
const DROP_ENTRIES: u64 = 512;

pub(super) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

pub(super) enum Command {
    Append(Vec<NewEntry>, Reply<Vec<Appended>>),
    /// The sealing thread has ended.
    Sealed(Result<Segment, String>),
    Close(Option<Reply<()>>),
}

type Request = (Vec<NewEntry>, Reply<Vec<Appended>>);

pub(super) struct Writer {
    ledger: Arc<Ledger>,
    store: Store,
    lock: Lock,
    commands: Receiver<Command>,
    /// For the sealing thread.
    to_self: Sender<Command>,
    /// Came out of the channel while a commit was gathered, and is no part of it.
    held_back: Option<Command>,
    head: Head,
    last_at: String,
    seal_after: u64,
    sealed: Head,
    sealing: bool,
    /// The first sealed entry that is still in sled.
    first_in_sled: u64,
    poison: Option<String>,
}

impl Writer {
    pub fn new(
        found: Found,
        options: &Options,
        commands: Receiver<Command>,
        to_self: Sender<Command>,
    ) -> Result<(Self, Arc<Ledger>), JournalError> {
        let ledger = Arc::new(found.ledger);
        let writer = Self {
            store: ledger.store()?,
            lock: found.lock,
            commands,
            to_self,
            held_back: None,
            head: ledger.head(),
            last_at: found.last_at,
            seal_after: options.seal_after.max(2),
            sealed: ledger.sealed(),
            sealing: false,
            first_in_sled: found.first_in_sled,
            poison: None,
            ledger: ledger.clone(),
        };
        Ok((writer, ledger))
    }

    /// Works until it is told to close.
    pub fn run(mut self) {
        let reply = loop {
            self.seal_if_due();
            match self.next_command() {
                Some(Command::Append(entries, reply)) => {
                    let requests = self.gather((entries, reply));
                    self.commit(requests);
                }
                Some(Command::Sealed(result)) => self.take_sealed(result),
                Some(Command::Close(reply)) => break reply,
                None => self.commit(Vec::new()),
            }
        };
        let result = self.finish();
        if let Some(reply) = reply {
            // Nobody waits any more: then nobody needs to know.
            let _ = reply.send(result);
        }
    }

    /// Waits for the next command, except while there are sealed entries to drop: then `None`.
    fn next_command(&mut self) -> Option<Command> {
        if let Some(command) = self.held_back.take() {
            return Some(command);
        }
        match self.has_entries_to_drop() {
            true => self.commands.try_recv().ok(),
            // `to_self` keeps the channel open, so this fails never; closing is the answer if so.
            false => Some(self.commands.recv().unwrap_or(Command::Close(None))),
        }
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut entries = first.0.len();
        let mut requests = vec![first];
        while entries < COMMIT_ENTRIES {
            match self.commands.try_recv() {
                Ok(Command::Append(more, reply)) => {
                    entries += more.len();
                    requests.push((more, reply));
                }
                Ok(other) => {
                    self.held_back = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        requests
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let at = self.now();
        let mut staged = Vec::new();
        let mut head = self.head;
        let mut answers = Vec::with_capacity(requests.len());
        for (entries, reply) in requests {
            let first = staged.len();
            let result = match self.stage(entries, &at, head, &mut staged) {
                Ok(after) => {
                    head = after;
                    let appended = staged[first..].iter().map(|(seq, entry)| Appended {
                        head: Head {
                            seq: *seq,
                            hash: entry.hash,
                        },
                        at: at.clone(),
                    });
                    Ok(appended.collect())
                }
                Err(error) => {
                    staged.truncate(first);
                    Err(error)
                }
            };
            answers.push((reply, result));
        }
        let written = self.write(&staged);
        if written.is_ok() && !staged.is_empty() {
            self.head = head;
            self.last_at = at;
            self.ledger.set_head(head);
        }
        for (reply, result) in answers {
            let result = match &written {
                Ok(()) => result,
                Err(why) => Err(unwritable(why)),
            };
            // A caller that has been cancelled; its entry stands all the same.
            let _ = reply.send(result);
        }
    }

    /// Makes a request's entries ready behind `head`; the new head.
    fn stage(
        &self,
        entries: Vec<NewEntry>,
        at: &str,
        mut head: Head,
        staged: &mut Vec<(u64, EntryV1)>,
    ) -> Result<Head, JournalError> {
        for new in entries {
            let seq = head.seq + 1;
            let json = serialise(Entry {
                v: Entry::VERSION,
                task: self.ledger.task,
                executor: self.ledger.executor,
                seq,
                at: at.into(),
                object: new.object,
                event: new.event,
            })?;
            let hash = chain::next(&head.hash, json.as_bytes());
            head = Head { seq, hash };
            staged.push((seq, EntryV1 { json, hash }));
        }
        Ok(head)
    }

    /// Writes and syncs, and drops a few sealed entries on the way.
    fn write(&mut self, staged: &[(u64, EntryV1)]) -> Result<(), String> {
        if let Some(why) = &self.poison {
            return Err(why.clone());
        }
        let drop_to = self
            .sealed
            .seq
            .min(self.first_in_sled.saturating_add(DROP_ENTRIES - 1));
        let drop = self
            .has_entries_to_drop()
            .then_some(self.first_in_sled..=drop_to);
        if staged.is_empty() && drop.is_none() {
            return Ok(());
        }
        match self.store.write(staged, drop) {
            Ok(()) => {
                self.first_in_sled = self.first_in_sled.max(drop_to + 1);
                Ok(())
            }
            Err(fault) => Err(self.poisoned(fault.to_string())),
        }
    }

    fn has_entries_to_drop(&self) -> bool {
        self.poison.is_none() && self.first_in_sled <= self.sealed.seq
    }

    fn poisoned(&mut self, why: String) -> String {
        tracing::error!(%why, "the journal can't be written");
        self.poison.get_or_insert(why).clone()
    }

    /// RFC 3339 with microseconds, never before an earlier entry: the texts sort as the times.
    fn now(&self) -> String {
        let now = format!("{:.6}", jiff::Timestamp::now());
        now.max(self.last_at.clone())
    }

    fn seal_if_due(&mut self) {
        let in_sled = self.head.seq - self.sealed.seq;
        if self.sealing
            || self.poison.is_some()
            || self.has_entries_to_drop()
            || in_sled <= self.seal_after
        {
            return;
        }
        let last = self.sealed.seq + self.seal_after / 2;
        match seal::start(&self.ledger, &self.store, self.sealed, last, &self.to_self) {
            Ok(()) => self.sealing = true,
            Err(error) => {
                self.poisoned(format!("sealing: {error}"));
            }
        }
    }

    fn take_sealed(&mut self, result: Result<Segment, String>) {
        self.sealing = false;
        match result {
            Ok(segment) => {
                self.sealed = Head {
                    seq: segment.last,
                    hash: segment.hash,
                };
                self.ledger.add_segment(segment);
            }
            Err(why) => {
                self.poisoned(format!("sealing: {why}"));
            }
        }
    }

    /// Leaves the checkpoint in good order and gives it free.
    fn finish(mut self) -> Result<(), JournalError> {
        while self.sealing {
            match self.commands.recv() {
                Ok(Command::Sealed(result)) => self.take_sealed(result),
                // Whoever appends while it closes is told so by the dropped reply.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.ledger.shut();
        drop(self.store);
        let result = match self.poison {
            Some(why) => Err(unwritable(&why)),
            None => dir::mark_clean(&self.ledger.dir, self.head)
                .map_err(JournalError::io(&self.ledger.dir)),
        };
        drop(self.lock);
        result
    }
}

fn unwritable(why: &str) -> JournalError {
    JournalError::Unwritable { why: why.into() }
}

/// The entry's exact bytes. Texts are cut to what the format allows, and further where escapes
/// or long keys would still burst it: a failure must never be lost for its wording.
fn serialise(mut entry: Entry) -> Result<String, JournalError> {
    if entry.event.is_about_object() != entry.object.is_some() {
        return Err(JournalError::Misplaced {
            event: entry.event.name(),
        });
    }
    let mut bytes = 0;
    for text_max_bytes in [ERROR_MAX_BYTES, 128] {
        entry.event.cut_text(text_max_bytes);
        let json = serde_json::to_string(&entry).map_err(|error| unwritable(&error.to_string()))?;
        bytes = json.len();
        if bytes <= ENTRY_MAX_BYTES {
            return Ok(json);
        }
    }
    Err(JournalError::TooLarge {
        object: entry
            .object
            .map_or_else(|| "the task".into(), |object| object.key().to_string()),
        bytes,
    })
}
