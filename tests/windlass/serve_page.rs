//! The page of `serve`, seen through a browser beside a run with failures.

use reqwest::StatusCode;
use serde_json::Value;

use crate::report_page::{expect_readable, expect_within_the_screen};
use crate::serve::at_work;
use crate::serving::Serving;
use crate::support::browser::Browser;
use crate::world::until;

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
