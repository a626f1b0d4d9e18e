//! The same weights from format to format, and the same answers from each.

use super::{converted, resnet20};
use crate::cli::fails;
use crate::support::fixtures::{folder, run, write_pictures};
use ocelli::data::{ChannelOrder, Normalization, Preprocessing};
use ocelli::exchange::onnx_in::Transform;
use ocelli::exchange::{ModelFile, OpenOptions, PreprocessingChange, fold_transform, onnx_out};
use ocelli::models::{Arch, Mode};
use ocelli::weights::{Dtype, Entry, Format, Metadata, Source, read, write_tensors};
use ocelli::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

#[test]
fn weights_go_round_all_formats_without_losing_a_bit() {
    let folder = folder();
    let here = folder.path();
    let tensors = resnet20();
    write_tensors(here.join("0.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    fs::write(here.join("labels"), "ant\nbee\ncat\n").unwrap();
    let flags = ["--labels", "labels", "--preprocessing", "inception", "--channels", "bgr"];
    converted(here, "0.safetensors", "1.safetensors", &flags);
    let wanted = read(here.join("1.safetensors")).unwrap();
    // ONNX keeps what is known of the network.
    converted(here, "1.safetensors", "2.onnx", &[]);
    converted(here, "2.onnx", "3.safetensors", &[]);
    assert_eq!(read(here.join("3.safetensors")).unwrap(), wanted);
    converted(here, "3.safetensors", "4.onnx", &["--quiet"]);
    assert_eq!(fs::read(here.join("4.onnx")).unwrap(), fs::read(here.join("2.onnx")).unwrap());
    // PyTorch's files keep the numbers.
    let said = converted(here, "2.onnx", "5.pth", &[]);
    assert!(said.contains("5.pth: PyTorch with"), "{said}");
    let said = converted(here, "5.pth", "6.safetensors", &[]);
    assert!(said.contains("do not say how pictures are prepared"), "{said}");
    assert_eq!(read(here.join("6.safetensors")).unwrap().tensors, tensors);
    // In half of the bytes; these numbers have few digits.
    for name in ["7.onnx", "7.pth"] {
        converted(here, "1.safetensors", name, &["--dtype", "f16"]);
        converted(here, name, "8.safetensors", &["--force"]);
        assert_eq!(read(here.join("8.safetensors")).unwrap().tensors, tensors, "{name}");
        let whole =
            fs::metadata(here.join(name.replace("7.onnx", "2.onnx").replace("7.pth", "5.pth"))).unwrap();
        assert!(fs::metadata(here.join(name)).unwrap().len() < whole.len() * 6 / 10, "{name}");
    }
    for (name, format) in
        [("1.safetensors", Format::Safetensors), ("2.onnx", Format::Onnx), ("5.pth", Format::Pth)]
    {
        assert_eq!(Format::of(here.join(name)).unwrap(), format);
    }
}

#[test]
fn every_format_gives_the_same_answer() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 1, 1, 40);
    write_tensors(here.join("w.safetensors"), &resnet20(), &BTreeMap::new()).unwrap();
    converted(here, "w.safetensors", "w.onnx", &[]);
    converted(here, "w.safetensors", "w.pth", &[]);
    let answer = |weights: &str| {
        let picture = "data/val/class1/000.png";
        let (code, stdout, stderr) =
            run(here, &["predict", picture, "--weights", weights, "--json", "--logits"]);
        assert_eq!(code, 0, "{stderr}");
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        json["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let wanted = answer("w.safetensors");
    assert!(wanted[0] != wanted[1]);
    for weights in ["w.onnx", "w.pth"] {
        assert_eq!(answer(weights), wanted, "{weights}");
    }
    // All commands that take a network take any file of one.
    let (code, stdout, stderr) = run(here, &["eval", "--weights", "w.pth", "--data", "data"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("3 images: "), "{stdout}");
    let bench = ["bench", "--seconds", "0", "--weights", "w.onnx", "--mode", "infer", "--batch-size", "1"];
    let (code, stdout, stderr) = run(here, &bench);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("resnet20 infer batch 1 at 32x32"), "{stdout}");
    let train =
        ["train", "--arch", "resnet20", "--data", "data", "--out", "r", "--steps", "1", "--batch-size", "2"];
    let (code, _, stderr) = run(here, &[&train[..], &["--weights", "w.pth", "--classes", "3"]].concat());
    assert_eq!(code, 0, "{stderr}");
    fails(
        here,
        &["predict", "x.png", "--weights", "w.onnx", "--arch", "resnet32"],
        65,
        &["that of resnet20", "not that of resnet32"],
    );
}

/// What a network sees of a pixel.
fn seen(preprocessing: &Preprocessing, rgb: [f64; 3]) -> [f64; 3] {
    let Normalization { mean, std } = preprocessing.channels();
    let mut pixel = rgb;
    if preprocessing.order == ChannelOrder::Bgr {
        pixel.reverse();
    }
    [0, 1, 2].map(|i| (pixel[i] / 255.0 - f64::from(mean[i])) / f64::from(std[i]))
}

#[test]
fn what_a_graph_does_to_its_input_becomes_preprocessing() {
    // torchvision's GoogLeNet: from ImageNet's normalisation to -1 .. 1.
    let std = [0.229f32, 0.224, 0.225];
    let mean = [0.485f32, 0.456, 0.406];
    let transform =
        Transform { order: [0, 1, 2], scale: std.map(|s| s / 0.5), shift: mean.map(|m| (m - 0.5) / 0.5) };
    let before = Preprocessing::torchvision(224);
    let after = fold_transform(&before, &transform).unwrap();
    let Normalization { mean, std } = after.normalization;
    for i in 0..3 {
        assert!((mean[i] - 0.5).abs() < 1e-6 && (std[i] - 0.5).abs() < 1e-6, "{after}");
    }
    let rgb = [31.0, 200.0, 7.0];
    for before in [Preprocessing::torchvision(224), Preprocessing::caffe(227)] {
        for order in [[0, 1, 2], [2, 1, 0]] {
            let transform = Transform { order, scale: [2.0, 0.5, 3.0], shift: [1.0, -2.0, 0.25] };
            let input = seen(&before, rgb);
            let wanted: Vec<f64> = (0..3)
                .map(|i| f64::from(transform.scale[i]) * input[order[i]] + f64::from(transform.shift[i]))
                .collect();
            let got = seen(&fold_transform(&before, &transform).unwrap(), rgb);
            for i in 0..3 {
                assert!((got[i] - wanted[i]).abs() < 1e-4 * wanted[i].abs().max(1.0), "{got:?} {wanted:?}");
            }
        }
    }
    // Pixels have no negative scale, and no other orders.
    for transform in [
        Transform { order: [0, 1, 2], scale: [1.0, -1.0, 1.0], shift: [0.0; 3] },
        Transform { order: [0, 0, 2], scale: [1.0; 3], shift: [0.0; 3] },
        Transform { order: [0, 1, 2], scale: [1.0, 0.0, 1.0], shift: [0.0; 3] },
    ] {
        assert_eq!(fold_transform(&before, &transform), None);
    }
}

#[test]
fn an_onnx_graph_of_its_own_runs_but_is_not_trained_or_written() {
    let folder = folder();
    let here = folder.path();
    // Inception v1 of the model zoo pools in another way than the paper's network here.
    let light = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx/light/light_inception_v1.onnx");
    let opened = ModelFile::open(&light, OpenOptions::default()).unwrap();
    assert_eq!(opened.metadata.preprocessing, Preprocessing::caffe(224));
    assert!(matches!(opened.model.trainable(), Err(Error::Usage(_))));
    let light = light.to_str().unwrap();
    let (code, stdout, stderr) = run(here, &["inspect", light]);
    assert_eq!(code, 0, "{stderr}");
    for part in [
        "operator Conv: 57",
        "network: an ONNX graph, input 224x224, 1000 classes",
        "preprocessing: resize squash:256, bgr",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    fails(here, &["convert", light, "new.onnx"], 65, &["none of the networks here"]);
    let said = converted(here, light, "new.safetensors", &[]);
    assert!(said.contains("tensors of no network here"), "{said}");
    let bench = ["bench", "--seconds", "0", "--weights", light, "--mode", "train", "--batch-size", "1"];
    fails(here, &bench, 2, &["none of the networks here"]);
}

#[test]
fn flags_speak_of_the_input_of_a_file_before_its_own_transform() {
    // torchvision's GoogLeNet with transform_input, which takes ImageNet's normalisation.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx/exports");
    let path = folder.join("googlenet.opset11.torch1.onnx");
    let open = |whole: Option<fn(usize) -> Preprocessing>| {
        let preprocessing = PreprocessingChange { whole, ..PreprocessingChange::default() };
        ModelFile::open(&path, OpenOptions { preprocessing, ..OpenOptions::default() }).unwrap()
    };
    let (silent, told) = (open(None), open(Some(Preprocessing::torchvision)));
    assert!(silent.assumed && !told.assumed);
    assert_eq!(silent.model.name(), "googlenet-tv");
    let normalization = told.metadata.preprocessing.normalization;
    for i in 0..3 {
        assert!((normalization.mean[i] - 0.5).abs() < 1e-5 && (normalization.std[i] - 0.5).abs() < 1e-5);
    }
    assert_eq!(open(Some(Preprocessing::inception)).metadata.preprocessing.order, ChannelOrder::Rgb);
    assert_ne!(open(Some(Preprocessing::inception)).metadata.preprocessing, told.metadata.preprocessing);
}

/// Every number the same.
struct Same(BTreeMap<String, Entry>);

impl Source for Same {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.0
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let entry = &self.0[name];
        Ok(vec![0.25; entry.elements() / entry.rows() * rows.len()])
    }
}

#[test]
fn an_onnx_file_of_ours_is_read_back_whatever_its_pooling() {
    // At 96x96 the map before the classifier is 2x2, which no average pooling of ONNX makes 6x6.
    let folder = folder();
    let path = folder.path().join("small.onnx");
    let arch = Arch::find("alexnet-tv").unwrap();
    let mut settings = arch.settings(1);
    (settings.size, settings.classes) = ([96; 2], 3);
    let parameters = arch.whole_network(&settings, Mode::Inference).unwrap().parameters;
    let entry = |shape: Vec<usize>| Entry { shape, dtype: Dtype::F32 };
    let source = Same(parameters.into_iter().map(|p| (p.name, entry(p.torch_shape))).collect());
    let metadata = Metadata {
        arch: arch.name.into(),
        classes: vec!["a".into(), "b".into(), "c".into()],
        input: [96, 96, 3],
        preprocessing: Preprocessing::torchvision(96),
    };
    let options =
        onnx_out::Content { source: &source, metadata: &metadata.strings().unwrap(), dtype: Dtype::F16 };
    onnx_out::write(&path, arch, &settings, options).unwrap();
    let opened = ModelFile::open(&path, OpenOptions::default()).unwrap();
    assert_eq!(opened.metadata, metadata);
    assert_eq!(opened.model.trainable().unwrap().name, "alexnet-tv");
    assert_eq!(opened.tensors.rows("classifier.6.weight", 2..3).unwrap(), vec![0.25; 4096]);
}
