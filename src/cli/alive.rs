//! Whether the process that works on a task still lives, and what to type if it does not.

use serde::Serialize;

use crate::catalog::Executor;
use crate::engine::is_gone;
use crate::model::TaskState;

/// A running task whose executor has been silent for this long is taken for dead.
const STALE_S: i64 = 30;

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A process is at work.
    Running,
    /// It says running, and its process is no more.
    Dead,
    /// It says running, and nothing was heard of it.
    Silent,
    /// Stopped early, in good order.
    Interrupted,
    /// A pass has come to its end; nothing is committed yet.
    Staged,
    /// Came to its end, with failed objects.
    Failed,
    /// All is done.
    Complete,
}

impl Standing {
    /// Of a task and its latest executor.
    pub fn of(state: TaskState, latest: Option<&Executor>) -> Self {
        match (state, latest) {
            (TaskState::Interrupted, _) => Self::Interrupted,
            (TaskState::Staged, _) => Self::Staged,
            (TaskState::Failed, _) => Self::Failed,
            (TaskState::Complete, _) => Self::Complete,
            (TaskState::Running, Some(executor)) if executor.heartbeat_age_s > STALE_S => {
                Self::Silent
            }
            (TaskState::Running, Some(executor)) if is_dead(executor) => Self::Dead,
            (TaskState::Running, _) => Self::Running,
        }
    }

    /// Why the task can be resumed, behind its name; nothing where there is nothing to resume.
    pub fn why_resume(self, latest: Option<&Executor>) -> Option<String> {
        match self {
            Self::Running | Self::Staged | Self::Complete => None,
            Self::Interrupted => Some("was interrupted".into()),
            Self::Failed => Some("has failed objects".into()),
            Self::Silent => Some(format!(
                "says running, but nothing was heard of it for {} s",
                latest.map_or(0, |executor| executor.heartbeat_age_s)
            )),
            Self::Dead => Some(format!(
                "says running, but its process {} is no more",
                latest.map_or(0, |executor| executor.pid)
            )),
        }
    }
}

/// A process of this very host that is not there needs no waiting for its silence. One that has
/// taken over its number only delays the notice.
fn is_dead(executor: &Executor) -> bool {
    is_gone(&executor.host, executor.pid)
}

/// Why a task of Anchore's own tool that says `running` does not, where that can be known. The tool
/// holds the migration lock for as long as it is at work, unless it has lost it.
pub fn why_not_running(executor_id: &str, lock_is_held: bool) -> Option<String> {
    // `host:pid:threadid:`
    let mut parts = executor_id.trim_end_matches(':').rsplitn(3, ':').skip(1);
    let pid: Option<i64> = parts.next().and_then(|pid| pid.parse().ok());
    let gone = match (pid, parts.next()) {
        (Some(pid), Some(host)) if is_gone(host, pid) => Some(pid),
        _ => None,
    };
    match (gone, lock_is_held) {
        (Some(pid), _) => Some(format!("says running, but its process {pid} is no more")),
        (None, false) => Some("says running, but nobody holds the migration lock".into()),
        (None, true) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::host;

    #[test]
    fn a_task_of_the_original_is_dead_where_that_can_be_known() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let (host, alive) = (host(), std::process::id());
        let why = |who: String, held| why_not_running(&who, held);
        let gone = why(format!("{host}:{dead}:140001:"), true);
        assert_eq!(
            gone,
            Some(format!("says running, but its process {dead} is no more"))
        );
        assert_eq!(why(format!("{host}:{alive}:140001:"), true), None);
        assert_eq!(why(format!("elsewhere:{dead}:140001:"), true), None);
        for unlocked in [format!("elsewhere:{dead}:1:"), String::new()] {
            let why = why(unlocked, false).unwrap();
            assert!(why.contains("nobody holds the migration lock"), "{why}");
        }
    }
}
