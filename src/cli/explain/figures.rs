//! The PNG pictures and the page of a folder.

use crate::data::Picture;
use crate::error::{Error, Result, Untrusted};
use crate::report::{Figure, Gallery, Panel, Png, Shown};
use crate::weights::write_atomically;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The longest name of a file, without its extension.
const NAME: usize = 100;

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
        Ok(Self { folder: folder.to_owned(), shown: Vec::new(), names: HashSet::new() })
    }

    /// The number of figures.
    pub(super) fn count(&self) -> usize {
        self.shown.len()
    }

    /// Writes a figure. `text` says what it shows.
    pub(super) fn add(&mut self, name: &str, figure: &Figure, text: &str) -> Result<()> {
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
        let name: String = name.trim_start_matches('.').chars().take(NAME).map(plain).collect();
        let numbered = (2..).map(|i: u64| format!("{name}-{i}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        // File systems may not tell large from small letters.
        let free = names.find(|name| self.names.insert(name.to_lowercase()));
        free.unwrap_or(name)
    }

    /// Writes the page, and gives its path.
    pub(super) fn finish(&mut self, title: &str, facts: Vec<(String, String)>) -> Result<PathBuf> {
        let page = Gallery { title: title.to_owned(), facts, figures: self.shown.clone() }.html();
        let path = self.folder.join("index.html");
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
    fn every_figure_has_a_name_of_its_own_that_is_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let mut figures = Figures::in_folder(&folder.path().join("new/er")).unwrap();
        let mut free = |name: &str| figures.free(name);
        assert_eq!([free("a b"), free("A b"), free("../x"), free("a b")], ["a_b", "A_b-2", "_x", "a_b-3"]);
        assert_eq!(free(&"x".repeat(500)).len(), NAME);
        std::fs::write(folder.path().join("file"), b"").unwrap();
        assert!(Figures::in_folder(&folder.path().join("file")).is_err());
    }
}
