//! Who asks the database, and how often: one for all browsers, one question after the other, and none
//! where nobody looks on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::look::{self, Looked, Memory};
use crate::catalog::{Catalog, CatalogError};
use crate::report::{Notice, Part, notice};

/// Between two looks, whatever they are at.
const GAP: Duration = Duration::from_secs(1);

/// Before a database that is away is asked again.
const AWAY: Duration = Duration::from_secs(2);

/// A look that takes so long is told of before it has come to its end.
const SLOW: Duration = Duration::from_secs(10);

/// What nobody has looked at for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All tasks.
    List,
    /// One of them, by its number.
    Task(i64),
}

/// What has been seen of a subject.
#[derive(Debug, Clone, Default)]
pub enum Seen {
    /// Nothing yet.
    #[default]
    NotYet,
    /// This.
    Page(View),
    /// There is no such task.
    Nowhere,
}

impl Seen {
    /// Whether a look has ever come to its end.
    fn is_of_a_look(&self) -> bool {
        match self {
            Self::NotYet => false,
            Self::Page(view) => view.looked_ms.is_some(),
            Self::Nowhere => true,
        }
    }
}

/// A page's contents at a moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The window's title.
    pub title: String,
    /// How new it is, then what was seen.
    pub parts: Vec<Part>,
    /// When that was, in milliseconds since 1970; none where nothing has been seen yet.
    pub looked_ms: Option<i64>,
}

impl View {
    /// What there is to see before the first look has come to its end.
    pub fn of_nothing(subject: Subject) -> Self {
        let title = match subject {
            Subject::List => "All tasks: windlass".to_owned(),
            Subject::Task(id) => format!("Task {id}: windlass"),
        };
        Self {
            title,
            parts: notice(&Notice::Asking, None).to_vec(),
            looked_ms: None,
        }
    }

    fn of(looked: Looked) -> Self {
        let now_ms = Timestamp::now().as_millisecond();
        let again_s = looked.rest.as_secs().max(1);
        let mut parts = notice(&Notice::Live { again_s }, Some(now_ms)).to_vec();
        parts.extend(looked.parts);
        Self {
            title: looked.title,
            parts,
            looked_ms: Some(now_ms),
        }
    }

    /// The same, with another word on how new it is.
    fn with(&self, word: &Notice) -> Self {
        let mut parts = notice(word, self.looked_ms).to_vec();
        let seen = self.parts.iter().skip(parts.len());
        parts.extend(seen.cloned());
        Self {
            parts,
            ..self.clone()
        }
    }
}

/// One subject that browsers look at.
struct Watched {
    seen: watch::Sender<Arc<Seen>>,
    /// When to look again.
    due: Instant,
    /// When somebody was last seen looking on.
    wanted: Instant,
}

/// What comes of asking for a task's failures as a table.
#[derive(Debug, Clone)]
pub enum Failures {
    /// This.
    Table(Bytes),
    /// There is no such task.
    Nowhere,
    /// The database did not answer; why.
    Away(String),
}

/// Tables that browsers wait for.
struct Tables {
    wanted: Vec<(i64, oneshot::Sender<Failures>)>,
    /// Before that none is asked for: the longer one takes, the longer the database is let alone.
    due: Instant,
}

/// What the database is asked next.
enum Question {
    Look(Subject),
    Failures(i64),
}

/// Looks at what browsers look at.
pub struct Lookout {
    catalog: Catalog,
    /// The database, without a password.
    place: String,
    /// What `/` leads to: with one task no other is shown.
    home: Subject,
    /// What stands behind each path on the page.
    query: String,
    watched: Mutex<HashMap<Subject, Watched>>,
    tables: Mutex<Tables>,
    wanted: Notify,
}

impl Lookout {
    /// Nobody looks on yet.
    pub fn new(catalog: Catalog, place: String, home: Subject, query: String) -> Self {
        Self {
            catalog,
            place,
            home,
            query,
            watched: Mutex::default(),
            tables: Mutex::new(Tables {
                wanted: Vec::new(),
                due: Instant::now(),
            }),
            wanted: Notify::new(),
        }
    }

    /// What `/` leads to.
    pub fn home(&self) -> Subject {
        self.home
    }

    /// What stands behind each path on the page.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// What is seen of a subject from now on.
    pub fn watch(&self, subject: Subject) -> watch::Receiver<Arc<Seen>> {
        let now = Instant::now();
        let mut watched = self.watched();
        let one = watched.entry(subject).or_insert_with(|| Watched {
            seen: watch::Sender::default(),
            due: now,
            wanted: now,
        });
        one.wanted = now;
        let seen = one.seen.subscribe();
        drop(watched);
        self.wanted.notify_one();
        seen
    }

    /// What is seen of a subject now: what was seen a moment ago, or else the next look is waited for.
    pub async fn now(&self, subject: Subject, limit: Duration) -> Arc<Seen> {
        let mut seen = self.watch(subject);
        let is_new = {
            let watched = self.watched();
            let one = watched.get(&subject);
            one.is_some_and(|one| one.due > Instant::now() && one.seen.borrow().is_of_a_look())
        };
        if !is_new {
            // Where it takes longer, what there is is shown, and the rest comes by itself.
            let _ = tokio::time::timeout(limit, seen.changed()).await;
        }
        let seen = seen.borrow();
        seen.clone()
    }

    /// A task's failures as a table for spreadsheets, asked for between two looks, for all who wait for it
    /// together; none where nothing has come of it in time.
    pub async fn failures(&self, id: i64, limit: Duration) -> Option<Failures> {
        let (sender, told) = oneshot::channel();
        self.tables().wanted.push((id, sender));
        self.wanted.notify_one();
        tokio::time::timeout(limit, told).await.ok()?.ok()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<Subject, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks on for as long as it is let.
    pub async fn look_on(&self) {
        let mut memories: HashMap<Subject, Memory> = HashMap::new();
        loop {
            let next = self.next();
            memories.retain(|subject, _| self.watched().contains_key(subject));
            let Some((question, due)) = next else {
                self.wanted.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                // Somebody has come to look at something else, perhaps.
                () = self.wanted.notified() => continue,
            }
            match question {
                Question::Look(subject) => {
                    let memory = memories.entry(subject).or_default();
                    let rest = self.look(subject, memory).await;
                    if let Some(one) = self.watched().get_mut(&subject) {
                        one.due = Instant::now() + rest;
                    }
                }
                Question::Failures(id) => self.tell_failures(id).await,
            }
            tokio::time::sleep(GAP).await;
        }
    }

    /// What is to be asked next, and when. Whatever is due first comes first: whoever asks for tables all the
    /// time holds up no page.
    fn next(&self) -> Option<(Question, Instant)> {
        let look = self.next_look();
        let look = look.map(|(subject, due)| (Question::Look(subject), due));
        let questions = self.next_table().into_iter().chain(look);
        questions.min_by_key(|(_, due)| *due)
    }

    /// Nobody is asked for what its browser waits for no more.
    fn next_table(&self) -> Option<(Question, Instant)> {
        let mut tables = self.tables();
        tables.wanted.retain(|(_, waiting)| !waiting.is_closed());
        let (id, _) = tables.wanted.first()?;
        Some((Question::Failures(*id), tables.due))
    }

    /// What is to be looked at next, and when. What nobody looks at is left alone, and then forgotten.
    fn next_look(&self) -> Option<(Subject, Instant)> {
        let mut watched = self.watched();
        let now = Instant::now();
        watched.retain(|_, one| {
            if one.seen.receiver_count() > 0 {
                one.wanted = now;
            }
            now.duration_since(one.wanted) < FORGET_AFTER
        });
        let looked_at = watched
            .iter()
            .filter(|(_, one)| one.seen.receiver_count() > 0);
        looked_at
            .map(|(subject, one)| (*subject, one.due))
            .min_by_key(|(_, due)| *due)
    }

    /// One task's table, for all who wait for it.
    async fn tell_failures(&self, id: i64) {
        let began = Instant::now();
        let failures = match look::at_failures(&self.catalog, id).await {
            Ok(table) => Failures::Table(table.into()),
            Err(error) if is_of_no_task(&error) => Failures::Nowhere,
            Err(error) => Failures::Away(format!("{error:#}")),
        };
        let mut tables = self.tables();
        tables.due = Instant::now() + began.elapsed();
        let is_told = |(wanted, _): &mut (i64, _)| *wanted == id;
        for (_, waiting) in tables.wanted.extract_if(.., is_told) {
            // One that waits no more is told nothing.
            let _ = waiting.send(failures.clone());
        }
    }

    /// One look, told to all; how long to rest before the next.
    async fn look(&self, subject: Subject, memory: &mut Memory) -> Duration {
        match self.patiently(subject, memory).await {
            Ok(looked) => {
                if memory.away_since_ms.take().is_some() {
                    tracing::info!("the database answers again");
                }
                let rest = looked.rest;
                self.tell(subject, |_| View::of(looked));
                rest
            }
            Err(error) => {
                self.tell_error(subject, &error, memory);
                AWAY
            }
        }
    }

    /// One look, however long it takes; one that takes long is told of meanwhile.
    async fn patiently(&self, subject: Subject, memory: &mut Memory) -> anyhow::Result<Looked> {
        let asked_ms = Timestamp::now().as_millisecond();
        let is_away = memory.away_since_ms.is_some();
        let looked = async {
            match subject {
                Subject::List => look::at_all(&self.catalog, &self.place, &self.query).await,
                Subject::Task(id) => {
                    look::at_task(&self.catalog, id, &self.place, &self.query, memory).await
                }
            }
        };
        tokio::pin!(looked);
        if let Ok(looked) = tokio::time::timeout(SLOW, &mut looked).await {
            return looked;
        }
        if !is_away {
            self.tell(subject, |view| view.with(&Notice::Waiting { asked_ms }));
        }
        looked.await
    }

    fn tell_error(&self, subject: Subject, error: &anyhow::Error, memory: &mut Memory) {
        if is_of_no_task(error) {
            if let Some(one) = self.watched().get(&subject) {
                one.seen.send_replace(Arc::new(Seen::Nowhere));
            }
            return;
        }
        let why = format!("{error:#}");
        if memory.away_since_ms.is_none() {
            tracing::warn!("{why}; asked again and again");
        }
        let now_ms = Timestamp::now().as_millisecond();
        let since_ms = *memory.away_since_ms.get_or_insert(now_ms);
        self.tell(subject, |view| view.with(&Notice::Away { why, since_ms }));
    }

    /// Tells all who look on what comes of what they have seen.
    fn tell(&self, subject: Subject, next: impl FnOnce(&View) -> View) {
        if let Some(one) = self.watched().get(&subject) {
            let before = one.seen.borrow().clone();
            let view = match &*before {
                Seen::Page(view) => next(view),
                Seen::NotYet | Seen::Nowhere => next(&View::of_nothing(subject)),
            };
            one.seen.send_replace(Arc::new(Seen::Page(view)));
        }
    }
}

fn is_of_no_task(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(CatalogError::NoSuchTask { .. }))
}
