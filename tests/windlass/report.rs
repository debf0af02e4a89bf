//! `report`: what it tells, whom it believes, and how it lies in its file.

use std::process::Command;

use serde_json::{Value, json};

use crate::sqlite::World;
use crate::support::program::Outcome;
use crate::world::seeded;

/// The name of a document that wants to be markup, code, and something else than it is.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'&amp;\u{202e}gpj.exe";

/// Forty documents, of which eight are damaged, one of them with a hostile name; a migration that
/// ended with them failed, and a resume that changed nothing.
pub async fn troubled() -> World {
    let world = World::new(40).await;
    let keys: Vec<_> = world
        .deployment
        .expected()
        .keys()
        .take(8)
        .cloned()
        .collect();
    for key in &keys {
        world.set_text(key, "damaged").await;
    }
    let rename = r#"UPDATE archive_document SET "archiveId" = $1 WHERE "archiveId" = $2;
           UPDATE archive_metadata SET "archiveId" = $1,
                  content_url = 'db://' || "userId" || '/' || bucket || '/' || $1
            WHERE "archiveId" = $2"#;
    for statement in rename.split(';') {
        sqlx::query(statement)
            .bind(HOSTILE)
            .bind(&keys[0].id)
            .execute(&world.pool)
            .await
            .expect("renamed");
    }
    let migrate = world.args("db", "localfs", &[]);
    world.program.run(&migrate).await.expect_code(3);
    world.program.run(&["resume", "1"]).await.expect_code(3);
    world
}

async fn report(world: &World, more: &[&str]) -> Outcome {
    let file = world.program.home().join("report.html");
    let file = file.display().to_string();
    let args = [&["report", "1", "-o", &file], more].concat();
    world.program.run(&args).await
}

fn page(world: &World) -> String {
    std::fs::read_to_string(world.program.home().join("report.html")).expect("a page")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_of_a_failure_and_a_resume() {
    let world = troubled().await;
    let said = report(&world, &[]).await.expect_code(0);
    assert!(
        said.stdout.contains("report on task 1 (failed)"),
        "{said:?}"
    );
    let page = page(&world);
    for words in [
        "Migration, task 1",
        "32 of 40 objects committed; 8 failed",
        "It adds up: 40 = 32 + 0 + 8 + 0.",
        "Chain proven. ",
        "It has the head that the database knows.",
        "The journal tells of 32 commits that stand, the database of 32: the two agree.",
        "8 objects, one by one",
        "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;amp;",
        "the stored bytes have the MD5",
        "analysis_data",
        "policy_bundles",
    ] {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
    let told = report(&world, &["--json", "--force"]).await.expect_code(0);
    let told = told.json();
    assert_eq!(told["state"], "failed");
    assert_eq!(told["history"]["told_by"], "journal");
    let runs = told["history"]["runs"].as_array().expect("a list");
    let endings: Vec<_> = runs.iter().map(|run| &run["ending"]).collect();
    let failed = json!({ "how": "failed", "objects": 8 });
    assert_eq!(endings, [&failed, &failed]);
    assert_eq!(
        (&runs[0]["resumed"], &runs[1]["resumed"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        (&runs[0]["copied"], &runs[1]["copied"]),
        (&json!(32), &json!(0))
    );
    for (run, command) in runs.iter().zip(["migrate", "resume 1"]) {
        let typed = run["command"].as_str().expect("a command line");
        assert!(
            typed.starts_with("windlass --state-dir ") && typed.contains(command),
            "{typed}"
        );
        let user = run["user"].as_str().expect("a user");
        assert!(page.contains(&format!("<bdi>{user} on ")), "{user}");
    }
    assert!(page.contains("What was typed"));
    let steps = &told["history"]["steps"];
    for step in ["verify", "commit", "delete_source"] {
        assert_eq!(steps[step]["objects"], 32, "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_in_the_report_proves_its_head() {
    let world = troubled().await;
    let told = report(&world, &["--json"]).await.expect_code(0).json();
    let page = page(&world);
    let begin = page.find("import hashlib").expect("the lines of Python");
    let end = page[begin..].find("</code>").expect("their end");
    let python = page[begin..begin + end]
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    let home = world.program.home();
    std::fs::write(home.join("check.py"), python).expect("written");
    let uuid = told["task_uuid"].as_str().expect("a UUID");
    let command = format!("windlass journal {uuid} --format jsonl");
    assert!(page.contains(&format!("{command} &gt; journal.jsonl")));
    let args: Vec<_> = command.split(' ').skip(1).collect();
    let export = world.program.run(&args).await.expect_code(0);
    std::fs::write(home.join("journal.jsonl"), export.stdout).expect("written");
    let check = Command::new("python3")
        .args(["check.py", "journal.jsonl"])
        .current_dir(home)
        .output()
        .expect("python3");
    let printed = String::from_utf8_lossy(&check.stdout);
    let proven = &told["journal"];
    let expected = format!(
        "{uuid} {} {} {}",
        proven["executor"].as_str().expect("a UUID"),
        proven["seq"],
        proven["head"].as_str().expect("a hash")
    );
    assert_eq!(printed.trim(), expected, "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_written_whole_and_replaces_nothing_unasked() {
    let world = World::new(5).await;
    let migrate = world.args("db", "localfs", &[]);
    world.program.run(&migrate).await.expect_code(0);
    let path = world.program.home().join("report.html");
    std::fs::write(&path, "mine").expect("written");
    let refused = report(&world, &[]).await.expect_code(2);
    assert!(
        refused.stderr.contains("exists: name another file"),
        "{refused:?}"
    );
    assert_eq!(page(&world), "mine");
    let replaced = report(&world, &["--force", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(replaced["size"], page(&world).len());
    assert!(page(&world).ends_with("</html>\n"));
    let printed = world.program.run(&["report", "1", "-o", "-"]).await;
    let printed = printed.expect_code(0).stdout;
    assert!(printed.starts_with("<!DOCTYPE html>") && printed.ends_with("</html>\n"));
    let both = world
        .program
        .run(&["report", "1", "-o", "-", "--json"])
        .await;
    assert!(both.expect_code(2).stderr.contains("both want stdout"));
    let nowhere = world.program.home().join("no/such/place.html");
    let args = ["report", "1", "-o", &nowhere.display().to_string()];
    let failed = world.program.run(&args).await.expect_code(2);
    assert!(failed.stderr.contains("cannot write"), "{failed:?}");
    let left = std::fs::read_dir(world.program.home()).expect("the home");
    let left = left.filter(|entry| {
        let name = entry.as_ref().expect("readable").file_name();
        name.to_string_lossy().contains("windlass-report")
    });
    assert_eq!(left.count(), 0, "nothing half-written stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_journal_is_told_from_the_databases() {
    let world = World::new(30).await;
    let key = world
        .deployment
        .expected()
        .keys()
        .next()
        .expect("a document")
        .clone();
    world.set_text(&key, "damaged").await;
    let migrate = world.args("db", "localfs", &[]);
    world.program.run(&migrate).await.expect_code(3);
    let (state, kept) = (world.program.state_dir(), world.program.home().join("kept"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.expect("cp").success());
    };
    copy(state, &kept);
    world.program.run(&["resume", "1"]).await.expect_code(3);
    std::fs::remove_dir_all(state).expect("removed");
    copy(&kept, state);
    let told = report(&world, &["--json"]).await.expect_code(0).json();
    assert_eq!(told["journal"]["has_mirrored_head"], false);
    assert!(page(&world).contains("it is an old copy, or its tail was cut off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_and_the_one_that_undoes_it_name_each_other() {
    let world = World::new(6).await;
    for (from, to) in [("db", "localfs"), ("localfs", "db2")] {
        let migrate = world.args(from, to, &[]);
        world.program.run(&migrate).await.expect_code(0);
    }
    let link = "UPDATE windlass_tasks SET kind = 'reverse', parent_uuid =
                (SELECT uuid FROM windlass_tasks WHERE task_id = 1) WHERE task_id = 2";
    sqlx::query(link)
        .execute(&world.pool)
        .await
        .expect("linked");
    let page = async |task: &str| {
        let printed = world.program.run(&["report", task, "-o", "-"]).await;
        printed.expect_code(0).stdout
    };
    let (forward, reverse) = (page("1").await, page("2").await);
    assert!(forward.contains("This task was reversed by <bdi>task 2 (reverse, complete)"));
    let (top, _) = forward
        .split_once("class=\"when\"")
        .expect("a verdict before that");
    assert!(top.contains("reversed by"), "{top}");
    assert!(reverse.contains("Reversal, task 2"));
    assert!(reverse.contains("This task reverses <bdi>task 1 (forward, complete)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_called_so_and_not_believed() {
    let world = World::new(20).await;
    let migrate = world.args("db", "localfs", &[]);
    world.program.run(&migrate).await.expect_code(0);
    let tasks = std::fs::read_dir(world.program.state_dir().join("tasks")).expect("tasks");
    let task = tasks.map(|entry| entry.expect("readable").path()).next();
    // The note of an orderly end, with a head that the journal does not have.
    let clean = task.expect("a task").join("checkpoint/clean");
    assert!(clean.exists());
    std::fs::write(&clean, format!("9:{}", "ab".repeat(32))).expect("written");
    let told = report(&world, &["--json"]).await.expect_code(0);
    assert!(told.stderr.contains("is damaged"), "{told:?}");
    let told = told.json();
    assert_eq!(told["journal"]["seen"], "damaged");
    assert_eq!(told["history"]["told_by"], "mirror");
    assert_eq!(told["history"]["steps"]["commit"]["objects"], 20);
    assert!(page(&world).contains("Journal damaged."));
}

/// A key for this test, which only its owner may read.
fn key(world: &World) -> std::path::PathBuf {
    let key = world.program.home().join("minisign.key");
    let made = include_str!("../../fixtures/report/minisign.key");
    std::fs::write(&key, made).expect("written");
    set_mode(&key, 0o600);
    key
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the owner may");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_report_says_counts_and_heads_that_minisign_checks() {
    let world = troubled().await;
    let key = key(&world);
    let sign = ["--sign", &key.display().to_string(), "--json"];
    let told = report(&world, &sign).await.expect_code(0).json();
    let text = |name: &str| told["signed"][name].as_str().expect("text").to_owned();
    let statement = text("statement");
    let head = format!(
        "{} {} {} {}",
        told["task_uuid"].as_str().expect("a UUID"),
        told["journal"]["executor"].as_str().expect("a UUID"),
        told["journal"]["seq"],
        told["journal"]["head"].as_str().expect("a hash")
    );
    for line in [
        head.as_str(),
        "planned 40 = committed 32 + skipped 0 + failed 8 + accepted 0 + remaining 0",
    ] {
        assert!(
            statement.lines().any(|l| l == line),
            "no {line} in {statement}"
        );
    }
    let page = page(&world);
    assert!(page.contains("The signed statement") && page.contains(&text("public_key")));
    let secret = std::fs::read_to_string(&key).expect("the key");
    let secret = secret.lines().nth(1).expect("a second line");
    assert!(!page.contains(&secret[20..]) && !told.to_string().contains(&secret[20..]));
    let home = world.program.home();
    std::fs::write(home.join("s.txt"), &statement).expect("written");
    std::fs::write(home.join("s.txt.minisig"), text("signature")).expect("written");
    let minisign = |statement: &str| {
        std::fs::write(home.join("s.txt"), statement).expect("written");
        let checked = Command::new("minisign")
            .args(["-Vm", "s.txt", "-P", &text("public_key")])
            .current_dir(home)
            .output();
        checked.map(|output| output.status.success())
    };
    match minisign(&statement) {
        Ok(is_right) => {
            assert!(is_right, "minisign does not take it");
            let forged = minisign(&statement.replace("committed 32", "committed 33"));
            assert!(!forged.expect("minisign"), "a forged one is refused");
        }
        Err(error) => eprintln!(
            "SKIPPED: minisign is not there ({error}); its format is checked by sign::tests"
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_signs_nothing() {
    let world = World::new(3).await;
    let migrate = world.args("db", "localfs", &[]);
    world.program.run(&migrate).await.expect_code(0);
    let key = key(&world);
    set_mode(&key, 0o644);
    let sign = ["--sign", &key.display().to_string(), "--json"];
    let refused = report(&world, &sign).await.expect_code(2);
    assert_eq!(refused.json()["code"], "file");
    assert!(
        refused.stderr.contains("others can read this key"),
        "{}",
        refused.stderr
    );
    assert!(!world.program.home().join("report.html").exists());
}

/// On PostgreSQL and S3: by the journal, then by the mirror alone; both must tell the same.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_checkpoint_the_database_tells_the_same() {
    let world = seeded(60).await;
    world.migrate(&[]).await.expect_code(0);
    let task = world.task().await;
    let file = world.program.home().join("report.html");
    let file = file.display().to_string();
    let args = ["report", &task, "-o", &file, "--force", "--json"];
    let by_journal = world.program.run(&args).await.expect_code(0);
    world.program.lose_state();
    let args = [&args[..], &["--db-connect", &world.database.url]].concat();
    let by_mirror = world.program.run(&args).await.expect_code(0);
    let secret = &world.s3_spec().await.secret_key;
    world.expect_no_secret(&by_mirror, secret);
    let page = std::fs::read_to_string(&file).expect("a page");
    for secret in [secret, &world.database.place.password] {
        assert!(!page.contains(secret), "a secret is told");
    }
    assert!(page.contains("The checkpoint is not on the machine that made this report"));
    let (by_journal, by_mirror) = (by_journal.json(), by_mirror.json());
    assert_eq!(by_mirror["history"]["told_by"], "mirror");
    let sum = |told: &Value, what: &str| -> u64 {
        let points = told["history"]["pace"][what].as_array().expect("a list");
        points
            .iter()
            .map(|point| point.as_u64().expect("a number"))
            .sum()
    };
    for what in ["bytes", "objects"] {
        assert!(sum(&by_mirror, what) >= 60, "{what}");
        assert_eq!(sum(&by_mirror, what), sum(&by_journal, what), "{what}");
    }
    for step in ["verify", "commit", "delete_source"] {
        assert_eq!(by_mirror["history"]["steps"][step]["objects"], 60, "{step}");
    }
    for same in [
        "planned",
        "committed",
        "bytes",
        "buckets",
        "chains",
        "source",
        "policy",
    ] {
        assert_eq!(by_mirror[same], by_journal[same], "{same}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_at_work_is_told_as_far_as_it_is() {
    let world = seeded(300).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    running.freeze();
    let task = world.task().await;
    let args = ["report", &task, "-o", "running.html", "--json"];
    let told = world.program.run(&args).await.expect_code(0).json();
    assert_eq!(told["state"], "running");
    // A journal can be read beside its writer.
    assert_eq!(told["journal"]["seen"], "proven");
    let number = |name: &str| told[name].as_u64().expect("a number");
    assert!(number("committed") >= 10 && number("remaining") > 0);
    assert_eq!(number("planned"), number("committed") + number("remaining"));
    running.go_on();
    running.interrupt();
    running.wait().await;
}

/// The names and kinds of all that `--json` prints; the first of a list stands for all.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let shaped = fields
                .iter()
                .map(|(name, value)| (name.clone(), shape(value)));
            Value::Object(shaped.collect())
        }
        Value::Array(items) => Value::Array(items.first().map(shape).into_iter().collect()),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "yes or no".into(),
        Value::Null => "nothing".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_its_shape() {
    let world = troubled().await;
    let told = report(&world, &["--json"]).await.expect_code(0).json();
    let shaped = serde_json::to_string_pretty(&shape(&told)).expect("JSON");
    insta::assert_snapshot!("report-json", shaped);
}
