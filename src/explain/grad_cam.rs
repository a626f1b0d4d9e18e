//! Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391): where a layer speaks for a class.

use super::Class;
use super::explainer::{Explainer, Input};
use super::gradients::guided_async;
use super::map::Map;
use super::probe::{Gradient, Wanted};
use crate::autodiff::BackwardRule;
use crate::error::{Error, Result};

/// Where a layer speaks for a class.
#[derive(Debug, Clone, PartialEq)]
pub struct GradCam {
    /// The class.
    pub class: Class,
    /// The name of the layer.
    pub layer: String,
    /// The map of the layer: height, width, 1 (equations 1 and 2 of the paper).
    pub map: Map,
    /// The map scaled bilinearly to the size of the picture and divided by its maximum: from 0 to 1. It is 0 everywhere if nothing in
    /// the layer speaks for the class.
    pub heat: Map,
}

/// The weighted sum of the maps of a layer, with negative numbers as 0. The weight of a map is the mean of the gradient of the logit of
/// the class. `class` is the most probable one if it is not given, `layer` as [`Explainer::layer_or_last_map`].
///
/// # Errors
/// [`crate::Error::Usage`] if there is no such class or layer; [`crate::Error::Gpu`] if the memory does not suffice or the device failed.
pub async fn grad_cam_async(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    layer: Option<&str>,
) -> Result<GradCam> {
    let layer = explainer.layer_or_last_map(layer)?.clone();
    if layer.shape[0] * layer.shape[1] <= 1 {
        let instead = explainer.layer_or_last_map(None).map_or_else(|_| String::new(), |l| l.name.clone());
        return Err(Error::usage("it has no map: one number for each channel has no place in the picture")
            .at(format!("layer {}", layer.name))
            .hint(format!("name a layer before it, such as {instead}")));
    }
    let class = explainer.class(input, class).await?;
    let batch = explainer.batch_of(1);
    let seed = explainer.seed_of_class(class.index)?.repeat(batch);
    let numbers = explainer.normalised(&input.pixels).repeat(batch);
    let rule = BackwardRule::Gradient;
    let gradient = Some(Gradient { rule, of: explainer.logits(), wrt: Some(layer.node) });
    let wanted = Wanted { batch: 1, values: vec![layer.node], gradient, ..Wanted::default() };
    let probe = explainer.probe(wanted).await?;
    probe.run(&numbers, &seed)?;
    let (activations, gradient) = (probe.value(0).await?, probe.gradient().await?);
    let map = weighted(&activations, &gradient, layer.shape);
    let [height, width] = explainer.size();
    let heat = map.resized(height, width).share_of_peak();
    Ok(GradCam { class, layer: layer.name, map, heat })
}

/// Equations 1 and 2 of the paper, for the first picture of a batch.
fn weighted(activations: &[f32], gradient: &[f32], [h, w, c]: [usize; 3]) -> Map {
    let mut weights = vec![0.0f64; c];
    for pixel in gradient.chunks_exact(c.max(1)).take(h * w) {
        weights.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    weights.iter_mut().for_each(|sum| *sum /= (h * w).max(1) as f64);
    let sum = |pixel: &[f32]| pixel.iter().zip(&weights).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
    let data = activations.chunks_exact(c.max(1)).take(h * w).map(|pixel| sum(pixel).max(0.0) as f32);
    Map { shape: [h, w, 1], data: data.collect() }
}

/// Guided Grad-CAM (section 3.3 of the paper): guided backpropagation times the heat of Grad-CAM.
#[derive(Debug, Clone, PartialEq)]
pub struct GuidedGradCam {
    /// Grad-CAM.
    pub cam: GradCam,
    /// Guided backpropagation.
    pub guided: Map,
    /// The product: height, width, and red, green and blue.
    pub product: Map,
}

/// Guided Grad-CAM of a class. `class` and `layer` as for [`grad_cam_async`].
///
/// # Errors
/// As [`grad_cam_async`].
pub async fn guided_grad_cam_async(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    layer: Option<&str>,
) -> Result<GuidedGradCam> {
    let cam = grad_cam_async(explainer, input, class, layer).await?;
    let guided = guided_async(explainer, input, Some(cam.class.index)).await?.gradient;
    let pixels = guided.data.chunks(3).zip(&cam.heat.data);
    let data = pixels.flat_map(|(pixel, heat)| pixel.iter().map(move |x| x * heat)).collect();
    let product = Map { shape: guided.shape, data };
    Ok(GuidedGradCam { cam, guided, product })
}
