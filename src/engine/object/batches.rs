//! The last two steps, in batches: swap the row, delete the source.

use std::sync::Arc;

use uuid::Uuid;

use crate::batch::{BatchLimits, Batcher};
use crate::catalog::{Catalog, Deletable, Swap, Swapped, Writer};
use crate::crash;
use crate::driver::Driver;
use crate::engine::flow::lock::Lease;
use crate::engine::flow::retry::{Side, StepError};
use crate::engine::object::undeleted::Deleting;
use crate::model::{Cause, FailureClass, Token};

/// Rows in one commit transaction, and sources in one delete, at most.
pub const BATCH_OBJECTS: usize = 500;

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
    pub fn new(catalog: Catalog, lease: Lease, writer: Writer) -> Self {
        // One at a time: there is one connection, and waiting is what fills the next batch.
        let limits = BatchLimits {
            requests: BATCH_OBJECTS,
            weight: usize::MAX,
            in_flight: 1,
        };
        Self(Batcher::new(limits, move |batch: Vec<CommitRequest>| {
            let (catalog, lease) = (catalog.clone(), lease.clone());
            async move { commit(&catalog, &lease, &writer, batch).await }
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
    writer: &Writer,
    batch: Vec<CommitRequest>,
) -> Vec<Answer<Swapped>> {
    let Some(session) = lease.session() else {
        return batch.iter().map(|_| Err(StepError::no_lock())).collect();
    };
    let mut answers = vec![Ok(BatchOutcome::ProofLapsed); batch.len()];
    let (asked, swaps): (Vec<usize>, Vec<Swap>) = batch
        .into_iter()
        .enumerate()
        .filter(|(_, request)| request.proven_in == session.lease())
        .map(|(at, request)| (at, request.swap))
        .unzip();
    let swapped = catalog.swap(&session, writer, &swaps).await;
    // What is asked for keeps its place in the batch, and its answer goes there.
    for answer in by_place(asked, swapped) {
        answers[answer.0] = match answer.1 {
            Some(Ok(swapped)) => Ok(BatchOutcome::Done(swapped)),
            Some(Err(error)) => Err(StepError::from(error.as_ref())),
            None => unanswered(),
        };
    }
    answers
}

/// Each place with the answer to what was asked for it; none where there are fewer answers.
fn by_place<T>(asked: Vec<usize>, answers: Vec<T>) -> impl Iterator<Item = (usize, Option<T>)> {
    let answers = answers.into_iter().map(Some);
    asked
        .into_iter()
        .zip(answers.chain(std::iter::repeat_with(|| None)))
}

/// A source to delete.
pub struct DeleteRequest {
    /// The object.
    pub idx: u64,
    /// Its source.
    pub url: String,
    /// That of its shard.
    pub token: Option<Token>,
    /// The lease in which its copy was proven.
    pub proven_in: Uuid,
}

/// Deletes sources in batches, after asking the catalog, over the connection that holds the
/// lock, whether they may go.
#[derive(Clone)]
pub struct Deletes(Batcher<DeleteRequest, Answer<Deletable>>);

impl Deletes {
    /// Starts the batching.
    pub fn new(catalog: Catalog, lease: Lease, source: Arc<dyn Driver>, writer: Writer) -> Self {
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
                delete(&catalog, &lease, source, &deleting, &writer, batch).await
            }
        }))
    }

    /// Deletes one source; `Deletable::Yes` says that it is gone.
    pub async fn delete(&self, request: DeleteRequest) -> Answer<Deletable> {
        let answer = self.0.submit(request, 1).await;
        answer.unwrap_or_else(unanswered)
    }
}

async fn delete(
    catalog: &Catalog,
    lease: &Lease,
    source: &dyn Driver,
    deleting: &Deleting,
    writer: &Writer,
    batch: Vec<DeleteRequest>,
) -> Vec<Answer<Deletable>> {
    let Some(session) = lease.session() else {
        return batch.iter().map(|_| Err(StepError::no_lock())).collect();
    };
    let sources = batch.iter().map(|request| (request.idx, request.token));
    let sources: Vec<_> = sources.collect();
    let deletable = match catalog.deletable(&session, writer, &sources).await {
        Ok(deletable) => deletable,
        Err(error) => {
            let error = StepError::from(error);
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
    };
    crash::point("source-deletable");
    let mut answers: Vec<Answer<Deletable>> = deletable
        .iter()
        .map(|deletable| Ok(BatchOutcome::Done(*deletable)))
        .collect();
    let mut asked = Vec::new();
    let mut wanted = Vec::new();
    for (at, (request, deletable)) in batch.into_iter().zip(deletable).enumerate() {
        if request.proven_in != session.lease() {
            answers[at] = Ok(BatchOutcome::ProofLapsed);
        } else if deletable == Deletable::Yes {
            asked.push(at);
            wanted.push((request.idx, request.url));
        }
    }
    if wanted.is_empty() {
        return answers;
    }
    // It may have stood still since the catalog has answered.
    if !lease.is_sure().await {
        return answers.iter().map(|_| Err(StepError::no_lock())).collect();
    }
    crash::point("source-delete-before");
    let deleted = deleting.delete(source, &wanted).await;
    crash::point("source-delete-after");
    for (at, deleted) in by_place(asked, deleted) {
        match deleted {
            Some(Ok(())) => {}
            Some(Err(error)) => answers[at] = Err(StepError::store(Side::Source)(error)),
            None => answers[at] = unanswered(),
        }
    }
    answers
}
