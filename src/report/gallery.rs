//! A page of figures that lie as PNG files beside it.

use super::html::{Text, page_beside_pictures, pairs};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is escaped in the name of a file: all but letters, digits and `-._~`. So a name is never a path or another address.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A page of figures. All texts may come from files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gallery {
    /// The heading.
    pub title: String,
    /// Names and values, above the figures.
    pub facts: Vec<(String, String)>,
    /// From top to bottom.
    pub figures: Vec<Shown>,
}

/// A figure on a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The name of the PNG file in the folder of the page.
    pub file: String,
    /// The heading; it may be empty.
    pub title: String,
    /// What the figure shows; it may be empty.
    pub text: String,
    /// What the figure shows, for readers who do not see it.
    pub alt: String,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

impl Gallery {
    /// The page as HTML, without scripts. It loads nothing but the files of its figures.
    pub fn html(&self) -> String {
        let mut body = format!("<h1>{}</h1>\n", Text::new(&self.title));
        if !self.facts.is_empty() {
            body += &pairs(self.facts.iter().map(|(name, value)| (name.as_str(), value.clone())));
        }
        body.extend(self.figures.iter().map(Shown::html));
        page_beside_pictures(&format!("{} - Ocelli", self.title), &body)
    }
}

impl Shown {
    fn html(&self) -> String {
        let Self { file, title, text, alt, size: [width, height] } = self;
        let file = utf8_percent_encode(file, ESCAPED);
        let part = |tag: &str, text: &str| match text {
            "" => String::new(),
            text => format!("<{tag}>{}</{tag}>\n", Text::new(text)),
        };
        format!(
            "{}{}<a class=\"figure\" href=\"{file}\"><img src=\"{file}\" alt=\"{}\" width=\"{width}\" \
             height=\"{height}\" loading=\"lazy\"></a>\n",
            part("h2", title),
            part("p", text),
            Text::new(alt)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gallery() -> Gallery {
        let shown = |file: &str, title: &str| Shown {
            file: file.to_owned(),
            title: title.to_owned(),
            text: "Where the network looks.".to_owned(),
            alt: "a map".to_owned(),
            size: [640, 480],
        };
        Gallery {
            title: "cat.jpg".to_owned(),
            facts: vec![("network".to_owned(), "resnet20".to_owned())],
            figures: vec![shown("grad-cam.png", "Grad-CAM"), shown("saliency_1~.png", "Saliency")],
        }
    }

    #[test]
    fn figures_are_listed_with_their_files() {
        let html = gallery().html();
        for wanted in [
            "<title>cat.jpg - Ocelli</title>",
            "<h1>cat.jpg</h1>",
            "<th scope=\"row\">network</th><td>resnet20</td>",
            "<h2>Grad-CAM</h2>\n<p>Where the network looks.</p>\n",
            "<a class=\"figure\" href=\"grad-cam.png\"><img src=\"grad-cam.png\" alt=\"a map\" width=\"640\" height=\"480\" loading=\"lazy\"></a>",
            "src=\"saliency_1~.png\"",
        ] {
            assert!(html.contains(wanted), "{wanted} is not in {html}");
        }
        assert!(html.find("Grad-CAM") < html.find("Saliency"));
        assert!(!html.contains("<script"));
        let quiet = Gallery { figures: vec![Shown::default()], ..gallery() }.html();
        assert!(!quiet.contains("<h2>") && !quiet.contains("<p>"));
        let bare = Gallery { facts: Vec::new(), figures: Vec::new(), ..gallery() }.html();
        assert!(!bare.contains("<table") && !bare.contains("<img"));
    }

    #[test]
    fn only_pictures_may_be_loaded() {
        let html = gallery().html();
        let policy = "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data: 'self' file:\"";
        assert!(html.contains(policy), "{html}");
        let run = super::super::RunPage::default().html();
        assert!(run.contains("img-src data:\">"), "the page of a run loads nothing");
    }

    #[test]
    fn names_are_text_and_never_addresses() {
        let evil = "<script>\"'&\u{202e}\n";
        let mut gallery = gallery();
        gallery.title = evil.to_owned();
        gallery.facts[0] = (evil.to_owned(), evil.to_owned());
        gallery.figures[0] = Shown {
            file: "javascript:a/../b c?d#e%\"é.png".to_owned(),
            title: evil.to_owned(),
            text: evil.to_owned(),
            alt: evil.to_owned(),
            size: [1, 2],
        };
        let html = gallery.html();
        assert!(!html.contains("<script") && !html.contains('\u{202e}'), "{html}");
        let name = "javascript%3Aa%2F..%2Fb%20c%3Fd%23e%25%22%C3%A9.png";
        assert!(
            html.contains(&format!("<img src=\"{name}\" alt=\"&lt;script&gt;&quot;&#39;&amp;")),
            "{html}"
        );
        assert!(html.contains(&format!("href=\"{name}\"")));
    }
}
