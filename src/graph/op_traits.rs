//! What a plan may do with an operation.

use crate::kernels::Stage;

/// Some inputs of an operation, by position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inputs {
    /// None of them.
    #[default]
    None,
    /// All of them.
    All,
    /// These.
    These(&'static [usize]),
}

impl Inputs {
    /// Whether an input is one of them.
    pub fn contains(self, input: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(inputs) => inputs.contains(&input),
        }
    }
}

/// How the memory of a result relates to that of the inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// It has memory of its own.
    #[default]
    Own,
    /// It is the input under another shape.
    Reshaped,
    /// It is its inputs side by side along the channels, so they may be slices of it.
    Concatenated,
    /// It is a slice of the channels of its input, from this one on.
    Channels(usize),
}

/// A reduction over all pixels of an input, which the kernel that stores that input can do. Positions of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduces {
    /// Mean and sum of squared deviations.
    MeanM2 {
        /// What is reduced.
        of: usize,
    },
    /// The sum, and the dot product with `x` minus its mean.
    SumAndDot {
        /// What is reduced.
        of: usize,
        /// What it is multiplied with.
        x: usize,
        /// Mean and variance of `x`.
        statistics: usize,
    },
}

impl Reduces {
    /// The input that is reduced.
    pub(crate) fn of(self) -> usize {
        match self {
            Self::MeanM2 { of } | Self::SumAndDot { of, .. } => of,
        }
    }
}

/// What a plan may do with an operation. [`OpTraits::default`] is always right: the operation is computed by itself, on whole tensors
/// with memory of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpTraits {
    /// Inputs of which picture n alone decides picture n of the result. Such an operation is recorded for some pictures at a time where the
    /// batch does not fit one binding; the others are bound whole each time.
    pub per_image: Inputs,
    /// Inputs that it changes in place. Such an operation has no result.
    pub updates: &'static [usize],
    /// How the memory of the result relates to that of the inputs.
    pub storage: Storage,
    /// Inputs that may be a slice of the channels of a wider tensor ([`crate::kernels::Buf::pitch`]).
    pub reads_slice: Inputs,
    /// Whether the result may be such a slice.
    pub writes_slice: bool,
    /// Whether it is computed as soon as its inputs are, not where it stands in the graph: it is smaller than its inputs, which then need
    /// not be kept.
    pub early: bool,
    /// The stage that it is in the epilogue of the operation that makes one of these inputs.
    pub(crate) stage: Option<(Inputs, Stage)>,
    /// The stages that its own kernel can do in its epilogue.
    pub(crate) epilogue: &'static [Stage],
    /// The input of which it adds up partials itself.
    pub(crate) accepts_partials: Option<usize>,
    /// The reduction that it does, unless the kernel that stores the input did it.
    pub(crate) reduces: Option<Reduces>,
}

impl OpTraits {
    /// An operation whose every picture depends on the same picture of each input.
    pub const PER_IMAGE: Self = Self { per_image: Inputs::All, ..Self::NONE };

    /// As [`OpTraits::default`], as a constant.
    pub const NONE: Self = Self {
        per_image: Inputs::None,
        updates: &[],
        storage: Storage::Own,
        reads_slice: Inputs::None,
        writes_slice: false,
        early: false,
        stage: None,
        epilogue: &[],
        accepts_partials: None,
        reduces: None,
    };

    /// With these inputs as [`OpTraits::per_image`].
    #[must_use]
    pub const fn with_per_image(self, per_image: Inputs) -> Self {
        Self { per_image, ..self }
    }

    /// With these inputs as [`OpTraits::updates`].
    #[must_use]
    pub const fn with_updates(self, updates: &'static [usize]) -> Self {
        Self { updates, ..self }
    }

    /// Its stage as a consumer of this input.
    pub(crate) fn stage_of(&self, input: usize) -> Option<Stage> {
        self.stage.filter(|(inputs, _)| inputs.contains(input)).map(|(_, stage)| stage)
    }

    /// Whether the result is the input under another shape.
    pub fn is_reshape(&self) -> bool {
        self.storage == Storage::Reshaped
    }

    /// Whether the result is its inputs side by side.
    pub fn is_concat(&self) -> bool {
        self.storage == Storage::Concatenated
    }
}
