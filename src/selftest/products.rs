//! The cases of the matrix products: every GEMM kernel in each of its tiles and Winograd's algorithm, in each pass.

use super::case::{Case, Setup, filled, integers};
use super::reference::{self, Conv};
use crate::autotune::error_bound::ErrorBound;
use crate::error::Result;
use crate::kernels::{Algorithm, ConvOptions, ConvProblem, GemmKernel, KernelFamily, Pass, WinogradTile};
use crate::ops::Running;
use crate::tensor::{Precision, Shape};

pub(super) const PASSES: [Pass; 3] = [Pass::Forward, Pass::InputGrad, Pass::WeightGrad];

/// A convolution of a case. Its result has more rows and columns than the largest tile, and neither is a multiple of the tile.
struct Layer {
    x: [usize; 4],
    w: [usize; 4],
    stride: usize,
    pad: usize,
    groups: usize,
    /// The pixels that a dispatch of a weight gradient reads of each split.
    k_chunk: u32,
    /// Whether the forward pass adds a bias and applies ReLU in its epilogue.
    epilogue: bool,
}

/// Stride, padding, channels that are no multiple of four, and several k chunks.
const STRIDED: Layer = Layer {
    x: [1, 25, 25, 18],
    w: [3, 3, 18, 134],
    stride: 2,
    pad: 1,
    groups: 1,
    k_chunk: 32,
    epilogue: true,
};
/// Each row of a is a pixel, and every block of the depth is whole: kernels have constants for that.
const POINTWISE: Layer = Layer {
    x: [2, 8, 10, 32],
    w: [1, 1, 32, 134],
    stride: 1,
    pad: 0,
    groups: 1,
    k_chunk: u32::MAX,
    epilogue: false,
};
const GROUPED: Layer = Layer {
    x: [1, 5, 7, 40],
    w: [3, 3, 20, 264],
    stride: 1,
    pad: 1,
    groups: 2,
    k_chunk: u32::MAX,
    epilogue: true,
};
/// A fully connected layer with a batch of three.
const FEW_ROWS: Layer = Layer {
    x: [3, 1, 1, 70],
    w: [1, 1, 70, 134],
    stride: 1,
    pad: 0,
    groups: 1,
    k_chunk: u32::MAX,
    epilogue: true,
};
/// For Winograd's algorithm, and for batch norm after or before a convolution.
const SAME: Layer = Layer {
    x: [1, 9, 11, 18],
    w: [3, 3, 18, 22],
    stride: 1,
    pad: 1,
    groups: 1,
    k_chunk: u32::MAX,
    epilogue: true,
};
/// More, with `--full`: a large filter, a bias without a whole tile, and one channel.
const MORE: [Layer; 3] = [
    Layer { x: [2, 17, 13, 3], w: [7, 7, 3, 64], stride: 2, pad: 3, ..STRIDED },
    Layer { x: [2, 11, 9, 5], w: [5, 3, 5, 9], stride: 1, pad: 2, ..GROUPED_BY_ONE },
    Layer { x: [1, 6, 5, 1], w: [2, 2, 1, 1], stride: 3, pad: 0, ..GROUPED_BY_ONE },
];
const GROUPED_BY_ONE: Layer = Layer { groups: 1, ..GROUPED };

/// The error of sums over all pixels of results, each of which may be rounded to f16.
const REDUCED: ErrorBound = ErrorBound { relative: 1e-3, absolute: 1e-2 };

/// A pass of a layer with its operands and the wanted result.
struct Product {
    problem: ConvProblem,
    conv: Conv,
    k_chunk: u32,
    x: Vec<f64>,
    w: Vec<f64>,
    dy: Vec<f64>,
    bias: Option<Vec<f64>>,
    want: Vec<f64>,
}

impl Layer {
    fn product(&self, pass: Pass) -> Product {
        let Self { mut x, mut w, stride, pad, groups, .. } = *self;
        if pass == Pass::InputGrad {
            // The columns of the result are the input's channels.
            (x[3], w[2], w[3]) = (w[3], w[3] / groups, x[3]);
        }
        let conv = Conv { x, w, stride, pad, groups };
        let (x, w, dy) = (filled(conv.x, 1), filled(conv.w, 2), filled(conv.y(), 3));
        let bias = (self.epilogue && pass == Pass::Forward).then(|| integers(conv.w[3], 4));
        let want = match (pass, &bias) {
            (Pass::Forward, None) => conv.forward(&x, &w),
            (Pass::Forward, Some(bias)) => reference::relu(&reference::biased(&conv.forward(&x, &w), bias)),
            (Pass::InputGrad, _) => conv.input_grad(&dy, &w),
            (Pass::WeightGrad, _) => conv.weight_grad(&x, &dy),
        };
        Product {
            problem: conv.problem(pass, Precision::F32),
            conv,
            k_chunk: self.k_chunk,
            x,
            w,
            dy,
            bias,
            want,
        }
    }
}

impl Conv {
    pub(super) fn options(&self) -> ConvOptions {
        ConvOptions { stride: [self.stride; 2], pad: [self.pad; 2], groups: self.groups }
    }

    pub(super) fn filter(&self) -> Shape {
        let [r, s, c, k] = self.w;
        Shape::filter(r, s, c, k)
    }

    fn problem(&self, pass: Pass, precision: Precision) -> ConvProblem {
        let ConvOptions { stride, pad, groups } = self.options();
        ConvProblem { pass, x: self.x, w: self.w, stride, pad, groups, precision }
    }
}

impl Product {
    /// The case of one algorithm. `None` if the adapter cannot compute the product with it.
    fn case(&self, setup: &Setup, row: &str, algorithm: Algorithm) -> Result<Option<Case>> {
        let problem = ConvProblem { precision: setup.precision, ..self.problem };
        if !setup.options.record.supports(algorithm, &problem) {
            return Ok(None);
        }
        let mut case = setup.product(row, problem, algorithm);
        let x = case.image(self.conv.x, &self.x)?;
        let w = case.input(self.conv.filter(), &self.w)?;
        let bias = self.bias.as_ref().map(|bias| case.input(Shape::vector(bias.len()), bias)).transpose()?;
        let y = case.graph.conv2d(x, w, bias, self.conv.options())?;
        let result = match problem.pass {
            Pass::Forward if self.bias.is_some() => case.graph.relu(y)?,
            Pass::Forward => y,
            Pass::InputGrad | Pass::WeightGrad => {
                let dy = case.image(self.conv.y(), &self.dy)?;
                case.gradient(y, dy, if problem.pass == Pass::InputGrad { x } else { w })?
            }
        };
        case.within(result, self.want.clone(), ErrorBound::of(&problem, algorithm));
        Ok(Some(case))
    }

    fn algorithm(&self, kernel: GemmKernel) -> Algorithm {
        match self.problem.pass {
            Pass::Forward | Pass::InputGrad => Algorithm::Gemm(kernel),
            Pass::WeightGrad => Algorithm::SplitK { kernel, splits: 2, k_chunk: self.k_chunk },
        }
    }
}

/// The cases of all products in each precision, row by row.
pub(super) fn cases(setups: &[Setup], full: bool) -> Result<Vec<Case>> {
    let layers =
        [STRIDED, POINTWISE, GROUPED].into_iter().chain(if full { Vec::from(MORE) } else { Vec::new() });
    let products: Vec<Product> = layers.flat_map(|layer| PASSES.map(|pass| layer.product(pass))).collect();
    let few: Vec<Product> =
        [Pass::Forward, Pass::InputGrad].into_iter().map(|pass| FEW_ROWS.product(pass)).collect();
    let mut cases = Vec::new();
    for kernel in GemmKernel::all().filter(|kernel| full || is_of_adapter(setups, *kernel)) {
        let row = kernel.to_string();
        let is_rows = matches!(kernel, GemmKernel::Rows { .. });
        let few = few.iter().filter(|_| full || is_rows);
        for setup in setups {
            for product in products.iter().chain(few.clone()) {
                cases.extend(product.case(setup, &row, product.algorithm(kernel))?);
            }
            cases.extend(update(setup, kernel)?);
            for pass in [Pass::Forward, Pass::InputGrad] {
                cases.extend(reduction(setup, &row, pass, Algorithm::Gemm(kernel), kernel.reduced_rows())?);
            }
        }
    }
    let products = PASSES.map(|pass| SAME.product(pass));
    for tile in [WinogradTile::F2x2, WinogradTile::F4x4] {
        let (row, algorithm) = (tile.to_string(), Algorithm::Winograd { tile });
        for setup in setups {
            for product in &products {
                cases.extend(product.case(setup, &row, algorithm)?);
            }
            // Only the larger tile reduces.
            let reduced = (tile == WinogradTile::F4x4).then_some(16);
            for pass in [Pass::Forward, Pass::InputGrad] {
                cases.extend(reduction(setup, &row, pass, algorithm, reduced)?);
            }
        }
    }
    Ok(cases)
}

/// Whether the adapter may get a kernel. On processors the kernels for GPUs take minutes to compile, and no plan selects them.
fn is_of_adapter(setups: &[Setup], kernel: GemmKernel) -> bool {
    let is_gpu = setups.iter().any(|setup| setup.options.record.family == KernelFamily::Tiled);
    is_gpu || kernel.is_for_processors()
}

/// A weight gradient of a fully connected layer with the step of SGD in its epilogue.
fn update(setup: &Setup, kernel: GemmKernel) -> Result<Option<Case>> {
    let product = FEW_ROWS.product(Pass::WeightGrad);
    let problem = ConvProblem { precision: setup.precision, ..product.problem };
    let algorithm = Algorithm::SplitK { kernel, splits: 1, k_chunk: u32::MAX };
    if !setup.options.record.supports(algorithm, &problem) {
        return Ok(None);
    }
    let mut case = setup.product(kernel.to_string(), problem, algorithm);
    case.what += " with SGD";
    let x = case.image(product.conv.x, &product.x)?;
    let step = case.input(Shape::vector(4), &[0.5, 0.5, 0.25, 1.0])?;
    let velocity = filled(product.conv.w, 5);
    let shape = product.conv.filter();
    let (w, v) = (case.state(shape, &product.w)?, case.state(shape, &velocity)?);
    let y = case.graph.conv2d(x, w, None, product.conv.options())?;
    let dy = case.image(product.conv.y(), &product.dy)?;
    let dw = case.gradient(y, dy, w)?;
    case.graph.sgd(step, dw, w, v)?;
    let [want_w, want_v] = reference::sgd(&product.w, &velocity, &product.want, [0.5, 0.5, 0.25]);
    case.exactly(w, want_w);
    case.exactly(v, want_v);
    Ok(Some(case))
}

/// A convolution whose epilogue reduces each channel for a batch norm: after it in the forward pass, before it in the input
/// gradient.
fn reduction(
    setup: &Setup,
    row: &str,
    pass: Pass,
    algorithm: Algorithm,
    reduced_rows: Option<u32>,
) -> Result<Option<Case>> {
    let Product { problem, conv, x, w, dy, .. } = SAME.product(pass);
    let problem = ConvProblem { precision: setup.precision, ..problem };
    if reduced_rows.is_none() || !setup.options.record.supports(algorithm, &problem) {
        return Ok(None);
    }
    let mut case = setup.product(row, problem, algorithm);
    case.what += " with batch norm";
    let channels = if pass == Pass::Forward { conv.w[3] } else { conv.x[3] };
    let shape = Shape::vector(channels);
    let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
    let affine = [case.input(shape, &ones)?, case.input(shape, &zeros)?];
    let running = Running { mean: case.state(shape, &zeros)?, variance: case.state(shape, &ones)? };
    let from = case.image(conv.x, &x)?;
    let filters = case.input(conv.filter(), &w)?;
    if pass == Pass::Forward {
        // With a momentum of 1 the running statistics are those of the batch.
        let y = case.graph.conv2d(from, filters, None, conv.options())?;
        case.graph.batch_norm_training(y, affine, running, 1e-3, 1.0)?;
        let y = conv.forward(&x, &w);
        let pixels = (y.len() / channels) as f64;
        let [mean, variance] = reference::statistics(&y, channels);
        case.within(running.mean, mean, REDUCED);
        let unbiased = variance.iter().map(|v| v * pixels / (pixels - 1.0));
        case.within(running.variance, unbiased.collect(), REDUCED);
    } else {
        let normalised = case.graph.batch_norm_training(from, affine, running, 1e-3, 1.0)?;
        let y = case.graph.conv2d(normalised, filters, None, conv.options())?;
        let gradient = case.image(conv.y(), &dy)?;
        let [gamma, beta] = affine;
        let (dgamma, dbeta) = (case.gradient(y, gradient, gamma)?, case.gradient(y, gradient, beta)?);
        let want = reference::batch_norm_gradient(&x, &conv.input_grad(&dy, &w), &ones, 1e-3);
        case.within(dgamma, want.dgamma, REDUCED);
        case.within(dbeta, want.dbeta, REDUCED);
    }
    Ok(Some(case))
}
