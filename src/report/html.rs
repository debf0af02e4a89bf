//! A writer of HTML in which nothing can be left open or unescaped.
//!
//! Names of elements and attributes are literals, everything else is escaped; an element is closed
//! when the closure that fills it returns. There is no way to write markup that came from outside.

use base64::Engine as _;

use crate::model::is_hidden;

/// Names and values of attributes.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

/// A page, or a part of one, as far as it is written.
#[derive(Debug, Clone, Default)]
pub struct Html {
    out: String,
}

impl Html {
    /// The text so far.
    pub fn finish(self) -> String {
        self.out
    }

    /// The same, while it goes on.
    pub fn written(&self) -> &str {
        &self.out
    }

    /// What another has written.
    pub fn join(&mut self, other: &Self) {
        self.out.push_str(&other.out);
    }

    /// Markup that stands in the source of this program.
    pub fn fixed(&mut self, markup: &'static str) {
        self.out.push_str(markup);
    }

    /// An element and what is in it.
    pub fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        fill: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        fill(self);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// An element with nothing but text in it.
    pub fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(name, attributes, |html| html.text(text));
    }

    /// An element that has no end: `meta`, `br`.
    pub fn void(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
    }

    /// Words of our own.
    pub fn text(&mut self, text: &str) {
        for c in text.chars() {
            self.character(c, |html, code| html.out.push_str(code));
        }
    }

    /// Text from outside: a key, a path, an error. Its direction cannot reach what stands around
    /// it, and what it hides (controls, overrides of direction) is shown by its code point.
    pub fn outside(&mut self, text: &str) {
        self.element("bdi", &[], |html| {
            for c in text.chars() {
                let show = |html: &mut Self, code: &str| {
                    html.out.push_str("<span class=\"hidden-sign\">");
                    html.out.push_str(code);
                    html.out.push_str("</span>");
                };
                match c {
                    // It would forge a line in what `report -o -` prints.
                    '\n' => show(html, "[U+000A]"),
                    c => html.character(c, show),
                }
            }
        });
    }

    /// A file within the page itself: a link that saves it, and asks nobody.
    pub fn download(&mut self, name: &str, kind: &'static str, content: &str) {
        let data = base64::engine::general_purpose::STANDARD.encode(content);
        let target = format!("data:{kind};charset=utf-8;base64,{data}");
        self.leaf("a", &[("href", &target), ("download", name)], name);
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            self.text(value);
            self.out.push('"');
        }
        self.out.push('>');
    }

    fn character(&mut self, c: char, show_hidden: impl FnOnce(&mut Self, &str)) {
        match c {
            '&' => self.out.push_str("&amp;"),
            '<' => self.out.push_str("&lt;"),
            '>' => self.out.push_str("&gt;"),
            '"' => self.out.push_str("&quot;"),
            '\'' => self.out.push_str("&#39;"),
            '\n' => self.out.push('\n'),
            c if is_hidden(c) => show_hidden(self, &format!("[U+{:04X}]", u32::from(c))),
            c => self.out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Html)) -> String {
        let mut html = Html::default();
        write(&mut html);
        html.finish()
    }

    #[test]
    fn markup_from_outside_comes_out_as_text() {
        let hostile = r#"</td><script>alert("it's & me")</script>"#;
        assert_eq!(
            written(|html| html.outside(hostile)),
            "<bdi>&lt;/td&gt;&lt;script&gt;alert(&quot;it&#39;s &amp; me&quot;)&lt;/script&gt;</bdi>"
        );
        assert_eq!(
            written(|html| html.leaf("td", &[("data-sort", "\" onclick=\"x()")], "1")),
            "<td data-sort=\"&quot; onclick=&quot;x()\">1</td>"
        );
    }

    #[test]
    fn what_hides_is_shown() {
        assert_eq!(
            written(|html| html.outside("a\u{202e}nosj.\u{0}b")),
            "<bdi>a<span class=\"hidden-sign\">[U+202E]</span>nosj.\
             <span class=\"hidden-sign\">[U+0000]</span>b</bdi>"
        );
        assert_eq!(
            written(|html| html.leaf("p", &[("title", "\u{200b}")], "\u{200b}")),
            "<p title=\"[U+200B]\">[U+200B]</p>"
        );
        // Letters that run from right to left are no tricks; they are only kept apart.
        assert_eq!(written(|html| html.outside("שלום")), "<bdi>שלום</bdi>");
    }

    #[test]
    fn elements_close_in_the_order_they_were_opened_in() {
        let text = written(|html| {
            html.element("ul", &[("class", "a")], |html| {
                html.leaf("li", &[], "1");
                html.element("li", &[], |html| html.void("br", &[]));
            });
        });
        assert_eq!(text, "<ul class=\"a\"><li>1</li><li><br></li></ul>");
    }

    proptest! {
        #[test]
        fn no_text_ends_an_element_or_an_attribute(text in any::<String>()) {
            let outside = written(|html| html.outside(&text));
            let inner = outside.strip_prefix("<bdi>").unwrap().strip_suffix("</bdi>").unwrap();
            let inner = inner
                .replace("<span class=\"hidden-sign\">[U+", "[U+")
                .replace("]</span>", "]");
            prop_assert!(!inner.contains(['<', '>', '"', '\'']));
            let attribute = written(|html| html.void("br", &[("title", &text)]));
            prop_assert_eq!(attribute.matches('"').count(), 2);
            prop_assert!(!attribute[1..attribute.len() - 1].contains(['<', '>']));
        }
    }
}
