//! The frame of a page, and text in it.

use crate::error::Untrusted;
use std::fmt::{self, Display, Write};

/// The most characters of a name on a page.
const LONGEST: usize = 60;

/// Text in HTML, between tags or in a quoted attribute: nothing in it is markup, and control characters and marks of direction are
/// written as text.
pub(super) struct Text(String);

impl Text {
    /// A whole text.
    pub(super) fn new(text: &str) -> Self {
        Self(Untrusted::new(text).to_string())
    }

    /// The first characters of a name.
    pub(super) fn name(text: &str) -> Self {
        Self::first(text, LONGEST)
    }

    /// At most so many characters of a name.
    pub(super) fn first(text: &str, most: usize) -> Self {
        Self(Untrusted::new(text).at_most(most).to_string())
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A whole page. `body` is HTML. It loads nothing.
pub(super) fn page(title: &str, body: &str) -> String {
    frame(title, body, "data:")
}

/// Like [`page`], for a page that shows pictures from its folder. What `'self'` means for a page that is opened from a disk is up to the
/// browser, so the policy also names `file:`.
#[cfg(feature = "cli")]
pub(super) fn page_beside_pictures(title: &str, body: &str) -> String {
    frame(title, body, "data: 'self' file:")
}

/// `pictures` says where pictures may come from.
fn frame(title: &str, body: &str, pictures: &str) -> String {
    let title = Text::name(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src {pictures}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// A table of names and values, both text.
pub(super) fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows = rows.into_iter().map(|(name, value)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", Text::new(name), Text::first(&value, 400))
    });
    format!("<table class=\"pairs\">\n{}</table>\n", rows.collect::<String>())
}

/// The number of colours of series.
pub(super) const COLOURS: usize = 8;

/// Light and dark, as the browser prefers.
const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let text = Text::new("<script>alert(1)</script> \"a\" & 'b'\n\u{1b}[31m\u{202e}\u{0}").to_string();
        let wanted = "&lt;script&gt;alert(1)&lt;/script&gt; &quot;a&quot; &amp; &#39;b&#39;\\n\\u{1b}[31m\\u{202e}\\u{0}";
        assert_eq!(text, wanted);
        assert_eq!(Text::first("<<<<<", 2).to_string(), "&lt;&lt;...");
    }
}
