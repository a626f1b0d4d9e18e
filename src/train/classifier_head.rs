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
            // A name that two classes have says nothing.
            let mut known: HashMap<&str, Option<usize>> = HashMap::new();
            for (row, name) in theirs.iter().enumerate() {
                known.entry(name).and_modify(|known| *known = None).or_insert(Some(row));
            }
            let rows: Vec<_> =
                classes.iter().map(|class| known.get(class.as_str()).copied().flatten()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_classes_are_found_by_their_names() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let heads =
            |theirs: &[&str], named, ours: &[&str]| Heads::between(&names(theirs), named, &names(ours));
        assert_eq!(heads(&["a", "b"], true, &["a", "b"]), Heads::Loaded);
        assert_eq!(heads(&["a", "b"], true, &["b", "a"]), Heads::Rows(vec![Some(1), Some(0)]));
        assert_eq!(heads(&["a", "b", "c"], true, &["c", "d"]), Heads::Rows(vec![Some(2), None]));
        assert_eq!(heads(&["a", "b"], true, &["c", "d"]), Heads::New);
        assert_eq!(heads(&["crane", "b", "crane"], true, &["crane", "b"]), Heads::Rows(vec![None, Some(1)]));
        // Numbers instead of names.
        assert_eq!(heads(&["class 0", "class 1"], false, &["x", "y"]), Heads::Loaded);
        assert_eq!(heads(&["class 0", "class 1"], false, &["class 0"]), Heads::New);
    }
}
