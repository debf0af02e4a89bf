//! Batching that hides behind `await`: callers hand in one request each and wait for its answer;
//! what arrives while a batch is under way makes up the next one. So a lone request waits for
//! nothing, and under load the cost of a round trip is shared by all who came meanwhile.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};

/// Limits of one batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Requests in one batch at most.
    pub requests: usize,
    /// Their weight together at most; a single heavier request makes a batch of its own.
    pub weight: usize,
    /// Batches under way at once.
    pub in_flight: usize,
}

type Answer<R> = oneshot::Sender<R>;
type Run<Q, R> = dyn Fn(Vec<Q>) -> Pin<Box<dyn Future<Output = Vec<R>> + Send>> + Send + Sync;

/// Gathers requests into batches. Dropping it ends its worker once all are answered.
#[derive(Debug)]
pub struct Batcher<Q, R> {
    queue: mpsc::Sender<(Q, usize, Answer<R>)>,
}

impl<Q, R> Clone for Batcher<Q, R> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Batcher<Q, R> {
    /// Starts the worker on the current tokio runtime. `run` must answer every request of a
    /// batch, in order.
    pub fn new<F, Fut>(limits: BatchLimits, run: F) -> Self
    where
        F: Fn(Vec<Q>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<R>> + Send + 'static,
    {
        let (queue, requests) = mpsc::channel(limits.requests.max(1));
        let run: Box<Run<Q, R>> = Box::new(move |batch| Box::pin(run(batch)));
        tokio::spawn(work(limits, requests, run));
        Self { queue }
    }

    /// Waits for the answer to one request; `None` if the batch that held it panicked.
    pub async fn submit(&self, request: Q, weight: usize) -> Option<R> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((request, weight, answer)).await.ok()?;
        answered.await.ok()
    }
}

async fn work<Q: Send + 'static, R: Send + 'static>(
    limits: BatchLimits,
    mut requests: mpsc::Receiver<(Q, usize, Answer<R>)>,
    run: Box<Run<Q, R>>,
) {
    let mut running = tokio::task::JoinSet::new();
    let mut held_back = None;
    loop {
        let first = match held_back.take() {
            Some(first) => first,
            None => match requests.recv().await {
                Some(first) => first,
                None => break,
            },
        };
        // Waiting for a place here is what lets a batch grow.
        while running.len() >= limits.in_flight {
            running.join_next().await;
        }
        let mut weight = first.1;
        let mut batch = vec![first];
        while batch.len() < limits.requests {
            let Ok(next) = requests.try_recv() else { break };
            if weight + next.1 > limits.weight {
                held_back = Some(next);
                break;
            }
            weight += next.1;
            batch.push(next);
        }
        let (batch, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|(request, _, answer)| (request, answer))
            .unzip();
        let results = run(batch);
        running.spawn(async move {
            for (answer, result) in answers.into_iter().zip(results.await) {
                // A caller that no longer waits has been cancelled; its answer is nobody's.
                let _ = answer.send(result);
            }
        });
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_arrives_meanwhile_shares_the_next_batch() {
        let batches = Arc::new(AtomicUsize::new(0));
        let counted = batches.clone();
        let limits = BatchLimits {
            requests: 100,
            weight: 1000,
            in_flight: 1,
        };
        let batcher = Batcher::new(limits, move |batch: Vec<u32>| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                batch.into_iter().map(|n| n * 2).collect()
            }
        });
        let answers = futures::future::join_all((0..50).map(|n| batcher.submit(n, 1))).await;
        let expected: Vec<_> = (0..50).map(|n| Some(n * 2)).collect();
        assert_eq!(answers, expected);
        assert!(batches.load(Ordering::Relaxed) <= 3);
    }

    #[tokio::test]
    async fn a_heavy_request_goes_alone() {
        let limits = BatchLimits {
            requests: 100,
            weight: 10,
            in_flight: 1,
        };
        let batcher = Batcher::new(limits, |batch: Vec<usize>| async move {
            let n = batch.len();
            batch.into_iter().map(|_| n).collect()
        });
        let answers = futures::future::join_all([11, 11, 11].map(|w| batcher.submit(w, w))).await;
        assert_eq!(answers, [Some(1), Some(1), Some(1)]);
    }
}
