//! The classifier heads of a network: the layers that compute its logits and those of its auxiliary classifiers.

use crate::error::Result;
use crate::graph::Graph;
use crate::models::Network;
use crate::tensor::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Where the weights of the classifier heads come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heads {
    /// From the file, like all others.
    Loaded,
    /// Drawn at random, because the classes are others.
    New,
    /// For each class the row of the file that knows it. The others are drawn at random.
    Rows(Vec<Option<usize>>),
}

impl Heads {
    /// The heads of a network for `classes` that starts from weights for the classes `theirs`, which the file names or not.
    pub(super) fn between(theirs: &[String], named: bool, classes: &[String]) -> Self {
        if named && theirs != classes {
            let row = |class| theirs.iter().position(|known| known == class);
            let rows: Vec<_> = classes.iter().map(row).collect();
            return if rows.iter().all(Option::is_none) { Self::New } else { Self::Rows(rows) };
        }
        if theirs.len() == classes.len() { Self::Loaded } else { Self::New }
    }
}

/// Names of the tensors of all classifier heads. A head is the last layer with parameters before the logits.
///
/// # Errors
/// [`crate::error::Error::Internal`] if the logits belong to another graph.
pub(super) fn tensors(network: &Network) -> Result<BTreeSet<String>> {
    let parameters = network.parameters.iter().map(|p| (p.value, p.name.as_str())).collect();
    let mut names = BTreeSet::new();
    for logits in std::iter::once(network.logits).chain(network.auxiliary.iter().copied()) {
        add_head(&network.graph, logits, &parameters, &mut names)?;
    }
    Ok(names)
}

/// Adds the tensors of one head. The search goes backwards from the logits and ends at operations that take parameters.
fn add_head(
    graph: &Graph,
    logits: Value,
    parameters: &HashMap<Value, &str>,
    names: &mut BTreeSet<String>,
) -> Result<()> {
    let (mut open, mut seen) = (vec![logits], HashSet::new());
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        let inputs = &graph.node(value)?.inputs;
        let mut found: Vec<&str> = Vec::new();
        for input in inputs {
            found.extend(parameters.get(&graph.root(*input)?));
        }
        match found.is_empty() {
            true => open.extend(inputs),
            false => names.extend(found.into_iter().map(str::to_owned)),
        }
    }
    Ok(())
}
