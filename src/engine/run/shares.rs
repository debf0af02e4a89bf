//! `--bwlimit` and `--bwlimit-read` are of all workers of a task together: each takes its share.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::catalog::Together;
use crate::engine::object::context::Context;

/// How soon a worker that has come, or is gone, counts.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the share while it lives.
pub struct Shares(JoinHandle<()>);

impl Drop for Shares {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Nothing where nobody shares the task, or no rate is set.
pub async fn keep(context: &Arc<Context>) -> Option<Shares> {
    let control = &context.control;
    let is_limited = control.bandwidth.is_some() || control.read_bandwidth.is_some();
    if context.writer.together == Together::Alone || !is_limited {
        return None;
    }
    let mut known = share(context, 1).await;
    let context = context.clone();
    Some(Shares(tokio::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            known = share(&context, known).await;
        }
    })))
}

/// A database that does not answer leaves the share as it was.
async fn share(context: &Context, known: u64) -> u64 {
    let at_work = context
        .catalog
        .workers_at_work(context.writer.task_id)
        .await;
    let at_work = at_work.map_or(known, |at_work| at_work.max(1));
    if at_work != known {
        tracing::info!("{at_work} workers share the bandwidth");
    }
    let control = &context.control;
    for bandwidth in [&control.bandwidth, &control.read_bandwidth] {
        bandwidth
            .iter()
            .for_each(|bandwidth| bandwidth.share(at_work));
    }
    at_work
}
