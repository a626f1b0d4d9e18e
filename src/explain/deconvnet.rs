//! DeconvNet (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 2.1): from a unit of a layer back
//! to pixels.

use super::explainer::{Explainer, Input};
use super::layers::ExplainLayer;
use super::map::Map;
use super::probe::{Gradient, Wanted};
use crate::autodiff::BackwardRule;
use crate::error::{Error, Result};

/// The units of a layer that are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Units {
    /// So many units, those with the greatest activations for the picture. A unit whose activations are all 0 or less is left out.
    Top(usize),
    /// These.
    These(Vec<usize>),
}

/// What made a unit fire, as pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// The name of the layer.
    pub layer: String,
    /// The channel of the layer.
    pub unit: usize,
    /// The row and column of its greatest activation.
    pub place: [usize; 2],
    /// Its greatest activation.
    pub activation: f32,
    /// What the DeconvNet passes back to the normalised picture: height, width, and red, green and blue.
    pub image: Map,
    /// The part of the picture that the activation depends on: first row, first column, height, width. What lies beyond the border is
    /// left out.
    pub field: [usize; 4],
}

/// The most activations that are passed back at once.
const MOST: usize = 9;

/// A unit at the place that is passed back, for a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Firing<'a> {
    pub input: &'a Input,
    pub unit: usize,
    pub place: [usize; 2],
    pub activation: f32,
}

/// The greatest activation of each unit, passed back to the pixels: all other activations of the layer are 0. `layer` as
/// [`Explainer::layer_or_middle_map`]. The strongest unit comes first for [`Units::Top`].
///
/// # Errors
/// [`Error::Usage`] if there is no such layer or unit; [`Error::Data`] if a unit that was asked for does not fire, or none does;
/// [`Error::Gpu`] if the memory does not suffice or the device failed.
pub async fn deconvnet_async(
    explainer: &mut Explainer,
    input: &Input,
    layer: Option<&str>,
    units: &Units,
) -> Result<Vec<Reconstruction>> {
    let layer = explainer.layer_or_middle_map(layer)?.clone();
    if let Units::These(units) = units {
        units.iter().try_for_each(|unit| layer.check_unit(*unit))?;
    }
    let activations = activations_of(explainer, input, &layer).await?;
    let firing = |unit: usize| {
        let (place, activation) = activations.peak(unit);
        Firing { input, unit, place, activation }
    };
    let silent = |what: String| {
        Error::data(what).at(format!("layer {}", layer.name)).hint("choose another unit, or another picture")
    };
    let chosen: Vec<Firing> = match units {
        Units::These(units) => units.iter().map(|unit| firing(*unit)).collect(),
        Units::Top(count) => {
            let mut all: Vec<Firing> =
                (0..layer.shape[2]).map(firing).filter(|f| f.activation > 0.0).collect();
            all.sort_by(|a, b| b.activation.total_cmp(&a.activation));
            all.truncate(*count);
            all
        }
    };
    if let Some(one) = chosen.iter().find(|firing| firing.activation <= 0.0) {
        let (unit, most) = (one.unit, one.activation);
        return Err(silent(format!(
            "unit {unit} does not fire for this picture: its greatest number is {most}"
        )));
    }
    if chosen.is_empty() {
        return Err(silent("no unit fires for this picture".to_owned()));
    }
    reconstructed(explainer, &layer, &chosen).await
}

/// The activations of a layer for a picture: height, width and channels.
pub(super) async fn activations_of(
    explainer: &mut Explainer,
    input: &Input,
    layer: &ExplainLayer,
) -> Result<Map> {
    let batch = explainer.batch_of(1);
    let numbers = explainer.normalised(&input.pixels).repeat(batch);
    let probe = explainer.probe(Wanted { batch: 1, values: vec![layer.node], ..Wanted::default() }).await?;
    probe.run(&numbers, &[])?;
    let mut data = probe.value(0).await?;
    data.truncate(layer.shape.iter().product());
    Ok(Map { shape: layer.shape, data })
}

/// Passes activations back to the pixels, a batch at a time.
pub(super) async fn reconstructed(
    explainer: &mut Explainer,
    layer: &ExplainLayer,
    firing: &[Firing<'_>],
) -> Result<Vec<Reconstruction>> {
    let gradient = Some(Gradient { rule: BackwardRule::Deconvnet, of: layer.node, wrt: None });
    let wanted = Wanted { gradient, ..Wanted::default() };
    let batch = explainer.batch(firing.len().min(MOST), &wanted)?;
    let [_, w, c] = layer.shape;
    let size: usize = layer.shape.iter().product();
    let mut found = Vec::with_capacity(firing.len());
    for some in firing.chunks(batch.max(1)) {
        let (mut numbers, mut seed) = (Vec::new(), vec![0.0; batch * size]);
        // Places that are left repeat the last one.
        for slot in 0..batch {
            let Some(Firing { input, unit, place: [row, column], activation }) =
                some.get(slot).or(some.last())
            else {
                continue;
            };
            numbers.extend(explainer.normalised(&input.pixels));
            if let Some(x) = seed.get_mut(slot * size + (row * w + column) * c + unit) {
                *x = *activation;
            }
        }
        let probe = explainer.probe(Wanted { batch, ..wanted.clone() }).await?;
        probe.run(&numbers, &seed)?;
        let images = probe.gradient().await?;
        let one = numbers.len() / batch.max(1);
        for (Firing { unit, place, activation, .. }, image) in
            some.iter().zip(images.chunks_exact(one.max(1)))
        {
            found.push(Reconstruction {
                layer: layer.name.clone(),
                unit: *unit,
                place: *place,
                activation: *activation,
                image: explainer.map_of_input(image.to_vec()),
                field: explainer.receptive_field(layer, *place)?,
            });
        }
    }
    Ok(found)
}
