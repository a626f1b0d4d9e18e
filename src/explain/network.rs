//! The graph of a network whose input is a picture as normalised numbers.

use crate::error::{Error, Result};
use crate::graph::{Description, Graph, Source};
use crate::infer::Classifier;
use crate::models::{Arch, Mode, Network, Settings};
use crate::tensor::{Precision, Value};

/// The graph of a network for batches of some size.
pub(super) struct ExplainNetwork {
    pub graph: Graph,
    /// The pixels, or the normalised picture in their place.
    pub input: Value,
    pub logits: Value,
}

/// From what the graph for a batch is built.
pub(super) enum Origin {
    /// A variant, for batches of any size.
    Arch(&'static Arch, Settings),
    /// A graph for one size of batches.
    Graph { graph: Graph, pixels: Value, logits: Value, batch: usize },
}

impl Origin {
    /// The network of a classifier.
    ///
    /// # Errors
    /// [`Error::Usage`] for an imported graph in half precision.
    pub async fn of(classifier: &Classifier) -> Result<Self> {
        let settings = *classifier.settings();
        if let Some(arch) = classifier.card().arch() {
            return Ok(Self::Arch(arch, Settings { precision: Precision::F32, ..settings }));
        }
        if settings.precision != Precision::F32 {
            return Err(Error::usage("an ONNX graph is explained in single precision")
                .hint("open the classifier with activations in f32"));
        }
        let origin = classifier.with_step(|step| {
            let (graph, [pixels, logits], _) = step.planned();
            Ok(Self::Graph { graph: graph.clone(), pixels, logits, batch: settings.batch_size })
        });
        origin.await
    }

    /// Whether `ocelli show` lists the layers.
    pub fn is_listed(&self) -> bool {
        matches!(self, Self::Arch(..))
    }

    /// The size of a batch for so many pictures: at most as many, or the only size that there is.
    pub fn batch(&self, pictures: usize) -> usize {
        match self {
            Self::Arch(..) => pictures.max(1),
            Self::Graph { batch, .. } => *batch,
        }
    }

    /// The network for batches of a size from [`Origin::batch`]. Its input is 8-bit RGBA if `pixels`, otherwise the normalised picture.
    ///
    /// # Errors
    /// [`Error::Usage`] for a graph whose pixels are not normalised by one operation; otherwise as [`Arch::network`].
    pub fn network(&self, batch: usize, pixels: bool) -> Result<ExplainNetwork> {
        let (graph, input, logits) = match self {
            Self::Arch(arch, settings) => {
                let settings = Settings { batch_size: batch, ..*settings };
                let Network { graph, pixels, logits, .. } = arch.network(&settings, Mode::Inference)?;
                (graph, pixels, logits)
            }
            Self::Graph { graph, pixels, logits, .. } => (graph.clone(), *pixels, *logits),
        };
        let mut network = ExplainNetwork { graph, input, logits };
        network.rectify_before_pooling()?;
        if !pixels {
            network.begin_with_numbers()?;
        }
        Ok(network)
    }
}

impl ExplainNetwork {
    /// Puts a ReLU before the max pooling that it follows. The networks pool first, which is less work for the same result; but the
    /// papers rectify first. In their order the map before the pooling is that of the papers, and what
    /// [`crate::autodiff::BackwardRule`] passes back is theirs too: where windows overlap, the sum of what comes back is rectified,
    /// not its terms.
    fn rectify_before_pooling(&mut self) -> Result<()> {
        let described = |graph: &Graph, value: Value| match graph.node(value).map(|node| &node.source) {
            Ok(Source::Op(op)) => op.describe(),
            _ => None,
        };
        let mut readers = vec![0; self.graph.nodes().len()];
        for operand in self.graph.nodes().iter().flat_map(|node| &node.inputs) {
            readers.iter_mut().skip(operand.index()).take(1).for_each(|count| *count += 1);
        }
        let values: Vec<Value> = self.graph.values().collect();
        for mut relu in values {
            // A ReLU passes all poolings before it.
            while let [pool] = *self.graph.node(relu)?.inputs.as_slice() {
                let is_pair = described(&self.graph, relu) == Some(Description::Relu)
                    && matches!(described(&self.graph, pool), Some(Description::MaxPool(_)));
                if !is_pair || readers.get(pool.index()) != Some(&1) {
                    break;
                }
                self.graph.exchange(pool, relu)?;
                relu = pool;
            }
        }
        Ok(())
    }

    /// Takes the normalised picture as the input, so that it may hold any numbers and has a gradient.
    fn begin_with_numbers(&mut self) -> Result<()> {
        let graph = &self.graph;
        let reads = |v: &Value| graph.node(*v).is_ok_and(|node| node.inputs.contains(&self.input));
        let readers: Vec<Value> = graph.values().filter(reads).collect();
        let is_preprocess = |v: Value| match graph.node(v).map(|node| &node.source) {
            Ok(Source::Op(op)) => op.name() == "preprocess",
            _ => false,
        };
        match readers.as_slice() {
            [one] if is_preprocess(*one) => {
                self.input = *one;
                self.graph.make_input(self.input)
            }
            _ => Err(Error::usage("the pixels of this graph are not normalised by one operation")
                .hint("explain a graph whose input is a picture")),
        }
    }
}
