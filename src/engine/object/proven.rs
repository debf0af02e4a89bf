//! Which copies were proven many at a time: a bit for each.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

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

    fn has(&self, idx: u64) -> bool {
        let word = self.same.get((idx / 64) as usize);
        word.is_some_and(|word| word & (1 << (idx % 64)) != 0)
    }
}

impl ProvenInBulk {
    /// Whether a copy was found unchanged in this lease.
    pub fn has(&self, idx: u64, lease: Uuid) -> bool {
        let proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        proven.lease == lease && proven.has(idx)
    }

    /// The proof of such a copy.
    pub fn proof(&self, idx: u64, facts: &Facts, lease: Uuid) -> Option<Verified> {
        self.has(idx, lease).then(|| Verified {
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
        let has = |idx, lease| bulk.proof(idx, &facts, lease).is_some();
        for idx in 0..2_000 {
            assert_eq!(has(idx, lease), [0, 63, 64, 1_000].contains(&idx), "{idx}");
            assert!(!has(idx, Uuid::new_v4()));
        }
    }
}
