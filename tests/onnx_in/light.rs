//! The five light models of the `onnx` package: see the README beside them, and `light.py` for other weights.

use super::{distance, golden, hashed, open, run, run_file};
use ocelli::exchange::onnx_in::Imported;
use ocelli::models::Parameter;
use serde_json::Value as Json;
use std::sync::{Mutex, PoisonError};

const MODELS: [(&str, &[(&str, usize)]); 5] = [
    ("light_bvlc_alexnet", &[("Conv", 5), ("LRN", 2), ("Dropout", 2), ("Reshape", 1)]),
    ("light_inception_v1", &[("Conv", 57), ("Concat", 9), ("AveragePool", 1), ("Reshape", 2)]),
    ("light_resnet50", &[("Conv", 53), ("BatchNormalization", 53), ("Sum", 16)]),
    ("light_vgg19", &[("Conv", 16), ("Relu", 18), ("Gemm", 3)]),
    ("light_zfnet512", &[("Conv", 5), ("LRN", 2), ("MaxPool", 3), ("Softmax", 1)]),
];

/// One after the other: the large ones need some gigabytes.
static ONE: Mutex<()> = Mutex::new(());

fn model(name: &str) -> Imported {
    open(&golden("light").join(format!("{name}.onnx")))
}

/// The input of the package's tests.
fn ramp(network: &Imported) -> Vec<f32> {
    let count: usize = network.input().into_iter().product();
    (0..count).map(|i| i as f32 / count as f32).collect()
}

/// What `light.py` puts into a tensor.
pub fn refilled(parameter: &Parameter) -> Vec<f32> {
    const RANGES: [(&str, f32, f32); 7] = [
        ("bn_s_0", 0.2, 0.6),
        ("bn_rm_0", -0.2, 0.2),
        ("bn_riv_0", 0.5, 1.5),
        (".weight", 0.8, 1.2),
        (".running_mean", -0.2, 0.2),
        (".running_var", 0.5, 1.5),
        ("", -0.1, 0.1),
    ];
    let row: usize = parameter.torch_shape[1..].iter().product();
    let (low, high) = if parameter.torch_shape.len() > 1 {
        let high = (6.0 / row as f64).sqrt() as f32;
        (-high, high)
    } else {
        let (_, low, high) = RANGES.iter().find(|(end, ..)| parameter.name.ends_with(end)).unwrap();
        (*low, *high)
    };
    let rows = &parameter.rows;
    (row * rows.start..row * rows.end).map(|i| low + (high - low) * hashed(&parameter.name, i)).collect()
}

#[test]
fn light_models_give_their_outputs() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, operators) in MODELS {
        let network = model(name);
        assert_eq!((network.input(), network.classes()), ([224, 224, 3], 1000), "{name}");
        assert!(network.ends_in_softmax(), "{name}");
        for (operator, count) in operators {
            assert_eq!(network.operators()[*operator], *count, "{name}: {operator}");
        }
        let logits = run_file(&network, &ramp(&network));
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: Vec<f64> = logits.iter().map(|x| f64::from(x - largest).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        for x in exponentials {
            assert!((x / sum - 0.001).abs() <= 1e-3 * 0.001 + 1e-7, "{name}: {} instead of 0.001", x / sum);
        }
    }
}

fn agrees_with_onnx_runtime(name: &str) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let golden: Json = serde_json::from_str(include_str!("../golden/onnx/light.json")).unwrap();
    let golden = &golden[format!("{name}.onnx")];
    let network = model(name);
    let logits = run(&network, &ramp(&network), &refilled);
    let pairs: Vec<(usize, f64)> = golden["logits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p[0].as_u64().unwrap() as usize, p[1].as_f64().unwrap()))
        .collect();
    let error = distance(pairs.iter().map(|(i, _)| f64::from(logits[*i])), pairs.iter().map(|(_, x)| *x));
    let norm = logits.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let want = golden["norm"].as_f64().unwrap();
    println!("{name}: relative L2 error {error:.1e}, norm off by {:.1e}", (norm / want - 1.0).abs());
    assert!(error <= 1e-4, "{name}: relative L2 error {error:.1e}");
    assert!((norm / want - 1.0).abs() <= 1e-4, "{name}: norm {norm} instead of {want}");
}

#[test]
fn alexnet_with_other_weights_agrees_with_onnx_runtime() {
    agrees_with_onnx_runtime("light_bvlc_alexnet");
}

#[test]
fn zfnet_with_other_weights_agrees_with_onnx_runtime() {
    agrees_with_onnx_runtime("light_zfnet512");
}

#[test]
fn vgg_with_other_weights_agrees_with_onnx_runtime() {
    agrees_with_onnx_runtime("light_vgg19");
}

#[test]
fn inception_with_other_weights_agrees_with_onnx_runtime() {
    agrees_with_onnx_runtime("light_inception_v1");
}

#[test]
fn resnet_with_other_weights_agrees_with_onnx_runtime() {
    agrees_with_onnx_runtime("light_resnet50");
}

#[test]
fn light_models_that_are_variants_are_found_to_be_them() {
    // The others differ from our networks: LRN of other constants, poolings that round down.
    let variants = [None, None, Some("resnet50"), Some("vgg19"), Some("zfnet512")];
    for ((name, _), variant) in MODELS.into_iter().zip(variants) {
        let network = model(name);
        assert_eq!(network.variant().map(|v| v.found.arch.name), variant, "{name}");
    }
}
