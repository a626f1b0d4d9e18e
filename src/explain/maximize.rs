//! Activation maximization (Erhan et al., 2009; Simonyan, Vedaldi and Zisserman, 2013, section 2): the picture that a unit or a class
//! likes best.

use super::explainer::{Explainer, Input};
use super::map::Map;
use super::probe::{Gradient, Probe, Wanted};
use super::regularisers::{blur, clamp, decay, roll, smooth};
use crate::autodiff::BackwardRule;
use crate::data::{Normalization, Picture};
use crate::error::{Error, Result};
use crate::random::{Draw, Elements, Stream};
use std::ops::ControlFlow;

/// What is maximized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The logit of a class.
    Class(usize),
    /// The mean of a channel of a layer over its map.
    Unit {
        /// The layer, as [`Explainer::layer`] takes it.
        layer: String,
        /// The channel.
        unit: usize,
    },
}

impl Target {
    /// The name for messages.
    fn name(&self) -> String {
        match self {
            Self::Class(class) => format!("class {class}"),
            Self::Unit { layer, unit } => format!("layer {layer}, unit {unit}"),
        }
    }
}

/// The largest weight of the total variation: a larger one makes differences of neighbours grow.
const MOST_SMOOTHING: f32 = 0.125;

/// How a picture is improved step by step. The regularisers are those of Yosinski et al. ("Understanding Neural Networks Through Deep
/// Visualization", 2015) and Mahendran and Vedaldi (2015).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaximizeOptions {
    /// The number of steps.
    pub steps: usize,
    /// The length of a step: the root mean square of the change of the normalised picture.
    pub rate: f32,
    /// The picture is moved by at most so many pixels in each direction before a step, and back behind it.
    pub jitter: usize,
    /// The standard deviation of the Gaussian blur, in pixels.
    pub blur: f32,
    /// The steps from one blur to the next; 0 for none.
    pub blur_every: usize,
    /// The weight of the total variation.
    pub total_variation: f32,
    /// The share of the picture that a step takes away (L2 decay).
    pub decay: f32,
    /// The seed of the first picture and of the jitter.
    pub seed: u64,
}

impl Default for MaximizeOptions {
    fn default() -> Self {
        Self {
            steps: 200,
            rate: 0.1,
            jitter: 2,
            blur: 0.5,
            blur_every: 4,
            total_variation: 0.02,
            decay: 0.001,
            seed: 0,
        }
    }
}

impl MaximizeOptions {
    /// Refuses numbers that make no sense.
    fn check(&self) -> Result<()> {
        if self.steps == 0 {
            return Err(Error::usage("a picture of 0 steps").hint("give at least one step"));
        }
        for (what, number, most) in [
            ("rate", self.rate, 1000.0),
            ("deviation of the blur", self.blur, 20.0),
            ("weight of the total variation", self.total_variation, MOST_SMOOTHING),
            ("decay", self.decay, 1.0),
        ] {
            if !(0.0..=most).contains(&number) {
                return Err(Error::usage(format!("a {what} of {number}"))
                    .hint(format!("give a number from 0 to {most}")));
            }
        }
        Ok(())
    }
}

/// The picture that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Maximized {
    /// The picture in red, green and blue.
    pub picture: Picture,
    /// What was maximized, before each step and at the end.
    pub history: Vec<f32>,
}

/// Begins with `start`, or with faint noise around the mean colour, and follows the gradient. `progress` hears how many steps are done and what has been
/// reached, and may stop the rest; the picture so far is the result then.
///
/// # Errors
/// [`Error::Usage`] if there is no such class, layer or unit, or for numbers that make no sense; [`Error::Data`] for a unit that never
/// fires; [`Error::Gpu`] if the memory does not
/// suffice or the device failed.
pub async fn maximize_async(
    explainer: &mut Explainer,
    target: &Target,
    start: Option<&Input>,
    options: MaximizeOptions,
    progress: &mut dyn FnMut(usize, f32) -> ControlFlow<()>,
) -> Result<Maximized> {
    options.check()?;
    let batch = explainer.batch_of(1);
    let (node, seed) = seed_of(explainer, target)?;
    let seeds = seed.repeat(batch);
    let gradient = Some(Gradient { rule: BackwardRule::Gradient, of: node, wrt: None });
    let wanted = Wanted { batch: 1, values: vec![node], gradient, ..Wanted::default() };
    let [h, w] = explainer.size();
    let Normalization { mean, std } = explainer.normalization();
    let noise = Elements::new(options.seed, Stream::Explain, 0);
    let data = match start {
        Some(input) => explainer.normalised(&input.pixels),
        None => (0..(h * w * 3) as u32).map(|i| 0.1 * noise.draw(i).normal()).collect(),
    };
    let mut x = Map { shape: [h, w, 3], data };
    let (mut history, mut answers) = (Vec::new(), false);
    for step in 0..options.steps {
        let mut draw = Draw::new(options.seed, Stream::Explain, 1, step as u32);
        let by = [0; 2].map(|_: i32| {
            i64::from(draw.below(2 * options.jitter.min(1 << 20) as u32 + 1))
                - options.jitter.min(1 << 20) as i64
        });
        let moved = roll(&x, by);
        let probe = explainer.probe(wanted.clone()).await?;
        history.push(reached(probe, &moved, batch, &seed, &seeds).await?);
        let mut g = Map { shape: x.shape, data: probe.gradient().await? };
        g.data.truncate(x.data.len());
        let g = roll(&g, by.map(|d| -d));
        let squares = g.data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        answers |= squares > 0.0;
        let rms = (squares / g.data.len().max(1) as f64).sqrt().max(1e-20) as f32;
        x.data.iter_mut().zip(&g.data).for_each(|(x, g)| *x += options.rate * g / rms);
        smooth(&mut x, options.total_variation);
        decay(&mut x, options.decay);
        if options.blur_every > 0 && (step + 1) % options.blur_every == 0 && options.blur > 0.0 {
            x = blur(&x, options.blur);
        }
        clamp(&mut x, mean, std);
        let so_far = history.last().copied().unwrap_or(0.0);
        if progress(step + 1, so_far).is_break() {
            break;
        }
    }
    if !answers {
        return Err(Error::data(
            "it does not answer to any change of the picture: its gradient is 0 everywhere",
        )
        .at(target.name())
        .hint("choose another unit, another picture to begin with, or another seed"));
    }
    let probe = explainer.probe(wanted).await?;
    history.push(reached(probe, &x, batch, &seed, &seeds).await?);
    let bytes = x.data.as_chunks::<3>().0.iter().flat_map(|pixel| {
        [0, 1, 2].map(|c: usize| (255.0 * (pixel[c] * std[c] + mean[c])).round().clamp(0.0, 255.0))
    });
    let rgb = explainer.map_of_input(bytes.collect());
    let rgb: Vec<u8> = rgb.data.iter().map(|x| *x as u8).collect();
    Ok(Maximized { picture: Picture::from_rgb(h, w, &rgb)?, history })
}

/// Runs a picture, and gives the sum of seed times value.
async fn reached(probe: &Probe, x: &Map, batch: usize, seed: &[f32], seeds: &[f32]) -> Result<f32> {
    probe.run(&x.data.repeat(batch), seeds)?;
    let value = probe.value(0).await?;
    let sum = value.iter().zip(seed).map(|(x, s)| f64::from(*x) * f64::from(*s)).sum::<f64>();
    Ok(sum as f32)
}

/// The node and the weights of its numbers, whose sum is maximized.
fn seed_of(explainer: &Explainer, target: &Target) -> Result<(usize, Vec<f32>)> {
    match target {
        Target::Class(class) => Ok((explainer.logits(), explainer.seed_of_class(*class)?)),
        Target::Unit { layer, unit } => {
            let layer = explainer.layer(layer)?;
            layer.check_unit(*unit)?;
            let [h, w, c] = layer.shape;
            let mut seed = vec![0.0; h * w * c];
            let share = 1.0 / (h * w).max(1) as f32;
            seed.iter_mut().skip(*unit).step_by(c.max(1)).for_each(|x| *x = share);
            Ok((layer.node, seed))
        }
    }
}
