//! The functions of this module for callers that are not asynchronous.

use super::*;
use crate::error::Result;
use crate::infer::{Classifier, Filters};
use std::ops::ControlFlow;

impl Explainer {
    /// As [`Explainer::new_async`], without hearing of memory.
    ///
    /// # Errors
    /// As [`Explainer::new_async`].
    pub fn new(classifier: &Classifier) -> Result<Self> {
        pollster::block_on(Self::new_async(classifier, |_| {}))
    }

    /// As [`Explainer::probabilities_async`].
    ///
    /// # Errors
    /// As [`Explainer::probabilities_async`].
    pub fn probabilities(&self, input: &Input) -> Result<Vec<f64>> {
        pollster::block_on(self.probabilities_async(input))
    }
}

impl UnitSearch {
    /// As [`UnitSearch::add_async`].
    ///
    /// # Errors
    /// As [`UnitSearch::add_async`].
    pub fn add(&mut self, explainer: &mut Explainer, inputs: &[Input]) -> Result<()> {
        pollster::block_on(self.add_async(explainer, inputs))
    }
}

/// As [`filters_async`].
///
/// # Errors
/// As [`filters_async`].
pub fn filters(explainer: &mut Explainer, layer: Option<&str>) -> Result<Filters> {
    pollster::block_on(filters_async(explainer, layer))
}

/// As [`activations_async`].
///
/// # Errors
/// As [`activations_async`].
pub fn activations(explainer: &mut Explainer, input: &Input, layer: Option<&str>) -> Result<LayerMaps> {
    pollster::block_on(activations_async(explainer, input, layer))
}

/// As [`deconvnet_async`].
///
/// # Errors
/// As [`deconvnet_async`].
pub fn deconvnet(
    explainer: &mut Explainer,
    input: &Input,
    layer: Option<&str>,
    units: &Units,
) -> Result<Vec<Reconstruction>> {
    pollster::block_on(deconvnet_async(explainer, input, layer, units))
}

/// As [`deconvnet_of_pictures_async`].
///
/// # Errors
/// As [`deconvnet_of_pictures_async`].
pub fn deconvnet_of_pictures(
    explainer: &mut Explainer,
    layer: &ExplainLayer,
    unit: usize,
    inputs: &[Input],
) -> Result<Vec<Reconstruction>> {
    pollster::block_on(deconvnet_of_pictures_async(explainer, layer, unit, inputs))
}

/// As [`grad_cam_async`].
///
/// # Errors
/// As [`grad_cam_async`].
pub fn grad_cam(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    layer: Option<&str>,
) -> Result<GradCam> {
    pollster::block_on(grad_cam_async(explainer, input, class, layer))
}

/// As [`guided_grad_cam_async`].
///
/// # Errors
/// As [`guided_grad_cam_async`].
pub fn guided_grad_cam(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    layer: Option<&str>,
) -> Result<GuidedGradCam> {
    pollster::block_on(guided_grad_cam_async(explainer, input, class, layer))
}

/// As [`saliency_async`].
///
/// # Errors
/// As [`saliency_async`].
pub fn saliency(explainer: &mut Explainer, input: &Input, class: Option<usize>) -> Result<ClassGradient> {
    pollster::block_on(saliency_async(explainer, input, class))
}

/// As [`guided_async`].
///
/// # Errors
/// As [`guided_async`].
pub fn guided(explainer: &mut Explainer, input: &Input, class: Option<usize>) -> Result<ClassGradient> {
    pollster::block_on(guided_async(explainer, input, class))
}

/// As [`smooth_grad_async`].
///
/// # Errors
/// As [`smooth_grad_async`].
pub fn smooth_grad(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    options: SmoothGradOptions,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<ClassGradient> {
    pollster::block_on(smooth_grad_async(explainer, input, class, options, progress))
}

/// As [`occlusion_async`].
///
/// # Errors
/// As [`occlusion_async`].
pub fn occlusion(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    options: OcclusionOptions,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Occlusion> {
    pollster::block_on(occlusion_async(explainer, input, class, options, progress))
}

/// As [`maximize_async`].
///
/// # Errors
/// As [`maximize_async`].
pub fn maximize(
    explainer: &mut Explainer,
    target: &Target,
    start: Option<&Input>,
    options: MaximizeOptions,
    progress: &mut dyn FnMut(usize, f32) -> ControlFlow<()>,
) -> Result<Maximized> {
    pollster::block_on(maximize_async(explainer, target, start, options, progress))
}
