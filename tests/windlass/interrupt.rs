//! Ctrl-C, SIGTERM, and Anchore's question.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::counting_proxy::Fault;
use crate::support::program::{Outcome, Running, executable};
use crate::support::small_disk::wrapper;
use crate::world::{World, seeded, seeded_on_own_server, until};

const DOCUMENTS: usize = 150;

/// What the issue promises.
const WITHIN: Duration = Duration::from_secs(5);

const CLEAN_ENDS: &str = "SELECT count(*) FROM windlass_executors WHERE ended_at IS NOT NULL";

/// Waits for the end, from now on.
async fn end_of(running: Running) -> (Outcome, Duration) {
    let asked = Instant::now();
    let ended = running.wait().await;
    (ended, asked.elapsed())
}

/// The command that goes on, as it is printed.
fn printed_command(ended: &Outcome) -> String {
    let line = ended
        .stdout
        .lines()
        .map(str::trim)
        .rfind(|line| line.starts_with("windlass "));
    line.unwrap_or_else(|| panic!("no command in: {}", ended.stdout))
        .to_owned()
}

/// Runs a line in a shell, as an operator who pastes it would.
async fn run_in_shell(world: &World, line: &str) -> std::process::Output {
    let bin = executable().parent().unwrap_or(Path::new("/")).to_owned();
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(line)
        .current_dir("/")
        .env_clear()
        .env("PATH", path)
        .env("HOME", world.program.home())
        .env("XDG_STATE_HOME", world.program.home().join("xdg-state"))
        .stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("a shell"))
        .await
        .expect("no panic")
}

async fn stops_and_goes_on(signal: impl Fn(&mut Running)) {
    let mut world = seeded(DOCUMENTS).await;
    // These tests may run under nohup themselves.
    let script = "exec env --default-signal=HUP @windlass@ \"$@\"";
    let wrapper = wrapper(&world.program.home().join("not-nohup"), script);
    world.program.set_executable(wrapper);
    let mut running = world.spawn_slowly(&[], 10).await;
    signal(&mut running);
    let (ended, took) = end_of(running).await;
    let ended = ended.expect_code(130);
    assert!(took < WITHIN, "{took:?}");
    world.expect_every_row_whole().await;
    let task = world.task().await;
    assert_eq!(world.anchore_says(&task).await.0, "pending");
    let journal = world.journal(&task).await;
    journal.expect_sound();
    assert_eq!(journal.count("interrupted"), 1);
    assert_eq!(world.count(CLEAN_ENDS).await, 1, "nothing was abandoned");
    let status = world.program.run(&["status", &task, "--json"]).await.json();
    assert_eq!(status["state"], "interrupted");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(world.count(locks).await, 0, "the lock is released");
    world.proxy.set_fault(Fault::None);
    let resumed = run_in_shell(&world, &printed_command(&ended)).await;
    assert!(resumed.status.success(), "{resumed:?}");
    world.expect_moved_and_sound().await;
    let twice: Vec<_> = world
        .document_puts()
        .into_iter()
        .filter(|put| put.1 > 1)
        .collect();
    assert!(twice.is_empty(), "a clean stop repeats nothing: {twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_cleanly_and_the_printed_command_goes_on() {
    stops_and_goes_on(Running::interrupt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_terminate_does_the_same() {
    stops_and_goes_on(Running::terminate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_goes_away_does_the_same() {
    stops_and_goes_on(Running::hang_up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_run_goes_on_without_its_terminal() {
    let mut world = seeded(30).await;
    let script = "exec nohup @windlass@ \"$@\"";
    let wrapper = wrapper(&world.program.home().join("nohup"), script);
    world.program.set_executable(wrapper);
    let mut running = world.spawn_slowly(&[], 5).await;
    running.hang_up();
    world.proxy.set_fault(Fault::None);
    running.wait().await.expect_code(0);
    world.look().await.expect_all_at("s3", 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_command_runs_where_paths_have_spaces_and_the_url_was_given() {
    let world = seeded(DOCUMENTS).await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(20)));
    let state = world.program.home().join("a state dir");
    // As Anchore's guide has it, where the configuration has the same database with the
    // password.
    let url = world
        .database
        .url
        .replace("postgresql://", "postgresql+pg8000://");
    let mut args = vec![
        "--state-dir".to_owned(),
        state.display().to_string(),
        "--db-connect".to_owned(),
        url,
    ];
    args.extend(world.migrate_args());
    args.extend(["--concurrency".to_owned(), "4".to_owned()]);
    let mut running = world.program.spawn_exactly(&args, "");
    until("rows have moved", async || world.moved().await > 5).await;
    running.interrupt();
    let ended = running.wait().await.expect_code(130);
    world.expect_no_secret(&ended, "s3cr3t/with");
    world.proxy.set_fault(Fault::None);
    let resumed = run_in_shell(&world, &printed_command(&ended)).await;
    assert!(resumed.status.success(), "{resumed:?}");
    world.look().await.expect_all_at("s3", DOCUMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_state_directory_is_printed_so_that_it_is_found() {
    let world = seeded(DOCUMENTS).await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(20)));
    let mut args = vec!["--state-dir".to_owned(), "relative".to_owned()];
    args.extend(world.migrate_args());
    let mut running = world.program.spawn_exactly(&args, "");
    until("rows have moved", async || world.moved().await > 5).await;
    running.interrupt();
    let ended = running.wait().await.expect_code(130);
    world.proxy.set_fault(Fault::None);
    let resumed = run_in_shell(&world, &printed_command(&ended)).await;
    assert!(resumed.status.success(), "{resumed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_ctrl_c_exits_at_once() {
    let world = seeded(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    world.proxy.set_fault(Fault::Stall(Duration::from_secs(20)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.interrupt();
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.interrupt();
    let (ended, took) = end_of(running).await;
    let ended = ended.expect_code(130);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let line = ended.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("windlass "), "{}", ended.stderr);
    assert!(line.ends_with(&format!("resume {}", world.task().await)));
    world.expect_every_row_whole().await;
    world.proxy.set_fault(Fault::None);
    world.resume(&world.task().await).await.expect_code(0);
    world.expect_moved_and_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_the_store_is_away_takes_no_longer() {
    for fault in [Fault::Refuse, Fault::Stall(Duration::from_secs(20))] {
        let world = seeded(DOCUMENTS).await;
        let mut running = world.spawn_slowly(&[], 10).await;
        world.proxy.set_fault(fault.clone());
        tokio::time::sleep(Duration::from_secs(1)).await;
        running.interrupt();
        let (ended, took) = end_of(running).await;
        let ended = ended.expect_code(130);
        assert!(took < WITHIN, "{fault:?}: {took:?}");
        let task = world.task().await;
        assert_eq!(world.anchore_says(&task).await.0, "pending");
        assert!(printed_command(&ended).ends_with(&format!("resume {task}")));
        // What was abandoned may still arrive: another task has to wait for it.
        let nothing_sent = i64::from(matches!(fault, Fault::Refuse));
        assert_eq!(world.count(CLEAN_ENDS).await, nothing_sent, "{fault:?}");
        world.proxy.set_fault(Fault::None);
        world.resume(&task).await.expect_code(0);
        world.expect_moved_and_sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_the_database_is_away_takes_no_longer() {
    let (server, world) = seeded_on_own_server(DOCUMENTS).await;
    let mut running = world.spawn_slowly(&[], 10).await;
    server.stop_immediate();
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.interrupt();
    let (ended, took) = end_of(running).await;
    let ended = ended.expect_code(130);
    assert!(took < WITHIN, "{took:?}");
    let command = printed_command(&ended);
    world.restart(&server).await;
    world.expect_every_row_whole().await;
    world.proxy.set_fault(Fault::None);
    let resumed = run_in_shell(&world, &command).await;
    assert!(resumed.status.success(), "{resumed:?}");
    let journal = world.expect_moved_and_sound().await;
    assert_eq!(journal.count("interrupted"), 1, "the end is journaled");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_before_the_first_byte_ends_it_at_once_and_leaves_nothing() {
    let world = seeded(5).await;
    world.proxy.set_fault(Fault::Stall(Duration::from_secs(20)));
    let mut running = world.spawn(&[]);
    until("the store is asked", async || {
        world.proxy.counts().requests > 0
    })
    .await;
    running.interrupt();
    let (ended, took) = end_of(running).await;
    let ended = ended.expect_code(130);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(
        ended.stderr.contains("before anything was moved"),
        "{}",
        ended.stderr
    );
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 0);
    world.proxy.set_fault(Fault::None);
    world.migrate(&[]).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_y_and_yes_go_on() {
    let world = seeded(5).await;
    let args = &world.migrate_args()[..3];
    for (answer, code) in [("n\n", 0), ("\n", 0), (" y\n", 0), ("j\n", 0), ("", 2)] {
        let asked = world
            .program
            .run_with_input(args, answer)
            .await
            .expect_code(code);
        let said = format!("{}{}", asked.stdout, asked.stderr);
        assert!(said.contains("nothing was done"), "{said}");
        assert!(said.contains("--dontask"), "{said}");
        let question = "Performing this operation requires *all* anchore-engine services to be \
                        stopped - proceed? (y/N)";
        assert_eq!(asked.stderr.contains(question), code == 0, "{said}");
        assert_eq!(
            world.count("SELECT count(*) FROM tasks").await,
            0,
            "{answer:?}"
        );
        assert_eq!(world.proxy.counts().requests, 0, "{answer:?}");
    }
    for answer in ["y\n", "Y\n", "yes\n"] {
        let world = seeded(5).await;
        let args = &world.migrate_args()[..3];
        world
            .program
            .run_with_input(args, answer)
            .await
            .expect_code(0);
        world.expect_moved_and_sound().await;
    }
}
