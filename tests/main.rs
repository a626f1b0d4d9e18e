//! The one test binary.

mod house;
mod ops;
mod oracle;
