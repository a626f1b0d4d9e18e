//! Inference: trained weights into a session, pixels in, logits out, the most probable classes of them, and a
//! look at what lies between.

mod activations;
mod prediction;
mod step;
pub mod transfer;

pub use activations::{ActivationRecorder, Clock, Filters, LayerInfo};
#[cfg(feature = "train")]
pub(crate) use prediction::is_overflow;
pub use prediction::{Prediction, check_logits, most_probable};
pub use step::InferenceStep;
