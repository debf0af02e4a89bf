//! What the parts of a run share.

use crate::catalog::{Catalog, TaskRow, Writer};
use crate::driver::{Replaces, Stat};
use crate::engine::flow::control::Control;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry::StepError;
use crate::engine::flow::warned::{Telling, Warned};
use crate::engine::object::batches::{Commits, Deletes};
use crate::engine::object::item::Item;
use crate::engine::object::ledger::Ledger;
use crate::engine::object::proven::ProvenInBulk;
use crate::engine::object::stores::Stores;
use crate::model::{Shard, Stage};

/// What the parts of a run share. Each part has a file of its own; this only brings them
/// together.
pub struct Context {
    /// The task.
    pub task: TaskRow,
    /// Whether the checkpoint was lost: what it had copied last may not be in the mirror.
    pub rebuilt: bool,
    /// A worker's shards that were another's before.
    pub adopted: Vec<Shard>,
    /// The SQL side.
    pub catalog: Catalog,
    /// This executor, to the mirror.
    pub writer: Writer,
    /// The advisory lock.
    pub lease: Lease,
    /// Where documents are, and where they go.
    pub stores: Stores,
    /// What has happened to them.
    pub ledger: Ledger,
    /// Commits, in batches.
    pub commits: Commits,
    /// Deletes, in batches.
    pub deletes: Deletes,
    /// What the run is steered by.
    pub control: Control,
    /// Copies that were proven many at a time.
    pub proven: ProvenInBulk,
    /// What has been said of single objects.
    pub warned: Warned,
    /// Whether writes say what they may replace: those of a task that copies while services run, where the
    /// store heeds it. What one has sent of an earlier version can then no longer land on a later one.
    pub conditional: bool,
}

impl Context {
    /// Whether nobody else is at work on the task: a cut-over lets no workers in.
    pub fn is_by_itself(&self) -> bool {
        self.writer.is_alone() || self.task.stage == Some(Stage::Cutover)
    }

    /// Whether something may lie at the object's destination already. A place that is given back
    /// has been looked at before.
    pub fn must_look(&self, item: &Item) -> bool {
        if item.object.restore.is_some() {
            return false;
        }
        !self.task.destination_was_empty
            || self.rebuilt
            || item.dest_in_use
            || item.object.shared
            // An earlier pass may have copied an earlier version.
            || self.task.passes > 1
    }

    /// What a write may replace, where this lies at its destination.
    pub fn replaces(&self, there: Option<&Stat>) -> Replaces {
        match (self.conditional, there.map(|stat| &stat.tag)) {
            (false, _) => Replaces::Anything,
            // A store that heeds conditions tells the version of all that it has.
            (true, None | Some(None)) => Replaces::Nothing,
            (true, Some(Some(tag))) => Replaces::Version(tag.clone()),
        }
    }

    /// Asks the side of an error something cheap, to tell a store that is away from an object
    /// that it chokes on.
    pub async fn is_alive(&self, error: &StepError) -> bool {
        use crate::engine::flow::retry::Side;
        let probe =
            crate::model::ObjectKey::new("windlass", "windlass-probe", self.task.uuid.to_string());
        match error.side {
            Side::Source => self
                .stores
                .source
                .stat(&self.stores.source.url_for(&probe))
                .await
                .is_ok(),
            Side::Destination => self
                .stores
                .destination
                .stat(&self.stores.destination.url_for(&probe))
                .await
                .is_ok(),
            Side::Database => self.lease.session().is_some() && self.catalog.ping().await.is_ok(),
        }
    }
    /// Says what happened to one object, unless enough of its kind has been said: on a screen with ten
    /// thousand of them nobody finds the eleventh kind.
    pub fn tell(&self, is_failure: bool, kind: &'static str, line: &str) {
        let telling = self.warned.more_of(kind);
        match (telling, is_failure) {
            (Telling::Count, _) => tracing::info!("{line}"),
            (_, true) => tracing::error!("{line}"),
            (_, false) => tracing::warn!("{line}"),
        }
        if telling == Telling::SayLast {
            let task_id = self.task.task_id;
            tracing::warn!(
                "{kind}: more of these are counted and not said; all of them: windlass journal {task_id}"
            );
        }
    }
}
