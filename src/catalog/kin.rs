//! Objects of which a store has one, in a plan for workers: they lie in one shard, since two workers could not
//! tell what the other does with it. Shards that have such objects in common are joined, with all between them.

use super::request::PlanRequest;
use super::sql::{Connection, Statement};
use crate::model::TaskKind;

/// Shards that are joined at most: a worker has the objects of one in memory.
const JOINED_MAX: i64 = 20;

/// Shards from the first to the last that are to be one, and how many objects of a store ask for it.
#[derive(Debug, PartialEq, Eq)]
struct Joined {
    first: i64,
    last: i64,
    places: u64,
}

/// Joins the shards of a task that was planned a moment ago, where it is for workers; how many objects of a
/// store are left to several since too many shards lie between them. `shared` objects have their source in
/// common with another row.
pub(super) async fn join(
    connection: &mut Connection<'_>,
    task_id: i64,
    request: &PlanRequest,
    shared: u64,
) -> Result<u64, sqlx::Error> {
    // Different sources that meet at one destination are refused as it is, but for documents that go back to
    // one that they have shared.
    let of_one_place = match request.kind {
        _ if !request.workers => return Ok(0),
        TaskKind::Forward if shared == 0 => return Ok(0),
        TaskKind::Forward => "o.shared AND o.refused IS NULL GROUP BY o.source_url",
        TaskKind::Reverse => "o.refused IS NULL GROUP BY o.dest_url",
        TaskKind::DeleteSource => "o.refused IS NULL GROUP BY o.source_url",
    };
    let pairs = Statement::new(format!(
        "SELECT min(s.shard), max(s.shard) FROM windlass_objects o
           JOIN windlass_shards s ON s.task_id = o.task_id
            AND o.idx BETWEEN s.first_idx AND s.last_idx
          WHERE o.task_id = $1 AND {of_one_place}
         HAVING min(s.shard) <> max(s.shard) ORDER BY 1, 2"
    ));
    let pairs: Vec<(i64, i64)> = connection.all(pairs.bind(task_id)).await?;
    let (near, apart): (Vec<Joined>, Vec<Joined>) = joined(&pairs)
        .into_iter()
        .partition(|joined| joined.last - joined.first < JOINED_MAX);
    for Joined { first, last, .. } in near {
        let grows = Statement::new(
            "UPDATE windlass_shards SET last_idx = (
                    SELECT l.last_idx FROM windlass_shards l
                     WHERE l.task_id = $1 AND l.shard = $3)
              WHERE task_id = $1 AND shard = $2",
        );
        let goes = Statement::new(
            "DELETE FROM windlass_shards WHERE task_id = $1 AND shard > $2 AND shard <= $3",
        );
        let both = [grows, goes].map(|it| it.bind(task_id).bind(first).bind(last));
        connection.several(both.into()).await?;
    }
    Ok(apart.iter().map(|joined| joined.places).sum())
}

/// The pairs, which come by their first, brought together where they overlap.
fn joined(pairs: &[(i64, i64)]) -> Vec<Joined> {
    let mut all: Vec<Joined> = Vec::new();
    for (first, last) in pairs {
        match all.last_mut().filter(|before| *first <= before.last) {
            Some(before) => {
                before.last = before.last.max(*last);
                before.places += 1;
            }
            None => all.push(Joined {
                first: *first,
                last: *last,
                places: 1,
            }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_that_overlap_are_joined_in_one() {
        let of = |first, last, places| Joined {
            first,
            last,
            places,
        };
        let pairs = [(0, 1), (1, 3), (1, 2), (5, 9), (6, 7), (10, 11)];
        let expected = [of(0, 3, 3), of(5, 9, 2), of(10, 11, 1)];
        assert_eq!(joined(&pairs), expected);
        assert!(joined(&[]).is_empty());
    }
}
