//! Reading the journal, in flat memory, also while it is written.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::JournalError;
use super::chain::{self, Hash, Line};
use super::ledger::{CHUNK, Ledger};
use super::prove::expected_start;
use super::segment::{Lines, Segment};

/// The entries from some number on, up to the head there was when it was made; each is proved
/// against the chain as it is read. After an error it ends.
pub struct Entries {
    ledger: Arc<Ledger>,
    from: u64,
    next: u64,
    last: u64,
    /// The hash before `next`; `None` until it is looked up.
    prev: Option<Hash>,
    ready: VecDeque<Line>,
    lines: Option<(Lines, Segment)>,
}

impl Entries {
    pub(super) fn new(ledger: Arc<Ledger>, from: u64) -> Self {
        let last = ledger.head().seq;
        Self {
            ledger,
            from: from.max(1),
            next: from.max(1),
            last,
            prev: None,
            ready: VecDeque::new(),
            lines: None,
        }
    }

    /// A segment's entries, up to `last`.
    pub(super) fn from_segment(ledger: Arc<Ledger>, segment: &Segment, last: u64) -> Self {
        Self {
            ledger,
            from: segment.first,
            next: segment.first,
            last,
            prev: Some(segment.prev),
            ready: VecDeque::new(),
            lines: None,
        }
    }

    fn read(&mut self) -> Result<Line, JournalError> {
        loop {
            let line = match self.lines.take() {
                Some((lines, segment)) => self.sealed_line(lines, segment)?,
                None => self.line_from_sled()?,
            };
            let Some(line) = line else { continue };
            let line = self.proved(line)?;
            if line.seq >= self.from {
                return Ok(line);
            }
        }
    }

    /// The next line of an open segment, and `None` once it is through.
    fn sealed_line(
        &mut self,
        mut lines: Lines,
        segment: Segment,
    ) -> Result<Option<Line>, JournalError> {
        let text = lines.next_line().map_err(|error| self.unreadable(error))?;
        let Some(text) = text else {
            let whole = self.next == segment.last + 1 && self.prev == Some(segment.hash);
            return match whole {
                true => Ok(None),
                false => Err(self.damaged(format!("the segment ends before {}", self.next))),
            };
        };
        self.lines = Some((lines, segment));
        let (json, hash) = chain::split(&text)
            .ok_or_else(|| self.damaged(format!("entry {} can't be read", self.next)))?;
        Ok(Some(Line {
            seq: self.next,
            json: json.into(),
            hash,
        }))
    }

    /// The next line out of sled; `None` where a segment takes over.
    fn line_from_sled(&mut self) -> Result<Option<Line>, JournalError> {
        if self.ready.is_empty() {
            let chunk = match self.ledger.segment_of(self.next) {
                Some(segment) => return self.enter(segment).map(|()| None),
                None => self.ledger.store_of(self.next)?.chunk(self.next, CHUNK),
            };
            let chunk = chunk.map_err(|fault| fault.in_checkpoint(&self.ledger.dir))?;
            self.ready = chunk
                .into_iter()
                .map(|(seq, entry)| Line {
                    seq,
                    json: entry.json,
                    hash: entry.hash,
                })
                .collect();
        }
        match self.ready.pop_front() {
            Some(line) if line.seq == self.next => Ok(Some(line)),
            _ => {
                self.ready.clear();
                // Sealed and dropped between the look at the segments and the look at sled?
                match self.ledger.segment_of(self.next) {
                    Some(_) => Ok(None),
                    None => Err(self.damaged(format!("entry {} is missing", self.next))),
                }
            }
        }
    }

    /// Goes on in a segment: from its beginning, since it can only be unpacked from there.
    fn enter(&mut self, segment: Segment) -> Result<(), JournalError> {
        let lines = Lines::open(&segment).map_err(|error| self.unreadable(error))?;
        self.from = self.from.max(self.next);
        self.next = segment.first;
        self.prev = Some(segment.prev);
        self.lines = Some((lines, segment));
        Ok(())
    }

    fn proved(&mut self, line: Line) -> Result<Line, JournalError> {
        let prev = match self.prev {
            Some(prev) => prev,
            None => self
                .ledger
                .hash_at(line.seq - 1)?
                .ok_or_else(|| self.damaged(format!("entry {} is missing", line.seq - 1)))?,
        };
        let start = expected_start(self.ledger.task, self.ledger.executor, line.seq);
        if !line.json.starts_with(&start) || chain::next(&prev, line.json.as_bytes()) != line.hash {
            return Err(self.damaged(format!("the chain breaks at entry {}", line.seq)));
        }
        self.prev = Some(line.hash);
        self.next = line.seq + 1;
        Ok(line)
    }

    fn damaged(&self, what: String) -> JournalError {
        JournalError::damaged(&self.ledger.dir, what)
    }

    fn unreadable(&self, error: io::Error) -> JournalError {
        match error.raw_os_error() {
            Some(_) => JournalError::io(&self.ledger.dir)(error),
            None => self.damaged(format!("a segment can't be read: {error}")),
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Line, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last || self.from > self.last {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.last = 0;
        }
        Some(read)
    }
}
