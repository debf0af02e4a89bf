//! `doctor --sample`: documents that are really copied, and of which nothing is left, whatever happens
//! meanwhile.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;

use crate::doctor::{check, everything, files, with};
use crate::sqlite::World as OnSqlite;
use crate::support::counting_proxy::Fault;
use crate::support::deployment::{Compression, Deployment};
use crate::support::place::{Kind, Place};
use crate::support::program::{Outcome, Program};
use crate::support::{postgres, swift};
use crate::world::{seeded, until};

async fn sampled(program: &Program, from: &str, to: &str, more: &[&str]) -> Outcome {
    let path = |name: &str| program.home().join(format!("{name}.yaml"));
    let (from, to) = (
        path(from).display().to_string(),
        path(to).display().to_string(),
    );
    let args = [&["doctor", &from, &to, "--sample"][..], more].concat();
    program.run(&args).await
}

/// Rows of every table that a document can be in.
async fn rows(world: &OnSqlite) -> String {
    let mut all = String::new();
    for table in [
        "archive_metadata",
        "archive_document",
        "object_storage",
        "tasks",
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        all += &format!(
            "{table} {}\n",
            world.deployment.tables().count(&count).await
        );
    }
    let store = world.program.home().join("store");
    match store.exists() {
        true => all + &files(&store),
        false => all + "no store",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_destination_is_left_as_it_was() {
    let world = OnSqlite::new(80).await;
    for (from, to) in [("db", "localfs"), ("db", "db2"), ("localfs", "db")] {
        if from == "localfs" {
            world.migrate("db", "localfs", &[]).await.expect_code(0);
        }
        let before = rows(&world).await;
        let page = sampled(&world.program, from, to, &["50", "--json"]).await;
        let page = page.expect_code(0).json();
        assert_eq!(page["sample"]["documents"], 50, "{page:#}");
        assert_eq!(page["sample"]["failed"], 0, "{page:#}");
        assert_eq!(rows(&world).await, before, "{from} to {to}");
    }
    // More than there are.
    let page = sampled(&world.program, "localfs", "db", &["500", "--json"]).await;
    assert_eq!(page.expect_code(0).json()["sample"]["documents"], 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_left_as_it_was() {
    let database = postgres::fresh_database().await;
    let mut deployment = Deployment::new(&database);
    deployment.seed_db_documents(20, 100..20_000, 3).await;
    let program = Program::new();
    let place = Place::fresh(Kind::Swift, &program, "", "archive/").await;
    let client = swift::server().await.client().await;
    client
        .put(&place.name, "archive/admin/b/one", b"theirs")
        .await;
    let to = place.spec(Compression::above_kbytes(1)).await;
    let from = Place::fresh(Kind::Db, &program, "", "").await;
    let from = from.spec(Compression::default()).await;
    deployment.write_config(program.home(), "from", from);
    deployment.write_config(program.home(), "to", to);
    let page = sampled(&program, "from", "to", &["20", "--json"]).await;
    let page = page.expect_code(0).json();
    assert_eq!(page["sample"]["documents"], 20, "{page:#}");
    let server = check(&page, "destination", "server")["found"].as_str();
    assert!(
        server.is_some_and(|told| told.starts_with("Swift ")),
        "{page:#}"
    );
    let left = client.list(&place.name).await;
    assert_eq!(left, ["archive/admin/b/one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_document_is_told_and_the_others_are_copied() {
    let world = seeded(12).await;
    let mut keys = world.deployment.expected().keys();
    let (damaged, gone) = (keys.next().expect("one"), keys.next().expect("another"));
    world.deployment.damage_db_document(damaged).await;
    world.deployment.remove_db_document(gone).await;
    let before = everything(&world).await;
    let page = sampled(&world.program, "config", "new", &["12", "--json"]).await;
    let page = page.expect_code(0).json();
    assert_eq!(page["sample"]["documents"], 10, "{page:#}");
    assert_eq!(page["sample"]["failed"], 2, "{page:#}");
    let sample = check(&page, "both", "sample");
    assert_eq!(sample["outcome"], "warn", "{page:#}");
    assert!(
        sample["found"]
            .as_str()
            .is_some_and(|found| found.contains("MD5"))
    );
    assert_eq!(everything(&world).await, before);
}

/// One that is larger than what is held in memory, compressed and not.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_goes_in_parts_and_nothing_of_it_is_left() {
    let mut world = seeded(2).await;
    let content = "{\"document\": 17} ".repeat(1_200_000).into_bytes();
    world
        .deployment
        .add_db_document("admin", "big", "one", &content)
        .await;
    let before = everything(&world).await;
    let page = sampled(&world.program, "config", "new", &["9", "--json"]).await;
    let page = page.expect_code(0).json();
    assert_eq!(page["sample"]["documents"], 3, "{page:#}");
    assert_eq!(everything(&world).await, before);
    let client = crate::support::s3::server().await.client();
    assert_eq!(client.uploads(&world.bucket).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_nothing_behind() {
    let world = seeded(200).await;
    let before = everything(&world).await;
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(40)));
    let (from, to) = (
        world.from.display().to_string(),
        world.to.display().to_string(),
    );
    let args = [
        "doctor",
        &from,
        &to,
        "--sample",
        "200",
        "--concurrency",
        "4",
        "--json",
    ];
    let mut running = world.program.spawn(&args);
    until("something is written", async || {
        assert!(
            !running.has_ended(),
            "{}{}",
            running.stdout(),
            running.stderr()
        );
        let puts = world.proxy.puts();
        puts.keys()
            .filter(|key| key.contains("windlass-doctor-sample"))
            .count()
            > 10
    })
    .await;
    running.interrupt();
    let ended = running.wait().await.expect_code(130);
    assert!(ended.stderr.contains("deleted again"), "{}", ended.stderr);
    let page = ended.json();
    assert!(
        page["sample"]["documents"]
            .as_u64()
            .is_some_and(|n| n < 200),
        "{page:#}"
    );
    assert_eq!(everything(&world).await, before);
}

/// A store that begins to fail: what could not be deleted is named, with where to look.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_deleted_is_named() {
    let world = seeded(10).await;
    world
        .proxy
        .set_fault_on(hyper::Method::POST, Fault::Status(503, 1.0));
    let page = sampled(&world.program, "config", "new", &["10", "--json"]).await;
    let page: Value = page.json();
    let told = with(&page, "warn");
    let failed = with(&page, "fail");
    match failed.is_empty() {
        // Deletes of many at once are the only ones that are refused.
        true => {
            assert!(
                told.contains(&"destination/left-behind".to_owned()),
                "{page:#}"
            );
            let left = check(&page, "destination", "left-behind");
            let below = format!("s3://{}/windlass-doctor-", world.bucket);
            assert!(
                left["next"].as_str().is_some_and(|n| n.contains(&below)),
                "{left}"
            );
        }
        false => assert_eq!(failed, ["destination/object-store"], "{page:#}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_read() {
    let world = OnSqlite::new(30).await;
    std::fs::create_dir(world.program.home().join("store")).expect("a directory");
    let page = sampled(&world.program, "db", "localfs", &["30"]).await;
    assert_snapshot!("doctor", blot(&world, &page.expect_code(0).stdout));
    let now = "INSERT INTO services (hostid, servicename, status, heartbeat)
               VALUES ('host-7', 'catalog', 1, strftime('%s', 'now'))";
    world.deployment.tables().execute(now).await;
    let page = sampled(&world.program, "db", "db", &["3"]).await;
    assert_snapshot!("doctor-red", blot(&world, &page.expect_code(2).stdout));
}

/// Without what no two machines share.
fn blot(world: &OnSqlite, text: &str) -> String {
    let home = world.program.home().display().to_string();
    // As one line each: where they are folded depends on how long the home's name is.
    let text = text.replace(&format!("\n{}", " ".repeat(24)), " ");
    let mut text = text.replace(&home, "HOME");
    for (pattern, name) in [
        (r"(?m)^  (ok|warn|fail)  (.{16})", "  $1  $2"),
        (r"\d+ files may be open", "N files may be open"),
        (r"HOME/state can be written.*", "HOME/state can be written"),
        (
            r"[\d.]+ [KMGT]iB free( for the journal \(\w+\))?",
            "SIZE free$1",
        ),
        (r"journal \(\w+\)", "journal (FILE SYSTEM)"),
        (r"directory on \w+", "directory on FILE SYSTEM"),
        (r"SQLite [\d.]+", "SQLite VERSION"),
        (r"(less than )?[\d.]+ ms for", "N ms for"),
        (
            r"in [\d.]+ s: \d+ documents/s, [\d.]+ \w+/s",
            "in N s: N documents/s, N B/s",
        ),
        (
            r"about [\d.]+ s for all, from [\d.]+ s to [\d.]+ s",
            "about N s for all, from N s to N s",
        ),
        (r"\(-?\d+ s ago\)", "(N s ago)"),
        (r" +\n", "\n"),
        (r"  warn  state directory", "  ok    state directory"),
        // Whether the machine keeps its temporary files in memory is not said twice.
        (
            r"checks: none failed, 1 to be looked at",
            "checks: all is well",
        ),
        (r"failed, 1 more to be looked at", "failed"),
    ] {
        let regex = regex::Regex::new(pattern).expect("a pattern");
        text = regex.replace_all(&text, name).into_owned();
    }
    text
}
