//! The forward pass of a network on a GPU.

use super::layers::{self, LayerInfo};
use super::{check_logits, transfer};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::models::{Network, Parameter};
use crate::plan::{Plan, PlanOptions, Session, Started};
use crate::tensor::Value;
use crate::weights::Source;
use std::sync::Arc;

/// A forward pass without labels and loss. Only [`InferenceStep::logits`] waits for the GPU, and in a browser it does not block.
pub struct InferenceStep {
    session: Session,
    pub(super) pixels: Value,
    logits: Value,
    parameters: Vec<Parameter>,
    /// For [`super::ActivationRecorder`], which plans the graph again.
    pub(super) graph: Graph,
    pub(super) options: PlanOptions,
    pub(super) layers: Vec<LayerInfo>,
}

impl InferenceStep {
    /// Plans a network that is built for inference and allocates its memory. All parameters are zero until they are loaded.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if it does not fit the adapter.
    pub fn new(gpu: &Arc<Gpu>, network: Network, options: &PlanOptions) -> Result<Self> {
        let Network { graph, pixels, logits, parameters, .. } = network;
        let session = Session::new(gpu.clone(), Plan::new(&graph, &[logits], options)?, None)?;
        let layers = layers::layers(&graph, &parameters, session.plan())?;
        Ok(Self { session, pixels, logits, parameters, graph, options: options.clone(), layers })
    }

    /// Loads all parameters.
    ///
    /// # Errors
    /// As [`transfer::load`].
    pub fn load(&self, tensors: &dyn Source) -> Result<()> {
        transfer::load(&self.session, self.parameters.iter(), tensors)
    }

    /// Writes a batch of RGBA pixels and starts the pass. At most [`Session::UNDER_WAY`] passes may be under way.
    ///
    /// # Errors
    /// As [`Session::write_stored`] and [`Session::start`].
    pub fn start(&self, pixels: &[u8]) -> Result<Started> {
        self.session.write_stored(self.pixels, pixels)?;
        self.session.start()
    }

    /// The logits of a batch, picture by picture. Blocks natively; does not block in a browser.
    ///
    /// # Errors
    /// As [`check_logits`] and [`Session::output_async`].
    pub async fn logits(&self, run: &Started) -> Result<Vec<f32>> {
        let logits = self.unchecked_logits(run).await?;
        check_logits(&logits, self.graph.shape(self.logits)?.dims()[3])?;
        Ok(logits)
    }

    /// The logits of a batch. NaN and infinity are not looked for, since places of the batch may hold no picture.
    ///
    /// # Errors
    /// As [`Session::output_async`].
    pub(super) async fn unchecked_logits(&self, run: &Started) -> Result<Vec<f32>> {
        self.session.output_async(run, self.logits).await
    }

    /// The graph with its pixels and its logits, and how it is planned.
    pub(crate) fn planned(&self) -> (&Graph, [Value; 2], &PlanOptions) {
        (&self.graph, [self.pixels, self.logits], &self.options)
    }

    /// Parameters and running statistics.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The session, to read and write parameters.
    pub fn session(&self) -> &Session {
        &self.session
    }
}
