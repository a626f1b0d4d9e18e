//! Which layers fine-tuning leaves as they are.

use super::classifier_head;
use crate::error::{Error, Result};
use crate::graph::Source;
use crate::models::{Network, Parameter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The layers that keep the weights of the file that training starts from. They are counted from the input; auxiliary classifiers and
/// the classifier are never among them.
///
/// ```
/// use ocelli::train::Freeze;
///
/// assert_eq!("layer2".parse(), Ok(Freeze::Through("layer2".to_owned())));
/// assert_eq!(Freeze::AllButHead.to_string(), "all-but-head");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Freeze {
    /// All layers before the first pooling; in networks that do not begin with one, the first convolution with its batch norm.
    Stem,
    /// All layers up to the last one of this name, or whose name begins with it and a dot, as in `layer2` or `features.10`.
    Through(String),
    /// All layers but the last one, which computes the logits.
    AllButHead,
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stem => f.write_str("stem"),
            Self::Through(layer) => f.write_str(layer),
            Self::AllButHead => f.write_str("all-but-head"),
        }
    }
}

impl FromStr for Freeze {
    type Err = Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        Ok(Self::from(text.to_owned()))
    }
}

impl From<String> for Freeze {
    fn from(text: String) -> Self {
        match text.as_str() {
            "stem" => Self::Stem,
            "all-but-head" => Self::AllButHead,
            _ => Self::Through(text),
        }
    }
}

impl From<Freeze> for String {
    fn from(freeze: Freeze) -> Self {
        freeze.to_string()
    }
}

impl Freeze {
    /// The tensors of a network that is built for training, which keep their values.
    ///
    /// # Errors
    /// [`Error::Usage`] if the network has no such layer, with those that it has, or if nothing would be left to train.
    pub fn tensors(&self, network: &Network) -> Result<BTreeSet<String>> {
        let heads = classifier_head::tensors(network)?;
        let all = &network.parameters;
        let count = match self {
            Self::AllButHead => all.len(),
            Self::Stem => stem(network),
            Self::Through(layer) => {
                let is_of = |p: &Parameter| {
                    p.name.strip_prefix(layer.as_str()).is_some_and(|rest| rest.starts_with('.'))
                };
                let last = all.iter().rposition(|p| is_of(p) && !p.is_auxiliary());
                let last = last.filter(|_| !layer.is_empty()).ok_or_else(|| unknown(layer, all))?;
                last + 1
            }
        };
        // The first weights of an auxiliary classifier may be new ones. It is no part of what is used later.
        let kept = all.iter().take(count).filter(|p| !heads.contains(&p.name) && !p.is_auxiliary());
        let names: BTreeSet<String> = kept.map(|p| p.name.clone()).collect();
        let is_trained = |p: &&Parameter| p.trained && !p.is_auxiliary() && !names.contains(&p.name);
        let covers_head = matches!(self, Self::Through(layer) if heads.iter().any(|head| {
            head.strip_prefix(layer.as_str()).is_some_and(|rest| rest.starts_with('.'))
        }));
        if covers_head || all.iter().find(is_trained).is_none() {
            return Err(Error::usage(format!("with \"{self}\" frozen nothing is left to train"))
                .hint("all-but-head trains the classifier alone"));
        }
        Ok(names)
    }
}

/// The number of parameters of the stem.
fn stem(network: &Network) -> usize {
    let pooling = network.graph.nodes().iter().position(|node| match &node.source {
        Source::Op(op) => op.name() == "max_pool",
        Source::Input | Source::State => false,
    });
    let before = |end: usize| network.parameters.iter().take_while(|p| p.value.index() < end).count();
    // Without a pooling the first convolution counts, with what comes before the second one.
    let second = network.parameters.iter().enumerate().filter(|(_, p)| p.torch_shape.len() == 4).nth(1);
    let second = second.map_or(network.parameters.len(), |(at, _)| at);
    match pooling.map(before) {
        Some(count) if count > 0 => count,
        _ => second,
    }
}

/// The error for a layer that the network does not have, with the beginnings of the names of those that it has.
fn unknown(layer: &str, all: &[Parameter]) -> Error {
    let mut names: Vec<&str> = Vec::new();
    for parameter in all.iter().filter(|p| !p.is_auxiliary()) {
        let name = parameter.name.split('.').next().unwrap_or_default();
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    Error::usage(format!("the network has no layer \"{layer}\" to freeze up to")).hint(format!(
        "give stem, all-but-head or the beginning of a layer's name, as in {}",
        names.join(", ")
    ))
}
