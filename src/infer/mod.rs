//! Inference: trained weights into a session, pixels in, logits out, the most probable classes of them.

mod prediction;
mod step;
pub mod transfer;

pub use prediction::{Prediction, most_probable};
pub use step::InferenceStep;
