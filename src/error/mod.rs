//! The error type of this crate: what happened, where, and what to do about it.

mod hint;
mod untrusted;

pub use hint::{Choice, Hint, Note};
pub use untrusted::Untrusted;
#[cfg(feature = "cli")]
pub(crate) use untrusted::is_safe;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error. Its kind says who can fix the problem. Each kind has its own exit code in the program.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that is not possible (exit code 2).
    Usage(Report),
    /// A file, a picture or numbers that cannot be used (65).
    Data(Report),
    /// A file or folder that does not exist (66).
    NotFound(Report),
    /// There is no GPU adapter that can be used (69).
    NoAdapter(Report),
    /// A defect of this library (70).
    Internal(Report),
    /// The GPU, its driver or its memory failed (71).
    Gpu(Report),
    /// The operating system refused to read or write (74).
    Io(Report),
    /// The work was stopped on request and saved; it can be resumed (75).
    Stopped(Report),
}

/// The parts of an error message. They are not escaped: print a single part through [`Untrusted`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What happened, as a clause without a full stop.
    pub what: String,
    /// The file, tensor, layer or step where it happened; empty if `what` says it.
    pub place: String,
    /// What the reader can do; empty if there is nothing to say.
    pub hint: Hint,
    /// Whether the reason is the memory of the GPU, or a limit of the adapter on it.
    pub memory: bool,
    pub(crate) source: Cause,
}

/// The error of another library behind an [`Error`]. Errors are compared without it: most such types cannot be compared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause(Option<Arc<dyn std::error::Error + Send + Sync>>);

impl PartialEq for Cause {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Cause {}

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
        /// A request that is not possible.
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

    /// An [`Error::Gpu`] whose reason is the memory of the GPU.
    pub fn out_of_memory(what: impl Into<String>) -> Self {
        Self::Gpu(Report { what: what.into(), memory: true, ..Report::default() })
    }

    /// An error of the operating system at `path`: [`Error::NotFound`] where the file is missing, otherwise [`Error::Io`].
    pub fn from_io(error: std::io::Error, doing: &str, path: impl AsRef<Path>) -> Self {
        let made = if error.kind() == std::io::ErrorKind::NotFound {
            Self::not_found("there is no such file or folder")
        } else {
            Self::io(format!("cannot {doing}: {error}"))
        };
        made.at(Untrusted::new(path.as_ref())).with_source(error)
    }

    /// Keeps the underlying error, for [`std::error::Error::source`].
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.report_mut().source = Cause(Some(Arc::new(source)));
        self
    }

    /// Says where it happened: a file, a tensor, a layer, a step. A place that is already known is kept behind the new one.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        let report = self.report_mut();
        let place = place.into();
        report.place = if report.place.is_empty() { place } else { format!("{place}: {}", report.place) };
        self
    }

    /// Says what the reader can do about it, instead of any earlier hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.report_mut().hint = hint.into();
        self
    }

    /// The parts of the message.
    pub fn report(&self) -> &Report {
        match self {
            Self::Usage(r) | Self::Data(r) | Self::NotFound(r) | Self::NoAdapter(r) => r,
            Self::Internal(r) | Self::Gpu(r) | Self::Io(r) | Self::Stopped(r) => r,
        }
    }

    /// The parts of the message, to change them.
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

/// The most characters of each part of a message: text from a file must not fill the screen.
const MOST: usize = 4096;

/// One line. Text that may come from a file is escaped as by [`Untrusted`].
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { what, place, hint, .. } = self.report();
        let hint = &hint.to_string();
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

/// The kind and the message: what a program prints whose `main` returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Usage(_) => "Usage",
            Self::Data(_) => "Data",
            Self::NotFound(_) => "NotFound",
            Self::NoAdapter(_) => "NoAdapter",
            Self::Internal(_) => "Internal",
            Self::Gpu(_) => "Gpu",
            Self::Io(_) => "Io",
            Self::Stopped(_) => "Stopped",
        };
        write!(f, "{kind}({self})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source: &(dyn std::error::Error + 'static) = self.report().source.0.as_deref()?;
        Some(source)
    }
}

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
        assert_eq!(format!("{error:?}"), format!("Data({error})"));
        assert!(error.report().what.ends_with(raw), "the parts are as they came");
        assert!(Error::data("a".repeat(1 << 20)).at("b".repeat(1 << 20)).to_string().len() < 10_000);
    }

    #[test]
    fn the_source_is_kept_and_not_compared() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = Error::from_io(denied(), "read", "file").at("folder").hint("change its permissions");
        let source = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::PermissionDenied));
        let what = error.report().what.clone();
        let other = Error::io(what).at("file").at("folder").hint("change its permissions");
        assert!(std::error::Error::source(&other).is_none());
        assert_eq!(error, other);
        assert_eq!(error.to_string(), other.to_string());
    }
}
