//! Narrow networks of the exporters of other frameworks: `exporters.py` made them, and what ONNX Runtime computes.

use super::{golden, hashed, open, run_file};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The largest difference of a logit, relative to the largest logit.
const ALLOWED: f64 = 1e-5;

#[test]
fn what_other_exporters_write_gives_what_onnx_runtime_gives() {
    let text = include_str!("../golden/onnx/exporters/expected.json");
    let files: BTreeMap<String, Json> = serde_json::from_str(text).unwrap();
    assert!(files.len() >= 20);
    let mut faults = Vec::new();
    for (file, told) in &files {
        let network = open(&golden("exporters").join(file));
        let name = told["input"].as_str().unwrap();
        // In the order N, C, H, W, whatever the order of the file.
        let count = 2 * network.input().into_iter().product::<usize>();
        let input: Vec<f32> = (0..count).map(|i| 2.0 * hashed(name, i) - 1.0).collect();
        let got = run_file(&network, &input);
        let want: Vec<f64> = told["want"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(got.len(), want.len(), "{file}");
        let largest = want.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let off =
            got.iter().zip(&want).fold(0.0, |m: f64, (a, b)| m.max((f64::from(*a) - b).abs())) / largest;
        println!("{file}: {off:.1e} of the largest logit, by {}", told["exporter"]);
        if off > ALLOWED || off.is_nan() {
            faults.push(format!("{file}: {off:.1e}"));
        }
        assert_eq!(network.output(), told["chosen"].as_str().unwrap(), "{file}");
        assert_eq!(network.outputs().len(), told["outputs"].as_array().unwrap().len(), "{file}");
        assert_eq!(network.ends_in_softmax(), told["softmax"].as_bool().unwrap(), "{file}");
    }
    assert!(faults.is_empty(), "{faults:?}");
}
