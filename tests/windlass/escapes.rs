//! Text from outside on a terminal: whatever an id, a path or an argument holds, no command moves a
//! cursor, turns a line round or forges a line of its own with it.

use std::fs;

use crate::sqlite::World;
use crate::support::program::Outcome;

/// Control sequences of one byte and of two, a title, a bell, an override of direction, a line
/// that reads as one of windlass's own, and what a spreadsheet would run.
const HOSTILE: [&str; 8] = [
    "a\u{1b}[2J\u{1b}[1;1H",
    "b\u{1b}]0;owned\u{7}",
    "c\u{9b}31m\u{85}",
    "d\u{202e}nosj.exe\u{2066}",
    "e\ntask 1 complete: all is well",
    "f\r\u{200b}\u{feff}g\u{7f}",
    "=HYPERLINK(1)",
    "\t+1",
];

const FORGED: &str = "task 1 complete: all is well";

/// As `windlass::model::is_hidden` has it, written out once more.
fn is_hidden(c: char) -> bool {
    let c = u32::from(c);
    c < 0x20
        || (0x7f..=0x9f).contains(&c)
        || [0xad, 0x61c, 0x180e, 0xfeff].contains(&c)
        || (0x200b..=0x200f).contains(&c)
        || (0x2028..=0x202e).contains(&c)
        || (0x2060..=0x206f).contains(&c)
}

#[track_caller]
fn expect_plain(what: &str, said: &Outcome) {
    for (stream, text) in [("stdout", &said.stdout), ("stderr", &said.stderr)] {
        // The line ends of CSV are its own.
        for line in text.replace("\r\n", "\n").split('\n') {
            let hidden = line.chars().find(|c| is_hidden(*c));
            assert_eq!(hidden, None, "{what}: {stream}: {line:?}");
            assert!(!line.starts_with(FORGED), "{what}: {stream}: {text}");
        }
    }
}

async fn hostile_world() -> World {
    let mut world = World::new(0).await;
    for (number, text) in HOSTILE.into_iter().enumerate() {
        let content = format!("{{\"document\": {number}}}").into_bytes();
        let plain = number.to_string();
        let documents = [
            ("admin", "b", text),
            ("admin", text, &plain),
            (text, "b", &plain),
        ];
        for (user, bucket, id) in documents {
            let deployment = &mut world.deployment;
            deployment.add_db_document(user, bucket, id, &content).await;
        }
    }
    let keys: Vec<_> = world.deployment.expected().keys().cloned().collect();
    for (number, key) in keys.iter().enumerate() {
        match number % 3 {
            0 => world.deployment.damage_db_document(key).await,
            1 => world.deployment.remove_db_document(key).await,
            _ => {}
        }
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_hands_a_terminal_what_an_id_holds() {
    let world = hostile_world().await;
    let migrate = world
        .migrate("db", "localfs", &["-vv"])
        .await
        .expect_code(3);
    expect_plain("migrate", &migrate);
    assert!(migrate.stdout.contains("\\x1b"), "{}", migrate.stdout);
    let config = format!("{}/localfs.yaml", world.program.home().display());
    let (json, verify) = (
        &world.args("db", "localfs", &["--dry-run", "--json"]),
        ["verify", &config],
    );
    let json: Vec<&str> = json.iter().map(String::as_str).collect();
    for args in [
        &json[..],
        &verify,
        &["status", "1"],
        &["status", "1", "--watch", "--json"],
        &["journal", "1"],
        &["journal", "1", "--format", "csv"],
        &["journal", "1", "--object", "admin/b/a\u{1b}[2J\u{1b}[1;1H"],
        &["journal", "verify", "1"],
        &["verify", "--task", "1"],
        &["verify", "--task", "1", "--json"],
        &["resume", "1", "-vv"],
        &["resume", "1", "--json"],
        &["list-migrations"],
        &["report", "1", "-o", "-"],
    ] {
        let said = world.program.run(args).await;
        assert!(matches!(said.code, Some(0 | 3)), "{args:?}: {said:?}");
        expect_plain(&args.join(" "), &said);
    }
    let csv = world
        .program
        .run(&["journal", "1", "--format", "csv"])
        .await
        .stdout;
    assert!(csv.contains(",'=HYPERLINK(1),"), "{csv}");
    assert!(csv.contains(",'\\t+1,"), "{csv}");
    // Machines get what was there.
    let report = world.program.run(&["resume", "1", "--json"]).await.json();
    let failures = report["failures"].as_array().expect("a list").clone();
    let objects: Vec<_> = failures
        .iter()
        .filter_map(|f| f["object"].as_str())
        .collect();
    assert!(
        objects.contains(&"admin/b/b\u{1b}]0;owned\u{7}"),
        "{objects:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_refusal_hands_a_terminal_what_was_typed() {
    let world = World::new(1).await;
    let config = world.program.home().join("e\u{1b}[2J\u{202e}.yaml");
    fs::write(
        &config,
        "services: {catalog: {object_store: \"\\e[2J\\u202e\\nx\"}}",
    )
    .expect("written");
    let config = config.display().to_string();
    for text in HOSTILE {
        for args in [
            &["status", text][..],
            &["journal", text, "--json"],
            &["journal", "1", "--event", text],
            &["migrate", text, text, "--dontask"],
            &["migrate", &config, &config, "--dontask"],
            &["check", &config, "--json"],
            &["verify", text, "-vv"],
            &["report", "1", "-o", text, text],
            &["list-migrations", "--db-connect", text],
            &[text],
        ] {
            let said = world.program.run(args).await;
            assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
            expect_plain(&format!("{args:?}"), &said);
        }
    }
}
