//! Networks as torch.onnx exports them: `exports.py` made the files.

use super::{distance, fill, hashed, open, session};
use ocelli::exchange::onnx_in::Imported;
use ocelli::models::{Mode, Network, Parameter, Settings};
use ocelli::weights::Source;
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};

/// The variants that a file may be, by how its name begins. Where an exporter folds batch norm into the biases of its
/// convolutions, it is another network, which computes the same.
const VARIANTS: [(&str, &[&str]); 11] = [
    ("alexnet.", &["alexnet-tv"]),
    ("vgg11.", &["vgg11"]),
    ("vgg11_bn.", &["vgg11-bn", "vgg11"]),
    ("vgg16_bn.", &["vgg16-bn", "vgg16"]),
    ("googlenet", &["googlenet-tv"]),
    ("resnet18.", &["resnet18"]),
    ("resnet50.", &["resnet50"]),
    ("resnet152.", &["resnet152"]),
    ("resnet20.", &["resnet20"]),
    ("resnet1202.", &["resnet1202"]),
    ("preresnet110.", &["preresnet110"]),
];

/// The bytes of `exports.py`.
fn pixels(size: usize, pictures: usize) -> Vec<u8> {
    let rgb = |i: usize| (hashed("pixels", i) * 256.0) as u8;
    (0..pictures * size * size).flat_map(|i| [rgb(3 * i), rgb(3 * i + 1), rgb(3 * i + 2), 255]).collect()
}

fn settings(network: &Imported, batch_size: usize) -> Settings {
    let [h, w, _] = network.input();
    let imagenet = ocelli::models::ARCHS[0].settings(batch_size);
    Settings { size: [h, w], classes: network.classes(), ..imagenet }
}

fn logits(network: &Network, source: &dyn Source, pixels: &[u8]) -> Vec<f64> {
    let session = session(&network.graph, network.logits);
    let rows = |p: &Parameter| source.rows(&p.name, p.rows.clone()).unwrap();
    fill(&session, &network.parameters, &rows);
    session.write_stored(network.pixels, pixels).unwrap();
    session.run().unwrap();
    session.output(network.logits).unwrap().into_iter().map(f64::from).collect()
}

/// Errors of the network as it is and as a variant; what was recognised.
fn errors(imported: &Imported, want: &[f64]) -> ([f64; 2], &'static str) {
    let batch_size = want.len() / imported.classes();
    let settings = settings(imported, batch_size);
    let pixels = pixels(settings.size[0], batch_size);
    let got = logits(&imported.network(&settings).unwrap(), imported, &pixels);
    let as_it_is = distance(got, want.iter().copied());

    let variant = imported.variant().expect("this is a variant");
    let mut settings = settings;
    if let Some(transform) = variant.transform {
        assert_eq!(transform.order, [0, 1, 2]);
        // scale * (x - mean)/std + shift is another mean and deviation.
        for i in 0..3 {
            let std = settings.std[i] / transform.scale[i];
            settings.mean[i] -= transform.shift[i] * std;
            settings.std[i] = std;
        }
    }
    let network = variant.found.arch.network(&settings, Mode::Inference).unwrap();
    let names: Vec<&String> = variant.source.entries().keys().collect();
    let mut wanted: Vec<&String> = network.parameters.iter().map(|p| &p.name).collect();
    wanted.sort();
    wanted.dedup();
    assert_eq!(names, wanted);
    let got = logits(&network, &variant.source, &pixels);
    ([as_it_is, distance(got, want.iter().copied())], variant.found.arch.name)
}

fn check(file: &Path, imported: &Imported, want: &[f64]) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let started = std::time::Instant::now();
    assert!(imported.variant().is_some(), "{name} is no variant");
    let took = started.elapsed();
    let (errors, arch) = errors(imported, want);
    println!("{name}: {arch} in {took:.0?}, relative L2 errors {:.1e} and {:.1e}", errors[0], errors[1]);
    let (_, variants) = VARIANTS.iter().find(|(start, _)| name.starts_with(start)).unwrap();
    assert!(variants.contains(&arch), "{name} is {arch}");
    assert!(errors.iter().all(|e| *e <= 2e-5), "{name}: {errors:?}");
}

/// The files that `exports.py make` writes are large: only where they are.
#[test]
fn exports_give_the_logits_of_pytorch() {
    let Some(folder) = std::env::var_os("OCELLI_ONNX_EXPORTS").map(PathBuf::from) else {
        return crate::outside::skipped(
            "exports_give_the_logits_of_pytorch",
            "OCELLI_ONNX_EXPORTS is not set",
        );
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "onnx")) {
        let golden: Json = serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap();
        let rows = golden["logits"].as_array().unwrap();
        let want: Vec<f64> =
            rows.iter().flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap()).collect();
        check(file, &open(file), &want);
    }
}
