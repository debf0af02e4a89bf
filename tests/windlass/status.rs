//! `status` and `status --watch`, on tasks that run, stop and die.

use std::process::Command;
use std::time::Duration;

use crate::sqlite::{SLOWLY, World};
use crate::support::program::{Running, executable};

async fn running(world: &World, moved: i64) -> Running {
    let mut running = world.program.spawn(&world.args("db", "localfs", &SLOWLY));
    while world.task().await == 0 || world.moved().await < moved {
        assert!(!running.has_ended(), "{}", running.stderr());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_shows_its_rate_and_what_is_left() {
    let world = World::new(300).await;
    let mut migration = running(&world, 30).await;
    migration.freeze();
    let status = world
        .program
        .run(&["status", "1", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(status["standing"], "running");
    assert_eq!(status["next"], serde_json::Value::Null);
    let rate = status["rate"]["objects_per_s"].as_f64().expect("a rate");
    assert!(rate > 0.5 && status["rate"]["eta_s"].is_u64(), "{status}");
    assert_eq!(status["executors"][0]["pid"], migration.pid());
    let said = world
        .program
        .run(&["status", "1"])
        .await
        .expect_code(0)
        .stdout;
    assert!(
        said.contains(" objects/s, ") && said.contains(" left"),
        "{said}"
    );
    migration.go_on();
    migration.wait().await.expect_code(0);
    let status = world
        .program
        .run(&["status", "1", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(status["standing"], "complete");
    assert_eq!(status["rate"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_task_shows_the_command_that_goes_on() {
    let world = World::new(150).await;
    let mut migration = running(&world, 10).await;
    migration.kill();
    migration.wait().await;
    let status = world
        .program
        .run(&["status", "1", "--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(status["standing"], "dead");
    assert_eq!(status["next"], "windlass resume 1");
    let said = world
        .program
        .run(&["status", "1", "--watch"])
        .await
        .expect_code(0)
        .stdout;
    assert!(said.ends_with("is no more: windlass resume 1\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_cause_with_an_example() {
    let world = World::new(20).await;
    for key in world.deployment.expected().keys().take(3) {
        world.set_text(key, "damaged").await;
    }
    world.migrate("db", "localfs", &[]).await.expect_code(3);
    let status = world
        .program
        .run(&["status", "1", "--json"])
        .await
        .expect_code(0)
        .json();
    let classes = status["failure_classes"].as_array().expect("a list");
    assert_eq!(classes.len(), 1);
    assert_eq!(
        (
            &classes[0]["cause"],
            &classes[0]["class"],
            &classes[0]["objects"]
        ),
        (&"damaged-at-source".into(), &"permanent".into(), &3.into())
    );
    let example = classes[0]["example"].as_str().expect("an object");
    assert!(example.starts_with("admin/"), "{example}");
    let said = world
        .program
        .run(&["status", "1"])
        .await
        .expect_code(0)
        .stdout;
    assert!(
        said.contains("failed, damaged-at-source: 3 objects\n    such as admin/"),
        "{said}"
    );
    assert!(
        said.contains("has failed objects: windlass resume 1"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_no_terminal_sees_prints_lines_and_ends_with_the_task() {
    let world = World::new(400).await;
    let mut migration = running(&world, 10).await;
    let watch = world.program.spawn(&["status", "1", "--watch", "--json"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    migration.freeze();
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let told = watch.stderr();
    assert!(told.lines().count() >= 2, "{told}");
    assert!(
        told.lines()
            .all(|line| line.contains(" of 400 objects committed")),
        "{told}"
    );
    migration.go_on();
    migration.wait().await.expect_code(0);
    let ended = watch.wait().await.expect_code(0);
    assert_eq!(
        ended.json()["state"],
        "complete",
        "one document, the last look"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_watch_and_not_the_task() {
    let world = World::new(400).await;
    let mut migration = running(&world, 10).await;
    migration.freeze();
    let mut watch = world.program.spawn(&["status", "1", "--watch"]);
    while watch.stderr().is_empty() {
        assert!(!watch.has_ended());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    watch.interrupt();
    let ended = watch.wait().await.expect_code(0);
    assert!(ended.stdout.contains("planned 400"), "{}", ended.stdout);
    assert!(ended.elapsed < Duration::from_secs(3));
    migration.go_on();
    migration.wait().await.expect_code(0);
}

/// Runs a command on a terminal of its own and prints all that came there.
const ON_A_TERMINAL: &str = "
import os, pty, sys
def read(fd):
    return os.read(fd, 4096)
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], read)))
";

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_on_a_terminal_redraws_in_place() {
    let world = World::new(400).await;
    let mut migration = running(&world, 10).await;
    migration.freeze();
    let mut command = Command::new("python3");
    command.args(["-I", "-c", ON_A_TERMINAL]).arg(executable());
    command.arg("--state-dir").arg(world.program.state_dir());
    command
        .args(["status", "1", "--watch"])
        .env("TERM", "xterm");
    command.stdin(std::process::Stdio::null());
    let watch = tokio::task::spawn_blocking(move || command.output());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    migration.go_on();
    migration.wait().await.expect_code(0);
    let output = watch
        .await
        .expect("joined")
        .expect("python3 is needed for this test");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("\u{1b}["), "nothing was redrawn: {said}");
    // Long lines are folded on a terminal.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.matches("last heard of").count() >= 2, "{said}");
    assert!(said.contains("complete: db://"), "{said}");
}
