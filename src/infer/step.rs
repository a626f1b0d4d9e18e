//! The forward pass of a network on a GPU.

use super::activations::{self, LayerInfo};
use super::{check_logits, transfer};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::models::{Network, Parameter};
use crate::plan::{Plan, PlanOptions, Session, Started};
use crate::tensor::Value;
use crate::weights::Source;
use std::sync::Arc;

/// A forward pass without labels and loss. It waits for the GPU nowhere but where its logits are awaited, so a page in a
/// browser can run it.
pub struct InferenceStep {
    session: Session,
    pub(super) pixels: Value,
    logits: Value,
    parameters: Vec<Parameter>,
    /// What a look inside needs.
    pub(super) graph: Graph,
    pub(super) options: PlanOptions,
    pub(super) layers: Vec<LayerInfo>,
}

impl InferenceStep {
    /// Makes everything that a network needs that is built for inference. All parameters are zero until they are loaded.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if it does not fit the adapter.
    pub fn new(gpu: &Arc<Gpu>, network: Network, options: &PlanOptions) -> Result<Self> {
        let Network { graph, pixels, logits, parameters, .. } = network;
        let session = Session::new(gpu.clone(), Plan::new(&graph, &[logits], options)?, None)?;
        let layers = activations::layers(&graph, &parameters, session.plan())?;
        Ok(Self { session, pixels, logits, parameters, graph, options: options.clone(), layers })
    }

    /// Loads the parameters, one after the other.
    ///
    /// # Errors
    /// As [`transfer::load`].
    pub fn load(&self, tensors: &dyn Source) -> Result<()> {
        transfer::load(&self.session, self.parameters.iter(), tensors)
    }

    /// Feeds a batch of RGBA pixels and starts the pass. At most [`Session::UNDER_WAY`] may be under way.
    ///
    /// # Errors
    /// As [`Session::write_stored`] and [`Session::start`].
    pub fn start(&self, pixels: &[u8]) -> Result<Started> {
        self.session.write_stored(self.pixels, pixels)?;
        self.session.start()
    }

    /// The logits of a batch, picture by picture. Blocks, but in a browser, where it lets the page go on.
    ///
    /// # Errors
    /// As [`check_logits`] and [`Session::output_async`].
    pub async fn logits(&self, run: &Started) -> Result<Vec<f32>> {
        let logits = self.session.output_async(run, self.logits).await?;
        check_logits(&logits, self.graph.shape(self.logits)?.dims()[3])?;
        Ok(logits)
    }

    /// Parameters and running statistics.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The session, to read and write states.
    pub fn session(&self) -> &Session {
        &self.session
    }
}
