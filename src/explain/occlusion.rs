//! Occlusion (Zeiler and Fergus, 2014, section 4.2): the probability of a class while a square hides a part of the picture.

use super::Class;
use super::explainer::{Explainer, Input};
use super::map::Map;
use super::probe::Wanted;
use crate::data::Normalization;
use crate::error::{Error, Result};
use crate::infer::probabilities;
use std::ops::ControlFlow;

/// The square and its steps. `OcclusionOptions::default()` suits any network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OcclusionOptions {
    /// The side of the square in pixels; a quarter of the shorter side of the input if it is not given.
    pub size: Option<usize>,
    /// The pixels from one square to the next; a quarter of the square if they are not given.
    pub stride: Option<usize>,
    /// Red, green and blue of the square; the mean colour of the network's preprocessing if they are not given.
    pub colour: Option<[u8; 3]>,
}

/// The probability of a class for each place of the square.
#[derive(Debug, Clone, PartialEq)]
pub struct Occlusion {
    /// The class, with its probability for the whole picture.
    pub class: Class,
    /// The side of the square in pixels.
    pub size: usize,
    /// The first row of the square for each row of the map.
    pub rows: Vec<usize>,
    /// The first column of the square for each column of the map.
    pub columns: Vec<usize>,
    /// The probabilities: rows, columns, 1.
    pub map: Map,
    /// How much of the probability is lost where the square hides a pixel: the mean over the squares that cover it, as a share of
    /// the greatest loss. Height and width of the picture; from 0 to 1.
    pub heat: Map,
}

/// Slides a square over a picture. `class` is the most probable one if it is not given. `progress` hears how many places of how many are
/// done, and may stop the rest.
///
/// # Errors
/// [`Error::Usage`] if there is no such class, or the square or its steps have no size; [`Error::Gpu`] if the memory does not suffice
/// or the device failed; [`Error::Stopped`] if `progress` asked for it.
pub async fn occlusion_async(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    options: OcclusionOptions,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Occlusion> {
    let [h, w] = explainer.size();
    let size = options.size.unwrap_or(h.min(w).div_ceil(4));
    let stride = options.stride.unwrap_or(size.div_ceil(4));
    if size == 0 || stride == 0 || size > h.min(w) {
        return Err(Error::usage(format!("a square of {size} pixels every {stride} pixels over {h}x{w}"))
            .hint(format!("give a square of 1 to {} pixels and a stride of at least 1", h.min(w))));
    }
    let (rows, columns) = (starts(h, size, stride), starts(w, size, stride));
    let class = explainer.class(input, class).await?;
    let places: Vec<[usize; 2]> =
        rows.iter().flat_map(|row| columns.iter().map(move |column| [*row, *column])).collect();
    let colour = options.colour.map_or_else(|| mean_colour(explainer), |colour| explainer.colour(colour));
    let logits = explainer.logits();
    let wanted = Wanted { pixels: true, values: vec![logits], ..Wanted::default() };
    let batch = explainer.batch(places.len(), &wanted)?;
    let outputs = explainer.outputs();
    let mut data = Vec::with_capacity(places.len());
    for some in places.chunks(batch.max(1)) {
        let mut pixels = Vec::with_capacity(batch * input.pixels.len());
        for slot in 0..batch {
            let from = pixels.len();
            pixels.extend_from_slice(&input.pixels);
            if let Some(place) = some.get(slot) {
                hide(&mut pixels[from..], w, *place, size, colour);
            }
        }
        let probe = explainer.probe(Wanted { batch, ..wanted.clone() }).await?;
        probe.run_pixels(&pixels)?;
        for logits in probe.value(0).await?.chunks_exact(outputs.max(1)).take(some.len()) {
            data.push(probabilities(logits).get(class.index).map_or(0.0, |p| *p as f32));
        }
        let done = data.len();
        if progress(done, places.len()).is_break() && done < places.len() {
            return Err(Error::stopped(format!("stopped after {done} of {} places", places.len())));
        }
    }
    let map = Map { shape: [rows.len(), columns.len(), 1], data };
    let heat = lost(&map, &rows, &columns, size, [h, w], class.probability as f32);
    Ok(Occlusion { class, size, rows, columns, map, heat })
}

/// The first pixels of the squares along a side: every `stride`, and one that ends with the side.
fn starts(side: usize, size: usize, stride: usize) -> Vec<usize> {
    let last = side.saturating_sub(size);
    let mut starts: Vec<usize> = (0..=last).step_by(stride).collect();
    if starts.last() != Some(&last) {
        starts.push(last);
    }
    starts
}

/// The mean colour of the network's training set, in the order of its channels.
fn mean_colour(explainer: &Explainer) -> [u8; 3] {
    let Normalization { mean, .. } = explainer.normalization();
    mean.map(|x| (255.0 * x).round().clamp(0.0, 255.0) as u8)
}

/// Paints a square.
fn hide(pixels: &mut [u8], width: usize, [row, column]: [usize; 2], size: usize, colour: [u8; 3]) {
    for line in pixels.chunks_exact_mut(4 * width).skip(row).take(size) {
        for pixel in line.as_chunks_mut::<4>().0.iter_mut().skip(column).take(size) {
            let [a, b, c] = colour;
            *pixel = [a, b, c, 255];
        }
    }
}

/// [`Occlusion::heat`].
fn lost(map: &Map, rows: &[usize], columns: &[usize], size: usize, [h, w]: [usize; 2], whole: f32) -> Map {
    let (mut sum, mut count) = (vec![0.0f32; h * w], vec![0u32; h * w]);
    let places = rows.iter().flat_map(|row| columns.iter().map(move |column| (*row, *column)));
    for ((row, column), p) in places.zip(&map.data) {
        for y in row..(row + size).min(h) {
            let line = y * w + column..y * w + (column + size).min(w);
            if let (Some(sum), Some(count)) = (sum.get_mut(line.clone()), count.get_mut(line)) {
                sum.iter_mut().for_each(|x| *x += whole - p);
                count.iter_mut().for_each(|n| *n += 1);
            }
        }
    }
    let data = sum.into_iter().zip(count).map(|(sum, n)| sum / n.max(1) as f32).collect();
    Map { shape: [h, w, 1], data }.share_of_peak()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_cover_the_whole_side() {
        assert_eq!(starts(10, 4, 3), [0, 3, 6]);
        assert_eq!(starts(10, 4, 4), [0, 4, 6]);
        assert_eq!(starts(4, 4, 9), [0]);
        assert_eq!(starts(5, 1, 2), [0, 2, 4]);
    }

    #[test]
    fn the_heat_is_the_mean_loss_of_the_squares_over_a_pixel() {
        let map = Map { shape: [1, 2, 1], data: vec![0.5, 0.9] };
        // Squares of 2 pixels at columns 0 and 1 of a picture of 2x3, whose probability is 0.9.
        let heat = lost(&map, &[0], &[0, 1], 2, [2, 3], 0.9);
        let wanted = [1.0, 0.5, 0.0, 1.0, 0.5, 0.0];
        assert!(heat.data.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{heat:?}");
    }

    #[test]
    fn a_square_is_painted_inside_its_place() {
        let mut pixels = vec![1; 3 * 3 * 4];
        hide(&mut pixels, 3, [1, 1], 2, [7, 8, 9]);
        let reds: Vec<u8> = pixels.iter().step_by(4).copied().collect();
        assert_eq!(reds, [1, 1, 1, 1, 7, 7, 1, 7, 7]);
        assert_eq!(pixels[4 * 4..4 * 5], [7, 8, 9, 255]);
    }
}
