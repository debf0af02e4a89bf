//! What is journaled of shards that have changed hands.

use crate::catalog::Takeover;
use crate::model::{Adopted, AdoptedShard, Claim, Event};

/// Shards in one entry at most: an entry has a limit.
const SHARDS_MAX: usize = 60;

/// Whether an object lies in one of these shards.
pub fn within(claims: &[Claim], idx: u64) -> bool {
    claims.iter().any(|claim| claim.has(idx))
}

/// The entries that tell of takeovers, which come by shard and lease: those of the same executor at the same
/// head together, and of every shard the earlier ones before the later.
pub fn adoptions(takeovers: &[Takeover]) -> Vec<Event> {
    let of_one_shard = takeovers.chunk_by(|one, next| one.claim.shard == next.claim.shard);
    let mut in_order: Vec<(usize, &Takeover)> = of_one_shard
        .flat_map(|shard| shard.iter().enumerate())
        .collect();
    in_order.sort_by_key(|(nth, _)| *nth);
    let mut groups: Vec<Adopted> = Vec::new();
    for nth in in_order.chunk_by(|(one, _), (next, _)| one == next) {
        groups.extend(groups_of(nth.iter().map(|(_, takeover)| *takeover)));
    }
    groups.into_iter().map(Event::Adopted).collect()
}

fn groups_of<'t>(takeovers: impl Iterator<Item = &'t Takeover>) -> Vec<Adopted> {
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
    groups
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{ENTRY_MAX_BYTES, Shard};

    fn takeover(shard: u64, lease: i32, by: u128) -> Takeover {
        Takeover {
            claim: Claim {
                shard: Shard {
                    shard,
                    first_idx: shard * 10,
                    last_idx: shard * 10 + 9,
                },
                lease,
            },
            by: Uuid::from_u128(by),
            from: Uuid::from_u128(by + 1),
            seq: by as u64,
            head: "f".repeat(64),
        }
    }

    /// What a takeover found rests on the one before: the second of a shard must not be told with the
    /// first of another and so before the first of its own.
    #[test]
    fn of_a_shard_the_earlier_takeover_is_told_first() {
        let told = [
            takeover(1, 5, 7),
            takeover(2, 3, 8),
            takeover(2, 9, 7),
            takeover(3, 2, 8),
        ];
        let events = adoptions(&told).into_iter();
        let shards = events.map(|event| match event {
            Event::Adopted(adopted) => adopted.shards.iter().map(|s| (s.first, s.lease)).collect(),
            _ => Vec::new(),
        });
        let shards: Vec<Vec<_>> = shards.collect();
        assert_eq!(
            shards,
            [vec![(10, 5)], vec![(20, 3), (30, 2)], vec![(20, 9)]]
        );
    }

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
