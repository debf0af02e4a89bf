//! What is journaled of shards that have changed hands.

use crate::catalog::Takeover;
use crate::model::{Adopted, AdoptedShard, Claim, Event};

/// Shards in one entry at most: an entry has a limit.
const SHARDS_MAX: usize = 60;

/// Whether an object lies in one of these shards.
pub fn within(claims: &[Claim], idx: u64) -> bool {
    claims.iter().any(|claim| claim.has(idx))
}

/// The entries that tell of takeovers, those of the same executor at the same head together.
pub fn adoptions(takeovers: &[Takeover]) -> Vec<Event> {
    let mut groups: Vec<Adopted> = Vec::new();
    for takeover in takeovers {
        let shard = AdoptedShard {
            first: takeover.claim.shard.first_idx,
            last: takeover.claim.shard.last_idx,
            lease: takeover.claim.lease,
        };
        let head = format!("{}:{}", takeover.seq, takeover.head);
        let is_same = |group: &&mut Adopted| {
            group.executor == takeover.from
                && group.by == takeover.by
                && group.head == head
                && group.shards.len() < SHARDS_MAX
        };
        match groups.iter_mut().find(is_same) {
            Some(group) => group.shards.push(shard),
            None => groups.push(Adopted {
                executor: takeover.from,
                head,
                by: takeover.by,
                shards: vec![shard],
            }),
        }
    }
    groups.into_iter().map(Event::Adopted).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ENTRY_MAX_BYTES, Shard};

    #[test]
    fn many_shards_fit_into_entries() {
        let takeover = |shard: u64| Takeover {
            claim: Claim {
                shard: Shard {
                    shard,
                    first_idx: u64::MAX - 1_000 + shard,
                    last_idx: u64::MAX - 1 + shard % 2,
                },
                lease: i32::MAX,
            },
            by: Uuid::max(),
            from: Uuid::max(),
            seq: u64::MAX,
            head: "f".repeat(64),
        };
        let all: Vec<Takeover> = (0..250).map(takeover).collect();
        let events = adoptions(&all);
        assert_eq!(events.len(), 5);
        for event in events {
            let Event::Adopted(adopted) = event else {
                panic!("another event");
            };
            let bytes = serde_json::to_vec(&adopted).unwrap().len();
            assert!(bytes + 512 < ENTRY_MAX_BYTES, "{bytes}");
        }
    }
}
