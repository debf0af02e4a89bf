//! What each command prints, for people and as `--json`: snapshots, with all that changes from run
//! to run blotted out. `INSTA_UPDATE=always cargo test output::` takes new ones; read the diff.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::sqlite::World;

/// Runs a command and writes down all that a person sees.
async fn shown(world: &World, args: &[String]) -> String {
    let outcome = world.program.run(args).await;
    let mut text = String::new();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let _ = writeln!(text, "$ windlass {}", args.join(" "));
    text.push_str(&outcome.stdout);
    for line in outcome.stderr.lines() {
        let _ = writeln!(text, "2> {line}");
    }
    let _ = write!(text, "exit {}", outcome.code.expect("an end of its own"));
    blot(world, &text)
}

/// Puts names in the place of paths, times, identifiers and numbers that no two runs share.
fn blot(world: &World, text: &str) -> String {
    let home = world.program.home().display().to_string();
    let mut text = text.replace(&home, "HOME");
    for (pattern, name) in [
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
        (
            r#""(elapsed_ms|pid|heartbeat_age_s|epoch|seq)":\d+"#,
            r#""$1":N"#,
        ),
        (r#""(host|head)":"[^"]*""#, r#""$1":"…""#),
        (r" in \d+(\.\d+)? s\b", " in N s"),
        (r"on \S+ as process \d+", "on HOST as process N"),
        (
            r"on \S+ \(process \d+\): ended \d+ s ago",
            "on HOST (process N): ended N s ago",
        ),
        (r"at entry \d+", "at entry N"),
        (r"\b\d+ ms\b", "N ms"),
        (r" {2,}", "  "),
    ] {
        let regex = regex::Regex::new(pattern).expect("a pattern");
        text = regex.replace_all(&text, name).into_owned();
    }
    text
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

async fn both(world: &World, line: &str) -> String {
    let people = shown(world, &words(line)).await;
    let machines = shown(world, &words(&format!("{line} --json"))).await;
    format!("{people}\n\n{machines}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_from_check_to_journal() {
    let world = World::new(3).await;
    let check = format!("check {}/localfs.yaml", world.program.home().display());
    assert_snapshot!("check", both(&world, &check).await);
    assert_snapshot!("list-drivers", both(&world, "list-drivers").await);
    let dry = world.args("db", "localfs", &["--dry-run"]).join(" ");
    assert_snapshot!("dry-run", both(&world, &dry).await);
    let migrate = world.args("db", "localfs", &["--concurrency", "1"]);
    assert_snapshot!("migrate", shown(&world, &migrate).await);
    let nothing = world.args("db", "localfs", &[]).join(" ");
    assert_snapshot!("nothing-to-do", both(&world, &nothing).await);
    assert_snapshot!(
        "list-migrations",
        both(&world, &with_url(&world, "list-migrations")).await
    );
    assert_snapshot!("status", both(&world, "status 1").await);
    let verify = format!("verify {}/localfs.yaml", world.program.home().display());
    assert_snapshot!("verify", both(&world, &verify).await);
    assert_snapshot!("verify-task", both(&world, "verify --task 1").await);
    assert_snapshot!("resume-complete", both(&world, "resume 1").await);
    assert_snapshot!("journal", shown(&world, &words("journal 1")).await);
    let back = world.args("localfs", "db2", &["--json", "--concurrency", "1"]);
    assert_snapshot!("migrate-json", shown(&world, &back).await);
}

fn with_url(world: &World, line: &str) -> String {
    let database = world.program.home().join("anchore.db");
    format!("{line} --db-connect sqlite:///{}", database.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_document_and_a_refusal() {
    let world = World::new(3).await;
    let key = world.a_document();
    world.set_text(&key, "damaged").await;
    let migrate = world.args("db", "localfs", &["--concurrency", "1"]);
    assert_snapshot!("failed-document", shown(&world, &migrate).await);
    assert_snapshot!("failed-status", both(&world, "status 1").await);
    assert_snapshot!("failed-verify", both(&world, "verify --task 1").await);
    let same = world.args("db", "db", &[]).join(" ");
    assert_snapshot!("same-place", both(&world, &same).await);
    assert_snapshot!("unknown-task", both(&world, "resume 9").await);
}
