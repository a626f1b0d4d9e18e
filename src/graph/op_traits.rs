//! The properties of an operation that a plan uses.

use crate::kernels::Stage;

/// A set of an operation's inputs, by position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inputs {
    /// No input.
    #[default]
    None,
    /// All inputs.
    All,
    /// The inputs at these positions.
    These(&'static [usize]),
}

impl Inputs {
    /// Whether the set contains an input.
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
    /// The result has its own memory.
    #[default]
    Own,
    /// The result is the input with another shape.
    Reshaped,
    /// The result is the concatenation of the inputs along the channels, so the inputs may be slices of it.
    Concatenated,
    /// The result is a slice of the input's channels, which starts at this channel.
    Channels(usize),
}

/// A reduction of an input over all pixels. It can be fused into the kernel that stores the input. The fields are
/// positions of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduces {
    /// The mean and the sum of squared deviations.
    MeanM2 {
        /// The input that is reduced.
        of: usize,
    },
    /// The sum, and the dot product with `x` minus its mean.
    SumAndDot {
        /// The input that is reduced.
        of: usize,
        /// The other factor of the dot product.
        x: usize,
        /// The mean and variance of `x`.
        statistics: usize,
    },
}

impl Reduces {
    /// The position of the input that is reduced.
    pub(crate) fn of(self) -> usize {
        match self {
            Self::MeanM2 { of } | Self::SumAndDot { of, .. } => of,
        }
    }
}

/// The properties of an operation that a plan uses. [`OpTraits::default`] is valid for every operation: it is computed
/// by its own kernels, on whole tensors with their own memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpTraits {
    /// The inputs of which image n of the result depends only on image n. If the batch does not fit one binding, such
    /// an operation is recorded for ranges of images. The other inputs are always bound whole.
    pub per_image: Inputs,
    /// The inputs that the operation changes in place. Such an operation has no result.
    pub updates: &'static [usize],
    /// How the memory of the result relates to that of the inputs. It has no effect for a custom operation.
    pub storage: Storage,
    /// The inputs that may be a channel slice of a wider tensor ([`crate::kernels::Buf::pitch`]).
    pub reads_slice: Inputs,
    /// Whether the result may be a channel slice of a wider tensor. It has no effect for a custom operation.
    pub writes_slice: bool,
    /// Whether the operation is computed as soon as its inputs are available, instead of at its position in the graph.
    /// It suits an operation whose result is smaller than its inputs, whose memory then becomes free earlier.
    pub early: bool,
    /// The epilogue stage that can replace the operation, and the inputs whose producer's kernel may run it.
    pub(crate) stage: Option<(Inputs, Stage)>,
    /// The stages that the operation's own kernel supports in its epilogue.
    pub(crate) epilogue: &'static [Stage],
    /// The input that the operation can also take as partials, which it adds itself.
    pub(crate) accepts_partials: Option<usize>,
    /// Whether the update of [`Stage::Update`] is that of Nesterov's momentum.
    pub(crate) nesterov: bool,
    /// The reduction that the operation computes, unless the kernel that stored the input has computed it.
    pub(crate) reduces: Option<Reduces>,
}

impl OpTraits {
    /// The properties of an operation whose result depends image by image on all inputs.
    pub const PER_IMAGE: Self = Self { per_image: Inputs::All, ..Self::NONE };

    /// [`OpTraits::default`] as a constant.
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
        nesterov: false,
        reduces: None,
    };

    /// Sets [`OpTraits::per_image`].
    #[must_use]
    pub const fn with_per_image(self, per_image: Inputs) -> Self {
        Self { per_image, ..self }
    }

    /// Sets [`OpTraits::updates`].
    #[must_use]
    pub const fn with_updates(self, updates: &'static [usize]) -> Self {
        Self { updates, ..self }
    }

    /// The properties that are believed of an operation that is not of this library. The others promise something about
    /// memory or about the kernels of this library.
    pub(crate) fn of_custom_op(self) -> Self {
        let Self { per_image, updates, reads_slice, early, .. } = self;
        Self { per_image, updates, reads_slice, early, ..Self::NONE }
    }

    /// The epilogue stage that replaces the operation as a consumer of this input.
    pub(crate) fn stage_of(&self, input: usize) -> Option<Stage> {
        self.stage.filter(|(inputs, _)| inputs.contains(input)).map(|(_, stage)| stage)
    }

    /// Whether the result is the input with another shape.
    pub fn is_reshape(&self) -> bool {
        self.storage == Storage::Reshaped
    }

    /// Whether the result is the concatenation of the inputs.
    pub fn is_concat(&self) -> bool {
        self.storage == Storage::Concatenated
    }
}
