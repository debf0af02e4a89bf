//! The command line as people, shells and other programs meet it.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sqlite::World;
use crate::support::program::{Outcome, Program, executable};

/// Commands in an order in which each can do what its examples say.
const IN_ORDER: [&str; 22] = [
    "config",
    "config show",
    "check",
    "doctor",
    "list-drivers",
    "migrate",
    "list-migrations",
    "status",
    "resume",
    "verify",
    "journal",
    "journal verify",
    "journal collect",
    "journal ship",
    "report",
    "serve",
    "delete-source",
    "reverse",
    "sync",
    "cutover",
    "completions",
    // The other one of its examples is as long as a day's work.
    "demo",
];

async fn help(program: &Program, command: &str) -> String {
    let mut args: Vec<&str> = command.split_whitespace().collect();
    args.push("--help");
    program.run(&args).await.expect_code(0).stdout
}

/// The lines to type behind the word.
fn examples(help: &str) -> Vec<String> {
    let behind = help.split("\nExamples:\n").nth(1).unwrap_or_default();
    let block = behind.split("\n\n").next().unwrap_or_default();
    let lines = block.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("windlass "))
        .map(str::to_owned)
        .collect()
}

fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| !matches!(*name, "help" | "objectstorage"));
    names.map(str::to_owned).collect()
}

/// Types a line into a shell in the operator's directory.
fn type_into_shell(program: &Program, line: &str, input: &str) -> (Option<i32>, String) {
    let dir = executable().parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let child = Command::new("bash")
        .args(["-c", line])
        .current_dir(program.home())
        .env_clear()
        .env("HOME", program.home())
        .env("PATH", format!("{}:{path}", dir.display()))
        .env("TERM", "xterm")
        .env("WINDLASS_STATE_DIR", program.state_dir())
        .env("XDG_STATE_HOME", program.home().join("xdg-state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("bash");
    use std::io::Write as _;
    let _ = child
        .stdin
        .take()
        .expect("stdin")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code(), text)
}

/// A deployment whose configurations have the names that the examples use.
async fn world(documents: usize) -> World {
    let world = World::new(documents).await;
    let home = world.program.home();
    for (from, to) in [("db", "config"), ("localfs", "config-new")] {
        let named = |name: &str| home.join(format!("{name}.yaml"));
        std::fs::copy(named(from), named(to)).expect("copied");
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_every_help_runs() {
    let world = world(12).await;
    let program = &world.program;
    let top = help(program, "").await;
    let listed: BTreeSet<String> = commands(&top).into_iter().collect();
    let ordered = IN_ORDER.iter().map(|name| (*name).to_owned());
    let ordered: BTreeSet<String> = ordered.chain(["accept".into(), "worker".into()]).collect();
    let unknown: Vec<_> = listed.difference(&ordered).collect();
    assert!(unknown.is_empty(), "put {unknown:?} into the order");
    let bin = program
        .home()
        .join(".local/share/bash-completion/completions");
    std::fs::create_dir_all(bin).expect("made");
    let object = {
        let key = world.a_document();
        format!("{}/{}/{}", key.user, key.bucket, key.id)
    };
    let mut ran = 0;
    for command in IN_ORDER {
        let lines = examples(&help(program, command).await);
        assert!(!lines.is_empty(), "{command} has no examples");
        for line in lines
            .iter()
            .filter(|line| !line.contains("--documents 5000"))
        {
            let typed = line.replace("admin/analysis_data/alpine", &format!("'{object}'"));
            // It goes on until Ctrl-C, which is what ends it here.
            let typed = match command {
                "serve" => format!("timeout --preserve-status -s INT 2 {typed}"),
                _ => typed,
            };
            let (code, text) = type_into_shell(program, &typed, "y\n");
            assert_eq!(code, Some(0), "{typed}:\n{text}");
            ran += 1;
        }
    }
    assert!(ran >= 20, "only {ran}");
    for line in examples(&top) {
        let (code, text) = type_into_shell(program, &line, "y\n");
        assert_eq!(code, Some(0), "{line}:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_accept_runs_where_something_has_failed() {
    let world = world(4).await;
    let gone =
        "DELETE FROM archive_document WHERE rowid = (SELECT min(rowid) FROM archive_document)";
    sqlx::raw_sql(gone)
        .execute(&world.pool)
        .await
        .expect("deleted");
    world.migrate("db", "localfs", &[]).await.expect_code(3);
    for line in examples(&help(&world.program, "accept").await) {
        let (code, text) = type_into_shell(&world.program, &line, "");
        assert_eq!(code, Some(0), "{line}:\n{text}");
        assert!(text.contains("accepted 1"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_do_nothing_in_a_command_are_taken_and_not_shown() {
    let program = Program::new();
    for (command, shown, hidden) in [
        ("list-drivers", "--json", "--db-connect"),
        ("demo", "--documents", "--state-dir"),
        ("status", "--db-connect", "--ca-bundle"),
        ("check", "--ca-bundle", "--state-dir"),
        ("config show", "--analysis-archive", "--state-dir"),
        ("migrate", "--metrics-addr", "--export"),
        ("doctor", "--state-dir", "--bwlimit"),
    ] {
        let help = help(&program, command).await;
        assert!(help.contains(shown), "{command}: {help}");
        assert!(!help.contains(&format!("  {hidden}")), "{command}: {help}");
    }
    let args = [
        "objectstorage",
        "--db-connect",
        "sqlite:///none",
        "list-drivers",
    ];
    program.run(&args).await.expect_code(0);
    let nothing = Program::new().spawn_exactly::<&str>(&[], "").wait().await;
    let nothing = nothing.expect_code(2);
    assert!(
        nothing.stderr.contains("Usage: windlass"),
        "{}",
        nothing.stderr
    );
    assert!(nothing.stderr.contains("Examples:"), "{}", nothing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_of_the_hand_is_told_with_what_was_meant() {
    let program = Program::new();
    for (typed, meant) in [
        ("resme 7", "resume"),
        ("list-migration", "list-migrations"),
        ("migrate a b --verify checksm", "checksum"),
        ("journal 7 --event commited", "committed"),
        ("journal 7 --phase commited", "committed"),
        ("accept 7 --cause missing-at-sorce", "missing-at-source"),
        ("status 7 --wach", "--watch"),
    ] {
        let args: Vec<&str> = typed.split_whitespace().collect();
        let said = program.run(&args).await.expect_code(2).stderr;
        assert!(
            said.contains("similar") && said.contains(meant),
            "{typed}: {said}"
        );
        let document = program.run(&[&args[..], &["--json"]].concat()).await;
        let error = document.expect_code(2).json()["error"].to_string();
        assert!(error.contains(meant), "{typed}: {error}");
    }
    // Here a slip can't be told from a task's name.
    let slip = program.run(&["journal", "verfy", "--json"]).await;
    let slip = slip.expect_code(2).json();
    assert_eq!(slip["code"], "unknown-task");
    let error = slip["error"].as_str().expect("words");
    assert!(error.contains("verify, collect and ship"), "{error}");
    let slip = program.run(&["status", "lastest"]).await.expect_code(2);
    assert!(slip.stderr.contains("or latest"), "{}", slip.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_come_from_the_environment_and_what_is_typed_beats_it() {
    let program = Program::new();
    let run = async |args: &[&str], name: &str, value: &str| {
        program.run_with(args, &[(name, value)]).await
    };
    let json = run(&["list-drivers"], "WINDLASS_JSON", "true").await;
    assert!(json.expect_code(0).json()["drivers"].is_array());
    let args = ["migrate", "a.yaml", "b.yaml"];
    let wrong = run(&args, "WINDLASS_MAX_OUTAGE", "soon")
        .await
        .expect_code(2);
    for said in [
        "--max-outage",
        "'soon'",
        "not from the command line but from the environment",
    ] {
        assert!(wrong.stderr.contains(said), "{}", wrong.stderr);
    }
    let beaten = ["migrate", "a.yaml", "b.yaml", "--max-outage", "5"];
    let beaten = run(&beaten, "WINDLASS_MAX_OUTAGE", "soon")
        .await
        .expect_code(2);
    assert!(beaten.stderr.contains("a.yaml"), "{}", beaten.stderr);
    let empty = run(&args, "WINDLASS_MAX_OUTAGE", "").await.expect_code(2);
    assert!(empty.stderr.contains("a.yaml"), "{}", empty.stderr);
    let flag = run(&["list-drivers"], "WINDLASS_DB_USE_SSL", "perhaps").await;
    assert!(flag.expect_code(2).stderr.contains("--db-use-ssl"));
    // Usage lines show nothing that was not typed.
    let usage = run(&["migrate", "a.yaml"], "WINDLASS_MAX_OUTAGE", "5").await;
    let usage = usage.expect_code(2).stderr;
    assert!(!usage.contains("--max-outage"), "{usage}");
    let help = help(&program, "migrate").await;
    for variable in [
        "WINDLASS_MAX_OUTAGE",
        "WINDLASS_BWLIMIT",
        "WINDLASS_LOG_FILE",
    ] {
        assert!(help.contains(&format!("[env: {variable}]")), "{help}");
    }
    let secret = "postgresql://u:hidden-word@127.0.0.1:1/d";
    let shown = run(&["migrate", "--help"], "WINDLASS_DB_CONNECT", secret).await;
    let shown = shown.expect_code(0).stdout;
    assert!(shown.contains("WINDLASS_DB_CONNECT") && !shown.contains("hidden-word"));
    // A format for the one command is none for the one below it.
    let below = run(&["journal", "verify", "7"], "WINDLASS_FORMAT", "csv").await;
    assert!(below.expect_code(2).stderr.contains("no task 7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_task_that_was_made_last() {
    let world = world(6).await;
    let none = world
        .program
        .run(&["status", "latest"])
        .await
        .expect_code(2);
    assert!(
        none.stderr.contains("no database is named"),
        "{}",
        none.stderr
    );
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    world.migrate("localfs", "db2", &[]).await.expect_code(0);
    for args in [
        vec!["status", "latest"],
        vec!["resume", "latest"],
        vec!["journal", "latest"],
        vec!["journal", "verify", "latest"],
        vec!["verify", "--task", "latest"],
        vec!["reverse", "latest", "--dry-run"],
        vec!["accept", "latest"],
        vec!["delete-source", "latest", "--dry-run"],
    ] {
        let outcome = world.program.run(&args).await.expect_code(0);
        let said = outcome.stderr.lines().next().unwrap_or_default();
        assert!(said.starts_with("latest is task 2 ("), "{args:?}: {said}");
    }
    let quiet = world.program.run(&["status", "latest", "-q"]).await;
    assert_eq!(quiet.expect_code(0).stderr, "");
    let status = world.program.run(&["status", "latest", "--json"]).await;
    assert_eq!(status.expect_code(0).json()["task_id"], 2);
    world.program.lose_state();
    let url = format!(
        "sqlite:///{}",
        world.program.home().join("anchore.db").display()
    );
    let args = ["status", "latest", "--json", "--db-connect", &url];
    assert_eq!(
        world.program.run(&args).await.expect_code(0).json()["task_id"],
        2
    );
}

/// One document on stdout, with a code that does not change and what to do.
fn expect_error(outcome: Outcome, code: &str) -> serde_json::Value {
    let outcome = outcome.expect_code(2);
    let value = outcome.json();
    assert_eq!(value["code"], code, "{value}");
    for key in ["error", "next"] {
        assert!(
            value[key].as_str().is_some_and(|text| text.len() > 10),
            "{value}"
        );
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_codes_for_programs() {
    let world = world(3).await;
    let home = world.program.home();
    let broken = home.join("broken.yaml");
    std::fs::write(&broken, "services: [").expect("written");
    let run = async |line: &str| {
        let args: Vec<&str> = line.split_whitespace().collect();
        world.program.run(&args).await
    };
    for (line, code) in [
        ("--json", "usage"),
        ("migrate one.yaml --json", "usage"),
        ("status 1 --no-such-option --json", "usage"),
        ("--db-connect list-migrations --json", "usage"),
        ("status 9 --json", "unknown-task"),
        ("list-migrations --json", "no-database-named"),
        ("check broken.yaml --json", "configuration"),
        ("check none.yaml --json", "configuration"),
        (
            "migrate config.yaml config.yaml --dontask --json",
            "same-place",
        ),
        (
            "migrate config.yaml config-new.yaml --json",
            "nobody-to-answer",
        ),
        (
            "migrate config.yaml config-new.yaml --dontask --bucket nope --json",
            "nothing-selected",
        ),
        ("status 1 --db-connect nonsense --json", "database-url"),
        (
            "status 1 --db-connect sqlite:///none.db --json",
            "database-refuses",
        ),
        (
            "status 1 --db-connect postgresql://a@127.0.0.1:1/b --json",
            "database-unreachable",
        ),
        (
            "migrate config.yaml config-new.yaml --dontask --log-file none/log --json",
            "file",
        ),
        ("report 1 -o - --json", "cannot-be-done"),
    ] {
        let value = expect_error(run(line).await, code);
        assert!(
            !value["error"].as_str().unwrap_or_default().contains('\n'),
            "{value}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_by_programs() {
    let world = world(40).await;
    let home = world.program.home();
    let args = world.args(
        "db",
        "localfs",
        &[
            "--json",
            "--progress",
            "json",
            "--stats",
            "1s",
            "--log-format",
            "json",
            "--log-file",
            "windlass.log",
            "--metrics-file",
            "windlass.prom",
            "--on-end",
            "cat > ended.json; echo told; echo $WINDLASS_EXIT_CODE > code",
            "--concurrency",
            "1",
            "--bwlimit",
            "2KiB/s",
            "-v",
        ],
    );
    let socket = home.join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let notify = socket.display().to_string();
    let environment = [("NOTIFY_SOCKET", notify.as_str())];
    let done = world.program.run_with(&args, &environment).await;
    let done = done.expect_code(0);
    let result = done.json();
    assert_eq!(result["state"], "complete");
    let told = received(&manager);
    for word in ["READY=1", "of 40 objects", "STOPPING=1"] {
        assert!(
            told.iter().any(|text| text.contains(word)),
            "{word}: {told:?}"
        );
    }
    let read = |name: &str| std::fs::read_to_string(home.join(name)).expect(name);
    let ended: serde_json::Value = serde_json::from_str(&read("ended.json")).expect("JSON");
    assert_eq!(ended, result);
    assert_eq!(read("code"), "0\n");
    let documents: Vec<serde_json::Value> = done
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let progress: Vec<_> = documents
        .iter()
        .filter(|d| d["event"] == "progress")
        .collect();
    assert!(!progress.is_empty(), "{}", done.stderr);
    for document in &progress {
        assert_eq!(
            (&document["planned"], &document["task_id"]),
            (&40.into(), &1.into())
        );
    }
    let objects = |documents: &[serde_json::Value], event: &str| {
        let of = documents.iter().filter_map(|d| d["message"].as_str());
        of.filter(|message| message.ends_with(event)).count()
    };
    assert_eq!(
        objects(&documents, ": committed"),
        40,
        "-v shows each object"
    );
    let log: Vec<serde_json::Value> = read("windlass.log")
        .lines()
        .map(|line| serde_json::from_str(line).expect("one document a line"))
        .collect();
    assert_eq!(objects(&log, ": source-deleted"), 40);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(home.join("windlass.log"))
        .expect("a log")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let metrics = read("windlass.prom");
    for line in [
        "windlass_running 0",
        "windlass_objects{phase=\"source-deleted\"} 40",
        "windlass_objects_left 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}:\n{metrics}");
    }
    // Quiet: not a word where nothing is wrong; a hook hears of errors, too.
    let back = world.args("localfs", "db2", &["-q"]);
    let back = world.program.run(&back).await.expect_code(0);
    assert_eq!(back.stderr, "");
    let wrong = world.args("db2", "db2", &["--on-end", "cat > ended.json"]);
    world.program.run(&wrong).await.expect_code(2);
    let ended: serde_json::Value = serde_json::from_str(&read("ended.json")).expect("JSON");
    assert_eq!(ended["code"], "same-place");
}

/// What a service manager has been told so far.
fn received(manager: &UnixDatagram) -> Vec<String> {
    manager.set_nonblocking(true).expect("set");
    let mut buffer = [0; 1024];
    let mut told = Vec::new();
    while let Ok(read) = manager.recv(&mut buffer) {
        told.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_completes_commands_options_and_tasks() {
    let world = world(3).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    let program = &world.program;
    let complete = |words: &str| {
        let count = words.matches(' ').count();
        let line = format!(
            "source <(windlass completions bash); COMP_WORDS=({words} ''); COMP_CWORD={}; \
             _clap_complete_windlass windlass '' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            count + 1
        );
        let (code, text) = type_into_shell(program, &line, "");
        assert_eq!(code, Some(0), "{text}");
        text
    };
    let has = |text: &str, word: &str| text.lines().any(|line| line.trim() == word);
    let commands = complete("windlass");
    assert!(
        has(&commands, "migrate") && has(&commands, "resume"),
        "{commands}"
    );
    for command in ["status", "resume", "journal", "reverse"] {
        let tasks = complete(&format!("windlass {command}"));
        assert!(
            has(&tasks, "1") && has(&tasks, "latest"),
            "{command}: {tasks}"
        );
    }
    let values = complete("windlass migrate a b --verify");
    assert!(has(&values, "checksum"), "{values}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = program.run(&["completions", shell]).await.expect_code(0);
        assert!(script.stdout.contains("WINDLASS_COMPLETE"), "{shell}");
    }
    // No state directory: silence, and what is not a task all the same.
    program.lose_state();
    let tasks = complete("windlass status");
    assert!(has(&tasks, "latest") && !tasks.contains("error"), "{tasks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_a_man_page() {
    let program = Program::new();
    program.run(&["man", "pages"]).await.expect_code(0);
    let dir = program.home().join("pages");
    for command in commands(&help(&program, "").await) {
        let page = dir.join(format!("windlass-{command}.1"));
        assert!(page.exists(), "no {}", page.display());
    }
    expect_no_warning(&dir);
}

/// Where man is installed, it has nothing to say against them.
fn expect_no_warning(dir: &Path) {
    for page in std::fs::read_dir(dir).expect("pages").flatten() {
        let groff = Command::new("groff")
            .args(["-Kutf8", "-man", "-Tutf8", "-ww", "-z"])
            .arg(page.path())
            .output();
        if let Ok(said) = groff {
            let said = String::from_utf8_lossy(&said.stderr).into_owned();
            assert_eq!(said, "", "{}", page.path().display());
        }
    }
}

/// On a terminal of forty columns: no line of progress is folded, and results fit eighty.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_sees_a_bar_that_fits_and_tables_that_fit() {
    let world = world(60).await;
    let on_terminal = |columns: u32, line: &str| {
        let line =
            format!("script -qec 'stty cols {columns} rows 24; {line}' /dev/null < /dev/null");
        let (code, text) = type_into_shell(&world.program, &line, "");
        assert_eq!(code, Some(0), "{line}: {text}");
        text
    };
    let migrate = "windlass migrate config.yaml config-new.yaml --dontask --concurrency 1 \
                   --bwlimit 2KiB/s";
    let seen = on_terminal(40, migrate);
    let bars: Vec<&str> = seen
        .split(['\r', '\n'])
        .filter(|line| line.contains("%  "))
        .collect();
    assert!(bars.len() > 2, "{seen:?}");
    let escapes = regex::Regex::new("\u{1b}\\[[0-9;?]*[A-Za-z]").expect("a pattern");
    for bar in bars {
        let bar = escapes.replace_all(bar, "");
        assert!(bar.chars().count() <= 37, "{bar:?}");
    }
    for command in [
        "list-migrations --db-connect sqlite:///anchore.db",
        "status 1",
        "journal 1",
    ] {
        let seen = on_terminal(80, &format!("NO_COLOR=1 windlass {command}"));
        for line in seen.lines().filter(|line| !line.starts_with("reading")) {
            let line = line.trim_end_matches('\r');
            assert!(line.chars().count() <= 80, "{command}: {line:?}");
            assert!(
                !line.contains('\u{1b}') || line.ends_with("\u{1b}[?25h"),
                "{line:?}"
            );
        }
    }
    let listed = on_terminal(
        80,
        "windlass list-migrations --db-connect sqlite:///anchore.db",
    );
    assert!(
        listed.contains("moved"),
        "a header stands over it: {listed}"
    );
}
