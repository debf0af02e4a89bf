//! `serve`: a page beside a run, told anew by server-sent events; whom it answers, what it asks of the
//! database, and what it does when that is away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;

use crate::report_page::{expect_readable, expect_within_the_screen};
use crate::servers::as_role_with_few;
use crate::sqlite::World as SqliteWorld;
use crate::support::browser::Browser;
use crate::support::counting_proxy::Fault;
use crate::support::postgres;
use crate::support::program::{Outcome, Program, Running};
use crate::world::{World, seeded, seeded_on_own_server, until};

/// What looks on needs to see, and no more.
const LOOKS_ON: &str = "
    GRANT USAGE ON SCHEMA public TO few;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO few;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO few;";

const LIMIT: Duration = Duration::from_secs(60);

/// A windlass that serves.
struct Serving {
    running: Running,
    told: Value,
    client: reqwest::Client,
}

impl Serving {
    /// On any free port of this machine's own.
    async fn start(program: &Program, what: &[&str]) -> Self {
        Self::at(program, what, "127.0.0.1:0").await
    }

    async fn at(program: &Program, what: &[&str], listen: &str) -> Self {
        let args = [&["serve", "--json", "--listen", listen], what].concat();
        let mut running = program.spawn(&args);
        until("it says where", async || {
            assert!(!running.has_ended(), "{}", running.stderr());
            running.stdout().ends_with('\n')
        })
        .await;
        let told = serde_json::from_str(&running.stdout()).expect("one document");
        Self {
            running,
            told,
            client: reqwest::Client::new(),
        }
    }

    fn url(&self) -> &str {
        self.told["url"].as_str().expect("a URL")
    }

    /// The same server by another path, on this machine.
    fn by(&self, path: &str) -> String {
        let listen = self.told["listen"].as_str().expect("an address");
        format!("http://{}{path}", listen.replace("0.0.0.0", "127.0.0.1"))
    }

    async fn get(&self, url: &str) -> (StatusCode, String) {
        let answer = self.client.get(url).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("text"))
    }

    async fn page(&self) -> String {
        let (status, text) = self.get(self.url()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    async fn events(&self) -> Events {
        let url = match self.url().split_once('?') {
            Some((path, query)) => format!("{path}/events?{query}"),
            None => format!("{}/events", self.url().trim_end_matches('/')),
        };
        let answer = self.client.get(url).send().await.expect("a stream");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events {
            answer,
            unread: Vec::new(),
            parts: BTreeMap::new(),
        }
    }

    /// Ctrl-C.
    async fn end(mut self) -> Outcome {
        self.running.interrupt();
        let ended = self.running.wait().await.expect_code(0);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
        ended
    }
}

/// What a browser has been told so far.
struct Events {
    answer: reqwest::Response,
    unread: Vec<u8>,
    parts: BTreeMap<String, String>,
}

impl Events {
    /// The parts that the next look has changed.
    async fn next(&mut self) -> BTreeSet<String> {
        loop {
            while let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.unread.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("UTF-8");
                let event = event.trim_end();
                let Some(data) = event.strip_prefix("event: look\ndata: ") else {
                    assert!(
                        event.starts_with("retry: ") || event == "event: beat\ndata:",
                        "{event}"
                    );
                    continue;
                };
                let look: Value = serde_json::from_str(data).expect("JSON on one line");
                let told = look["parts"].as_array().expect("parts").iter();
                let told = told.map(|part| {
                    let text = |name: &str| part[name].as_str().expect("text").to_owned();
                    (text("id"), text("html"))
                });
                let told: BTreeMap<_, _> = told.collect();
                self.parts.extend(told.clone());
                return told.into_keys().collect();
            }
            let piece = tokio::time::timeout(LIMIT, self.answer.chunk()).await;
            let piece = piece.expect("in time").expect("whole").expect("more");
            self.unread.extend_from_slice(&piece);
        }
    }

    /// Waits until a part says something.
    async fn until(&mut self, part: &str, says: &str) {
        let began = Instant::now();
        while !self.says(part, says) {
            assert!(
                began.elapsed() < LIMIT,
                "{part} never said {says:?}: {:?}",
                self.parts.get(part)
            );
            self.next().await;
        }
    }

    fn says(&self, part: &str, says: &str) -> bool {
        self.parts.get(part).is_some_and(|html| html.contains(says))
    }

    /// Objects that are through.
    fn through(&self) -> u64 {
        let now = self.parts.get("now").expect("a look");
        let before = now.split(" of ").next().expect("words");
        let number = before.rsplit('>').next().expect("a number");
        number.replace(',', "").parse().expect(number)
    }
}

/// Four hundred documents, of which some are damaged, on their slow way.
async fn at_work() -> (World, Running) {
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
    let secret = &world.s3_spec().await.secret_key;
    for secret in [secret, &world.database.place.password] {
        let told = format!("{:?}{}", events.parts, serving.page().await);
        assert!(!told.contains(secret), "a secret is told");
    }
    let ended = serving.end().await;
    world.expect_no_secret(&ended, secret);
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
    for path in ["/", "/tasks/1", "/tasks/1/events", "/events"] {
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

/// How far the page in the browser says that it is.
const THROUGH: &str = "return document.querySelector('#now .gauges span').textContent";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_it_on_every_screen_beside_a_run_with_failures() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (world, mut migration) = at_work().await;
    let serving = Serving::start(&world.program, &["1"]).await;
    browser.visit(serving.url()).await;
    let before = browser.run(THROUGH).await;
    until("the page goes on by itself", async || {
        browser.run(THROUGH).await != before
    })
    .await;
    let failed = "return document.querySelectorAll('#findings .long tbody tr').length";
    until("failures appear", async || {
        browser.run(failed).await.as_u64() > Some(5)
    })
    .await;
    // What whoever reads it has done stays through the looks that follow.
    browser.click("#work details > summary").await;
    browser.write("#findings input", "damaged").await;
    let now = browser.run(THROUGH).await;
    until("it goes on", async || browser.run(THROUGH).await != now).await;
    let kept = "return [document.querySelector('#work details').open,
        document.querySelector('#findings input').value, document.activeElement.type]";
    let kept = browser.run(kept).await;
    assert_eq!(kept, serde_json::json!([true, "damaged", "search"]));
    for (name, width, scheme) in [
        ("serve-phone-light", 390, "light"),
        ("serve-phone-dark", 390, "dark"),
        ("serve-desk-light", 1280, "light"),
        ("serve-desk-dark", 1280, "dark"),
    ] {
        browser.look(width, scheme, "screen").await;
        browser.picture(name).await;
        expect_readable(&browser, name).await;
        expect_within_the_screen(&browser, name).await;
    }
    migration.interrupt();
    migration.wait().await;
    let state = "return document.querySelector('#top .verdict strong').textContent";
    until("the end is seen", async || {
        browser.run(state).await != "Running"
    })
    .await;
    let console = browser.log("browser").await;
    let is_of_the_page = |entry: &&Value| {
        let message = entry["message"].as_str().unwrap_or_default();
        !message.contains("favicon")
    };
    let console: Vec<_> = console.iter().filter(is_of_the_page).collect();
    assert!(console.is_empty(), "{console:?}");
    let asked = browser.requests().await;
    let foreign = asked
        .iter()
        .filter(|url| url.starts_with("http") && !url.contains("//127.0.0.1:"));
    assert_eq!(foreign.count(), 0, "{asked:?}");
    serving.end().await;
    let lost = "return !document.getElementById('lost').hidden";
    until("that nobody answers is told", async || {
        browser.run(lost).await == true
    })
    .await;
    browser.picture("serve-lost").await;
    browser.quit().await;
}

/// As where something on the way lets no stream through: the page is fetched again instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_told_nothing_asks_again() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (world, mut migration) = at_work().await;
    let serving = Serving::start(&world.program, &["1"]).await;
    let mut others = Vec::new();
    for _ in 0..48 {
        others.push(serving.events().await);
    }
    let (status, _) = serving.get(&serving.by("/tasks/1/events")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    browser.visit(serving.url()).await;
    let before = browser.run(THROUGH).await;
    until("the page goes on all the same", async || {
        browser.run(THROUGH).await != before
    })
    .await;
    migration.interrupt();
    migration.wait().await;
    serving.end().await;
    browser.quit().await;
}
