//! Events as histories in tests are made of.

use crate::model::{
    Accepted, Cause, Committed, Copied, Created, Event, Failed, Phase, PhaseCounts, Policy,
    Rebuilt, Resumed, Returned, Skipped, SourceDeleted, SourceKept, Started, TaskKind, Verified,
};

pub fn created(kind: TaskKind) -> Event {
    Event::Created(Created {
        kind,
        parent: None,
        from: "db://".into(),
        to: "s3://b/".into(),
        policy: Policy::default(),
        planned: 3,
        bytes: 3,
    })
}

pub fn started() -> Event {
    Event::Started(Started {
        host: "h".into(),
        pid: 1,
        version: "0".into(),
        phases: PhaseCounts::default(),
        user: None,
        command: None,
    })
}

pub fn resumed() -> Event {
    Event::Resumed(Resumed {
        host: "h".into(),
        pid: 1,
        version: "0".into(),
        phases: PhaseCounts::default(),
        user: None,
        command: None,
    })
}

pub fn rebuilt() -> Event {
    Event::Rebuilt(Rebuilt {
        why: "lost".into(),
        old_executor: None,
        old_head: None,
    })
}

pub fn copied() -> Event {
    Event::Copied(Copied {
        source_url: "db://u/b/i".into(),
        source_digest: None,
        source_size: None,
        source_compressed: None,
        created_at: None,
        last_updated: None,
        dest_url: "s3://b/u/b/i".into(),
        dest_digest: "d".into(),
        dest_size: 1,
        dest_compressed: false,
        content_sha256: "c".into(),
        content_size: 1,
    })
}

pub fn verified() -> Event {
    Event::Verified(Verified {
        method: "full".into(),
        bytes: 1,
        tag: None,
    })
}

pub fn committed() -> Event {
    Event::Committed(Committed {
        old_content_url: "a".into(),
        new_content_url: "b".into(),
    })
}

pub fn deleted() -> Event {
    let source_url = "a".into();
    Event::SourceDeleted(SourceDeleted { source_url })
}

pub fn kept() -> Event {
    Event::SourceKept(SourceKept { why: "w".into() })
}

pub fn failed(phase: Phase) -> Event {
    Event::Failed(Failed {
        phase,
        class: "permanent".into(),
        attempt: 1,
        error: "e".into(),
        cause: None,
    })
}

pub fn accepted(phase: Phase) -> Event {
    Event::Accepted(Accepted {
        phase,
        cause: Cause::MissingAtSource,
        who: "root@host".into(),
        why: "w".into(),
        error: "e".into(),
    })
}

pub fn returned(to: Phase) -> Event {
    let why = "w".into();
    Event::Returned(Returned { to, why })
}

pub fn skipped() -> Event {
    Event::Skipped(Skipped { why: "w".into() })
}
