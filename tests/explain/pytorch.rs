//! Gradients, guided backpropagation, DeconvNet and Grad-CAM against PyTorch in f64. `tests/golden/explain.py` made `explain.json`.

use crate::golden::families::{hash, tensors};
use crate::ops::harness::gpu;
use crate::preprocessing::picture;
use crate::support::fixtures::{folder, shared, skipped};
use ocelli::data::{Normalization, Preprocessing};
use ocelli::explain::{self, Explainer, Map, Units};
use ocelli::models::{Arch, Settings};
use ocelli::weights::{Metadata, Weights, read, write};
use ocelli::{Classifier, ClassifierOptions};
use serde_json::Value as Json;

const ALLOWED: f64 = 2e-5;

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Relative L2 error.
fn off(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(want).map(|(a, b)| a - b)) / norm(&mut want.iter().copied())
}

/// The error of a gradient: of its samples, of its norm, and of its sum.
fn of_gradient(got: &Map, want: &Json) -> f64 {
    let all: Vec<f64> = got.data.iter().map(|x| f64::from(*x)).collect();
    let stride = want["stride"].as_u64().unwrap() as usize;
    let samples: Vec<f64> = all.iter().copied().step_by(stride).collect();
    let norm = all.iter().map(|x| x * x).sum::<f64>().sqrt();
    let sizes: f64 = all.iter().map(|x| x.abs()).sum();
    let [wanted, sum] = ["norm", "sum"].map(|key| want[key].as_f64().unwrap());
    let errors = [
        off(&samples, &numbers(&want["samples"])),
        (norm - wanted).abs() / wanted,
        (all.iter().sum::<f64>() - sum).abs() / sizes,
    ];
    errors.into_iter().fold(0.0, f64::max)
}

#[test]
fn gradients_and_grad_cam_are_those_of_pytorch() {
    let golden: Json = serde_json::from_str(include_str!("../golden/explain.json")).unwrap();
    let mut seen = 0;
    for case in golden["cases"].as_array().unwrap() {
        let name = case["network"].as_str().unwrap();
        let arch = Arch::find(name).unwrap();
        let [h, w] = [0, 1].map(|i| case["size"][i].as_u64().unwrap() as usize);
        let classes = case["classes"].as_u64().unwrap() as usize;
        let settings = Settings { size: [h, w], classes, ..arch.settings(1) };
        let tensors = match case["weights"].as_str() {
            None => tensors(arch, &settings),
            Some(file) => match shared(&format!("cifar-resnets/{file}.safetensors")) {
                Ok(path) => read(&path).unwrap().tensors,
                Err(reason) => {
                    skipped(&format!("explanations of {name} against PyTorch"), &reason);
                    continue;
                }
            },
        };
        seen += 1;
        let draw = case["picture"].as_str().unwrap();
        let pixels: Vec<u8> = if draw == "waves" {
            picture(h, w).into_rgba()
        } else {
            let hash = hash(draw);
            let byte = |place: usize| (hash(place as u32) >> 24) as u8;
            (0..h * w).flat_map(|i| [byte(3 * i), byte(3 * i + 1), byte(3 * i + 2), 255]).collect()
        };
        let folder = folder();
        let file = folder.path().join("weights.safetensors");
        let metadata = Metadata {
            arch: name.to_owned(),
            classes: (0..classes).map(|i| i.to_string()).collect(),
            input: [h, w, 3],
            preprocessing: Preprocessing::covering(Normalization::IMAGENET),
        };
        write(&file, &Weights { tensors, metadata: Some(metadata) }).unwrap();
        let classifier = Classifier::open(&gpu(), &file, ClassifierOptions::default()).unwrap();
        let mut explainer = Explainer::new(&classifier).unwrap();
        let input = explainer.prepared(pixels).unwrap();
        let class = case["class"].as_u64().unwrap() as usize;

        let saliency = explain::saliency(&mut explainer, &input, None).unwrap();
        assert_eq!(saliency.class.index, class, "{name}");
        let guided = explain::guided(&mut explainer, &input, Some(class)).unwrap();
        // The DeconvNet from the logit of the class. It passes back the logit, PyTorch 1.
        let logits = explainer.layers().last().unwrap().name.clone();
        let units = Units::These(vec![class]);
        let deconv = explain::deconvnet(&mut explainer, &input, Some(&logits), &units).unwrap().remove(0);
        let scaled = deconv.image.data.iter().map(|x| x / deconv.activation).collect();
        let deconv = Map { shape: deconv.image.shape, data: scaled };
        let cam = explain::grad_cam(&mut explainer, &input, Some(class), None).unwrap();
        assert_eq!(
            cam.map.shape[..2],
            case["grad_cam"]["size"]
                .as_array()
                .map(|s| [0, 1].map(|i| s[i].as_u64().unwrap() as usize))
                .unwrap()
        );
        let map: Vec<f64> = cam.map.data.iter().map(|x| f64::from(*x)).collect();
        let errors = [
            ("saliency", of_gradient(&saliency.gradient, &case["saliency"])),
            ("guided backpropagation", of_gradient(&guided.gradient, &case["guided"])),
            ("DeconvNet", of_gradient(&deconv, &case["deconv"])),
            ("Grad-CAM", off(&map, &numbers(&case["grad_cam"]["map"]))),
        ];
        println!("{name} {draw}: {}", errors.map(|(what, off)| format!("{what} {off:.1e}")).join(", "));
        for (what, off) in errors {
            assert!(off < ALLOWED, "{name} {draw}: {what} is {off:e} off");
        }
    }
    assert!(seen >= 4, "{seen} networks");
}
