//! The pictures of a data set that excite each unit of a layer most (Zeiler and Fergus, 2014, figure 2).

use super::deconvnet::{Firing, Reconstruction, activations_of, reconstructed};
use super::explainer::{Explainer, Input};
use super::layers::ExplainLayer;
use super::probe::Wanted;
use crate::error::{Error, Result};

/// A picture that excites a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Excited {
    /// The number of the picture, counted from 0 in the order in which they were added.
    pub picture: usize,
    /// The greatest activation of the unit.
    pub activation: f32,
}

/// Finds the pictures that excite each unit of a layer most. It keeps no pictures.
#[derive(Debug)]
pub struct UnitSearch {
    layer: ExplainLayer,
    keep: usize,
    seen: usize,
    best: Vec<Vec<Excited>>,
}

impl UnitSearch {
    /// A search of the `keep` best pictures for each unit of a layer. `layer` as [`Explainer::layer_or_middle_map`].
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such layer, or for no pictures.
    pub fn new(explainer: &Explainer, layer: Option<&str>, keep: usize) -> Result<Self> {
        if keep == 0 {
            return Err(Error::usage("the best 0 pictures of each unit").hint("keep at least 1"));
        }
        let layer = explainer.layer_or_middle_map(layer)?.clone();
        let best = vec![Vec::new(); layer.shape[2]];
        Ok(Self { layer, keep, seen: 0, best })
    }

    /// The layer.
    pub fn layer(&self) -> &ExplainLayer {
        &self.layer
    }

    /// The number of pictures so far.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// The pictures that excite a unit, the strongest first. Activations of 0 or less do not count.
    pub fn best(&self, unit: usize) -> &[Excited] {
        self.best.get(unit).map_or(&[], Vec::as_slice)
    }

    /// The units that some picture excites, the one with the greatest activation first.
    pub fn strongest(&self) -> Vec<usize> {
        let peak = |unit: &usize| self.best(*unit).first().map(|best| best.activation);
        let mut units: Vec<usize> = (0..self.best.len()).filter(|unit| peak(unit).is_some()).collect();
        units.sort_by(|a, b| peak(b).unwrap_or(0.0).total_cmp(&peak(a).unwrap_or(0.0)));
        units
    }

    /// Takes pictures into account. The maximum over each map is computed on the GPU.
    ///
    /// # Errors
    /// [`Error::Data`] if a number overflows; [`Error::Gpu`] if the memory does not suffice or the device failed.
    pub async fn add_async(&mut self, explainer: &mut Explainer, inputs: &[Input]) -> Result<()> {
        let wanted = Wanted { pixels: true, peaks: Some(self.layer.node), ..Wanted::default() };
        let batch = explainer.batch(inputs.len(), &wanted)?;
        for some in inputs.chunks(batch.max(1)) {
            let mut pixels = Vec::new();
            for input in some.iter().chain(std::iter::repeat_n(&some[0], batch.saturating_sub(some.len()))) {
                pixels.extend_from_slice(&input.pixels);
            }
            let probe = explainer.probe(Wanted { batch, ..wanted.clone() }).await?;
            probe.run_pixels(&pixels)?;
            let peaks = probe.peaks().await?;
            for of_picture in peaks.chunks_exact(self.best.len().max(1)).take(some.len()) {
                for (best, activation) in self.best.iter_mut().zip(of_picture) {
                    insert(best, Excited { picture: self.seen, activation: *activation }, self.keep);
                }
                self.seen += 1;
            }
        }
        Ok(())
    }
}

/// Keeps the list sorted, and no longer than `keep`. Of equal activations the earlier picture comes first.
fn insert(best: &mut Vec<Excited>, new: Excited, keep: usize) {
    if new.activation <= 0.0 {
        return;
    }
    let at = best.partition_point(|other| other.activation >= new.activation);
    if at < keep {
        best.insert(at, new);
        best.truncate(keep);
    }
}

/// Passes the greatest activation of a unit for each of some pictures back to the pixels, as [`super::deconvnet_async`].
///
/// # Errors
/// [`Error::Usage`] if there is no such unit; [`Error::Gpu`] if the memory does not suffice or the device failed.
pub async fn deconvnet_of_pictures_async(
    explainer: &mut Explainer,
    layer: &ExplainLayer,
    unit: usize,
    inputs: &[Input],
) -> Result<Vec<Reconstruction>> {
    layer.check_unit(unit)?;
    let mut firing = Vec::with_capacity(inputs.len());
    for input in inputs {
        let (place, activation) = activations_of(explainer, input, layer).await?.peak(unit);
        firing.push(Firing { input, unit, place, activation });
    }
    reconstructed(explainer, layer, &firing).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_stay_sorted_and_few() {
        let mut best = Vec::new();
        for (picture, activation) in [(0, 1.0), (1, 3.0), (2, 3.0), (3, 0.0), (4, 2.0), (5, -1.0), (6, 9.0)] {
            insert(&mut best, Excited { picture, activation }, 3);
        }
        let found: Vec<usize> = best.iter().map(|e| e.picture).collect();
        assert_eq!(found, [6, 1, 2]);
    }
}
