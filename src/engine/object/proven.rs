//! Which copies were proven many at a time: a bit for each.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::engine::object::item::Item;
use crate::model::{Facts, Verified};

/// Copies that were found as they had been when they were read back.
#[derive(Debug, Default)]
pub struct ProvenInBulk(Mutex<Proven>);

/// They, in one lease.
#[derive(Debug, Default)]
pub struct Proven {
    /// The lease in which they were looked at.
    lease: Uuid,
    /// A bit for each object.
    same: Vec<u64>,
}

impl Proven {
    /// None yet.
    pub fn in_lease(lease: Uuid) -> Self {
        Self {
            lease,
            same: Vec::new(),
        }
    }

    /// Adds an object.
    pub fn put(&mut self, idx: u64) {
        let word = (idx / 64) as usize;
        if self.same.len() <= word {
            self.same.resize(word + 1, 0);
        }
        self.same[word] |= 1 << (idx % 64);
    }

    /// Whether they were looked at in this lease.
    pub fn is_of(&self, lease: Uuid) -> bool {
        self.lease == lease
    }

    fn has(&self, idx: u64) -> bool {
        let word = self.same.get((idx / 64) as usize);
        word.is_some_and(|word| word & (1 << (idx % 64)) != 0)
    }
}

impl ProvenInBulk {
    /// Whether a copy was found unchanged in this lease. Of one that was made since, that says nothing.
    pub fn has(&self, item: &Item, lease: Uuid) -> bool {
        let proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        item.copied_at.is_none() && proven.is_of(lease) && proven.has(item.object.idx)
    }

    /// The proof of such a copy.
    pub fn proof(&self, item: &Item, facts: &Facts, lease: Uuid) -> Option<Verified> {
        self.has(item, lease).then(|| Verified {
            method: "listing".into(),
            bytes: facts.size,
            tag: None,
        })
    }

    /// Puts these in the place of what was proven before.
    pub fn take(&self, proven: Proven) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = proven;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Loaded;
    use crate::model::{Object, ObjectKey, Phase, RowImage, State};

    fn item(idx: u64) -> Item {
        let source = RowImage {
            url: String::new(),
            digest: None,
            size: None,
            compressed: None,
            created_at: None,
            last_updated: None,
        };
        let object = Object {
            idx,
            key: ObjectKey::new("u", "b", "i"),
            source,
            dest_url: String::new(),
            restore: None,
            shared: false,
            state: State::at(Phase::Verified),
            copy: None,
            attempts: 0,
        };
        let loaded = Loaded {
            object,
            refused: None,
            row_as_planned: true,
            dest_in_use: false,
            journaled: true,
            left_over: false,
            seq: 0,
        };
        Item::new(loaded, Uuid::nil())
    }

    #[test]
    fn a_proof_is_of_one_object_and_of_one_lease() {
        let (bulk, lease) = (ProvenInBulk::default(), Uuid::new_v4());
        let mut proven = Proven::in_lease(lease);
        [0, 63, 64, 1_000]
            .into_iter()
            .for_each(|idx| proven.put(idx));
        bulk.take(proven);
        let facts = Facts {
            url: String::new(),
            digest: String::new(),
            size: 7,
            compressed: false,
            content_sha256: String::new(),
            content_size: 7,
        };
        let has = |item: &Item, lease| bulk.proof(item, &facts, lease).is_some();
        for idx in 0..2_000 {
            let mut item = item(idx);
            assert_eq!(
                has(&item, lease),
                [0, 63, 64, 1_000].contains(&idx),
                "{idx}"
            );
            assert!(!has(&item, Uuid::new_v4()));
            // The store has told of the copy before.
            item.copied_at = Some("2026-11-28T15:30:00.000001Z".into());
            assert!(!has(&item, lease));
        }
    }
}
