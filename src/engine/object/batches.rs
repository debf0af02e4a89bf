//! The last two steps, in batches: swap the row, delete the source.

use std::sync::Arc;

use uuid::Uuid;

use crate::batch::{BatchLimits, Batcher};
use crate::catalog::{Catalog, Deletable, Swap, Swapped};
use crate::crash;
use crate::driver::Driver;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::undeleted::Deleting;
use crate::model::{Cause, FailureClass};

/// Rows in one commit transaction, and sources in one delete, at most.
const BATCH_OBJECTS: usize = 500;

/// A row to swap, with the lease in which its copy was proven.
pub struct CommitRequest {
    swap: Swap,
    proven_in: Uuid,
}

/// What became of a commit or a delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchOutcome<T> {
    /// Done, or answered.
    Done(T),
    /// The lock has changed hands since the proof: read back first.
    ProofLapsed,
}

type Answer<T> = Result<BatchOutcome<T>, StepError>;

/// Commits rows in batches, over the connection that holds the lock.
#[derive(Clone)]
pub struct Commits(Batcher<CommitRequest, Answer<Swapped>>);

impl Commits {
    /// Starts the batching.
    pub fn new(catalog: Catalog, lease: Lease, task_id: i64, epoch: i32) -> Self {
        // One at a time: there is one connection, and waiting is what fills the next batch.
        let limits = BatchLimits {
            requests: BATCH_OBJECTS,
            weight: usize::MAX,
            in_flight: 1,
        };
        Self(Batcher::new(limits, move |batch: Vec<CommitRequest>| {
            let (catalog, lease) = (catalog.clone(), lease.clone());
            async move { commit(&catalog, &lease, task_id, epoch, batch).await }
        }))
    }

    /// Commits one row.
    pub async fn commit(&self, swap: Swap, proven_in: Uuid) -> Answer<Swapped> {
        self.0
            .submit(CommitRequest { swap, proven_in }, 1)
            .await
            .unwrap_or_else(unanswered)
    }
}

fn unanswered<T>() -> Answer<T> {
    Err(StepError {
        side: Side::Database,
        class: FailureClass::Retryable,
        cause: Cause::DatabaseFails,
        message: "the batch was abandoned".into(),
    })
}

async fn commit(
    catalog: &Catalog,
    lease: &Lease,
    task_id: i64,
    epoch: i32,
    batch: Vec<CommitRequest>,
) -> Vec<Answer<Swapped>> {
    let Some(session) = lease.session() else {
        return batch.iter().map(|_| Err(StepError::no_lock())).collect();
    };
    let proven = |request: &CommitRequest| request.proven_in == session.lease();
    let swaps: Vec<Swap> = batch
        .iter()
        .filter(|request| proven(request))
        .map(|r| r.swap.clone())
        .collect();
    let swapped = catalog.swap(&session, task_id, epoch, &swaps).await;
    let mut swapped = swapped.into_iter();
    let mut answer = |request: &CommitRequest| {
        if !proven(request) {
            return Ok(BatchOutcome::ProofLapsed);
        }
        match swapped.next() {
            Some(Ok(swapped)) => Ok(BatchOutcome::Done(swapped)),
            Some(Err(error)) => Err(StepError::from(error.as_ref())),
            None => unanswered(),
        }
    };
    batch.iter().map(&mut answer).collect()
}

/// A source to delete, with the lease in which its copy was proven.
pub struct DeleteRequest {
    idx: u64,
    url: String,
    proven_in: Uuid,
}

/// Deletes sources in batches, after asking the catalog, over the connection that holds the
/// lock, whether they may go.
#[derive(Clone)]
pub struct Deletes(Batcher<DeleteRequest, Answer<Deletable>>);

impl Deletes {
    /// Starts the batching.
    pub fn new(catalog: Catalog, lease: Lease, source: Arc<dyn Driver>, task_id: i64) -> Self {
        let deleting = Arc::new(Deleting::default());
        let limits = BatchLimits {
            requests: BATCH_OBJECTS,
            weight: usize::MAX,
            in_flight: 2,
        };
        Self(Batcher::new(limits, move |batch: Vec<DeleteRequest>| {
            let (catalog, lease, source) = (catalog.clone(), lease.clone(), source.clone());
            let deleting = deleting.clone();
            async move {
                let source = source.as_ref();
                delete(&catalog, &lease, source, &deleting, task_id, batch).await
            }
        }))
    }

    /// Deletes one source; `Deletable::Yes` says that it is gone.
    pub async fn delete(&self, idx: u64, url: String, proven_in: Uuid) -> Answer<Deletable> {
        self.0
            .submit(
                DeleteRequest {
                    idx,
                    url,
                    proven_in,
                },
                1,
            )
            .await
            .unwrap_or_else(unanswered)
    }
}

async fn delete(
    catalog: &Catalog,
    lease: &Lease,
    source: &dyn Driver,
    deleting: &Deleting,
    task_id: i64,
    batch: Vec<DeleteRequest>,
) -> Vec<Answer<Deletable>> {
    let Some(session) = lease.session() else {
        return batch.iter().map(|_| Err(StepError::no_lock())).collect();
    };
    let idxs: Vec<u64> = batch.iter().map(|request| request.idx).collect();
    let deletable = match catalog.deletable(&session, task_id, &idxs).await {
        Ok(deletable) => deletable,
        Err(error) => {
            let error = StepError::from(error);
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
    };
    crash::point("source-deletable");
    let lapsed = |request: &DeleteRequest| request.proven_in != session.lease();
    let wanted: Vec<(u64, String)> = batch
        .iter()
        .zip(&deletable)
        .filter(|(request, deletable)| **deletable == Deletable::Yes && !lapsed(request))
        .map(|(request, _)| (request.idx, request.url.clone()))
        .collect();
    let mut deleted = match wanted.is_empty() {
        true => Vec::new(),
        // It may have stood still since the catalog has answered.
        false if !lease.is_sure().await => {
            return batch.iter().map(|_| Err(StepError::no_lock())).collect();
        }
        false => {
            crash::point("source-delete-before");
            let deleted = deleting.delete(source, &wanted).await;
            crash::point("source-delete-after");
            deleted
        }
    }
    .into_iter();
    let mut answer = |(request, deletable): (&DeleteRequest, &Deletable)| {
        if lapsed(request) {
            return Ok(BatchOutcome::ProofLapsed);
        }
        if *deletable == Deletable::Yes {
            match deleted.next() {
                Some(deleted) => deleted.map_err(StepError::store(Side::Source))?,
                None => return unanswered(),
            }
        }
        Ok(BatchOutcome::Done(*deletable))
    };
    batch.iter().zip(&deletable).map(&mut answer).collect()
}
