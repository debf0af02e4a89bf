//! What a run has claimed of its task, and how a transaction asks whether that still holds.
//!
//! An executor that has stood still may find its shards with another. What it remembers can't tell;
//! so each transaction that would change something for an object asks for the token of its shard, and
//! keeps the shard from being claimed until it ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::model::{Claim, Token};

/// The shards that a run has claimed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    owner: Option<(i64, Uuid)>,
    /// By the number of their first object.
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    claim: Claim,
    /// Nothing is done any more for an object in it; others may have been told already.
    is_at_rest: bool,
}

/// A question for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenQuestion {
    task_id: i64,
    owner: Uuid,
    tokens: Vec<Token>,
}

impl TokenQuestion {
    /// Whether an executor still has these tokens.
    pub fn new(task_id: i64, owner: Uuid, tokens: impl IntoIterator<Item = Token>) -> Self {
        let mut tokens: Vec<Token> = tokens.into_iter().collect();
        tokens.sort();
        tokens.dedup();
        Self {
            task_id,
            owner,
            tokens,
        }
    }

    /// Its SQL. Each answer is a shard and its lease. On PostgreSQL ` FOR SHARE` belongs behind it, so
    /// that what it tells stays true until the transaction ends.
    pub fn sql(&self) -> String {
        let shards = self.tokens.iter().map(|token| token.shard.to_string());
        let shards: Vec<String> = shards.collect();
        let shards = match shards.is_empty() {
            true => "NULL".to_owned(),
            false => shards.join(", "),
        };
        let (task_id, owner) = (self.task_id, self.owner);
        format!(
            "SELECT shard, lease_epoch FROM windlass_shards
              WHERE task_id = {task_id} AND owner = '{owner}' AND shard IN ({shards})
              ORDER BY shard"
        )
    }

    /// The tokens that were asked for and not found.
    pub fn lost(&self, found: &[(i64, i32)]) -> Vec<Token> {
        let is_found = |token: &&Token| found.contains(&(token.shard as i64, token.lease));
        let lost = self.tokens.iter().filter(|token| !is_found(token));
        lost.copied().collect()
    }
}

impl Claims {
    /// An executor begins to claim shards of a task.
    pub fn begin(&self, task_id: i64, executor: Uuid) {
        let mut state = self.state();
        state.owner = Some((task_id, executor));
        state.held.clear();
    }

    /// A shard was claimed.
    pub fn put(&self, claim: Claim) {
        let held = Held {
            claim,
            is_at_rest: false,
        };
        self.state().held.insert(claim.shard.first_idx, held);
    }

    /// The token of an object's shard; none where the shard is not claimed, or was lost.
    pub fn token_of(&self, idx: u64) -> Option<Token> {
        let state = self.state();
        let (_, held) = state.held.range(..=idx).next_back()?;
        held.claim.has(idx).then(|| held.claim.token())
    }

    /// All that are claimed.
    pub fn all(&self) -> Vec<Claim> {
        self.state().held.values().map(|held| held.claim).collect()
    }

    /// The objects of a shard have come to rest.
    pub fn at_rest(&self, first_idx: u64) {
        if let Some(held) = self.state().held.get_mut(&first_idx) {
            held.is_at_rest = true;
        }
    }

    /// A shard is done, or another's.
    pub fn remove(&self, first_idx: u64) {
        self.state().held.remove(&first_idx);
    }

    /// The shard of an object is another's.
    pub fn lose(&self, idx: u64) {
        let mut state = self.state();
        let found = state.held.range(..=idx).next_back();
        if let Some((first_idx, _)) = found.filter(|(_, held)| held.claim.has(idx)) {
            let first_idx = *first_idx;
            state.held.remove(&first_idx);
        }
    }

    /// What was claimed anew; whatever is not among it is another's.
    pub fn renew(&self, claims: &[Claim]) {
        let mut state = self.state();
        let renewed = claims.iter().filter_map(|claim| {
            let first_idx = claim.shard.first_idx;
            let is_at_rest = state.held.get(&first_idx)?.is_at_rest;
            let claim = *claim;
            Some((first_idx, Held { claim, is_at_rest }))
        });
        let renewed = renewed.collect();
        state.held = renewed;
    }

    /// The question for all shards in which something may still be done; none where there are none.
    pub fn question(&self) -> Option<TokenQuestion> {
        let state = self.state();
        let (task_id, owner) = state.owner?;
        let at_work = state.held.values().filter(|held| !held.is_at_rest);
        let tokens: Vec<Token> = at_work.map(|held| held.claim.token()).collect();
        (!tokens.is_empty()).then(|| TokenQuestion::new(task_id, owner, tokens))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Shard;

    fn claim(shard: u64, lease: i32) -> Claim {
        Claim {
            shard: Shard {
                shard,
                first_idx: shard * 10,
                last_idx: shard * 10 + 9,
            },
            lease,
        }
    }

    #[test]
    fn a_token_is_that_of_the_shard_in_which_an_object_lies() {
        let claims = Claims::default();
        claims.begin(1, Uuid::nil());
        assert_eq!(claims.token_of(3), None);
        claims.put(claim(1, 4));
        claims.put(claim(3, 2));
        let token = |idx| claims.token_of(idx).map(|token| (token.shard, token.lease));
        assert_eq!(token(9), None);
        assert_eq!(token(10), Some((1, 4)));
        assert_eq!(token(19), Some((1, 4)));
        assert_eq!(token(20), None);
        claims.renew(&[claim(3, 5)]);
        assert_eq!((token(10), token(39)), (None, Some((3, 5))));
    }

    #[test]
    fn what_is_at_rest_is_not_asked_for() {
        let claims = Claims::default();
        assert_eq!(claims.question(), None);
        claims.begin(1, Uuid::nil());
        claims.put(claim(1, 4));
        claims.put(claim(2, 1));
        claims.at_rest(10);
        let question = claims.question().unwrap();
        assert_eq!(question.lost(&[(2, 1)]), []);
        let lost = question.lost(&[(1, 4), (2, 2)]);
        assert_eq!(lost, [Token { shard: 2, lease: 1 }]);
        claims.renew(&claims.all());
        assert_eq!(claims.question(), Some(question));
    }
}
