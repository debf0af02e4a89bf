//! How a run begins in the journal, and who it is.

use rustix::process::{Pid, test_kill_process};

use crate::catalog::TaskRow;
use crate::engine::run::operator;
use crate::journal::Head;
use crate::model::{Created, Event, PassBegan, PhaseCounts, Resumed, Started};

/// Which executor this is, for the journal.
pub fn resumed(phases: PhaseCounts) -> Resumed {
    Resumed {
        host: host(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        phases,
        user: Some(operator::user()),
        command: Some(operator::command()),
    }
}

/// The host's name.
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Whether a process is known to be no more: one of this very host, whose number nobody has.
pub fn is_gone(host: &str, pid: i64) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    host == self::host()
        && pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// This process as Anchore's `executor_id` has it: `host:pid:threadid:`.
pub fn executor_id() -> String {
    format!("{}:{}:0:", host(), std::process::id())
}

/// The first entries of a task's first checkpoint.
pub fn opening(task: &TaskRow, phases: PhaseCounts) -> Vec<Event> {
    let mut events = vec![
        Event::Created(Created {
            kind: task.kind,
            parent: task.parent,
            from: task.source.place.clone(),
            to: task.destination.place.clone(),
            policy: task.policy.clone(),
            planned: task.planned,
            bytes: task.planned_bytes,
        }),
        Event::Started(Started {
            host: host(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phases,
            user: Some(operator::user()),
            command: Some(operator::command()),
        }),
    ];
    events.extend(pass_began(task));
    events
}

/// How a process begins in its journal: with the task where that has no entries yet, since it is new, or one
/// before it died too soon.
pub fn begins(task: &TaskRow, head: Head, phases: PhaseCounts) -> Vec<Event> {
    match head.seq {
        0 => opening(task, phases),
        _ => vec![Event::Resumed(resumed(phases))],
    }
}

/// The pass that is under way, to whoever joins it: how many objects there are by now.
pub fn pass_began(task: &TaskRow) -> Option<Event> {
    task.stage.map(|_| {
        Event::PassBegan(PassBegan {
            n: task.passes,
            planned: task.planned,
            superseded: 0,
        })
    })
}
