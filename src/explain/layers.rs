//! The layers that can be explained, and their names.

use crate::error::{Error, Result, Untrusted};
use crate::graph::{Description, Graph, Op, Source};
use crate::models::nearest_name;
use crate::tensor::{Layout, Value};

/// The most names of layers in a message.
const NAMES: usize = 24;

/// A value of a network that can be explained: the result of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainLayer {
    /// The name, e.g. `layer1.0.relu1`.
    pub name: String,
    /// The operation, e.g. `relu`.
    pub op: &'static str,
    /// Height, width and channels of the result for one picture.
    pub shape: [usize; 3],
    /// The position of its node in the graph, whatever the size of a batch.
    pub(super) node: usize,
}

impl ExplainLayer {
    /// Checks the number of a channel.
    ///
    /// # Errors
    /// [`Error::Usage`] if the layer has no such channel.
    pub fn check_unit(&self, unit: usize) -> Result<()> {
        let [_, _, units] = self.shape;
        if unit < units {
            return Ok(());
        }
        Err(Error::usage(format!("there is no unit {unit}"))
            .at(format!("layer {}", self.name))
            .hint(format!("its {units} units are counted from 0 to {}", units.saturating_sub(1))))
    }

    /// Whether the layer has a map, not one number for each channel.
    fn has_map(&self) -> bool {
        let [h, w, _] = self.shape;
        h * w > 1
    }
}

/// The layers of a network in the order of their computation: the results of operations on activations, the logits last. These are the
/// names that `ocelli show` prints.
///
/// # Errors
/// As [`Graph::node`].
pub fn layers(graph: &Graph) -> Result<Vec<ExplainLayer>> {
    let mut layers: Vec<ExplainLayer> = Vec::new();
    for (value, node) in graph.values().zip(graph.nodes()) {
        let Source::Op(op) = &node.source else { continue };
        if node.shape.layout() != Layout::Image || op.traits().is_reshape() || op.name() == "preprocess" {
            continue;
        }
        let [_, h, w, c] = node.shape.dims();
        let mut layer =
            ExplainLayer { name: node.name.clone(), op: op.name(), shape: [h, w, c], node: value.index() };
        // A large layer is computed in shards of the same name.
        while op.traits().is_concat() && layers.last().is_some_and(|shard| shard.name == layer.name) {
            layer.op = layers.pop().map_or(layer.op, |shard| shard.op);
        }
        layers.push(layer);
    }
    Ok(layers)
}

/// The layer of this name, or the only one whose name has this part. If `ocelli show` lists the layers, a message names some of them,
/// otherwise all.
///
/// # Errors
/// [`Error::Usage`] naming the layers that there are, or those that the part is in.
pub(super) fn find<'a>(layers: &'a [ExplainLayer], name: &str, listed: bool) -> Result<&'a ExplainLayer> {
    if let Some(layer) = layers.iter().rfind(|layer| layer.name == name) {
        return Ok(layer);
    }
    let part = name.to_lowercase();
    let found: Vec<&ExplainLayer> =
        layers.iter().filter(|layer| layer.name.to_lowercase().contains(&part)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let near = nearest_name(name, layers.iter().map(|layer| layer.name.as_str()));
            let meant = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
            let all: Vec<&ExplainLayer> = layers.iter().collect();
            Err(Error::usage(format!("there is no layer {}", Untrusted::short(name)))
                .hint(format!("{meant}the layers are {}", list(&all, listed))))
        }
        some => {
            let (typed, count) = (Untrusted::short(name), some.len());
            Err(Error::usage(format!("{typed} is a part of the names of {count} layers"))
                .hint(format!("give more of the name: {}", list(some, listed))))
        }
    }
}

/// The names of some layers for a message.
fn list(layers: &[&ExplainLayer], listed: bool) -> String {
    let short = |layer: &&ExplainLayer| Untrusted::short(&layer.name).to_string();
    let most = if listed { NAMES } else { usize::MAX };
    let names: Vec<String> = layers.iter().take(most).map(short).collect();
    match layers.len().checked_sub(most) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more, which `ocelli show` prints", names.join(", ")),
    }
}

/// The last map before the classifier: what is pooled or flattened to classify. Poolings and local response normalisations behind
/// it are left out, so it is the last ReLU, sum or concatenation that has height and width.
///
/// # Errors
/// [`Error::Usage`] if the network has no convolution with a map.
pub(super) fn last_map<'a>(
    graph: &Graph,
    layers: &'a [ExplainLayer],
    logits: Value,
) -> Result<&'a ExplainLayer> {
    let mut at = logits;
    loop {
        let node = graph.node(at)?;
        let (Source::Op(op), Some(before)) = (&node.source, node.inputs.first()) else { break };
        if op.name() == "preprocess" {
            break;
        }
        let layer = layers.iter().find(|layer| layer.node == at.index());
        match layer.filter(|layer| layer.has_map() && !shrinks(op.as_ref())) {
            Some(layer) if has_convolution(layers, at) => return Ok(layer),
            Some(_) => break,
            None => at = *before,
        }
    }
    Err(Error::usage("the network has no convolution with a map of more than one place")
        .hint("choose a network with convolutions, or a larger input"))
}

/// The first layer with a ReLU that has a map, or else the first layer.
///
/// # Errors
/// [`Error::Usage`] if there is no layer.
pub(super) fn first_map(layers: &[ExplainLayer]) -> Result<&ExplainLayer> {
    let relu = layers.iter().find(|layer| layer.op == "relu" && layer.has_map());
    relu.or(layers.first())
        .ok_or_else(|| Error::usage("the network has no layers").hint("choose a network with convolutions"))
}

/// The ReLU with a map in the middle of the network, or else the first layer.
///
/// # Errors
/// [`Error::Usage`] if there is no layer.
pub(super) fn middle_map(layers: &[ExplainLayer]) -> Result<&ExplainLayer> {
    let relus: Vec<&ExplainLayer> =
        layers.iter().filter(|layer| layer.op == "relu" && layer.has_map()).collect();
    match relus.get(relus.len() / 2) {
        Some(middle) => Ok(middle),
        None => first_map(layers),
    }
}

/// Whether an operation only makes a map smaller or scales it.
fn shrinks(op: &dyn Op) -> bool {
    matches!(
        op.describe(),
        Some(
            Description::MaxPool(_)
                | Description::AveragePool(_)
                | Description::AdaptiveAveragePool(_)
                | Description::Lrn(_)
                | Description::Reshape
        )
    )
}

/// Whether there is a convolution at this value or before it.
fn has_convolution(layers: &[ExplainLayer], value: Value) -> bool {
    layers.iter().any(|layer| layer.op == "conv2d" && layer.node <= value.index())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::network::{ExplainNetwork, Origin};
    use crate::models::{ARCHS, Arch};

    fn network(arch: &'static Arch) -> ExplainNetwork {
        Origin::Arch(arch, arch.settings(1)).network(1, false).unwrap()
    }

    #[test]
    fn every_network_has_default_layers() {
        for arch in ARCHS {
            let ExplainNetwork { graph, logits, .. } = network(arch);
            let layers = layers(&graph).unwrap();
            let last = last_map(&graph, &layers, logits).unwrap();
            let [h, w, c] = last.shape;
            assert!(w > 1 && c >= 64 && (7..=14).contains(&h), "{}: {last:?}", arch.name);
            let first = first_map(&layers).unwrap();
            assert!(first.node < last.node && first.shape[0] > h, "{}: {first:?}", arch.name);
            let middle = middle_map(&layers).unwrap();
            assert!((first.node + 1..last.node).contains(&middle.node), "{}: {middle:?}", arch.name);
            assert_eq!(layers.last().unwrap().node, logits.index(), "{}", arch.name);
            let mut names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{}: two layers of one name", arch.name);
        }
        for (name, layer) in [
            ("resnet20", "layer3.2.relu"),
            ("vgg16", "features.29"), // 14x14, before the last pooling
            ("alexnet-tv", "features.11"),
            ("googlenet", "inception5b"),
            ("zfnet", "conv5.relu"),
            ("preresnet110", "bn.relu"),
        ] {
            let ExplainNetwork { graph, logits, .. } = network(Arch::find(name).unwrap());
            let layers = layers(&graph).unwrap();
            let found = &last_map(&graph, &layers, logits).unwrap().name;
            assert!(found.starts_with(layer), "{name}: {found}");
        }
    }

    #[test]
    fn a_part_of_a_name_is_enough_where_it_is_the_only_one() {
        let ExplainNetwork { graph, .. } = network(Arch::find("googlenet").unwrap());
        let layers = layers(&graph).unwrap();
        assert_eq!(
            find(&layers, "inception5b", true).unwrap().name,
            "inception5b",
            "the exact name comes first"
        );
        assert_eq!(find(&layers, "5B.BRANCH1.relu", true).unwrap().name, "inception5b.branch1.relu");
        let several = find(&layers, "5b", true).unwrap_err().to_string();
        assert!(several.contains("5b is a part of the names of 14 layers"), "{several}");
        assert!(several.contains("inception5b.branch4.0"), "{several}");
        let none = find(&layers, "inception6", true).unwrap_err().to_string();
        assert!(none.contains("there is no layer inception6"), "{none}");
        assert!(none.contains("conv1") && none.contains(" more") && !none.contains("inception5b"), "{none}");
        let all = find(&layers, "inception6", false).unwrap_err().to_string();
        assert!(all.contains("inception5b.branch4.1.relu") && !all.contains(" more"), "{all}");
        assert!(find(&layers, "\u{1b}[31m", true).unwrap_err().to_string().contains("\\u{1b}"));
        let error = layers[0].check_unit(64).unwrap_err().to_string();
        assert!(error.contains("there is no unit 64") && error.contains("0 to 63"), "{error}");
    }
}
