//! Files of other programs: which network of this crate they hold, conversion between formats, import and export of ONNX.

mod content;
mod convert;
mod default_preprocessing;
mod fit;
mod foreign;
mod identify;
mod inspect;
mod model_file;
mod naming;
pub mod onnx_in;
pub mod onnx_out;
mod options;
mod order;
mod selection;
mod tree;

pub use convert::{Conversion, ConvertOptions, convert};
pub use default_preprocessing::{default_preprocessing, fold_transform};
pub use inspect::{Inspection, NetworkReport, TensorReport, inspect};
pub use model_file::{Model, ModelFile};
pub use naming::{Renamed, names};
pub use options::{IdentifyOptions, OpenOptions, PreprocessingChange};
