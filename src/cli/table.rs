//! Tables for a terminal and, as Markdown, for a file that is sent to others.

use crate::error::Untrusted;

/// The content of a cell.
pub(super) enum Cell {
    /// Text of this program.
    Plain(String),
    /// Text from a driver or a file. Markdown shows it as code, in which nothing is a link, a mention or HTML.
    Quoted(String),
}

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }

    pub(super) fn quoted(text: impl Into<String>) -> Self {
        Self::Quoted(text.into())
    }

    fn text(&self) -> String {
        match self {
            Self::Plain(text) | Self::Quoted(text) => String::from(Untrusted::new(text)),
        }
    }

    fn markdown(&self) -> String {
        // A bar ends a cell, even in code.
        let text = self.text().replace('|', r"\|");
        match self {
            Self::Plain(_) => text,
            Self::Quoted(_) if text.trim().is_empty() => "-".to_owned(),
            // The grave accent ends code, and there is no escape for it.
            Self::Quoted(_) => format!("`{}`", text.trim().replace('`', "'")),
        }
    }
}

/// Rows of as many cells as the head has. The first column goes to the left.
pub(super) struct Table {
    head: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
    /// Whether the other columns are numbers, which go to the right.
    numbers: bool,
}

impl Table {
    pub(super) fn of_numbers<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(Cell::plain).into(), rows: Vec::new(), numbers: true }
    }

    pub(super) fn of_text<const N: usize>(head: [&str; N]) -> Self {
        Self { numbers: false, ..Self::of_numbers(head) }
    }

    pub(super) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        self.rows.push(row.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Aligned lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let cells: Vec<Vec<String>> = self.all().map(|row| row.iter().map(Cell::text).collect()).collect();
        let width = |column: usize| {
            cells.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max()
        };
        let line = |row: &Vec<String>| {
            let padded = row.iter().enumerate().map(|(i, text)| match width(i).unwrap_or(0) {
                width if i == 0 || !self.numbers => format!("{text:<width$}"),
                width => format!("{text:>width$}"),
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        cells.iter().map(line).collect()
    }

    /// A table of GitHub's Markdown, with a line break at its end.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        for (i, row) in self.all().enumerate() {
            let cells: Vec<String> = row.iter().map(Cell::markdown).collect();
            out += &format!("| {} |\n", cells.join(" | "));
            if i == 0 {
                let other = if self.numbers { "---:|" } else { "---|" };
                out += &format!("|---|{}\n", other.repeat(row.len().saturating_sub(1)));
            }
        }
        out
    }

    fn all(&self) -> impl Iterator<Item = &Vec<Cell>> {
        std::iter::once(&self.head).chain(&self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::of_numbers(["kernel", "ms"]);
        table.push([Cell::quoted("a\n"), Cell::plain("12.5")]);
        table.push([Cell::quoted("convolution"), Cell::plain("1")]);
        assert_eq!(table.lines(), ["kernel         ms", r"a\n          12.5", "convolution     1"]);
    }

    #[test]
    fn text_from_elsewhere_stays_in_its_cell() {
        let mut table = Table::of_text(["", ""]);
        table.push([Cell::plain("driver"), Cell::quoted("a | `b` <b>@c</b>\n| x | \u{202e}[d](http://e)")]);
        table.push([Cell::plain("none"), Cell::quoted(" ")]);
        assert_eq!(
            table.markdown(),
            "|  |  |\n|---|---|\n| driver | `a \\| 'b' <b>@c</b>\\n\\| x \\| \\u{202e}[d](http://e)` |\n| none | - |\n"
        );
    }
}
