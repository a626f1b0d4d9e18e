//! Recognises imported networks that are variants of this crate. A variant can be trained, and written with its own names.

use super::Imported;
use super::activation::Channels;
use super::import;
use super::pairing::{Side, pair};
use super::weight::{Tensors, Weight};
use crate::graph::Description;
use crate::graph::{Graph, Source as Origin};
use crate::models::{ARCHS, Arch, Found, Mode};
use crate::tensor::{Shape, Value};
use std::collections::BTreeMap;

/// An imported network as a variant.
#[derive(Debug)]
pub struct Variant {
    /// The variant, its classes, and its input size.
    pub found: Found,
    /// All tensors of the variant under its names.
    pub source: Tensors,
    /// What the graph does to its input before the first layer. The variant does not do it, so the preprocessing must.
    pub transform: Option<Transform>,
}

/// A transform of the channels of the input. Channel `i` of the first layer is
/// `scale[i] * input[order[i]] + shift[i]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform {
    /// The channel of the input for each channel.
    pub order: [usize; 3],
    /// The factors.
    pub scale: [f32; 3],
    /// The summands.
    pub shift: [f32; 3],
}

impl Imported {
    /// The variant that computes the same function. The file may have batch norm folded into convolutions, a max pooling before or
    /// behind a ReLU, sums in any order, or another form of the global average. `None` if there is no such variant; if there are several,
    /// the first in the list.
    pub fn variant(&self) -> Option<Variant> {
        let [h, w, channels] = self.input();
        if h != w || channels != 3 {
            return None;
        }
        let mut graph = Graph::new();
        let x = graph.input("input", Shape::image(1, h, w, channels));
        let built = import::build(&self.file, &self.order, &mut graph, x).ok()?;
        let (input, transform) = match &built.transform {
            Some((value, channels)) => (*value, Some(transform(channels)?)),
            None => (x, None),
        };
        let theirs = Side::new(&graph, input, built.logits, &built.parameters);
        ARCHS.iter().find_map(|arch| {
            let weights = self.weights_of(arch, h, &theirs, &built.weights)?;
            let found = Found { arch, classes: self.classes(), size: h };
            Some(Variant { found, source: Tensors::new(weights), transform })
        })
    }

    /// The weights of the file for the tensors of a variant, if the network is this variant.
    fn weights_of(
        &self,
        arch: &Arch,
        size: usize,
        theirs: &Side,
        weights: &BTreeMap<String, Weight>,
    ) -> Option<BTreeMap<String, Weight>> {
        let mut settings = arch.settings(1);
        (settings.size, settings.classes) = ([size; 2], self.classes());
        let network = arch.network(&settings, Mode::Inference).ok()?;
        let input = preprocessed(&network.graph)?;
        let ours = Side::new(&network.graph, input, network.logits, &network.parameters);
        let mut paired = pair(&ours, theirs, weights)?;
        let mut renamed = BTreeMap::new();
        for parameter in network.parameters.iter().filter(|p| p.rows.start == 0) {
            let weight = paired.remove(&parameter.name)?;
            let numbers = |shape: &[usize]| shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
            let fits = weight.shape().first() == parameter.torch_shape.first()
                && numbers(weight.shape()) == numbers(&parameter.torch_shape);
            if !fits {
                return None;
            }
            renamed.insert(parameter.name.clone(), weight.shaped(parameter.torch_shape.clone()));
        }
        Some(renamed)
    }
}

/// The input of the first layer.
fn preprocessed(graph: &Graph) -> Option<Value> {
    graph.values().find(|value| match graph.node(*value).map(|n| &n.source) {
        Ok(Origin::Op(op)) => op.describe() == Some(Description::Preprocess),
        _ => false,
    })
}

/// The transform of three channels, if each depends on a single channel of the input.
fn transform(channels: &Channels) -> Option<Transform> {
    let [a, b, c] = channels.of.as_slice() else { return None };
    Some(Transform {
        order: [a.0?, b.0?, c.0?],
        scale: [a.1 as f32, b.1 as f32, c.1 as f32],
        shift: [a.2 as f32, b.2 as f32, c.2 as f32],
    })
}
