//! What operators mean in each version: `versions.py` made a model for each form, and what ONNX Runtime
//! computes on both sides of each change.

use super::{distance, golden, hashed, run_file};
use ocelli::exchange::onnx_in::Imported;
use ocelli::weights::onnx::{File, proto};
use prost::Message;
use serde_json::Value as Json;
use std::fs;

/// The largest relative L2 error: rounding of f32 over a few terms.
const ALLOWED: f64 = 2e-6;

#[test]
fn every_operator_means_in_each_version_what_it_means_there() {
    let text = include_str!("../golden/onnx/versions/expected.json");
    let forms: serde_json::Map<String, Json> = serde_json::from_str(text).unwrap();
    let (mut right, mut refused) = (0, 0);
    for (name, form) in &forms {
        let bytes = fs::read(golden("versions").join(format!("{name}.onnx"))).unwrap();
        let mut model = proto::Model::decode(bytes.as_slice()).unwrap();
        // All forms of an operator have the same numbers.
        let seed = model.graph.as_ref().unwrap().name.clone();
        for opset in form["opsets"].as_array().unwrap() {
            model.opset_import[0].version = opset.as_i64().unwrap();
            let read = File::parse(model.encode_to_vec().into()).and_then(Imported::new);
            if let Some(why) = form.get("refused") {
                let error = read.err().map(|e| e.to_string()).unwrap_or_default();
                let said = error.contains(why.as_str().unwrap()) && error.contains(&format!("({seed})"));
                assert!(said, "{name} of opset {opset}: {error:?}");
                refused += 1;
                continue;
            }
            let network = read.unwrap_or_else(|e| panic!("{name} of opset {opset}: {e}"));
            let input: Vec<f32> = (0..64).map(|i| 2.0 * hashed(&seed, i) - 1.0).collect();
            let got = run_file(&network, &input).into_iter().map(f64::from);
            let want = form["want"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
            let error = distance(got, want);
            assert!(error <= ALLOWED, "{name} of opset {opset}: relative L2 error {error:.1e}");
            right += 1;
        }
    }
    println!("{} forms: {right} models right, {refused} refused", forms.len());
    assert!(right > 200 && refused > 50);
}
