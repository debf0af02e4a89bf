//! Keeps the mirror within a second of the journal.
//!
//! Everything that was journaled passes through here, so that the head that goes out with a
//! batch is exact: every entry up to it is in this batch or an earlier one. A resume replays
//! what the journal has beyond that head, and misses nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::catalog::{
    Catalog, CatalogError, Heartbeat, MirrorUpdate, Unmirrored, UploadNote, Writer,
};
use crate::crash;
use crate::database::Claims;
use crate::engine::Stop;
use crate::engine::stop::StopReason;
use crate::journal::Head;
use crate::model::{Phase, Rest, Shard};

/// How long a transition may wait to be mirrored.
const INTERVAL: Duration = Duration::from_millis(500);

/// Objects in one batch at most. Where rows go over in a rush, an object is verified, committed and at its
/// end within the interval: a smaller batch would write its row each time.
const BATCH_OBJECTS: usize = 4_000;

/// What reaches the mirroring task.
#[derive(Debug)]
enum Message {
    /// An entry that is durable in the journal, and what it means for its object.
    Noted(Head, Option<Box<MirrorUpdate>>),
    /// An upload that has begun, or is over.
    Upload(UploadNote),
    /// All objects of a shard have come to rest.
    ShardAtRest(Shard),
    /// Answer once all that came before is in the database, or with why it is not.
    Flush(oneshot::Sender<Result<(), String>>),
}

/// What the database refuses of an object's row in the mirror.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Its words.
    pub why: String,
    /// Whether the journal has a commit of it that the mirror does not show.
    pub is_committed: bool,
}

/// The way to the mirroring task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Mirroring {
    messages: mpsc::UnboundedSender<Message>,
    claims: Claims,
    unmirrored: Arc<Mutex<BTreeMap<u64, Refused>>>,
}

impl Mirroring {
    /// Starts the task. `head` is what the mirror has of this checkpoint already.
    pub fn start(
        catalog: Catalog,
        writer: Writer,
        rest: Rest,
        head: Head,
        claims: Claims,
        stop: Stop,
    ) -> Self {
        let (messages, receiver) = mpsc::unbounded_channel();
        let task = Task {
            catalog,
            writer,
            claims: claims.clone(),
            rest,
            is_taken_over: false,
            head,
            mirrored: head,
            unmirrored: Arc::default(),
            ahead: BTreeMap::new(),
            updates: HashMap::new(),
            shards: Vec::new(),
            uploads: VecDeque::new(),
            stop,
        };
        let unmirrored = task.unmirrored.clone();
        tokio::spawn(task.run(receiver));
        Self {
            messages,
            claims,
            unmirrored,
        }
    }

    /// Hands over an entry that is durable in the journal: of the claim in which it was journaled.
    pub fn note(&self, head: Head, mut update: Option<MirrorUpdate>) {
        if let Some(update) = &mut update {
            update.token = self.claims.token_of(update.idx);
        }
        // The task ends only when every handle is gone.
        let _ = self
            .messages
            .send(Message::Noted(head, update.map(Box::new)));
    }

    /// Hands over that an upload has begun, or is over.
    pub fn upload(&self, note: UploadNote) {
        let _ = self.messages.send(Message::Upload(note));
    }

    /// Hands over a shard whose objects have come to rest.
    pub fn shard_at_rest(&self, shard: Shard) {
        self.claims.at_rest(shard.first_idx);
        let _ = self.messages.send(Message::ShardAtRest(shard));
    }

    /// Objects whose row of the mirror the database refuses, as of the last flush.
    pub fn unmirrored(&self) -> BTreeMap<u64, Refused> {
        lock(&self.unmirrored).clone()
    }

    /// Waits until all that was handed over is in the database, but for what it refuses.
    pub async fn flush(&self) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Flush(answer));
        answered
            .await
            .unwrap_or_else(|_| Err("the mirroring task has ended".into()))
    }
}

/// What to say of an object whose row of the mirror the database refuses.
pub fn unmirrored_words(idx: u64, why: &str) -> String {
    format!(
        "the database refuses the row of object {idx} in windlass_objects: {why}: remove what refuses \
         it, then resume"
    )
}

fn lock(
    unmirrored: &Mutex<BTreeMap<u64, Refused>>,
) -> std::sync::MutexGuard<'_, BTreeMap<u64, Refused>> {
    unmirrored.lock().unwrap_or_else(|e| e.into_inner())
}

struct Task {
    catalog: Catalog,
    writer: Writer,
    /// The shards that are claimed.
    claims: Claims,
    /// How far objects go: then their shard is done.
    rest: Rest,
    /// Another executor goes on with the task: what is journaled here from now on is told nobody.
    is_taken_over: bool,
    /// Every entry up to here has been handed over.
    head: Head,
    /// What the database has acknowledged of it.
    mirrored: Head,
    /// Objects of which the database refuses what they have come to.
    unmirrored: Arc<Mutex<BTreeMap<u64, Refused>>>,
    /// Entries handed over out of turn.
    ahead: BTreeMap<u64, Head>,
    updates: HashMap<u64, MirrorUpdate>,
    shards: Vec<Shard>,
    /// In the order in which they came.
    uploads: VecDeque<UploadNote>,
    stop: Stop,
}

impl Task {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        // The executor's row has been written a moment ago.
        let first = tokio::time::Instant::now() + INTERVAL;
        let mut ticks = tokio::time::interval_at(first, INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    None => return,
                    Some(Message::Noted(head, update)) => {
                        self.note(head, update);
                        let refused = lock(&self.unmirrored).len();
                        if self.updates.len() >= BATCH_OBJECTS + refused {
                            self.flush_or_wait().await;
                        }
                    }
                    Some(Message::Upload(note)) => self.uploads.push_back(note),
                    Some(Message::ShardAtRest(shard)) => self.shards.push(shard),
                    Some(Message::Flush(answer)) => {
                        let flushed = match self.has_news() {
                            true => self.flush().await,
                            false => Ok(()),
                        };
                        if let Err(error) = &flushed {
                            self.judge(error);
                        }
                        // Whoever asked may have stopped waiting.
                        let _ = answer.send(flushed.map_err(|error| error.to_string()));
                    }
                },
                _ = ticks.tick() => self.flush_or_wait().await,
            }
        }
    }

    fn note(&mut self, head: Head, update: Option<Box<MirrorUpdate>>) {
        self.ahead.insert(head.seq, head);
        while let Some(next) = self.ahead.remove(&(self.head.seq + 1)) {
            self.head = next;
        }
        if let Some(update) = update {
            match self.updates.entry(update.idx) {
                std::collections::hash_map::Entry::Vacant(empty) => drop(empty.insert(*update)),
                std::collections::hash_map::Entry::Occupied(mut before) => {
                    before.get_mut().follow(*update);
                }
            }
        }
    }

    /// A mirror that can't be written is no reason to stop by itself: commits fail too, and
    /// their retries decide how long to wait.
    async fn flush_or_wait(&mut self) {
        match self.flush().await {
            Ok(()) => {}
            Err(error) if error.is_retryable() => {
                tracing::warn!("{error}; the journal keeps what the mirror misses");
                tokio::time::sleep(INTERVAL).await;
            }
            Err(error) => self.judge(&error),
        }
    }

    /// What ends the run. A database that has gone back is no failure of the task: the next
    /// resume replays what it has lost, which no run can whose objects are at rest already.
    fn judge(&mut self, error: &CatalogError) {
        match error {
            CatalogError::TakenOver { .. } => {
                self.is_taken_over = true;
                self.stop.ask(StopReason::Outage(error.to_string()));
            }
            CatalogError::WentBack => self.stop.ask(StopReason::Outage(error.to_string())),
            error if error.is_retryable() => {}
            error => self.stop.ask(StopReason::Fatal(error.to_string())),
        }
    }

    /// What the database has refused is tried again with the next flush; the head waits for it.
    fn keep(&mut self, unmirrored: Vec<Unmirrored>) {
        let refused = unmirrored.into_iter().map(|refused| {
            let update = self.updates.get(&refused.idx);
            let is_committed = update.is_some_and(|update| update.phase >= Some(Phase::Committed));
            let why = refused.why;
            (refused.idx, Refused { why, is_committed })
        });
        let refused: BTreeMap<u64, Refused> = refused.collect();
        self.updates.retain(|idx, _| refused.contains_key(idx));
        let mut before = lock(&self.unmirrored);
        for (idx, what) in refused.iter().filter(|(idx, _)| !before.contains_key(idx)) {
            tracing::error!("{}", unmirrored_words(*idx, &what.why));
        }
        *before = refused;
    }

    /// What the database has refused outlasts the claim in which it was journaled, if the next one of
    /// its shard was this executor's, too.
    fn renew_refused(&mut self) {
        for idx in lock(&self.unmirrored).keys() {
            if let Some(update) = self.updates.get_mut(idx) {
                update.token = self.claims.token_of(*idx);
            }
        }
    }

    /// Whether the database does not have all of it.
    fn has_news(&self) -> bool {
        let is_empty = self.updates.is_empty() && self.shards.is_empty() && self.uploads.is_empty();
        !is_empty || self.head.seq != self.mirrored.seq
    }

    async fn flush(&mut self) -> Result<(), CatalogError> {
        if self.is_taken_over {
            return Ok(());
        }
        let heartbeat = Heartbeat {
            writer: self.writer,
            seq: self.head.seq,
            head: hex::encode(self.head.hash),
            alive: true,
            acknowledged: Some(self.mirrored.seq),
        };
        let held = Heartbeat {
            seq: self.mirrored.seq,
            head: hex::encode(self.mirrored.hash),
            ..heartbeat.clone()
        };
        self.renew_refused();
        let updates: Vec<_> = self.updates.values().cloned().collect();
        let told = self.catalog.mirror_apart(&heartbeat, &held, &updates);
        let unmirrored = told.await?;
        if unmirrored.is_empty() {
            self.mirrored = self.head;
        }
        self.keep(unmirrored);
        while let Some(note) = self.uploads.front() {
            self.catalog.note_upload(&self.writer, note).await?;
            self.uploads.pop_front();
        }
        // While the head waits, what tells an old copy of the checkpoint from the right one is the
        // entries that objects in open shards name.
        if !lock(&self.unmirrored).is_empty() {
            return Ok(());
        }
        while let Some(shard) = self.shards.last().copied() {
            crash::point("shard-before-done");
            if let Some(token) = self.claims.token_of(shard.first_idx) {
                let (catalog, writer) = (&self.catalog, &self.writer);
                catalog.shard_done(writer, shard, token, self.rest).await?;
                self.claims.remove(shard.first_idx);
            }
            crash::point("shard-done");
            self.shards.pop();
        }
        Ok(())
    }
}
