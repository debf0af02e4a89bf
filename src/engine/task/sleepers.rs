//! Processes that may still be alive and stand still: stopped, or on a machine that is. What such a
//! process sends when it wakes, no store keeps out, however long ago it was decided upon.

use uuid::Uuid;

use crate::catalog::Executor;
use crate::engine::EngineError;
use crate::engine::run::opening::{host, is_gone};
use crate::model::DriverKind;

/// S3 refuses a request whose signature is older than a quarter of an hour. A minute more, for clocks that
/// differ.
const SIGNATURE_LAPSES_S: i64 = 16 * 60;

/// Refuses to go on while one of these executors may wake up. `own` is the one whose checkpoint is here:
/// that another process of it is alive on this host, its lock on the checkpoint rules out.
pub fn refuse(
    executors: &[Executor],
    own: Option<Uuid>,
    dead: &[Uuid],
    store: DriverKind,
) -> Result<(), EngineError> {
    let is_s3 = store == DriverKind::S3;
    let may_wake = |executor: &&Executor| {
        let is_known = executor.ended
            || (Some(executor.executor) == own && executor.host == host())
            || dead.contains(&executor.executor)
            || is_gone(&executor.host, executor.pid)
            || (is_s3 && executor.heartbeat_age_s >= SIGNATURE_LAPSES_S);
        !is_known
    };
    let asleep: Vec<&Executor> = executors.iter().filter(may_wake).collect();
    let Some(youngest_s) = asleep.iter().map(|e| e.heartbeat_age_s).min() else {
        return Ok(());
    };
    let processes = asleep.iter().map(|executor| {
        format!(
            "process {} on {} (executor {}, last heard of {} s ago)",
            executor.pid, executor.host, executor.executor, executor.heartbeat_age_s
        )
    });
    let wait = match is_s3 {
        true => {
            let rest_s = (SIGNATURE_LAPSES_S - youngest_s).max(1);
            format!("wait {rest_s} s, after which the store refuses what it has signed")
        }
        false => "run this on its host, where it can be seen that it is gone".to_owned(),
    };
    Err(EngineError::MayWake {
        processes: processes.collect::<Vec<_>>().join(", "),
        wait,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executor(host: &str, pid: i64, ended: bool, heartbeat_age_s: i64) -> Executor {
        Executor {
            executor: Uuid::new_v4(),
            epoch: 1,
            host: host.into(),
            pid,
            seq: 0,
            head: String::new(),
            ended,
            heartbeat_age_s,
        }
    }

    #[test]
    fn only_what_is_known_to_be_dead_is_let_pass() {
        let s3 = DriverKind::S3;
        let let_pass = |executor: &Executor, own, dead: &[Uuid], store| {
            refuse(std::slice::from_ref(executor), own, dead, store).is_ok()
        };
        let elsewhere = executor("elsewhere", 1, false, 30);
        assert!(!let_pass(&elsewhere, None, &[], s3));
        // A checkpoint that was carried here says nothing of the process that is still there.
        assert!(!let_pass(&elsewhere, Some(elsewhere.executor), &[], s3));
        assert!(let_pass(&elsewhere, None, &[elsewhere.executor], s3));
        let old = executor("elsewhere", 1, false, 16 * 60);
        assert!(let_pass(&old, None, &[], s3));
        assert!(!let_pass(&old, None, &[], DriverKind::Localfs));
        assert!(let_pass(&executor("elsewhere", 1, true, 1), None, &[], s3));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = i64::from(child.id());
        child.wait().unwrap();
        assert!(let_pass(&executor(&host(), gone, false, 1), None, &[], s3));
        let alive = i64::from(std::process::id());
        let here = executor(&host(), alive, false, 1);
        assert!(!let_pass(&here, None, &[], s3));
        assert!(let_pass(&here, Some(here.executor), &[], s3));
    }
}
