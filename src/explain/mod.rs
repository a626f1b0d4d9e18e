//! What a network sees: filters, activations, DeconvNet, Grad-CAM, guided backpropagation, saliency, occlusion, activation
//! maximization, and the pictures of a data set that excite a unit most.
//!
//! An [`Explainer`] is made of a [`Classifier`](crate::Classifier), whose weights it shares. The functions return plain arrays
//! ([`Map`]: height, width, channels), which [`overlay`] and the methods of [`Map`] turn into pictures. Everything is computed by the graph of the
//! network and its gradients on the GPU; [`BackwardRule`](crate::autodiff::BackwardRule) says what a ReLU passes back.
//!
//! A unit is a channel of a layer. Layers have the names that `ocelli show` prints, and any part of a name is enough where no other
//! layer has it.
//!
//! # Examples
//!
//! ```no_run
//! use ocelli::data::{ColourMap, Picture};
//! use ocelli::explain::{self, Explainer, Units};
//! use ocelli::gpu::{Gpu, GpuOptions};
//! use ocelli::{Classifier, ClassifierOptions};
//! use std::sync::Arc;
//!
//! # #[cfg(feature = "resize")]
//! # fn main() -> ocelli::Result<()> {
//! let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
//! let classifier = Classifier::open(&gpu, "resnet18.safetensors", ClassifierOptions::default())?;
//! let mut explainer = Explainer::new(&classifier)?;
//! let input = explainer.input(&Picture::from_grey(2, 2, &[0, 90, 180, 255])?)?;
//!
//! // Where the last map speaks for the most probable class, over the picture.
//! let cam = explain::grad_cam(&mut explainer, &input, None, None)?;
//! println!("{}: {:.1}%", explainer.class_names()[cam.class.index], 100.0 * cam.class.probability);
//! let over = explain::overlay(&input.picture()?, &cam.heat, 0.6, ColourMap::Viridis)?;
//! assert_eq!(over.rgba().len(), 224 * 224 * 4);
//!
//! // What made the nine strongest units of a layer fire.
//! for unit in explain::deconvnet(&mut explainer, &input, Some("layer2.1.relu2"), &Units::Top(9))? {
//!     let [top, left, height, width] = unit.field;
//!     println!("unit {}: {height}x{width} pixels at row {top}, column {left}", unit.unit);
//!     let picture = unit.image.part(unit.field).around_grey()?;
//!     println!("{} bytes", picture.rgba().len());
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "resize"))]
//! # fn main() {}
//! ```

mod activations;
#[cfg(not(target_family = "wasm"))]
mod blocking;
mod deconvnet;
mod explainer;
mod filters;
mod grad_cam;
mod gradients;
mod layers;
mod map;
mod maximize;
mod network;
mod occlusion;
mod probe;
mod receptive_field;
mod regularisers;
mod units;

pub use activations::{LayerMaps, activations_async};
#[cfg(not(target_family = "wasm"))]
pub use blocking::{
    activations, deconvnet, deconvnet_of_pictures, filters, grad_cam, guided, guided_grad_cam, maximize,
    occlusion, saliency, smooth_grad,
};
pub use deconvnet::{Reconstruction, Units, deconvnet_async};
pub use explainer::{Class, Explainer, Input};
pub use filters::filters_async;
pub use grad_cam::{GradCam, GuidedGradCam, grad_cam_async, guided_grad_cam_async};
pub use gradients::{ClassGradient, SmoothGradOptions, guided_async, saliency_async, smooth_grad_async};
pub use layers::{ExplainLayer, layers};
pub use map::{Map, overlay};
pub use maximize::{MaximizeOptions, Maximized, Target, maximize_async};
pub use occlusion::{Occlusion, OcclusionOptions, occlusion_async};
pub use units::{Excited, UnitSearch, deconvnet_of_pictures_async};
