//! Inference: pictures to logits and classes with trained weights, and what lies between.

mod activations;
#[cfg(not(target_family = "wasm"))]
mod blocking;
mod classifier;
mod ensemble;
mod imagenet;
mod layers;
mod lock;
mod model_card;
mod options;
mod prediction;
mod prepare;
mod step;
pub mod transfer;
#[cfg(all(feature = "train", not(target_family = "wasm")))]
mod views;

pub use activations::{ActivationRecorder, Activations, Clock, Filters};
pub use classifier::{Classifier, NetworkCost};
pub(crate) use ensemble::probabilities;
pub use ensemble::{mean, mean_of_views, same_classes, top_of};
pub use layers::LayerInfo;
pub use model_card::ModelCard;
pub use options::ClassifierOptions;
#[cfg(feature = "train")]
pub(crate) use prediction::is_overflow;
pub use prediction::{Prediction, check_logits, most_probable};
#[cfg(feature = "train")]
pub(crate) use prepare::{Prepared, check_batch_size, fault_of_file, prepare};
pub use step::InferenceStep;
