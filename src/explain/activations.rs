//! What a layer computes for a picture.

use super::deconvnet::activations_of;
use super::explainer::{Explainer, Input};
use super::map::Map;
use crate::error::Result;

/// The maps of a layer for a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerMaps {
    /// The name of the layer.
    pub layer: String,
    /// The activations: height, width, channels.
    pub maps: Map,
    /// The channels, the one with the greatest activation first.
    pub strongest: Vec<usize>,
}

/// The activations of a layer for a picture. `layer` as [`Explainer::layer_or_first_map`].
///
/// # Errors
/// [`crate::Error::Usage`] if there is no such layer; [`crate::Error::Gpu`] if the memory does not suffice or the device failed.
pub async fn activations_async(
    explainer: &mut Explainer,
    input: &Input,
    layer: Option<&str>,
) -> Result<LayerMaps> {
    let layer = explainer.layer_or_first_map(layer)?.clone();
    let maps = activations_of(explainer, input, &layer).await?;
    let peaks: Vec<f32> = (0..layer.shape[2]).map(|unit| maps.peak(unit).1).collect();
    let mut strongest: Vec<usize> = (0..peaks.len()).collect();
    strongest.sort_by(|a, b| {
        let of = |unit: &usize| peaks.get(*unit).copied().unwrap_or(f32::NEG_INFINITY);
        of(b).total_cmp(&of(a))
    });
    Ok(LayerMaps { layer: layer.name, maps, strongest })
}
