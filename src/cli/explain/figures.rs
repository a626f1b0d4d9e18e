//! The PNG pictures and the page of a folder.

use crate::data::Picture;
use crate::error::{Error, Result, Untrusted};
use crate::report::{Figure, Gallery, Panel, Png, Shown};
use crate::weights::write_atomically;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The longest name of a file in bytes, without its number and extension.
const NAME: usize = 180;

/// The most panels of a figure, and the most bytes of their pictures.
const PANELS: usize = 96;
const BYTES: usize = 24 << 20;

/// The page.
const PAGE: &str = "index.html";

/// What the page of every folder of figures has in it.
const MARK: &str = " - Ocelli</title>";

/// The figures that have been written into a folder.
pub(super) struct Figures {
    folder: PathBuf,
    shown: Vec<Shown>,
    names: HashSet<String>,
}

impl Figures {
    /// Makes the folder if it is not there.
    pub(super) fn in_folder(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| {
            Error::from_io(e, "make the folder", folder).hint("give a folder that can be written to")
        })?;
        // Before minutes are spent on figures that could not be written.
        tempfile::tempfile_in(folder).map_err(|e| Error::from_io(e, "write to the folder", folder))?;
        let page = folder.join(PAGE);
        if std::fs::read(&page).is_ok_and(|text| !String::from_utf8_lossy(&text).contains(MARK)) {
            return Err(Error::usage("there is a page of something else")
                .at(Untrusted::new(&page))
                .hint("choose another folder, or move the page away"));
        }
        Ok(Self { folder: folder.to_owned(), shown: Vec::new(), names: HashSet::new() })
    }

    /// The number of figures.
    pub(super) fn count(&self) -> usize {
        self.shown.len()
    }

    /// Writes a figure, in parts if it has many panels. `text` says what it shows.
    pub(super) fn add(&mut self, name: &str, mut figure: Figure, text: &str) -> Result<()> {
        let largest = figure.panels.iter().map(|panel| panel.rgba.len()).max().unwrap_or(0);
        let columns = figure.columns.max(1);
        let most = (BYTES / largest.max(1)).clamp(1, PANELS);
        // Whole rows, if there is room for one.
        let most = if most >= columns { most / columns * columns } else { most };
        let panels = std::mem::take(&mut figure.panels);
        let parts = panels.len().div_ceil(most);
        if parts <= 1 {
            return self.add_one(name, &Figure { panels, ..figure }, text);
        }
        for (i, some) in panels.chunks(most).enumerate() {
            let title = format!("{} ({} of {parts})", figure.title, i + 1);
            let part = Figure { title, panels: some.to_vec(), ..figure.clone() };
            self.add_one(&format!("{name}-{}", i + 1), &part, text)?;
        }
        Ok(())
    }

    fn add_one(&mut self, name: &str, figure: &Figure, text: &str) -> Result<()> {
        let Png { bytes, size } = figure.png()?;
        let file = format!("{}.png", self.free(name));
        write_atomically(&self.folder.join(&file), |out| out.write_all(&bytes))?;
        self.shown.push(Shown {
            file,
            title: figure.title.clone(),
            text: text.to_owned(),
            alt: format!("{}. {text}", figure.title),
            size,
        });
        Ok(())
    }

    /// A name for a file that no other figure has.
    fn free(&mut self, name: &str) -> String {
        let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let mut name: String = name.trim_start_matches('.').chars().map(plain).collect();
        // File systems count bytes.
        name.truncate((0..=NAME.min(name.len())).rfind(|at| name.is_char_boundary(*at)).unwrap_or(0));
        let numbered = (2..).map(|i: u64| format!("{name}-{i}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        // File systems may not tell large from small letters.
        let free = names.find(|name| self.names.insert(name.to_lowercase()));
        free.unwrap_or(name)
    }

    /// Writes the page, and gives its path.
    pub(super) fn finish(&mut self, title: &str, facts: Vec<(String, String)>) -> Result<PathBuf> {
        let page = Gallery { title: title.to_owned(), facts, figures: self.shown.clone() }.html();
        let path = self.folder.join(PAGE);
        write_atomically(&path, |out| out.write_all(page.as_bytes()))
            .map_err(|e| e.at(Untrusted::new(&self.folder)))?;
        Ok(path)
    }
}

/// A picture as a panel.
pub(super) fn panel(title: impl Into<String>, caption: impl Into<String>, picture: &Picture) -> Panel {
    Panel {
        title: title.into(),
        caption: caption.into(),
        width: picture.width(),
        height: picture.height(),
        rgba: picture.rgba().to_vec(),
    }
}

/// A number for a caption: about three digits.
pub(super) fn short(x: f32) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        size if (0.01..10_000.0).contains(&size) => {
            let digits = (2 - size.log10().floor() as i32).max(0) as usize;
            format!("{x:.digits$}")
        }
        _ => format!("{x:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 1.0, -0.123_45, 12.345, 123.45, 4567.8, 1e-7, 2.5e9].map(short);
        assert_eq!(texts, ["0", "1.00", "-0.123", "12.3", "123", "4568", "1.00e-7", "2.50e9"]);
    }

    #[test]
    fn many_panels_are_several_figures_and_no_other_page_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut figures = Figures::in_folder(folder.path()).unwrap();
        let small = Panel { width: 1, height: 1, rgba: vec![0; 4], ..Panel::default() };
        let figure = Figure { title: "all".to_owned(), columns: 5, panels: vec![small; 200], bar: None };
        figures.add("all", figure, "").unwrap();
        assert_eq!(figures.count(), 3, "95, 95 and 10");
        assert_eq!(
            (figures.shown[2].title.as_str(), figures.shown[2].file.as_str()),
            ("all (3 of 3)", "all-3.png")
        );
        let large = Panel { width: 2048, height: 1024, rgba: vec![0; 8 << 20], ..Panel::default() };
        figures.add("large", Figure { columns: 8, panels: vec![large; 4], ..Figure::default() }, "").unwrap();
        assert_eq!(figures.count(), 5);
        figures.finish("page", Vec::new()).unwrap();
        assert!(Figures::in_folder(folder.path()).is_ok(), "one of ours may be replaced");
        std::fs::write(folder.path().join(PAGE), "<title>My cats</title>").unwrap();
        let error = Figures::in_folder(folder.path()).err().unwrap();
        assert!(matches!(error, Error::Usage(_)), "{error}");
    }

    #[test]
    fn every_figure_has_a_name_of_its_own_that_is_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let mut figures = Figures::in_folder(&folder.path().join("new/er")).unwrap();
        let mut free = |name: &str| figures.free(name);
        assert_eq!([free("a b"), free("A b"), free("../x"), free("a b")], ["a_b", "A_b-2", "_x", "a_b-3"]);
        assert_eq!(free(&"x".repeat(500)).len(), NAME);
        assert_eq!(free(&"\u{72ac}".repeat(100)).len(), NAME);
        std::fs::write(folder.path().join("file"), b"").unwrap();
        assert!(Figures::in_folder(&folder.path().join("file")).is_err());
    }
}
