//! The one test binary.

mod ops;
