//! The one test binary.

mod ops;
mod oracle;
