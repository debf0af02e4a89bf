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
        (r#""(host|head|hash|mirrored_head)":"[^"]*""#, r#""$1":"…""#),
        (r#""tag":"[^"]*""#, r#""tag":"…""#),
        (r"\b\d+:[0-9a-f]{64}", "SEQ:HASH"),
        (r"(UUID,)[^,\s]+,\d+,", "${1}HOST,N,"),
        (r"(by |TIME  )[\w.-]+:\d+\b", "${1}HOST:N"),
        (r" in \d+(\.\d+)? s\b", " in N s"),
        (r"on \S+ as process \d+", "on HOST as process N"),
        (
            r"on \S+ \(process \d+\): ended \d+ s ago",
            "on HOST (process N): ended N s ago",
        ),
        (r"; by \S+; typed .*", "; by USER; typed COMMAND"),
        (r"at entry \d+", "at entry N"),
        (r"\b\d+ ms\b", "N ms"),
        (r"last_updated \d+, not \d+", "last_updated N, not N"),
        // Where the machine is slow, a line a second tells how far it is.
        (r"(?m)^2> \d+ of \d+ objects, .*\n", ""),
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
    let key = world
        .deployment
        .expected()
        .keys()
        .next()
        .expect("a document");
    let object = format!("journal 1 --object {}/{}/{}", key.user, key.bucket, key.id);
    assert_snapshot!("journal-object", both(&world, &object).await);
    let csv = words("journal 1 --format csv --phase copied");
    assert_snapshot!("journal-csv", shown(&world, &csv).await);
    assert_snapshot!("journal-verify", both(&world, "journal verify 1").await);
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

#[tokio::test(flavor = "multi_thread")]
async fn what_an_auditor_sees_of_a_task_that_does_not_fit() {
    let world = World::new(3).await;
    let one_by_one = ["--concurrency", "1"];
    let done = world.migrate("db", "localfs", &one_by_one).await;
    done.expect_code(0);
    let home = world.program.home();
    let mirror = format!("sqlite:///{}", home.join("anchore.db").display());
    let elsewhere = format!(
        "journal 1 --state-dir {}/none --db-connect {mirror}",
        home.display()
    );
    let object = "--event committed";
    assert_snapshot!(
        "journal-mirror",
        both(&world, &format!("{elsewhere} {object}")).await
    );
    for statement in [
        "UPDATE windlass_objects SET dest_digest = 'd41d8cd98f00b204e9800998ecf8427e'
          WHERE idx = 0",
        "UPDATE windlass_objects SET phase = 'pending' WHERE idx = 1",
        "UPDATE archive_metadata SET size = 1, last_updated = last_updated + 60
          WHERE \"archiveId\" LIKE '0002%'",
    ] {
        let done = sqlx::raw_sql(statement).execute(&world.pool).await;
        done.expect("changed");
    }
    assert_snapshot!(
        "journal-verify-misfit",
        both(&world, "journal verify 1").await
    );
    let export = home.join("export.jsonl");
    let text = world
        .program
        .run(&["journal", "1", "--format", "jsonl"])
        .await
        .stdout;
    std::fs::write(
        &export,
        text.replacen("\"method\":\"full\"", "\"method\":\"none\"", 1),
    )
    .expect("written");
    let verify = format!("journal verify --export {}", export.display());
    assert_snapshot!("journal-verify-export", both(&world, &verify).await);
}
