//! Tensors in a file of weights that are not of its network: of losses and metrics, counters, other layers.

use crate::models::Names;
use std::collections::BTreeMap;

/// Words of modules that are saved beside a network and have no part in what it computes.
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

/// Words of a running average of weights.
const AVERAGED: [&str; 5] = ["ema", "averaged", "average", "swa", "shadow"];

fn has_word(part: &str, words: &[&str]) -> bool {
    let part = part.to_lowercase();
    part.split(['_', '-']).any(|word| words.contains(&word))
}

/// Whether the name says that the tensor is of something beside a network.
pub fn is_known(name: &str) -> bool {
    let mut modules = name.split('.');
    modules.next_back();
    modules.any(|part| has_word(part, &BESIDE))
}

/// Whether what stands before all names says that the weights are a running average.
pub fn is_averaged(root: &[&str]) -> bool {
    root.iter().any(|part| has_word(part, &AVERAGED))
}

/// Those that may be layers: something with two sizes, a weight with a bias, running statistics.
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
