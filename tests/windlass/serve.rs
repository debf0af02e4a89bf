//! `serve`: a page beside a run, told anew by server-sent events; whom it answers, what it asks of the
//! database, and what it does when that is away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;

use crate::servers::as_role_with_few;
use crate::serving::Serving;
use crate::sqlite::World as SqliteWorld;
use crate::support::counting_proxy::Fault;
use crate::support::postgres;
use crate::support::program::Running;
use crate::world::{World, seeded, seeded_on_own_server, until};

/// What looks on needs to see, and no more.
const LOOKS_ON: &str = "
    GRANT USAGE ON SCHEMA public TO few;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO few;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO few;";

/// Four hundred documents, of which some are damaged, on their slow way.
pub async fn at_work() -> (World, Running) {
    let world = seeded(400).await;
    let keys: Vec<_> = world
        .deployment
        .expected()
        .keys()
        .step_by(40)
        .cloned()
        .collect();
    for key in &keys {
        world.deployment.damage_db_document(key).await;
    }
    let running = world.spawn_slowly(&[], 10).await;
    (world, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_migration_is_seen_as_it_goes_on_and_as_it_ends() {
    let (world, mut migration) = at_work().await;
    let serving = Serving::start(&world.program, &["latest"]).await;
    assert_eq!(serving.told["task_id"].to_string(), world.task().await);
    assert_eq!(serving.told["token"], Value::Null);
    let page = serving.page().await;
    for words in [
        "Running",
        "of 400 objects",
        "Who works at it",
        "As of ",
        "data-events=\"1/events\"",
    ] {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
    let mut events = serving.events().await;
    let all = events.next().await;
    for part in [
        "notice", "clock", "top", "now", "balance", "work", "findings", "proof",
    ] {
        assert!(all.contains(part), "the first look has no {part}: {all:?}");
    }
    assert!(events.says("notice", "Live"));
    assert!(events.says("now", &format!("process {}", migration.pid())));
    let before = events.through();
    let changed = events.next().await;
    assert!(
        changed.contains("clock") && changed.contains("now"),
        "{changed:?}"
    );
    assert!(
        !changed.contains("configuration"),
        "only what has changed: {changed:?}"
    );
    assert!(events.through() > before, "{before}");
    events.until("now", "objects, ").await;
    events
        .until("work", "Bytes written to the destination")
        .await;
    events.until("findings", "damaged-at-source").await;
    migration.interrupt();
    migration.wait().await.expect_code(130);
    events.until("top", "Interrupted").await;
    assert!(events.says("top", "windlass resume 1"));
    world.proxy.set_fault(Fault::None);
    world.resume("1").await.expect_code(3);
    events
        .until("top", "390 of 400 objects committed; 10 failed")
        .await;
    assert!(events.says("balance", "It adds up: 400 = 390 + 0 + 10 + 0."));
    expect_failures_as_a_table(&serving).await;
    let secret = &world.s3_spec().await.secret_key;
    for secret in [secret, &world.database.place.password] {
        let told = format!("{:?}{}", events.parts, serving.page().await);
        assert!(!told.contains(secret), "a secret is told");
    }
    let ended = serving.end().await;
    world.expect_no_secret(&ended, secret);
}

/// What the page links to is the table of all ten, as a report has it within itself.
async fn expect_failures_as_a_table(serving: &Serving) {
    let page = serving.page().await;
    let link = "href=\"1/failures.csv\" download=\"windlass-task-1-failures.csv\"";
    assert!(
        page.contains(link) && page.contains("All 10 as a table"),
        "{page}"
    );
    let url = serving.by("/tasks/1/failures.csv");
    let answer = serving.client.get(&url).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
    let saved = &answer.headers()["content-disposition"];
    assert_eq!(
        saved,
        "attachment; filename=\"windlass-task-1-failures.csv\""
    );
    let table = answer.text().await.expect("text");
    let mut lines = table.lines();
    let head = "user,bucket,id,document,outcome,phase,class,cause,tries,reason";
    assert_eq!(lines.next(), Some(head));
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows.len(), 10, "{table}");
    let told = ",failed,pending,permanent,damaged-at-source,";
    assert!(rows.iter().all(|row| row.contains(told)), "{table}");
    for nowhere in ["/tasks/2/failures.csv", "/failures.csv"] {
        let (status, _) = serving.get(&serving.by(nowhere)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{nowhere}");
    }
}

/// Some give up in the middle, the others are all answered, and by few questions: each takes its second.
async fn ask_for_tables_all_the_time(serving: &Serving) {
    let url = serving.by("/tasks/1/failures.csv");
    for _ in 0..5 {
        let given_up = serving.client.get(&url).timeout(Duration::from_millis(5));
        let _ = given_up.send().await;
    }
    let asked = Instant::now();
    let all = (0..20).map(|_| serving.get(&url));
    for (status, table) in futures::future::join_all(all).await {
        assert_eq!(status, StatusCode::OK, "{table}");
        assert!(table.starts_with("user,bucket,"), "{table}");
    }
    let took = asked.elapsed();
    assert!(
        took < Duration::from_secs(15),
        "twenty together took {took:?}"
    );
}

/// The role may see and nothing else, has one connection, and whatever is done over it can't write.
#[tokio::test(flavor = "multi_thread")]
async fn it_only_reads_over_one_connection() {
    let (world, mut migration) = at_work().await;
    let database = postgres::Database {
        url: world.database.url.clone(),
        pool: world.database.pool.clone(),
        name: world.database.name.clone(),
        place: world.database.place.clone(),
    };
    let looker = as_role_with_few(database, 1, LOOKS_ON).await;
    let serving = Serving::start(&world.program, &["1", "--db-connect", &looker.url]).await;
    let mut events = serving.events().await;
    events.next().await;
    let before = events.through();
    for _ in 0..3 {
        events.next().await;
        assert!(events.says("notice", "Live"));
    }
    assert!(events.through() > before);
    ask_for_tables_all_the_time(&serving).await;
    // Whoever looks on is told all the same.
    for _ in 0..2 {
        events.next().await;
    }
    assert!(events.says("notice", "Live"));
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'few'";
    assert_eq!(world.count(connections).await, 1);
    migration.interrupt();
    migration.wait().await;
    serving.end().await;
    world.sql("DROP OWNED BY few; DROP ROLE few").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_and_comes_back_is_told() {
    let (server, world) = seeded_on_own_server(20).await;
    world.migrate(&[]).await.expect_code(0);
    let serving = Serving::start(&world.program, &["--all"]).await;
    let list = serving.page().await;
    assert!(list.contains("href=\"tasks/1\""), "{list}");
    let mut events = serving.events().await;
    events.until("notice", "Live").await;
    server.stop_fast();
    events.until("notice", "The database is away").await;
    let (status, why) = serving.get(&serving.by("/tasks/1/failures.csv")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{why}");
    let page = serving.page().await;
    assert!(page.contains("The database is away"), "{page}");
    assert!(
        page.contains("href=\"tasks/1\""),
        "what was seen last stays"
    );
    // One that was never seen is told of, too.
    let (status, never) = serving.get(&serving.by("/tasks/1")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(never.contains("The database is away") && !never.contains("id=\"balance\""));
    server.restart().await;
    events.until("notice", "Live").await;
    let (_, page) = serving.get(&serving.by("/tasks/1")).await;
    assert!(page.contains("20 of 20 objects committed"), "{page}");
    let ended = serving.end().await;
    assert!(
        ended.stderr.contains("asked again and again"),
        "{}",
        ended.stderr
    );
}

async fn moved_there_and_back() -> SqliteWorld {
    let world = SqliteWorld::new(12).await;
    world.migrate("db", "localfs", &[]).await.expect_code(0);
    world.migrate("localfs", "db2", &[]).await.expect_code(0);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tasks_are_listed_with_a_way_to_each_and_one_alone_is_alone() {
    let world = moved_there_and_back().await;
    let serving = Serving::start(&world.program, &["--all"]).await;
    assert_eq!(serving.told["task_id"], Value::Null);
    let list = serving.page().await;
    for words in [
        "All tasks",
        "href=\"tasks/1\"",
        "href=\"tasks/2\"",
        "data-events=\"events\"",
    ] {
        assert!(list.contains(words), "no {words:?} in {list}");
    }
    let (status, page) = serving.get(&serving.by("/tasks/2")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("Migration, task 2") && page.contains("href=\"../\""),
        "{page}"
    );
    let (status, _) = serving.get(&serving.by("/tasks/9")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // Whoever looks at many things still is told of each.
    let mut events = serving.events().await;
    events.until("tasks", "complete").await;
    serving.end().await;

    let serving = Serving::start(&world.program, &["1"]).await;
    let (status, page) = serving.get(&serving.by("/")).await;
    assert_eq!(status, StatusCode::OK, "it leads to the task");
    assert!(
        page.contains("Migration, task 1") && !page.contains("href=\"../\""),
        "{page}"
    );
    let (status, _) = serving.get(&serving.by("/tasks/2")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "one task was asked for");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_or_name_is_not_answered() {
    let world = moved_there_and_back().await;
    let serving = Serving::start(&world.program, &["1"]).await;
    let ask = async |name: &str, value: &str| {
        let asked = serving.client.get(serving.url()).header(name, value);
        asked.send().await.expect("an answer")
    };
    for foreign in ["evil.example", "evil.example:8399", "10.0.0.7"] {
        let answer = ask("host", foreign).await;
        assert_eq!(
            answer.status(),
            StatusCode::MISDIRECTED_REQUEST,
            "{foreign}"
        );
        assert!(!answer.text().await.expect("text").contains("task 1"));
    }
    assert_eq!(
        ask("host", "localhost:9000").await.status(),
        StatusCode::OK,
        "a tunnel"
    );
    assert_eq!(
        ask("sec-fetch-site", "cross-site").await.status(),
        StatusCode::FORBIDDEN
    );
    let answer = ask("origin", "http://evil.example").await;
    assert!(
        answer
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .expect("text");
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    let posted = serving.client.post(serving.url()).body("x").send().await;
    let posted = posted.expect("an answer");
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(posted.headers()["allow"], "GET, HEAD");
    let head = serving
        .client
        .head(serving.url())
        .send()
        .await
        .expect("an answer");
    assert_eq!(head.status(), StatusCode::OK);
    let (status, _) = serving.get(&serving.by("/../../etc/passwd")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_this_machine_only_who_knows_the_token_is_answered() {
    let world = moved_there_and_back().await;
    let serving = Serving::at(&world.program, &["--all"], "0.0.0.0:0").await;
    let token = serving.told["token"].as_str().expect("a token").to_owned();
    assert!(
        serving.url().ends_with(&format!("/?token={token}")),
        "{}",
        serving.told
    );
    for path in [
        "/",
        "/tasks/1",
        "/tasks/1/events",
        "/tasks/1/failures.csv",
        "/events",
    ] {
        for query in ["", "?token=", "?token=00000000000000000000000000000000"] {
            let (status, text) = serving.get(&serving.by(&format!("{path}{query}"))).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path}{query}");
            assert!(!text.contains("task 1"), "{text}");
        }
    }
    let (status, list) = serving.get(&serving.by(&format!("/?token={token}"))).await;
    assert_eq!(status, StatusCode::OK);
    let link = format!("tasks/1?token={token}");
    assert!(list.contains(&link), "links carry it: {list}");
    let (status, page) = serving.get(&serving.by(&format!("/{link}"))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains(&format!("href=\"../?token={token}\"")),
        "{page}"
    );
    let ended = serving.end().await;
    assert!(
        ended.stderr.contains("nothing of it is encrypted"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains(&token), "it is printed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_browsers_cost_the_database_no_more_than_one() {
    let world = SqliteWorld::new(400).await;
    let slowly = ["--concurrency", "1", "--bwlimit", "20KiB/s"];
    let mut migration = world.program.spawn(&world.args("db", "localfs", &slowly));
    until("it is at work", async || {
        world.task().await > 0 && world.moved().await > 0
    })
    .await;
    let serving = Serving::start(&world.program, &["1"]).await;
    let mut browsers = Vec::new();
    for _ in 0..30 {
        browsers.push(serving.events().await);
    }
    let mut looks = BTreeSet::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        for browser in &mut browsers {
            browser.next().await;
            looks.insert(browser.parts["clock"].clone());
        }
    }
    assert!((2..=5).contains(&looks.len()), "{looks:?}");
    migration.interrupt();
    migration.wait().await;
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_told_with_a_code() {
    let world = moved_there_and_back().await;
    let serving = Serving::start(&world.program, &["1"]).await;
    let taken = serving.told["listen"].as_str().expect("an address");
    for (args, code) in [
        (vec!["serve", "1", "--listen", taken], "address"),
        (vec!["serve", "9"], "unknown-task"),
        (vec!["serve"], "usage"),
        (vec!["serve", "1", "--all"], "usage"),
        (vec!["serve", "1", "--listen", "nowhere"], "usage"),
        (
            vec!["serve", "--all", "--db-connect", "sqlite:///none.db"],
            "database-refuses",
        ),
    ] {
        let args = [args, vec!["--json"]].concat();
        let said = world.program.run(&args).await.expect_code(2).json();
        assert_eq!(said["code"], code, "{args:?}: {said}");
    }
    serving.end().await;
}
