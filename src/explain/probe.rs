//! A plan of a network with its input, and what is to be read of it.

use super::network::ExplainNetwork;
use crate::autodiff::BackwardRule;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, PoolOptions};
use crate::plan::{Plan, PlanOptions, Session};
use crate::tensor::Value;
use std::sync::Arc;

/// What a probe reads. Nodes are positions in the graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Pictures in a batch.
    pub batch: usize,
    /// Whether the input is 8-bit RGBA; otherwise it is normalised numbers.
    pub pixels: bool,
    /// The nodes whose values are read.
    pub values: Vec<usize>,
    /// The node whose maximum over height and width is read, for each channel.
    pub peaks: Option<usize>,
    /// The gradient that is read.
    pub gradient: Option<Gradient>,
}

/// The gradient of the sum of a seed times a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gradient {
    pub rule: BackwardRule,
    pub of: usize,
    /// With respect to this node; the input if there is none.
    pub wrt: Option<usize>,
}

/// A session that computes what is wanted. It shares the weights of another one.
pub(super) struct Probe {
    session: Session,
    input: Value,
    seed: Option<Value>,
    gradient: Option<Value>,
    values: Vec<Value>,
    peaks: Option<Value>,
}

/// The longest side of a window over which a maximum is taken at once: a max pooling takes at most 256 positions.
const WINDOW: usize = 16;

/// A probe before it takes memory.
pub(super) struct PlannedProbe {
    plan: Plan,
    input: Value,
    seed: Option<Value>,
    gradient: Option<Value>,
    values: Vec<Value>,
    peaks: Option<Value>,
}

impl PlannedProbe {
    /// Waits until the kernels are compiled.
    ///
    /// # Errors
    /// As [`Session::compiled`].
    pub async fn compiled(&self, gpu: &Gpu) -> Result<()> {
        self.plan.compiled(gpu).await
    }

    /// The GPU memory that it takes besides the weights, in bytes.
    pub fn bytes(&self) -> u64 {
        let memory = self.plan.memory();
        memory.total().saturating_sub(memory.parameters)
    }

    /// Takes the memory. The weights are those of `shared`.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the memory does not suffice.
    pub fn made(self, gpu: &Arc<Gpu>, shared: &Session) -> Result<Probe> {
        let Self { plan, input, seed, gradient, values, peaks } = self;
        let session = Session::new(gpu.clone(), plan, Some(shared))?;
        session.bound()?;
        Ok(Probe { session, input, seed, gradient, values, peaks })
    }
}

impl Probe {
    /// Plans what is wanted.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the adapter's limits do not allow it; [`Error::Usage`] if the gradient does not exist.
    pub fn planned(network: ExplainNetwork, wanted: &Wanted, options: &PlanOptions) -> Result<PlannedProbe> {
        let ExplainNetwork { mut graph, input, .. } = network;
        let at = |graph: &Graph, node: usize| {
            graph.values().nth(node).ok_or_else(|| Error::internal("a node that the graph does not have"))
        };
        let values = wanted.values.iter().map(|node| at(&graph, *node)).collect::<Result<Vec<_>>>()?;
        let peaks = match wanted.peaks {
            None => None,
            Some(node) => {
                let of = at(&graph, node)?;
                Some(peaks_of(&mut graph, of)?)
            }
        };
        let (mut seed, mut gradient) = (None, None);
        if let Some(Gradient { rule, of, wrt }) = wanted.gradient {
            let of = at(&graph, of)?;
            let wrt = wrt.map_or(Ok(input), |wrt| at(&graph, wrt))?;
            let from = graph.input("seed", graph.shape(of)?);
            let found = graph.gradients_by(rule, &[(of, from)], &[wrt])?.pop().flatten();
            let (of, wrt) = (&graph.node(of)?.name, &graph.node(wrt)?.name);
            gradient = Some(found.ok_or_else(|| {
                Error::usage(format!("{of} does not depend on {wrt}")).hint("choose a layer before it")
            })?);
            seed = Some(from);
        }
        let mut outputs: Vec<Value> = values.iter().copied().chain(gradient).chain(peaks).collect();
        outputs.sort_unstable();
        outputs.dedup();
        let plan = Plan::keeping(&graph, &outputs, options)?;
        Ok(PlannedProbe { plan, input, seed, gradient, values, peaks })
    }

    /// Runs a batch of normalised pictures.
    ///
    /// # Errors
    /// [`Error::Usage`] if the sizes are not those of the batch; [`Error::Gpu`] if the device failed.
    pub fn run(&self, input: &[f32], seed: &[f32]) -> Result<()> {
        // Without a max pooling a DeconvNet needs nothing of the picture.
        if self.session.has(self.input) {
            self.session.write(self.input, input)?;
        }
        if let Some(at) = self.seed {
            self.session.write(at, seed)?;
        }
        self.session.run()
    }

    /// Runs a batch of RGBA pixels.
    ///
    /// # Errors
    /// As [`Probe::run`].
    pub fn run_pixels(&self, pixels: &[u8]) -> Result<()> {
        self.session.write_stored(self.input, pixels)?;
        self.session.run()
    }

    /// The value of [`Wanted::values`] at this position, for the last batch.
    ///
    /// # Errors
    /// [`Error::Data`] if it holds NaN or infinity; otherwise as [`Session::kept`].
    pub async fn value(&self, position: usize) -> Result<Vec<f32>> {
        let value = self.values.get(position).copied();
        self.read(value).await
    }

    /// The maxima of [`Wanted::peaks`] for the last batch: `(N, C)`.
    ///
    /// # Errors
    /// As [`Probe::value`].
    pub async fn peaks(&self) -> Result<Vec<f32>> {
        self.read(self.peaks).await
    }

    /// The gradient for the last batch.
    ///
    /// # Errors
    /// As [`Probe::value`].
    pub async fn gradient(&self) -> Result<Vec<f32>> {
        self.read(self.gradient).await
    }

    async fn read(&self, value: Option<Value>) -> Result<Vec<f32>> {
        let value = value.ok_or_else(|| Error::internal("a probe that does not read this"))?;
        let numbers = self.session.kept(value).await?;
        match numbers.iter().find(|x| !x.is_finite()) {
            None => Ok(numbers),
            Some(number) => Err(Error::data(format!("the numbers of the network overflow: one is {number}"))
                .hint("the weights hold numbers that are too large, or those of another network")),
        }
    }

    /// The session, whose weights others share.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// Appends poolings until each channel has one number.
fn peaks_of(graph: &mut Graph, of: Value) -> Result<Value> {
    let mut value = of;
    loop {
        let [_, h, w, _] = graph.shape(value)?.dims();
        if h * w <= 1 {
            return Ok(value);
        }
        let window = [h.min(WINDOW), w.min(WINDOW)];
        let options = PoolOptions { kernel: window, stride: window, ..PoolOptions::square(1, 1).ceil() };
        value = graph.max_pool(value, options)?;
    }
}
