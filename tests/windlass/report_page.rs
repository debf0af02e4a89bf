//! The report's page, seen through a browser: on a phone and a desk, in light and dark, on paper, by
//! mouse and by keyboard; and that it asks for nothing and runs nothing that is not its own.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::report::{HOSTILE, troubled};
use crate::support::browser::{Browser, TAB};

/// Text that is hard to read against what lies behind it (WCAG: 4.5 to 1), or too small.
const HARD_TO_READ: &str = r#"
const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const line = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * line(r) + 0.7152 * line(g) + 0.0722 * line(b);
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const wrong = [];
let looked = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || element.closest("script, style, title, desc, .skip")) continue;
  if (!element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const inDrawing = element.closest("svg");
  const [a, b] = [light(parse(inDrawing ? style.fill : style.color)), light(behind(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const box = element.getBoundingClientRect();
  looked += 1;
  if (contrast < 4.5) wrong.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
  if (box.height < 9) wrong.push(`${text.slice(0, 40)}: ${box.height.toFixed(1)} px high`);
}
return { looked, wrong };
"#;

/// What reaches beyond the screen to the right. Lines of code scroll within their own box.
const TOO_WIDE: &str = r#"
const wide = [...document.querySelectorAll("body *")].filter((element) =>
  !element.closest("pre > *") && element.checkVisibility() &&
  element.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
const page = document.documentElement;
return {
  scrolls: page.scrollWidth > page.clientWidth,
  wide: wide.slice(0, 5).map((element) => element.outerHTML.slice(0, 120)),
};
"#;

/// Words that a line's end cuts in two. Behind a hyphen or a slash is a good place; what no screen has
/// room for has none.
const BROKEN_WORDS: &str = r#"
const broken = [];
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (node.parentElement.closest("pre, svg, details") || !node.parentElement.checkVisibility()) continue;
  for (const word of node.textContent.matchAll(/[^\s\/\-–?]+/g)) {
    if (word[0].length > 72) continue;
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
    if (lines.size > 1) broken.push(word[0]);
  }
}
return broken;
"#;

/// The rows of the spreadsheet that the page brings along.
const SPREADSHEET: &str = r#"
const link = document.querySelector("a[download]");
return [link.download, atob(link.href.split(",")[1]).trim().split(/\r\n/)];
"#;

/// What the keyboard must reach, in order.
const FOCUSABLE: &str = r#"
return [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")]
  .filter((element) => element.checkVisibility()).map((element, at) => {
    element.dataset.stop = at;
    return element.outerHTML.slice(0, 60);
  });
"#;

const FOCUSED: &str = r#"
const element = document.activeElement;
const style = getComputedStyle(element);
return { stop: element.dataset.stop ?? null, outline: style.outlineStyle, width: parseFloat(style.outlineWidth) };
"#;

pub async fn expect_readable(browser: &Browser, what: &str) {
    let seen = browser.run(HARD_TO_READ).await;
    assert!(seen["looked"].as_u64().expect("a number") > 100, "{seen}");
    assert_eq!(seen["wrong"], Value::Array(Vec::new()), "{what}");
}

pub async fn expect_within_the_screen(browser: &Browser, what: &str) {
    let seen = browser.run(TOO_WIDE).await;
    assert_eq!(seen["scrolls"], false, "{what}: {seen}");
    assert_eq!(seen["wide"], Value::Array(Vec::new()), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_serves_every_screen_and_hand_and_asks_for_nothing() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let world = troubled().await;
    let page: PathBuf = world.program.home().join("report.html");
    let file = page.display().to_string();
    let report = ["report", "1", "-o", &file];
    world.program.run(&report).await.expect_code(0);
    browser.requests().await;
    browser.open(&page).await;

    for (name, width, scheme) in [
        ("phone-light", 390, "light"),
        ("phone-dark", 390, "dark"),
        ("small-phone", 320, "light"),
        ("tablet", 820, "dark"),
        ("small-laptop", 1030, "light"),
        ("laptop", 1170, "light"),
        ("desk-light", 1280, "light"),
        ("desk-dark", 1280, "dark"),
    ] {
        browser.look(width, scheme, "screen").await;
        browser.picture(name).await;
        expect_readable(&browser, name).await;
        expect_within_the_screen(&browser, name).await;
    }
    let broken = browser.run(BROKEN_WORDS).await;
    assert_eq!(broken, Value::Array(Vec::new()), "cut in two on a desk");
    let sheet = browser.run(SPREADSHEET).await;
    assert_eq!(sheet[0], "windlass-task-1-failures.csv");
    let rows = sheet[1].as_array().expect("rows");
    assert_eq!(rows.len(), 1 + 8, "{sheet}");
    expect_hands_to_work(&browser).await;
    expect_keys_to_reach_all(&browser, &page).await;
    expect_paper_to_work(&browser).await;

    let console = browser.log("browser").await;
    assert!(console.is_empty(), "{console:?}");
    let mut asked = browser.requests().await;
    asked.dedup();
    let itself = format!("file://{file}");
    assert_eq!(asked, [itself], "the page and nothing else");
    expect_strangers_not_to_run(&browser).await;
    browser.quit().await;
}

/// Everything that can be clicked does what it says.
async fn expect_hands_to_work(browser: &Browser) {
    let theme = "return getComputedStyle(document.body).backgroundColor";
    browser.look(390, "light", "screen").await;
    let light = browser.run(theme).await;
    browser.click(".theme").await;
    assert_ne!(browser.run(theme).await, light);
    expect_readable(browser, "dark by hand").await;
    browser.click(".theme").await;
    assert_eq!(browser.run(theme).await, light);
    browser.look(390, "dark", "screen").await;
    assert_eq!(browser.run(theme).await, light, "the hand wins");

    let first = "return document.querySelector('#findings .long tbody tr').cells[0].textContent";
    let header = "#findings .long thead th:first-child button";
    browser.click(header).await;
    let up = browser.run(first).await;
    browser.click(header).await;
    assert_ne!(browser.run(first).await, up, "the other way round");
    let sorted = "return document.querySelector('#findings .long th').ariaSort";
    assert_eq!(browser.run(sorted).await, "descending");

    browser.write("#findings input", "script").await;
    let shown = "return [...document.querySelectorAll('#findings .long tbody tr')]
        .filter((row) => row.checkVisibility()).length";
    assert_eq!(browser.run(shown).await, 1);
    let told = "return document.querySelector('#findings output').textContent";
    assert_eq!(browser.run(told).await, "1 of 8 rows");

    let closed = "return document.querySelectorAll('details:not([open])').length";
    let all = browser.run(closed).await.as_u64().expect("a number");
    assert!(all >= 3, "{all} tables beside plots and proof");
    for at in 0..all {
        browser
            .run(&format!(
                "document.querySelectorAll('details')[{at}].id = 'details-{at}'"
            ))
            .await;
        browser.click(&format!("#details-{at} > summary")).await;
    }
    assert_eq!(browser.run(closed).await, 0);
    expect_readable(browser, "all opened").await;
    expect_within_the_screen(browser, "all opened").await;
    browser.click("nav a[href='#proof']").await;
    assert_eq!(browser.run("return location.hash").await, "#proof");
}

/// Tab after tab, from the top to the end, with the focus to be seen at each stop.
async fn expect_keys_to_reach_all(browser: &Browser, page: &Path) {
    browser.look(1280, "light", "screen").await;
    // Anew: a browser goes on tabbing from where the last click was.
    browser.open(page).await;
    let stops = browser.run(FOCUSABLE).await;
    let stops = stops.as_array().expect("a list").clone();
    assert!(stops.len() > 15, "{stops:?}");
    for (at, stop) in stops.iter().enumerate() {
        browser.press(TAB).await;
        let seen = browser.run(FOCUSED).await;
        assert_eq!(seen["stop"], at.to_string(), "{stop}: {seen}");
        assert_ne!(seen["outline"], "none", "{stop}");
        assert!(seen["width"].as_f64() >= Some(2.0), "{stop}: {seen}");
    }
}

async fn expect_paper_to_work(browser: &Browser) {
    browser.look(700, "dark", "print").await;
    browser.picture("print").await;
    expect_readable(browser, "paper").await;
    expect_within_the_screen(browser, "paper").await;
    let paper = "return getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.run(paper).await, "rgb(255, 255, 255)");
    let toys = "return [...document.querySelectorAll('nav, input, .theme')]
        .filter((element) => element.checkVisibility()).length";
    assert_eq!(browser.run(toys).await, 0);
    browser.look(1280, "light", "").await;
    let pdf = browser.print().await;
    assert!(pdf.starts_with(b"%PDF-") && pdf.len() > 20_000);
    if let Some(dir) = std::env::var_os("WINDLASS_TEST_SCREENSHOTS") {
        std::fs::write(PathBuf::from(dir).join("report.pdf"), &pdf).expect("a PDF");
    }
}

/// The names of documents are hostile, and one was damaged so that it stands on the page. Even
/// markup that got in by some other way would neither run nor load.
async fn expect_strangers_not_to_run(browser: &Browser) {
    let text = browser
        .run("return document.querySelector('#findings').textContent")
        .await;
    let text = text.as_str().expect("text");
    let shown = HOSTILE.replace('\u{202e}', "[U+202E]");
    assert!(text.contains(&shown), "{text}");
    let strangers = browser
        .run(
            "const script = document.createElement('script');
             script.textContent = 'window.ran = 1';
             const image = document.createElement('img');
             image.src = 'http://127.0.0.1:9/picture.png';
             document.body.append(script, image);
             document.body.insertAdjacentHTML('beforeend', '<b onclick=\"window.ran = 1\">b</b>');
             document.body.lastElementChild.click();
             return window.ran ?? null;",
        )
        .await;
    assert_eq!(strangers, Value::Null);
    let refused = browser.log("browser").await;
    let refused = refused.iter().filter(|entry| {
        let message = entry["message"].as_str().unwrap_or_default();
        message.contains("Content Security Policy")
    });
    assert!(
        refused.count() >= 3,
        "the policy refused script, image, handler"
    );
}
