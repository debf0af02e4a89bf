//! Anchore's services at work, for a migration that copies while they run: documents are rewritten, added
//! and deleted, content first and then the row, as the engine does it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use super::deployment::{Deployment, Key};

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(20);

/// Services that write until they are stopped.
pub struct Services {
    is_stopped: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    working: JoinHandle<anyhow::Result<Deployment>>,
}

impl Services {
    /// Starts them over a deployment.
    pub fn start(mut deployment: Deployment) -> Self {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let writes = Arc::new(AtomicU64::new(0));
        let (stop, count) = (is_stopped.clone(), writes.clone());
        let working = tokio::spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                write(&mut deployment, number).await?;
                number += 1;
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
            Ok(deployment)
        });
        Self {
            is_stopped,
            writes,
            working,
        }
    }

    /// Waits until they have written something more.
    pub async fn have_written(&self, times: u64) {
        let wanted = self.writes.load(Ordering::Relaxed) + times;
        while self.writes.load(Ordering::Relaxed) < wanted && !self.working.is_finished() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops them; the deployment as they have left it, and how often they have written.
    pub async fn stop(self) -> anyhow::Result<(Deployment, u64)> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let deployment = self.working.await.context("the services have failed")??;
        Ok((deployment, self.writes.load(Ordering::Relaxed)))
    }
}

/// One write: of three, one makes a document, one rewrites one, and one deletes one.
async fn write(deployment: &mut Deployment, number: u64) -> anyhow::Result<()> {
    let nth = (number as usize * 7) % deployment.expected.len().max(1);
    let some = deployment.expected.keys().nth(nth).cloned();
    let content = format!("{{\"document\": {{\"written\": {number}}}}}").into_bytes();
    match (number % 3, some) {
        (1, Some(key)) => deployment.rewrite(&key, content).await,
        (2, Some(key)) if !deployment.is_binary(&key) => deployment.delete(&key).await,
        _ => {
            let id = format!("made-{number:05}");
            let key: Key = ("admin".into(), "policy_bundles".into(), id);
            deployment.add(key, content).await
        }
    }
}
