//! What the workers of a task have in common: `--bwlimit` and `--bwlimit-read` are of all of them together, and
//! each takes its share; and what a store asks of one it asks of all.

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

/// Nothing where nobody shares the task.
pub async fn keep(context: &Arc<Context>) -> Option<Shares> {
    if context.writer.together == Together::Alone {
        return None;
    }
    let mut known = Known {
        at_work: 1,
        told: 0,
    };
    known.look(context).await;
    let context = context.clone();
    Some(Shares(tokio::spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            known.look(&context).await;
        }
    })))
}

/// What this worker knows of the others, and they of it.
struct Known {
    at_work: u64,
    /// How often a store has asked for fewer requests, as far as the others were told.
    told: u64,
}

impl Known {
    /// A database that does not answer leaves everything as it was.
    async fn look(&mut self, context: &Context) {
        let control = &context.control;
        let throttled = control.health.throttled();
        let shared = context
            .catalog
            .share(&context.writer, throttled - self.told);
        let Ok(share) = shared.await else {
            return;
        };
        self.told = throttled;
        control
            .health
            .record_others_throttled(share.others_throttled);
        let at_work = share.at_work.max(1);
        let bandwidths = [&control.bandwidth, &control.read_bandwidth];
        let limited = bandwidths.into_iter().flatten();
        if at_work != self.at_work && limited.clone().next().is_some() {
            tracing::info!("{at_work} workers share the bandwidth");
        }
        limited.for_each(|bandwidth| bandwidth.share(at_work));
        self.at_work = at_work;
    }
}
