//! The one thread that writes. It takes what has arrived, chains it, writes and syncs it once,
//! and answers all: so a hundred tasks share one fsync.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use tokio::sync::oneshot;

use super::chain::Head;
use super::dir::{self, Lock};
use super::error::JournalError;
use super::ledger::{Found, Generation, Ledger};
use super::staged::Staged;
use super::store::Store;
use super::{Appended, NewEntry, Options, seal};
use crate::crash;
use crate::model::UploadStep;

/// Entries in one commit; a single larger request makes a commit of its own.
const COMMIT_ENTRIES: usize = 1024;

/// From so many requests in a commit on, the next one waits a little for more: each commit costs
/// sled and the disk the same, however many share it, and so many callers are no slower for it.
const CROWD: usize = 16;
const GATHER: Duration = Duration::from_millis(4);

/// How many times its size a generation may have before appends wait for the sealing.
const BEHIND: u64 = 4;

pub(super) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

pub(super) enum Command {
    Write(Request),
    /// A new generation of sled, by number.
    Ready(u64, Result<Store, String>),
    /// The oldest generation is sealed and gone.
    Sealed(Result<(), String>),
    Close(Option<Reply<()>>),
}

/// Something to be written, and whom to tell.
pub(super) enum Request {
    Append(Vec<NewEntry>, Reply<Vec<Appended>>),
    /// A step of an object's upload.
    Upload(u64, UploadStep, Reply<()>),
}

impl Request {
    fn records(&self) -> usize {
        match self {
            Request::Append(entries, _) => entries.len(),
            Request::Upload(..) => 1,
        }
    }
}

/// An answer that waits for the commit.
enum Answer {
    Append(Reply<Vec<Appended>>, Result<Vec<Appended>, JournalError>),
    Upload(Reply<()>),
}

pub(super) struct Writer {
    ledger: Arc<Ledger>,
    current: Generation,
    lock: Lock,
    commands: Receiver<Command>,
    /// For the sealing thread.
    to_self: Sender<Command>,
    /// Came out of the channel before its turn.
    held_back: VecDeque<Command>,
    head: Head,
    last_at: String,
    seal_after: u64,
    /// Changes to uploads in this generation.
    upload_records: u64,
    /// Requests in the last commit.
    crowd: usize,
    /// Whether a thread is at work that makes or seals a generation.
    sealing: bool,
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
            current: ledger.current()?,
            lock: found.lock,
            commands,
            to_self,
            held_back: VecDeque::new(),
            head: ledger.head(),
            last_at: found.last_at,
            upload_records: 0,
            crowd: 0,
            seal_after: crash::limit("journal-seals-after", options.seal_after).max(1),
            sealing: false,
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
                Command::Write(request) => {
                    let requests = self.gather(request);
                    self.commit(requests);
                }
                Command::Ready(number, result) => self.switch(number, result),
                Command::Sealed(result) => self.take_sealed(result),
                Command::Close(reply) => break reply,
            }
        };
        let result = self.finish();
        if let Some(reply) = reply {
            // Nobody waits any more: then nobody needs to know.
            let _ = reply.send(result);
        }
    }

    fn next_command(&mut self) -> Command {
        if self.is_behind() {
            return self.next_from_sealing();
        }
        match self.held_back.pop_front() {
            Some(command) => command,
            None => self.receive(),
        }
    }

    fn receive(&self) -> Command {
        // `to_self` keeps the channel open, so this never fails; if it did, all were gone.
        self.commands.recv().unwrap_or(Command::Close(None))
    }

    /// Whether entries come in faster than they can be sealed: then they have to wait, or sled
    /// would grow without an end.
    fn is_behind(&self) -> bool {
        let entries = self.head.seq + 1 - self.current.first;
        self.sealing && self.poison.is_none() && entries >= BEHIND * self.seal_after
    }

    /// Waits for the thread that seals; what else comes keeps its turn.
    fn next_from_sealing(&mut self) -> Command {
        let is_from_sealing = |c: &Command| matches!(c, Command::Ready(..) | Command::Sealed(_));
        let waiting = self.held_back.iter().position(is_from_sealing);
        if let Some(command) = waiting.and_then(|at| self.held_back.remove(at)) {
            return command;
        }
        loop {
            match self.receive() {
                command if is_from_sealing(&command) => return command,
                command => self.held_back.push_back(command),
            }
        }
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        if self.crowd >= CROWD {
            std::thread::sleep(GATHER);
        }
        let requests = self.gather_waiting(first);
        self.crowd = requests.len();
        requests
    }

    fn gather_waiting(&mut self, first: Request) -> Vec<Request> {
        let mut records = first.records();
        let mut requests = vec![first];
        while records < COMMIT_ENTRIES {
            let next = match self.held_back.pop_front() {
                Some(command) => Ok(command),
                None => self.commands.try_recv(),
            };
            match next {
                Ok(Command::Write(request)) => {
                    records += request.records();
                    requests.push(request);
                }
                Ok(other) => {
                    self.held_back.push_front(other);
                    break;
                }
                Err(_) => break,
            }
        }
        requests
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let at = self.now();
        let mut staged = Staged::default();
        let mut head = self.head;
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(match request {
                Request::Append(entries, reply) => {
                    let result = staged.append(&self.ledger, entries, &at, &mut head);
                    Answer::Append(reply, result)
                }
                Request::Upload(idx, step, reply) => {
                    staged.upload(&self.ledger, idx, step);
                    Answer::Upload(reply)
                }
            });
        }
        let written = self.write(&staged);
        if written.is_ok() && !staged.entries.is_empty() {
            self.head = head;
            self.last_at = at;
            self.ledger.set_head(head);
        }
        for answer in answers {
            let failed = written.as_ref().err();
            let failed = failed.map(|why| unwritable(&self.ledger.dir, why));
            // Nobody may wait any more, where a caller was cancelled; it stands all the same.
            match answer {
                Answer::Append(reply, result) => drop(reply.send(failed.map_or(result, Err))),
                Answer::Upload(reply) => drop(reply.send(failed.map_or(Ok(()), Err))),
            }
        }
    }

    fn write(&mut self, staged: &Staged) -> Result<(), String> {
        if let Some(why) = &self.poison {
            return Err(why.clone());
        }
        if staged.is_empty() {
            return Ok(());
        }
        self.ledger.syncs.fetch_add(1, Ordering::Relaxed);
        self.upload_records += staged.uploads.len() as u64;
        let written = self.current.store.write(&staged.entries, &staged.uploads);
        written.map_err(|fault| self.poisoned(fault.to_string()))
    }

    fn poisoned(&mut self, why: String) -> String {
        // Said by whoever stops for it.
        tracing::debug!(%why, "the journal can't be written");
        self.poison.get_or_insert(why).clone()
    }

    /// RFC 3339 with microseconds, never before an earlier entry: the texts sort as the times.
    fn now(&self) -> String {
        let now = format!("{:.6}", jiff::Timestamp::now());
        now.max(self.last_at.clone())
    }

    fn seal_if_due(&mut self) {
        let entries = self.head.seq + 1 - self.current.first;
        if self.sealing || self.poison.is_some() || entries == 0 {
            return;
        }
        let started = match self.ledger.oldest_to_seal() {
            Some((oldest, last)) => seal::start_sealing(&self.ledger, oldest, last, &self.to_self),
            // Parts make sled grow as entries do, and leave it with them.
            None if entries + self.upload_records / 4 >= self.seal_after => {
                seal::start_generation(&self.ledger, self.current.number + 1, &self.to_self)
            }
            None => return,
        };
        match started {
            Ok(()) => self.sealing = true,
            Err(error) => {
                self.poisoned(format!("sealing: {error}"));
            }
        }
    }

    fn switch(&mut self, number: u64, result: Result<Store, String>) {
        self.sealing = false;
        match result {
            Ok(store) => self.begin_generation(number, store),
            Err(why) => {
                self.poisoned(format!("a new generation of the journal: {why}"));
            }
        }
    }

    /// The open uploads are there before the generation is the newest.
    fn begin_generation(&mut self, number: u64, store: Store) {
        let open = self.ledger.uploads().changes().unwrap_or_default();
        if let Err(fault) = store.write(&[], &open) {
            self.poisoned(format!("a new generation of the journal: {fault}"));
            return;
        }
        self.upload_records = 0;
        self.current = Generation {
            number,
            first: self.head.seq + 1,
            store,
        };
        self.ledger.add_generation(self.current.clone());
    }

    fn take_sealed(&mut self, result: Result<(), String>) {
        self.sealing = false;
        if let Err(why) = result {
            self.poisoned(format!("sealing: {why}"));
        }
    }

    /// Leaves the checkpoint in good order and gives it free.
    fn finish(mut self) -> Result<(), JournalError> {
        while self.sealing {
            match self.next_from_sealing() {
                Command::Sealed(result) => self.take_sealed(result),
                Command::Ready(number, result) => self.switch(number, result),
                // Whoever appends while it closes is told so by the dropped reply.
                Command::Write(_) | Command::Close(_) => {}
            }
        }
        self.ledger.shut();
        drop(self.current);
        let result = match self.poison {
            Some(why) => Err(unwritable(&self.ledger.dir, &why)),
            None => dir::mark_clean(&self.ledger.dir, self.head)
                .map_err(JournalError::io(&self.ledger.dir)),
        };
        drop(self.lock);
        result
    }
}

pub(super) fn unwritable(dir: &Path, why: &str) -> JournalError {
    JournalError::Unwritable {
        dir: dir.into(),
        why: why.into(),
    }
}
