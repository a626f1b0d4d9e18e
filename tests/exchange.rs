//! Weights from elsewhere, and weights for elsewhere: names, formats, what a file is said to hold.

mod formats;
mod hostile;
mod refused;

use crate::cli::fails;
use crate::support::fixtures::{folder, run};
use ocelli::data::{ChannelOrder, Normalization, Preprocessing, Resize};
use ocelli::exchange::{
    IdentifyOptions, ModelFile, OpenOptions, PreprocessingChange, Renamed, inspect, names,
};
use ocelli::models::{Arch, Mode, recognise};
use ocelli::weights::{
    Dtype, Entry, Metadata, Source, Tensor, Weights, read, read_tensors, write, write_tensors,
};
use ocelli::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// Tensors without content but for the first number of each row: its index.
struct Hollow(BTreeMap<String, Entry>);

impl Source for Hollow {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.0
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        assert!(self.0.contains_key(name), "{name} is asked for, which the file has not");
        Ok(rows.map(|row| row as f32).collect())
    }
}

fn hollow(arch: &str, classes: usize, rename: impl Fn(&str, Vec<usize>) -> (String, Vec<usize>)) -> Hollow {
    let arch = Arch::find(arch).unwrap();
    let mut settings = arch.settings(1);
    settings.classes = classes;
    let parameters = arch.network(&settings, Mode::Inference).unwrap().parameters;
    let entries = parameters.into_iter().map(|p| {
        let (name, shape) = rename(&p.name, p.torch_shape);
        (name, Entry { shape, dtype: Dtype::F32 })
    });
    Hollow(entries.collect())
}

#[test]
fn names_of_wrappers_and_of_timm_are_understood() {
    for prefix in ["module.", "_orig_mod.", "model.", "module.model."] {
        let file = hollow("resnet20", 10, |name, shape| (format!("{prefix}{name}"), shape));
        let renamed = Renamed::new(Box::new(file), IdentifyOptions::default());
        assert_eq!(recognise(&names(&renamed)).unwrap().arch.name, "resnet20", "{prefix}");
        assert_eq!(renamed.rows("conv1.weight", 2..4).unwrap(), [2.0, 3.0]);
    }
    // timm keeps VGG's first two fully connected layers as convolutions, of 7x7 and of 1x1.
    for arch in ["vgg11", "vgg16-bn", "vgg19"] {
        let timm = |name: &str, mut shape: Vec<usize>| {
            let pairs = [
                ("classifier.0", "pre_logits.fc1"),
                ("classifier.3", "pre_logits.fc2"),
                ("classifier.6", "head.fc"),
            ];
            let Some((ours, theirs)) = pairs.iter().find(|(ours, _)| name.starts_with(ours)) else {
                return (name.to_owned(), shape);
            };
            if shape == [4096, 25088] {
                shape = vec![4096, 512, 7, 7];
            } else if shape == [4096, 4096] {
                shape = vec![4096, 4096, 1, 1];
            }
            (name.replace(ours, theirs), shape)
        };
        let renamed = Renamed::new(Box::new(hollow(arch, 5, timm)), IdentifyOptions::default());
        let found = recognise(&names(&renamed)).unwrap();
        assert_eq!((found.arch.name, found.classes, found.size), (arch, 5, 224));
        assert_eq!(renamed.rows("classifier.0.weight", 7..8).unwrap(), [7.0]);
    }
}

/// Weights of resnet20 with three classes, as a file of somebody else.
pub(crate) fn resnet20() -> BTreeMap<String, Tensor> {
    let arch = Arch::find("resnet20").unwrap();
    let mut settings = arch.settings(1);
    settings.classes = 3;
    let parameters = arch.network(&settings, Mode::Inference).unwrap().parameters;
    let tensor = |(i, p): (usize, ocelli::models::Parameter)| {
        let count = p.torch_shape.iter().product();
        let least = if p.name.ends_with("running_var") { 0.5 } else { -0.25 };
        let data = (0..count).map(|j| ((i * 7 + j * 13 + j / 50) % 32) as f32 / 64.0 + least).collect();
        (p.name, Tensor { shape: p.torch_shape, data })
    };
    parameters.into_iter().enumerate().map(tensor).collect()
}

/// Converts a file, and returns what was said of it.
fn converted(here: &Path, from: &str, to: &str, more: &[&str]) -> String {
    let (code, stdout, stderr) = run(here, &[&["convert", from, to], more].concat());
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    stderr
}

#[test]
fn conversion_keeps_numbers_names_and_what_is_known() {
    let folder = folder();
    let here = folder.path();
    let tensors = resnet20();
    write_tensors(here.join("theirs.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    fs::write(here.join("labels"), "ant\nbee\ncat\n").unwrap();
    let flags =
        ["--labels", "labels", "--preprocessing", "caffe", "--resize", "shorter:40", "--mean", "0.1,0.2,0.3"];
    let convert = |from: &str, to: &str, more: &[&str]| converted(here, from, to, more);
    let said = convert("theirs.safetensors", "ours.safetensors", &flags);
    assert!(said.contains("resnet20, input 32x32, 3 classes"), "{said}");
    assert!(!said.contains("do not say"), "{said}");
    let ours = read(here.join("ours.safetensors")).unwrap();
    assert_eq!(ours.tensors, tensors);
    let metadata = ours.metadata.unwrap();
    assert_eq!(metadata.classes, ["ant", "bee", "cat"]);
    let normalization = Normalization { mean: [0.1, 0.2, 0.3], std: [1.0 / 255.0; 3] };
    let preprocessing =
        Preprocessing { resize: Resize::Shorter(40), order: ChannelOrder::Bgr, normalization };
    assert_eq!(metadata.preprocessing, preprocessing);
    // What a file says goes on with it, and its numbers are exact in 11 bits here.
    convert("ours.safetensors", "half.safetensors", &["--dtype", "f16"]);
    let half = read(here.join("half.safetensors")).unwrap();
    assert_eq!((half.tensors, half.metadata), (ours.tensors, Some(metadata)));
    let size = |name: &str| fs::metadata(here.join(name)).unwrap().len() as f64;
    assert!(size("half.safetensors") < 0.6 * size("ours.safetensors"));
    // The same again gives the same bytes.
    convert("ours.safetensors", "half2.safetensors", &["--dtype", "f16", "--quiet"]);
    assert_eq!(
        fs::read(here.join("half.safetensors")).unwrap(),
        fs::read(here.join("half2.safetensors")).unwrap()
    );
    // Nobody has said how pictures are prepared.
    let said = convert("theirs.safetensors", "assumed.safetensors", &[]);
    assert!(
        said.contains("do not say how pictures are prepared; as is usual for resnet20: resize cover"),
        "{said}"
    );
}

#[test]
fn weights_of_no_network_here_keep_their_names() {
    let folder = folder();
    let here = folder.path();
    let tensors =
        BTreeMap::from([("some.thing".to_owned(), Tensor { shape: vec![2, 2], data: vec![1., 2., 3., 4.] })]);
    write_tensors(here.join("a.safetensors"), &tensors, &BTreeMap::from([("k".into(), "v".into())])).unwrap();
    let (code, _, stderr) = run(here, &["convert", "a.safetensors", "b.safetensors"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("1 tensors of no network here"), "{stderr}");
    let (read, strings) = read_tensors(here.join("b.safetensors")).unwrap();
    assert_eq!(read, tensors);
    assert_eq!(strings["k"], "v");
    fails(
        here,
        &["convert", "a.safetensors", "c.onnx"],
        65,
        &["the weights of no network here", "some.thing"],
    );
    fails(here, &["convert", "a.safetensors", "c.safetensors", "--arch", "resnet20"], 65, &["missing: "]);
    fails(
        here,
        &["predict", "--weights", "a.safetensors", "x.png"],
        65,
        &["a.safetensors: these are the weights of no network here"],
    );
    let (code, stdout, _) = run(here, &["inspect", "a.safetensors"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("network: these are the weights of no network here"), "{stdout}");
}

#[test]
fn conversion_refuses_what_makes_no_sense_and_writes_nothing() {
    let folder = folder();
    let here = folder.path();
    write_tensors(here.join("a.safetensors"), &resnet20(), &BTreeMap::new()).unwrap();
    fs::write(here.join("two"), "ant\nbee\n").unwrap();
    fs::write(here.join("there.safetensors"), "x").unwrap();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["a.safetensors", "there.safetensors"], 2, "--force"),
        (&["a.safetensors", "b"], 2, ".safetensors, .pth or .onnx"),
        (&["a.safetensors", "b.safetensors", "--labels", "two"], 2, "2 names for 3 classes"),
        (&["a.safetensors", "b.safetensors", "--std", "0,1,1"], 2, "deviations positive"),
        (&["a.safetensors", "b.safetensors", "--resize", "crop"], 2, "shorter:256"),
        (&["none.safetensors", "b.safetensors"], 66, "none.safetensors"),
        (&["there.safetensors", "b.safetensors"], 65, "these are no weights"),
    ];
    for (arguments, code, says) in cases {
        fails(here, &[&["convert"], arguments].concat(), code, &[says]);
    }
    let mut large = resnet20();
    large.get_mut("conv1.weight").unwrap().data[5] = 70000.0;
    write_tensors(here.join("large.safetensors"), &large, &BTreeMap::new()).unwrap();
    let flags = ["convert", "large.safetensors", "b.safetensors", "--dtype", "f16"];
    fails(here, &flags, 65, &["7e4 in conv1.weight are too large for f16", "write f32"]);
    assert!(!here.join("b.safetensors").exists() && !here.join("b").exists());
    assert_eq!(fs::read(here.join("there.safetensors")).unwrap(), b"x");
    let (code, _, stderr) = run(here, &["convert", "a.safetensors", "there.safetensors", "--force"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(read_tensors(here.join("there.safetensors")).unwrap().0, resnet20());
}

#[test]
fn inspect_says_what_is_there() {
    let folder = folder();
    let here = folder.path();
    let path = here.join("w.safetensors");
    let metadata = Metadata {
        arch: "resnet20".into(),
        classes: vec!["a".into(), "b".into(), "c".into()],
        input: [32, 32, 3],
        preprocessing: Preprocessing::inception(32),
    };
    write(&path, &Weights { tensors: resnet20(), metadata: Some(metadata) }).unwrap();
    // One number that is none, behind the back of the writer.
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    crate::checksums::forget(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let (code, stdout, stderr) = run(here, &["inspect", "w.safetensors", "--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["format"], "safetensors");
    assert_eq!(json["network"]["name"], "resnet20");
    assert_eq!(json["network"]["trainable"], true);
    assert_eq!(json["network"]["preprocessing"]["resize"], "shorter:37");
    let tensors = json["tensors"].as_array().unwrap();
    let bad: Vec<_> = tensors.iter().filter(|t| t["not_finite"] != 0).map(|t| &t["name"]).collect();
    assert_eq!(bad, ["linear.weight"]);
    let first = tensors.iter().find(|t| t["name"] == "conv1.weight").unwrap();
    assert_eq!(first["shape"], serde_json::json!([16, 3, 3, 3]));
    assert!(first["least"] == -0.25 && first["greatest"] == 0.234375);
    let (_, stdout, _) = run(here, &["inspect", "w.safetensors"]);
    for part in [
        "1 of its numbers are NaN",
        "network: resnet20, input 32x32, 3 classes",
        "preprocessing: resize shorter:37",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    fails(here, &["inspect", "none"], 66, &["none"]);
    // Names come out of a file; a terminal must not obey them.
    let tensor = Tensor { shape: vec![1], data: vec![1.0] };
    let tensors = BTreeMap::from([("a\u{1b}[2J\nb".to_owned(), tensor)]);
    write_tensors(here.join("names.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    for command in
        [&["inspect", "names.safetensors"][..], &["predict", "x.png", "--weights", "names.safetensors"]]
    {
        let (_, stdout, stderr) = run(here, command);
        assert!(!stdout.contains('\u{1b}') && !stderr.contains('\u{1b}'), "{stdout}{stderr}");
        assert!(format!("{stdout}{stderr}").contains("a\\u{1b}[2J\\nb"), "{stdout}{stderr}");
    }
    fails(here, &["inspect", "w.safetensors", "--arch", "resnet21"], 2, &["did you mean"]);
}

#[test]
fn a_file_is_opened_without_reading_it() {
    let folder = folder();
    let path = folder.path().join("vast.safetensors");
    // Four terabytes, of which the disk holds the header.
    let header = r#"{"w":{"dtype":"F32","shape":[1048576,1048576],"data_offsets":[0,4398046511104]}}"#;
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    if file.set_len(8 + header.len() as u64 + (1 << 42)).is_err() {
        return crate::support::fixtures::skipped(
            "exchange::a_file_is_opened_without_reading_it",
            "no such large files here",
        );
    }
    let source = ocelli::weights::Safetensors::open(&path).unwrap();
    assert_eq!(source.rows("w", 1048575..1048576).unwrap(), vec![0.0; 1 << 20]);
    assert!(matches!(source.rows("w", 1048575..1048577), Err(Error::Internal(_))));
    assert!(matches!(source.rows("v", 0..1), Err(Error::Internal(_))));
}

#[test]
fn flags_change_what_a_file_says() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    write_tensors(&path, &resnet20(), &BTreeMap::new()).unwrap();
    let open = |change: PreprocessingChange| {
        let options = OpenOptions { preprocessing: change, ..OpenOptions::default() };
        ModelFile::open(Path::new(&path), options).unwrap()
    };
    let usual = open(PreprocessingChange::default());
    assert!(usual.assumed && !usual.named);
    assert_eq!(usual.metadata.preprocessing, Preprocessing::covering(Normalization::IMAGENET));
    let changed = open(PreprocessingChange {
        whole: Some(Preprocessing::caffe),
        order: Some(ChannelOrder::Rgb),
        mean: Some([0.5; 3]),
        ..PreprocessingChange::default()
    });
    assert!(!changed.assumed);
    let caffe = Preprocessing::caffe(32);
    let normalization = Normalization { mean: [0.5; 3], ..caffe.normalization };
    let wanted = Preprocessing { order: ChannelOrder::Rgb, normalization, ..caffe };
    assert_eq!(changed.metadata.preprocessing, wanted);
    assert_eq!(inspect(&path, OpenOptions::default()).unwrap().tensors.len(), resnet20().len());
}
