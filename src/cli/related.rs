//! Tasks that undo or finish others, in words.

use serde::Serialize;
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::model::TaskState;

/// A task that undoes another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reversal {
    /// `tasks.id`.
    pub task_id: i64,
    /// Where it stands.
    pub state: TaskState,
}

/// The task that undoes this one, the one that undoes that, and so on.
pub async fn reversals(catalog: &Catalog, task: Uuid) -> anyhow::Result<Vec<Reversal>> {
    let (mut found, mut task) = (Vec::new(), task);
    while let Some(reverse) = catalog.reverse_of(task).await? {
        let (task_id, state) = (reverse.task_id, reverse.state);
        found.push(Reversal { task_id, state });
        task = reverse.uuid;
    }
    Ok(found)
}

/// `reversed by task 2 (complete), which was reversed by task 3 (running)`; `None` where it was not.
pub fn reversed_words(reversals: &[Reversal]) -> Option<String> {
    let by = |r: &Reversal| format!("reversed by task {} ({})", r.task_id, r.state);
    let chain: Vec<_> = reversals.iter().map(by).collect();
    (!chain.is_empty()).then(|| chain.join(", which was "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_and_forth_is_told_in_its_order() {
        let reversal = |task_id, state| Reversal { task_id, state };
        assert_eq!(reversed_words(&[]), None);
        let two = [
            reversal(2, TaskState::Complete),
            reversal(3, TaskState::Running),
        ];
        assert_eq!(
            reversed_words(&two).as_deref(),
            Some("reversed by task 2 (complete), which was reversed by task 3 (running)")
        );
    }
}
