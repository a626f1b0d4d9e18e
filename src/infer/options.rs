//! How a classifier is made.

#[cfg(not(target_family = "wasm"))]
use crate::autotune::Tuner;
use crate::exchange::OpenOptions;
use crate::plan::PlanOptions;
use crate::tensor::Precision;

/// Kernels are not measured in a browser: there is no value of this type.
#[cfg(target_family = "wasm")]
pub enum Tuner<'t> {
    /// Cannot be made.
    None(std::convert::Infallible, std::marker::PhantomData<&'t ()>),
}

/// How a classifier is made: `ClassifierOptions { batch_size: 8, ..ClassifierOptions::default() }`.
pub struct ClassifierOptions<'a, 't> {
    /// Pictures in one run of the network; 1 by default. Memory grows with it.
    pub batch_size: usize,
    /// How activations are stored; f32 by default.
    pub precision: Precision,
    /// Overrides what the file says of its network, classes and preprocessing.
    pub file: OpenOptions<'a>,
    /// Chooses the kernels by measurement.
    pub tuner: Option<&'a mut Tuner<'t>>,
    /// How the kernels are planned where there is no tuner; [`PlanOptions::for_gpu`] by default.
    pub plan: Option<PlanOptions>,
}

impl Default for ClassifierOptions<'_, '_> {
    fn default() -> Self {
        Self {
            batch_size: 1,
            precision: Precision::default(),
            file: OpenOptions::default(),
            tuner: None,
            plan: None,
        }
    }
}
