//! Gradients of a class with respect to the picture: saliency, guided backpropagation, SmoothGrad.

use super::Class;
use super::explainer::{Explainer, Input};
use super::map::Map;
use super::probe::{Gradient, Wanted};
use crate::autodiff::BackwardRule;
use crate::error::{Error, Result};
use crate::random::{Elements, Stream};
use std::ops::ControlFlow;

/// The gradient of the logit of a class with respect to a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassGradient {
    /// The class.
    pub class: Class,
    /// The gradient with respect to the normalised picture: height, width, and red, green and blue.
    pub gradient: Map,
}

/// The most noise, as a share of the range of the picture. Nothing of the picture is left of it.
const MOST_NOISE: f32 = 100.0;

/// How SmoothGrad averages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SmoothGradOptions {
    /// The number of noisy pictures.
    pub samples: usize,
    /// The standard deviation of the noise, as a share of the difference between the greatest and the least number of the normalised
    /// picture.
    pub noise: f32,
    /// The seed of the noise.
    pub seed: u64,
}

impl Default for SmoothGradOptions {
    fn default() -> Self {
        Self { samples: 32, noise: 0.15, seed: 0 }
    }
}

/// The gradient of a class, for which a ReLU passes back its gradient: saliency (Simonyan, Vedaldi and Zisserman, "Deep Inside
/// Convolutional Networks", 2013, section 3). `class` is the most probable one if it is not given. The paper's map is
/// [`Map::largest_of_channels`] of the gradient.
///
/// # Errors
/// [`Error::Usage`] if there is no such class; [`Error::Gpu`] if the memory does not suffice or the device failed.
pub async fn saliency_async(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
) -> Result<ClassGradient> {
    of_class(explainer, input, class, BackwardRule::Gradient).await
}

/// Guided backpropagation of a class ([`BackwardRule::Guided`]). `class` is the most probable one if it is not given.
///
/// # Errors
/// As [`saliency_async`].
pub async fn guided_async(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
) -> Result<ClassGradient> {
    of_class(explainer, input, class, BackwardRule::Guided).await
}

async fn of_class(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    rule: BackwardRule,
) -> Result<ClassGradient> {
    let class = explainer.class(input, class).await?;
    let seed = explainer.seed_of_class(class.index)?;
    let batch = explainer.batch_of(1);
    let numbers = explainer.normalised(&input.pixels).repeat(batch);
    let probe = explainer.probe(wanted(explainer, rule, 1)).await?;
    probe.run(&numbers, &seed.repeat(batch))?;
    let mut gradient = probe.gradient().await?;
    gradient.truncate(numbers.len() / batch.max(1));
    Ok(ClassGradient { class, gradient: explainer.map_of_input(gradient) })
}

/// The gradient of the logits with respect to the picture.
fn wanted(explainer: &Explainer, rule: BackwardRule, batch: usize) -> Wanted {
    let gradient = Some(Gradient { rule, of: explainer.logits(), wrt: None });
    Wanted { batch, gradient, ..Wanted::default() }
}

/// SmoothGrad (Smilkov et al., 2017, arXiv:1706.03825): the mean of the gradients of several pictures, each with other noise. `progress`
/// hears how many samples are done, and may stop the rest.
///
/// # Errors
/// As [`saliency_async`]; [`Error::Usage`] for no samples or noise that is not a finite number of at least 0; [`Error::Stopped`] if
/// `progress` asked for it.
pub async fn smooth_grad_async(
    explainer: &mut Explainer,
    input: &Input,
    class: Option<usize>,
    options: SmoothGradOptions,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<ClassGradient> {
    let SmoothGradOptions { samples, noise, seed } = options;
    if samples == 0 || !(0.0..=MOST_NOISE).contains(&noise) {
        return Err(Error::usage(format!("SmoothGrad of {samples} samples with noise {noise}"))
            .hint(format!("give at least 1 sample, and noise from 0 to {MOST_NOISE}, such as 0.15")));
    }
    let class = explainer.class(input, class).await?;
    let wanted = wanted(explainer, BackwardRule::Gradient, 1);
    let batch = explainer.batch(samples, &wanted)?;
    let seeds = explainer.seed_of_class(class.index)?.repeat(batch);
    let clean = explainer.normalised(&input.pixels);
    let [least, greatest] = explainer.map_of_input(clean.clone()).range();
    let deviation = noise * (greatest - least);
    let mut sum = vec![0.0f64; clean.len()];
    let mut done = 0;
    while done < samples {
        let count = batch.min(samples - done);
        let mut numbers = Vec::with_capacity(batch * clean.len());
        for sample in done..done + batch {
            let noise = Elements::new(seed, Stream::Explain, sample as u32);
            let noisy = (0..).zip(&clean).map(|(i, x)| x + deviation * noise.draw(i).normal());
            numbers.extend(noisy);
        }
        let probe = explainer.probe(Wanted { batch, ..wanted.clone() }).await?;
        probe.run(&numbers, &seeds)?;
        let gradients = probe.gradient().await?;
        for gradient in gradients.chunks_exact(clean.len()).take(count) {
            sum.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        done += count;
        if progress(done).is_break() && done < samples {
            return Err(Error::stopped(format!("stopped after {done} of {samples} samples")));
        }
    }
    let mean = sum.into_iter().map(|sum| (sum / samples as f64) as f32).collect();
    Ok(ClassGradient { class, gradient: explainer.map_of_input(mean) })
}
