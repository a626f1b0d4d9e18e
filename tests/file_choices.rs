//! What a file of weights leaves open: names of classes, one output, another number of classes than the data has; and files of
//! labels and headers that never end.

use crate::support::fixtures::{folder, run};
use ocelli::exchange::{ModelFile, OpenOptions};
use ocelli::models::{Arch, Mode};
use ocelli::weights::{Metadata, Tensor, read_tensors, write_tensors};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Weights of resnet20 as a file of somebody else.
pub(crate) fn resnet20(classes: usize, file: &Path) {
    let arch = Arch::find("resnet20").unwrap();
    let mut settings = arch.settings(1);
    settings.classes = classes;
    let parameters = arch.network(&settings, Mode::Inference).unwrap().parameters;
    let tensors = parameters.into_iter().enumerate().map(|(i, p)| {
        let count: usize = p.torch_shape.iter().product();
        let least = if p.name.ends_with("running_var") { 0.5 } else { -0.25 };
        let data = (0..count).map(|j| ((i * 7 + j * 13 + j / 50) % 32) as f32 / 64.0 + least).collect();
        (p.name, Tensor { shape: p.torch_shape, data })
    });
    write_tensors(file, &tensors.collect(), &BTreeMap::new()).unwrap();
}

pub(crate) fn pictures(folder: &Path, classes: &[&str]) {
    for (c, class) in classes.iter().enumerate() {
        for split in ["train", "val"] {
            let place = folder.join(split).join(class);
            fs::create_dir_all(&place).unwrap();
            for i in 0..4 {
                let color = |x: u32, y: u32| image::Rgb([(80 * c) as u8, (7 * x) as u8, (7 * y + i) as u8]);
                image::RgbImage::from_fn(32, 32, color).save(place.join(format!("{i}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn classes_without_names_stay_without_and_are_those_of_the_data_in_order() {
    let folder = folder();
    let here = folder.path();
    resnet20(3, &here.join("w.safetensors"));
    pictures(&here.join("three"), &["ant", "bee", "cat"]);
    pictures(&here.join("two"), &["ant", "bee"]);
    let (code, _, said) = run(here, &["convert", "w.safetensors", "new.safetensors"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(run(here, &["convert", "w.safetensors", "new.onnx"]).0, 0);
    let (_, strings) = read_tensors(here.join("new.safetensors")).unwrap();
    assert!(!Metadata::names_classes(&strings) && !format!("{strings:?}").contains("class 0"), "{strings:?}");
    let onnx = fs::read(here.join("new.onnx")).unwrap();
    assert!(!onnx.windows(7).any(|bytes| bytes == b"class 0"));
    let eval = |file: &str, data: &str| run(here, &["eval", "--weights", file, "--data", data, "--json"]);
    let (code, want, said) = eval("w.safetensors", "three");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("0 is ant, 1 is bee, 2 is cat"), "{said}");
    for file in ["new.safetensors", "new.onnx"] {
        let opened = ModelFile::open(here.join(file), OpenOptions::default()).unwrap();
        assert!(!opened.named && opened.has_metadata && opened.metadata.classes.len() == 3, "{file}");
        let (code, got, said) = eval(file, "three");
        assert_eq!((code, &got), (0, &want), "{file}: {said}");
        let (code, _, said) = eval(file, "two");
        assert_eq!(code, 65, "{file}");
        assert!(said.contains("has 2 classes") && said.contains("has 3"), "{said}");
    }
}

#[test]
fn one_output_is_the_second_of_two_classes() {
    let folder = folder();
    let here = folder.path();
    resnet20(1, &here.join("w.safetensors"));
    pictures(&here.join("two"), &["ant", "bee"]);
    pictures(&here.join("three"), &["ant", "bee", "cat"]);
    let picture = "two/val/ant/0.png";
    let predict = |more: &[&str]| {
        let flags =
            [&["predict", picture, "--weights", "w.safetensors", "--json", "--logits"], more].concat();
        let (code, stdout, said) = run(here, &flags);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("sigmoid"), "{said}");
        serde_json::from_str::<serde_json::Value>(stdout.trim()).unwrap()
    };
    let result = predict(&[]);
    let logit = result["logits"][0].as_f64().unwrap();
    let of = |result: &serde_json::Value, index: u64| {
        let list = result["predictions"].as_array().unwrap().clone();
        list.into_iter().find(|p| p["index"] == index).unwrap()
    };
    let one = 1.0 / (1.0 + (-logit).exp());
    assert!((of(&result, 1)["probability"].as_f64().unwrap() - one).abs() < 1e-6, "{result}");
    assert!((of(&result, 0)["probability"].as_f64().unwrap() - (1.0 - one)).abs() < 1e-6, "{result}");
    assert_eq!(of(&result, 1)["label"], "class 1");
    fs::write(here.join("names"), "ant\nbee\n").unwrap();
    assert_eq!(of(&predict(&["--labels", "names"]), 0)["label"], "ant");
    // What is right is what the sign of the logit says.
    let paths: Vec<String> =
        (0..8).map(|i| format!("two/val/{}/{}.png", ["ant", "bee"][i / 4], i % 4)).collect();
    let mut flags = vec!["predict", "--weights", "w.safetensors", "--json", "--logits", "--quiet"];
    flags.extend(paths.iter().map(String::as_str));
    let (code, stdout, said) = run(here, &flags);
    assert_eq!(code, 0, "{said}");
    let right = stdout.lines().zip(&paths).filter(|(line, path)| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["logits"][0].as_f64().unwrap() > 0.0) == path.contains("bee")
    });
    let right = right.count();
    for labels in [&[][..], &["--labels", "names"]] {
        let flags = [&["eval", "--weights", "w.safetensors", "--data", "two", "--json"], labels].concat();
        let (code, stdout, said) = run(here, &flags);
        assert_eq!(code, 0, "{said}");
        let result: serde_json::Value = serde_json::from_str(stdout.trim()).unwrap();
        assert_eq!(result["correct_top1"], right, "{result}");
        assert!(result["loss"].as_f64().unwrap() > 0.0, "{result}");
    }
    let (code, _, said) = run(here, &["eval", "--weights", "w.safetensors", "--data", "three"]);
    assert!(code == 65 && said.contains("one output") && said.contains("3 classes"), "{said}");
    assert!(said.contains("data with two classes") && !said.contains("--labels"), "{said}");
}

#[test]
fn a_named_output_is_its_class_whatever_the_order_of_the_folders() {
    let folder = folder();
    let here = folder.path();
    resnet20(1, &here.join("w.safetensors"));
    pictures(&here.join("two"), &["ant", "bee"]);
    pictures(&here.join("three"), &["ant", "bee", "cat"]);
    let eval = |weights: &str, data: &str, more: &[&str]| {
        run(here, &[&["eval", "--weights", weights, "--data", data, "--json"], more].concat())
    };
    let right = |weights: &str, more: &[&str]| {
        let (code, stdout, said) = eval(weights, "two", more);
        assert_eq!(code, 0, "{said}");
        assert!(more.is_empty() || !said.contains("in their order"), "{said}");
        serde_json::from_str::<serde_json::Value>(stdout.trim()).unwrap()["correct_top1"].as_u64().unwrap()
    };
    // Of eight pictures; what is right of one is wrong of the other.
    let bees = right("w.safetensors", &[]);
    for (names, bee_is_one) in [("bee", true), ("ant", false), ("ant\nbee", true), ("bee\nant", false)] {
        fs::write(here.join("names"), names).unwrap();
        let flags = ["convert", "w.safetensors", "named.safetensors", "--force", "--labels", "names"];
        let (code, _, said) = run(here, &flags);
        assert_eq!(code, 0, "{said}");
        let (_, strings) = read_tensors(here.join("named.safetensors")).unwrap();
        assert_eq!(Metadata::read(&strings).unwrap().unwrap().classes, [names.lines().last().unwrap()]);
        let wanted = if bee_is_one { bees } else { 8 - bees };
        assert_eq!(right("named.safetensors", &[]), wanted, "{names}");
        assert_eq!(right("w.safetensors", &["--labels", "names"]), wanted, "{names}");
    }
    fs::write(here.join("names"), "dog").unwrap();
    let (code, _, said) = eval("w.safetensors", "two", &["--labels", "names"]);
    assert!(code == 65 && said.contains("dog") && said.contains("ant and bee"), "{said}");
    fs::write(here.join("names"), "bee").unwrap();
    let (code, _, said) = eval("w.safetensors", "three", &["--labels", "names"]);
    assert!(code == 65 && said.contains("data with two classes"), "{said}");
}

#[test]
fn training_starts_from_weights_for_any_classes_and_says_what_is_kept() {
    let folder = folder();
    let here = folder.path();
    resnet20(3, &here.join("w.safetensors"));
    fs::write(here.join("names"), "x\ny\nz\n").unwrap();
    assert_eq!(run(here, &["convert", "w.safetensors", "xyz.safetensors", "--labels", "names"]).0, 0);
    pictures(&here.join("two"), &["ant", "bee"]);
    pictures(&here.join("three"), &["ant", "bee", "cat"]);
    pictures(&here.join("four"), &["ant", "bee", "cat", "dog"]);
    let train = |data: &str, out: &str, more: &[&str]| {
        let start =
            ["train", "--arch", "resnet20", "--data", data, "--out", out, "--weights", "xyz.safetensors"];
        run(here, &[&start, &["--steps", "1", "--batch-size", "4"][..], more].concat())
    };
    // Other classes: the classifier is new, and the program says for what it was.
    for (data, out, more) in [
        ("four", "r4", &[][..]),
        ("two", "r2", &[]),
        ("three", "r3", &[]),
        ("two", "r5", &["--classes", "3"]),
    ] {
        let (code, _, said) = train(data, out, more);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("the classifier starts with new weights (linear.bias, linear.weight)"),
            "{said}"
        );
        assert!(said.contains("it is for x, y, z, the network to train for ant, bee"), "{said}");
        assert!(said.contains("learning rate 0.01: a tenth of the recipe's"), "{said}");
    }
    // Known by name: rows are kept. Without names all rows are, if there are as many.
    fs::write(here.join("names"), "bee\nz\nant\n").unwrap();
    fs::remove_file(here.join("xyz.safetensors")).unwrap();
    assert_eq!(run(here, &["convert", "w.safetensors", "xyz.safetensors", "--labels", "names"]).0, 0);
    let (code, _, said) = train("three", "r6", &["--lr", "0.02"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("starts with the weights of the file for ant, bee, and new ones for cat"),
        "{said}"
    );
    assert!(!said.contains("a tenth"), "{said}");
    fs::copy(here.join("w.safetensors"), here.join("xyz.safetensors")).unwrap();
    let (code, _, said) = train("three", "r7", &[]);
    assert!(code == 0 && said.contains("does not name its classes; its classifier is kept"), "{said}");
}

#[test]
fn what_never_ends_is_refused_in_time() {
    let folder = folder();
    let here = folder.path();
    resnet20(3, &here.join("w.safetensors"));
    pictures(&here.join("three"), &["ant", "bee", "cat"]);
    let refused = |flags: &[&str], what: &str| {
        let start = Instant::now();
        let (code, _, said) = run(here, flags);
        assert_eq!(code, 65, "{said}");
        assert!(said.contains(what), "{said}");
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", start.elapsed());
    };
    let predict = ["predict", "three/val/ant/0.png", "--weights", "w.safetensors", "--labels"];
    #[cfg(unix)]
    {
        refused(&[&predict[..], &["/dev/zero"]].concat(), "this is no file");
        let made = std::process::Command::new("mkfifo").arg(here.join("pipe")).status();
        if made.is_ok_and(|status| status.success()) {
            refused(&[&predict[..], &["pipe"]].concat(), "this is no file");
        }
    }
    let large = fs::File::create(here.join("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    refused(&[&predict[..], &["large"]].concat(), "more than 16 MiB");
    // Headers within the largest size of one.
    let many: Vec<String> = (0..150_000)
        .map(|i| format!(r#""t{i:06}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let sizes = vec!["1"; 7_000_000].join(",");
    for (json, what) in [
        (format!("{{{}}}", many.join(",")), "more than 65536 tensors"),
        (
            format!(r#"{{"t":{{"dtype":"F32","shape":[{sizes}],"data_offsets":[0,4]}}}}"#),
            "more than 16 dimensions",
        ),
    ] {
        let bytes = [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &[0; 4]].concat();
        fs::write(here.join("h.safetensors"), bytes).unwrap();
        refused(&["inspect", "h.safetensors"], what);
    }
}

#[test]
fn a_thousand_classes_without_names_are_those_of_imagenet_and_nothing_written_says_so() {
    let folder = folder();
    let here = folder.path();
    resnet20(1000, &here.join("w.safetensors"));
    pictures(&here.join("data"), &["ant"]);
    let predict = |weights: &str, more: &[&str]| {
        run(here, &[&["predict", "data/val/ant/0.png", "--top", "1000", "--weights", weights], more].concat())
    };
    let (code, printed, said) = predict("w.safetensors", &[]);
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("tabby (281)") && printed.contains("sports car (817)"), "{printed}");
    assert!(said.contains("they are taken for those of ImageNet"), "{said}");
    for file in ["new.safetensors", "new.onnx"] {
        let (code, _, said) = run(here, &["convert", "w.safetensors", file]);
        assert!(code == 0 && !said.contains("ImageNet"), "{said}");
        let bytes = fs::read(here.join(file)).unwrap();
        assert!(!bytes.windows(5).any(|text| text == b"tench"), "{file}");
        assert!(predict(file, &[]).1.contains("tabby (281)"), "{file}");
    }
    fs::write(here.join("names.txt"), (0..1000).map(|i| format!("kind {i}\n")).collect::<String>()).unwrap();
    let (_, printed, said) = predict("w.safetensors", &["--labels", "names.txt"]);
    assert!(printed.contains("kind 281 (281)"), "{printed} {said}");
}
