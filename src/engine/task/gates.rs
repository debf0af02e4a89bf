//! The gates of a migration, each to be asked by itself, without the lock and without a change to the
//! database: what `doctor` shows at once, `migrate` refuses one after the other.

use crate::catalog::Catalog;
use crate::engine::EngineError;
use crate::engine::task::earlier::Earlier;
use crate::engine::task::outcome::MigrateRequest;
use crate::model::Place;

pub use crate::engine::flow::lock::refuse_held_lock;
pub use crate::engine::task::preflight::{
    OF_BOTH, other_schema, refuse_missing_rights, refuse_same_urls, refuse_visible_writes,
    refuse_young_services, time_to_wait,
};
pub use crate::engine::task::selection::refuse_unmatched;

/// What earlier tasks mean for a migration that they do not refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Precedents {
    /// The same migration, which it would go on with.
    pub goes_on: Option<i64>,
    /// The same migration, whose failed documents it would try again.
    pub failed: Option<i64>,
    /// The same migration, complete.
    pub complete: Option<i64>,
    /// How many tasks of another kind have something left to do.
    pub others: usize,
}

/// Refuses what an earlier task stands against. Of the lock nothing is known: a task that says that it
/// runs may do so.
pub async fn refuse_earlier(
    catalog: &Catalog,
    request: &MigrateRequest,
    from: &Place,
) -> Result<Precedents, EngineError> {
    if request.new_task {
        return Ok(Precedents::default());
    }
    let earlier = Earlier::look(catalog, request).await?;
    earlier.refuse_way_back(request)?;
    for other in &earlier.others {
        let task_id = other.task_id;
        let open = catalog.shared_with(task_id, from, &request.policy).await?;
        earlier.refuse_open(task_id, open, request)?;
    }
    Ok(Precedents {
        goes_on: earlier.unfinished.map(|task| task.task_id),
        failed: earlier.failed.map(|task| task.task_id),
        complete: earlier.complete.map(|task| task.task_id),
        others: earlier.others.len(),
    })
}
