//! The one error type: what happened, where, and what to do about it.

pub mod proposal;
mod untrusted;

pub use untrusted::Untrusted;
#[cfg(feature = "cli")]
pub(crate) use untrusted::is_safe;

use std::fmt;
use std::path::Path;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, sorted by who can mend it. Each kind has its own exit code in the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The caller asked for something that makes no sense (exit code 2).
    Usage(Report),
    /// A file, a picture or numbers that cannot be used (65).
    Data(Report),
    /// A file or folder that is not there (66).
    NotFound(Report),
    /// No GPU adapter that can be used (69).
    NoAdapter(Report),
    /// A defect of this library (70).
    Internal(Report),
    /// The GPU, its driver or its memory failed (71).
    Gpu(Report),
    /// The operating system refused to read or write (74).
    Io(Report),
    /// Stopped on request with the work saved; it can be resumed (75).
    Stopped(Report),
}

/// The parts of an error message, as they came; whoever prints one alone escapes it with [`Untrusted`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What happened, as a clause without a full stop.
    pub what: String,
    /// The file, tensor, layer or step it happened at; empty if it is clear from `what`.
    pub place: String,
    /// What the reader can do; empty if nothing but the obvious.
    pub hint: String,
    /// Whether memory of the GPU does not suffice, or a limit of the adapter on it.
    pub memory: bool,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $variant:ident),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(what: impl Into<String>) -> Self {
            Self::$variant(Report { what: what.into(), ..Report::default() })
        })*
    };
}

impl Error {
    constructors! {
        /// A request that makes no sense.
        usage => Usage,
        /// Unusable data.
        data => Data,
        /// A missing file or folder.
        not_found => NotFound,
        /// No usable adapter.
        no_adapter => NoAdapter,
        /// A defect of this library.
        internal => Internal,
        /// A failure of the GPU or its driver.
        gpu => Gpu,
        /// A failed read or write.
        io => Io,
        /// Stopped on request.
        stopped => Stopped,
    }

    /// An [`Error::Gpu`] whose reason is memory: less of it is needed, or a larger adapter.
    pub fn out_of_memory(what: impl Into<String>) -> Self {
        Self::Gpu(Report { what: what.into(), memory: true, ..Report::default() })
    }

    /// An error of the operating system at `path`: [`Error::NotFound`] where the file is missing, otherwise [`Error::Io`].
    pub fn from_io(error: &std::io::Error, doing: &str, path: &Path) -> Self {
        let made = if error.kind() == std::io::ErrorKind::NotFound {
            Self::not_found("there is no such file or folder")
        } else {
            Self::io(format!("cannot {doing}: {error}"))
        };
        made.at(Untrusted::new(path))
    }

    /// Says where it happened: a file, a tensor, a layer, a step. An inner place is kept behind the new one.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        let report = self.report_mut();
        let place = place.into();
        report.place = if report.place.is_empty() { place } else { format!("{place}: {}", report.place) };
        self
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.report_mut().hint = hint.into();
        self
    }

    /// What there is to say, in its parts.
    pub fn report(&self) -> &Report {
        match self {
            Self::Usage(r) | Self::Data(r) | Self::NotFound(r) | Self::NoAdapter(r) => r,
            Self::Internal(r) | Self::Gpu(r) | Self::Io(r) | Self::Stopped(r) => r,
        }
    }

    /// The same, to change it.
    pub(crate) fn report_mut(&mut self) -> &mut Report {
        match self {
            Self::Usage(r) | Self::Data(r) | Self::NotFound(r) | Self::NoAdapter(r) => r,
            Self::Internal(r) | Self::Gpu(r) | Self::Io(r) | Self::Stopped(r) => r,
        }
    }

    /// The exit code of the program for this kind of error (those of BSD's `sysexits.h`, and 2 for usage).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Data(_) => 65,
            Self::NotFound(_) => 66,
            Self::NoAdapter(_) => 69,
            Self::Internal(_) => 70,
            Self::Gpu(_) => 71,
            Self::Io(_) => 74,
            Self::Stopped(_) => 75,
        }
    }
}

/// The most characters of each part of a message: a file must not fill the screen.
const MOST: usize = 4096;

/// In one line, whatever the parts came from: what a terminal would obey is escaped as by [`Untrusted`].
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { what, place, hint, .. } = self.report();
        let part = |text| Untrusted::new(text).at_most(MOST);
        if !place.is_empty() {
            write!(f, "{}: ", part(place))?;
        }
        write!(f, "{}", part(what))?;
        if !hint.is_empty() {
            write!(f, "; {}", part(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_message_reaches_a_terminal_raw() {
        let raw = "\u{1b}[31m\n\u{202e}";
        let error = Error::data(format!("what {raw}")).at(format!("inner {raw}")).at(format!("outer {raw}"));
        let error = error.hint(format!("hint {raw}"));
        let safe = r"\u{1b}[31m\n\u{202e}";
        assert_eq!(error.to_string(), format!("outer {safe}: inner {safe}: what {safe}; hint {safe}"));
        assert!(error.report().what.ends_with(raw), "the parts are as they came");
        assert!(Error::data("a".repeat(1 << 20)).at("b".repeat(1 << 20)).to_string().len() < 10_000);
    }
}
