//! Networks and weights of others: what a file holds in terms of the networks here, and the reverse.

mod convert;
mod default_preprocessing;
mod foreign;
mod identify;
mod inspect;
mod model_file;
mod naming;
pub mod onnx_in;
pub mod onnx_out;
mod order;
mod tree;

pub use convert::{Conversion, convert};
pub use default_preprocessing::{folded, usual_preprocessing};
pub use identify::Wish;
pub use inspect::{Inspection, NetworkReport, TensorReport, inspect};
pub use model_file::{Model, ModelFile, OpenOptions, PreprocessingChange};
pub use naming::{Renamed, names};
