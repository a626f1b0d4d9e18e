//! The self-check of an adapter: the first session on it compares a small convolution with the processor. Some drivers
//! fail without an error, for example because of wrong descriptor tables. Then all kernels may do nothing, and zeros
//! look like results.

use super::{Plan, PlanOptions, Session};
use crate::error::{Choice, Error, Result};
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::kernels::{ConvOptions, WinogradMode};
use crate::tensor::Shape;
use std::sync::Arc;

/// The size of the input: images, height, width, channels; and of the filters: rows, columns, number.
const X: [usize; 4] = [2, 7, 5, 8];
const W: [usize; 3] = [3, 3, 12];

impl Session {
    /// Creates the buffers, and on native platforms the pipelines and bind groups, of the plan. A state with the same
    /// name and shape as one of `shared` uses its memory, so that training and evaluation work on the same parameters.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the memory does not suffice or the adapter computes wrong results; [`Error::Usage`] if both
    /// plans update the same states and this one was made without [`super::PlanOptions::with_separate_sgd`].
    pub fn new(gpu: Arc<Gpu>, plan: Plan, shared: Option<&Self>) -> Result<Self> {
        // In a browser `Session::compiled` checks the adapter.
        #[cfg(not(target_family = "wasm"))]
        pollster::block_on(check_adapter(&gpu))?;
        Self::untried(gpu, plan, shared)
    }

    /// Waits until all kernels are compiled. A browser compiles them in parallel and in the background, so that states
    /// can be written meanwhile. If this is not called there, the first run compiles the kernels one after the other.
    ///
    /// # Errors
    /// [`Error::Internal`] for a kernel that does not compile, [`Error::Gpu`] if the device failed, its memory does not
    /// suffice, or it computes wrong results.
    pub async fn compiled(&self) -> Result<()> {
        check_adapter(&self.gpu).await?;
        self.compiled_untried().await
    }
}

/// Checks an adapter: computes a small convolution with the kernel that the adapter gets for it, and compares the
/// result with the processor's. It runs once for each adapter in a process, and again after the adapter has lost work.
///
/// # Errors
/// [`Error::Gpu`] naming the adapter and its driver if the results differ.
pub async fn check_adapter(gpu: &Arc<Gpu>) -> Result<()> {
    if gpu.is_trusted() {
        return Ok(());
    }
    let got = computed(gpu).await?;
    judge(gpu, &got, &wanted())
}

/// Compares the results. It marks the adapter as trusted, or makes all later calls on the device fail.
fn judge(gpu: &Gpu, got: &[f32], wanted: &[f32]) -> Result<()> {
    right(got, wanted)
        .map_err(|e| gpu.refuse(e.at(gpu.who()).hint(Choice::Adapter.after("update its driver, or "))))?;
    gpu.trust();
    Ok(())
}

/// Small integers, whose sums are exact in every order.
fn number(i: usize) -> i32 {
    ((i as u32).wrapping_mul(2_654_435_761) >> 16) as i32 % 5 - 2
}

/// `n` of these integers as floats, from index `first` on.
fn numbers(first: usize, n: usize) -> Vec<f32> {
    (first..first + n).map(|i| number(i) as f32).collect()
}

async fn computed(gpu: &Arc<Gpu>) -> Result<Vec<f32>> {
    let mut graph = Graph::new();
    let ([n, h, w, c], [r, s, k]) = (X, W);
    let x = graph.input("x", Shape::image(n, h, w, c));
    let filters = graph.input("w", Shape::filter(r, s, c, k));
    let y = graph.conv2d(x, filters, None, ConvOptions { stride: [1, 1], pad: [1, 1], groups: 1 })?;
    let mut options = PlanOptions::for_gpu(gpu);
    // F(4x4) rounds, so its result would not be exact.
    options.record.winograd = WinogradMode::Off;
    let session = Session::untried(gpu.clone(), Plan::new(&graph, &[y], &options)?, None)?;
    session.compiled_untried().await?;
    session.poison()?;
    session.write(x, &numbers(0, n * h * w * c))?;
    session.write(filters, &numbers(n * h * w * c, r * s * c * k))?;
    session.output_async(&session.start()?, y).await
}

/// The expected result, computed on the processor.
fn wanted() -> Vec<f32> {
    let ([n, h, w, c], [r, s, k]) = (X, W);
    let x = |n: usize, h: usize, w: usize, c: usize| number(((n * X[1] + h) * X[2] + w) * X[3] + c);
    let filter = |r: usize, s: usize, ci: usize, ki: usize| {
        number(X.iter().product::<usize>() + ((r * W[1] + s) * c + ci) * k + ki)
    };
    let mut y = Vec::with_capacity(n * h * w * k);
    for (n, p, q) in (0..n).flat_map(|n| (0..h).flat_map(move |p| (0..w).map(move |q| (n, p, q)))) {
        for ki in 0..k {
            let mut sum = 0;
            for (ri, si) in (0..r).flat_map(|r| (0..s).map(move |s| (r, s))) {
                // One pixel of padding on each side.
                let (Some(hi), Some(wi)) = ((p + ri).checked_sub(1), (q + si).checked_sub(1)) else {
                    continue;
                };
                if hi < h && wi < w {
                    sum += (0..c).map(|ci| x(n, hi, wi, ci) * filter(ri, si, ci, ki)).sum::<i32>();
                }
            }
            y.push(sum as f32);
        }
    }
    y
}

fn right(got: &[f32], wanted: &[f32]) -> Result<()> {
    let wrong = |(got, wanted): &(&f32, &f32)| got.to_bits() != wanted.to_bits() && **got != **wanted;
    let count = got.iter().zip(wanted).filter(wrong).count() + got.len().abs_diff(wanted.len());
    let Some((first, should)) = got.iter().zip(wanted).find(wrong).filter(|_| count > 0) else {
        return if count == 0 { Ok(()) } else { Err(Error::gpu("it computes nothing")) };
    };
    Err(Error::gpu(format!(
        "it computes something wrong: of {} numbers of a small product {count} are wrong, the first is {first} and should be {should}",
        wanted.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_number_is_seen() {
        let wanted = wanted();
        assert_eq!(wanted.len(), 2 * 7 * 5 * 12);
        assert!(wanted.iter().filter(|x| **x != 0.0).count() > wanted.len() / 2);
        right(&wanted, &wanted).unwrap();
        for (place, number) in [(0, 1e9), (839, f32::NAN), (400, wanted[400] + 1e-3), (401, f32::INFINITY)] {
            let mut got = wanted.clone();
            got[place] = number;
            let error = right(&got, &wanted).unwrap_err();
            assert!(matches!(error, Error::Gpu(_)) && error.to_string().contains(" 1 are wrong"), "{error}");
        }
        assert!(right(&[], &wanted).is_err() && right(&[0.0; 840], &wanted).is_err());
    }

    #[test]
    #[cfg(not(target_family = "wasm"))]
    fn a_device_that_computes_wrong_does_nothing_more_and_is_not_one_that_was_taken_away() {
        let gpu = Gpu::open(&crate::gpu::GpuOptions::default()).unwrap();
        let (wanted, mut got) = (wanted(), wanted());
        judge(&gpu, &got, &wanted).unwrap();
        got[7] += 1.0;
        let error = judge(&gpu, &got, &wanted).unwrap_err();
        assert_eq!(gpu.flush().unwrap_err(), error);
        assert!(!gpu.is_lost(), "a page that loads again would meet the same adapter");
    }
}
