//! What stands around every page: its head and its policy (CSP), which allows nothing but the very
//! styles and scripts that stand in it, named by their hashes: whatever might slip in would not run.

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::html::Html;

const STYLE: &str = include_str!("style.css");
const LIVE_STYLE: &str = include_str!("live.css");
const SCRIPT: &str = include_str!("script.js");
const LIVE_SCRIPT: &str = include_str!("live.js");

/// How a page reaches whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a file, which asks for nothing.
    File,
    /// From a server that tells it anew, and that alone is asked.
    Served,
}

impl Way {
    fn styles(self) -> &'static [&'static str] {
        match self {
            Way::File => &[STYLE],
            Way::Served => &[STYLE, LIVE_STYLE],
        }
    }

    fn scripts(self) -> &'static [&'static str] {
        match self {
            Way::File => &[SCRIPT],
            Way::Served => &[SCRIPT, LIVE_SCRIPT],
        }
    }

    /// The policy of a page; a server says the same in its answer's header.
    pub fn policy(self) -> String {
        let hash = |text: &&str| {
            let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
            format!("'sha256-{hash}'")
        };
        let all = |texts: &[&str]| texts.iter().map(hash).collect::<Vec<_>>().join(" ");
        let connect = match self {
            Way::File => "",
            Way::Served => "connect-src 'self'; ",
        };
        format!(
            "default-src 'none'; style-src {}; script-src {}; {connect}base-uri 'none'; \
             form-action 'none'",
            all(self.styles()),
            all(self.scripts())
        )
    }
}

/// A whole page.
pub fn document(way: Way, title: &str, fill: impl FnOnce(&mut Html)) -> String {
    let mut html = Html::default();
    html.fixed("<!DOCTYPE html>\n");
    html.element("html", &[("lang", "en")], |html| {
        html.element("head", &[], |html| head(html, way, title));
        html.fixed("\n");
        html.element("body", &[], |html| {
            fill(html);
            for script in way.scripts() {
                html.element("script", &[], |html| html.fixed(script));
            }
        });
    });
    html.fixed("\n");
    html.finish()
}

fn head(html: &mut Html, way: Way, title: &str) {
    html.void("meta", &[("charset", "utf-8")]);
    let policy = way.policy();
    let attributes = [
        ("http-equiv", "Content-Security-Policy"),
        ("content", &*policy),
    ];
    html.void("meta", &attributes);
    let viewport = "width=device-width, initial-scale=1";
    html.void("meta", &[("name", "viewport"), ("content", viewport)]);
    html.void(
        "meta",
        &[("name", "color-scheme"), ("content", "light dark")],
    );
    html.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
    if way == Way::Served {
        // Whoever runs no script is not left with an old page.
        html.element("noscript", &[], |html| {
            html.void("meta", &[("http-equiv", "refresh"), ("content", "10")]);
        });
    }
    html.leaf("title", &[], title);
    for style in way.styles() {
        html.element("style", &[], |html| html.fixed(style));
    }
}

/// The way past all that comes before the page itself, for the keyboard.
pub fn skip(html: &mut Html, words: &str) {
    html.leaf("a", &[("class", "skip"), ("href", "#main")], words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_and_scripts_cannot_end_their_element_and_ask_for_nothing() {
        for text in [STYLE, LIVE_STYLE, SCRIPT, LIVE_SCRIPT] {
            assert!(!text.contains("</") && !text.contains("<!--"));
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("url("));
        }
    }

    #[test]
    fn only_a_served_page_may_ask_and_only_its_own_server() {
        assert!(!Way::File.policy().contains("connect-src"));
        assert!(Way::Served.policy().contains("connect-src 'self';"));
        for way in [Way::File, Way::Served] {
            assert!(!way.policy().contains("unsafe") && !way.policy().contains('*'));
        }
    }
}
