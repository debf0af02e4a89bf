//! What an executor claims of a task, and by what it is told that the claim still holds.

use super::plan::Shard;

/// A shard, and the number that its `lease_epoch` had risen to when it was claimed. Together with the
/// executor's name a statement is let through by it, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The shard's number.
    pub shard: u64,
    /// Rises with each claim.
    pub lease: i32,
}

/// A shard that is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The objects.
    pub shard: Shard,
    /// See [`Token::lease`].
    pub lease: i32,
}

impl Claim {
    /// What the claim is told by.
    pub fn token(&self) -> Token {
        Token {
            shard: self.shard.shard,
            lease: self.lease,
        }
    }

    /// Whether an object lies in it.
    pub fn has(&self, idx: u64) -> bool {
        (self.shard.first_idx..=self.shard.last_idx).contains(&idx)
    }
}
