//! Networks and weights of others: what a file holds in terms of the networks here, and the reverse.

mod convert;
mod foreign;
mod identify;
mod inspect;
mod naming;
pub mod onnx_in;
pub mod onnx_out;
mod opened;
mod order;
mod tree;
mod usual;

pub use convert::{Conversion, convert};
pub use identify::Wish;
pub use inspect::{Inspection, NetworkReport, TensorReport, inspect};
pub use naming::{Renamed, names};
pub use opened::{Model, OpenOptions, Opened, PreprocessingChange};
pub use usual::{folded, usual_preprocessing};
