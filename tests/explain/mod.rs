//! Explanations: rules of the way back against references in f64, PyTorch's numbers, and what does not make sense.

mod files;
mod program;
mod pytorch;
mod rules;
