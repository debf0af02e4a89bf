//! A page made of hostile names, and of every state that a task can be in.

use uuid::Uuid;

use super::*;
use crate::model::{Policy, Summary, TaskKind, TaskState};

const HOSTILE: &str = "<script>alert(1)</script>\"'&<!--\u{202e}gpj.exe\u{0}</style></title>";

fn side() -> Side {
    Side {
        driver: "localfs".into(),
        place: format!("file:///{HOSTILE}"),
        config: format!("/etc/{HOSTILE}"),
        section: "object_store".into(),
        fingerprint: "0".repeat(64),
    }
}

fn report(state: TaskState) -> Report {
    let failed = u64::from(state == TaskState::Failed);
    let total = Summary {
        planned: 3,
        committed: 3 - failed,
        source_deleted: 3 - failed,
        failed,
        bytes: 30,
        ..Summary::default()
    };
    let mut pace = Pace::default();
    pace.add(10, 30, 3);
    Report {
        task: Task {
            task_id: 7,
            task_uuid: Uuid::nil(),
            kind: TaskKind::Forward,
            state,
            parent: None,
            children: Vec::new(),
            source: side(),
            destination: side(),
            policy: Policy {
                buckets: vec![HOSTILE.into()],
                ..Policy::default()
            },
            planned_bytes: 30,
            created_ms: 1_600_000_000_000,
            database: HOSTILE.into(),
        },
        total,
        buckets: vec![Bucket {
            name: HOSTILE.into(),
            source_bytes: 30,
            summary: total,
        }],
        history: History {
            told_by: Witness::Journal,
            runs: vec![Run {
                number: 1,
                host: HOSTILE.into(),
                pid: 1,
                version: HOSTILE.into(),
                user: Some(HOSTILE.into()),
                command: Some(HOSTILE.into()),
                began_ms: 1_600_000_000_000,
                ended_ms: 1_600_000_000_030,
                resumed: false,
                rebuilt: Some(HOSTILE.into()),
                lock_regained: 1,
                copied: 3,
                bytes: 30,
                committed: 3,
                failed: 0,
                ending: Ending::Interrupted {
                    why: HOSTILE.into(),
                },
            }],
            runs_left_out: 0,
            pace,
            steps: Steps::default(),
        },
        chains: vec![Chain {
            executor: Uuid::nil(),
            epoch: 1,
            host: HOSTILE.into(),
            pid: 1,
            version: HOSTILE.into(),
            started_ms: 1_600_000_000_000,
            heartbeat_ms: 1_600_000_000_030,
            ended_ms: None,
            seq: 9,
            head: HOSTILE.into(),
        }],
        journal: JournalSeen::Damaged {
            why: HOSTILE.into(),
        },
        findings: vec![Finding {
            user: HOSTILE.into(),
            bucket: HOSTILE.into(),
            id: HOSTILE.into(),
            document: HOSTILE.into(),
            what: FindingKind::Failed,
            phase: HOSTILE.into(),
            class: HOSTILE.into(),
            cause: HOSTILE.into(),
            attempts: 1,
            why: HOSTILE.into(),
        }],
        causes: vec![Cause {
            what: FindingKind::Failed,
            phase: HOSTILE.into(),
            class: HOSTILE.into(),
            cause: HOSTILE.into(),
            objects: 1,
        }],
        made: Made {
            at_ms: 1_600_000_100_000,
            host: HOSTILE.into(),
            version: "0.1.0".into(),
        },
        signed: Some(Signed {
            statement: HOSTILE.into(),
            signature: HOSTILE.into(),
            public_key: HOSTILE.into(),
        }),
    }
}

#[test]
fn a_statement_says_what_the_report_comes_to_in_lines_that_nothing_forges() {
    let mut report = report(TaskState::Failed);
    report.task.source.place = "db://\ntask 8".into();
    report.journal = JournalSeen::Proven {
        executor: Uuid::nil(),
        seq: 12,
        head: "cd".repeat(32),
        has_mirrored_head: Some(true),
        events: Vec::new(),
        commits: None,
    };
    let text = statement(&report);
    let nil = Uuid::nil();
    for line in [
        format!("task 7 {nil}: forward, failed"),
        "from db://\\ntask 8".to_owned(),
        "planned 3 = committed 2 + skipped 0 + failed 1 + accepted 0 + remaining 0".to_owned(),
        "sources: 2 deleted, 0 kept, 0 not deleted".to_owned(),
        format!("{nil} {nil} 12 {}", "cd".repeat(32)),
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in {text}");
    }
    assert_eq!(text.lines().count(), 9 + 2, "{text}");
}

fn served(state: TaskState) -> String {
    let now = Now {
        why_resume: Some(HOSTILE.into()),
        speed: Some(Speed {
            objects_per_s: 1.5,
            bytes_per_s: 1e6,
            left_s: Some(90),
        }),
        workers: vec![Worker {
            executor: Uuid::nil(),
            epoch: 1,
            host: HOSTILE.into(),
            pid: 1,
            version: HOSTILE.into(),
            began_ms: 1_600_000_000_000,
            heard_s: 40,
            has_ended: false,
            entries: 9,
            committed: 3,
            failed: 0,
            under_way: 0,
        }],
        failures: HOSTILE.into(),
    };
    let away = Notice::Away {
        why: HOSTILE.into(),
        since_ms: 1_600_000_100_000,
    };
    let report = report(state);
    let mut all = notice(&away, Some(1_600_000_000_000)).to_vec();
    all.extend(parts(&report, &now));
    served_page(&Served {
        title: &live_title(&report),
        list: Some(HOSTILE),
        events: HOSTILE,
        parts: &all,
        is_of_task: true,
        made_by: ("0.1.0", HOSTILE),
    })
}

#[test]
fn hostile_names_leave_a_served_page_as_it_is() {
    let page = served(TaskState::Running);
    assert_eq!(page.matches("<script>").count(), 2, "ours");
    assert_eq!(page.matches("</style>").count(), 2);
    assert!(!page.contains("<!--") && !page.contains(['\u{202e}', '\u{0}']));
    for words in [
        "3 of 3 objects committed. The task &lt;script&gt;",
        "To go on: <code>windlass resume 7</code>",
        "The database is away",
        "silent",
    ] {
        assert!(page.contains(words), "no {words:?}");
    }
}

#[test]
fn hostile_names_leave_the_page_as_it_is() {
    let harmless = {
        let text = format!("{:?}", report(TaskState::Failed));
        assert!(text.contains("alert(1)"), "they are everywhere");
        page(&report(TaskState::Failed))
    };
    assert_eq!(harmless.matches("<script>").count(), 1, "ours");
    assert_eq!(harmless.matches("</style>").count(), 1);
    assert_eq!(harmless.matches("</title>").count(), 1 + 2, "of two plots");
    assert!(!harmless.contains("<!--"));
    assert!(harmless.matches("&lt;script&gt;alert(1)").count() > 15);
    assert!(!harmless.contains(['\u{202e}', '\u{0}']));
    assert!(harmless.contains("[U+202E]"));
}

#[test]
fn every_element_that_is_opened_is_closed() {
    for page in [page(&report(TaskState::Failed)), served(TaskState::Failed)] {
        expect_closed(&page);
    }
}

fn expect_closed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let name = part.split(['>', ' ']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{part}"),
            None if ["!DOCTYPE", "meta", "br", "wbr"].contains(&name) => {}
            // What stands in the script and the style is no markup.
            None if open
                .last()
                .is_some_and(|open| ["script", "style"].contains(open)) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn identifiers_are_there_once_and_what_names_them_finds_them() {
    expect_identified(&page(&report(TaskState::Complete)));
    expect_identified(&served(TaskState::Complete));
}

fn expect_identified(page: &str) {
    let values = |attribute: &str| -> Vec<String> {
        let marked = format!(" {attribute}=\"");
        let rest = page.split(&marked).skip(1);
        rest.map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    let mut ids = values("id");
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "{ids:?}");
    let within = values("href").into_iter();
    let targets = within.filter_map(|href| Some(href.strip_prefix('#')?.to_owned()));
    let named = ["aria-labelledby", "aria-describedby"].map(values).concat();
    for name in targets.chain(named) {
        assert!(ids.contains(&name), "nothing is called {name}");
    }
}

#[test]
fn each_state_has_its_verdict() {
    for (state, words) in [
        (
            TaskState::Complete,
            "3 of 3 objects committed, each behind a proven copy",
        ),
        (
            TaskState::Failed,
            "1 failed. To try again: <code>windlass resume 7</code>",
        ),
        (
            TaskState::Interrupted,
            "To go on: <code>windlass resume 7</code>",
        ),
        (TaskState::Running, "had died without a word"),
    ] {
        assert!(page(&report(state)).contains(words), "{state}");
    }
    let mut wrong = report(TaskState::Complete);
    wrong.total.committed = 2;
    let page = page(&wrong);
    assert!(page.contains("do not add up") && page.contains("It does not add up: 3 = 2 + 0"));
}

#[test]
fn a_journal_that_is_not_the_databases_is_called_so() {
    let seen = |has_mirrored_head, commits| {
        let mut report = report(TaskState::Complete);
        report.journal = JournalSeen::Proven {
            executor: Uuid::nil(),
            seq: 9,
            head: "ab".repeat(32),
            has_mirrored_head,
            events: vec![("copied", 3)],
            commits,
        };
        page(&report)
    };
    assert!(seen(Some(true), Some(3)).contains("of 3: the two agree."));
    assert!(seen(Some(true), Some(2)).contains("of 3: they differ"));
    assert!(seen(Some(true), None).contains("This chain does not begin with the task"));
    assert!(seen(Some(false), Some(3)).contains("its tail was cut off"));
    assert!(seen(None, Some(3)).contains("does not know this chain"));
}
