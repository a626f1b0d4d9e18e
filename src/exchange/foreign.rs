//! Tensors in a file of weights that are not part of the network: losses, metrics, counters, other layers.

use crate::models::Names;
use std::collections::BTreeMap;

/// Words in the names of modules that are saved beside a network and are not part of it.
const BESIDE: [&str; 24] = [
    "criterion",
    "loss",
    "losses",
    "metric",
    "metrics",
    "acc",
    "accuracy",
    "auroc",
    "auc",
    "f1",
    "precision",
    "recall",
    "confmat",
    "optim",
    "optimizer",
    "optimizers",
    "scheduler",
    "scaler",
    "ema",
    "averaged",
    "swa",
    "train",
    "val",
    "test",
];

/// Words in the names of running averages of weights.
const AVERAGED: [&str; 5] = ["ema", "averaged", "average", "swa", "shadow"];

fn has_word(part: &str, words: &[&str]) -> bool {
    let part = part.to_lowercase();
    part.split(['_', '-']).any(|word| words.contains(&word))
}

/// Whether the name of a tensor shows that it is not part of a network.
pub fn is_known(name: &str) -> bool {
    let mut modules = name.split('.');
    modules.next_back();
    modules.any(|part| has_word(part, &BESIDE))
}

/// Whether the common prefix of the names shows that the weights are a running average.
pub fn is_averaged(root: &[&str]) -> bool {
    root.iter().any(|part| has_word(part, &AVERAGED))
}

/// The tensors of `left` that may be layers: those with at least two sizes above 1, weights with a bias, and running statistics.
pub fn layers<'a>(left: &[&'a str], all: &Names) -> Vec<&'a str> {
    let module = |name: &'a str| name.rsplit_once('.').unwrap_or(("", name));
    let mut tensors: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in left {
        let (module, tensor) = module(name);
        tensors.entry(module).or_default().push(tensor);
    }
    let may_be = |name: &&&'a str| {
        let (module, _) = module(name);
        let beside = tensors.get(module).map(Vec::as_slice).unwrap_or_default();
        let shape = all.get(**name).map(Vec::as_slice).unwrap_or_default();
        let sizes = shape.iter().filter(|size| **size > 1).count();
        let has = |tensor: &str| beside.contains(&tensor);
        !is_known(name) && (sizes > 1 || has("running_mean") || (has("weight") && has("bias")))
    };
    left.iter().filter(may_be).copied().collect()
}
