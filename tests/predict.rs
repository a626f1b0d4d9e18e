//! `ocelli predict`: folders, batches, several networks, tables.

use crate::file_choices::{pictures, resnet20};
use crate::oracle::Rng;
use crate::support::fixtures::{folder, run, with_slashes};
use ocelli::data::{Normalization, Preprocessing};
use ocelli::models::{Arch, Mode, Settings};
use ocelli::weights::{Metadata, Tensor, Weights, write};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Lines of JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The probabilities of a line in the order of the classes.
fn probabilities(line: &Value) -> Vec<f64> {
    let mut all: Vec<(u64, f64)> = line["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["index"].as_u64().unwrap(), p["probability"].as_f64().unwrap()))
        .collect();
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, p)| p).collect()
}

#[test]
fn folders_are_classified_in_batches_and_what_is_no_picture_is_named() {
    let folder = folder();
    let here = folder.path();
    resnet20(3, &here.join("w.safetensors"));
    pictures(&here.join("data"), &["ant", "bee", "cat"]);
    fs::write(here.join("data/val/bee/9.jpg"), b"no picture").unwrap();
    fs::write(here.join("data/val/notes.txt"), b"text").unwrap();
    let predict =
        |more: &[&str]| run(here, &[&["predict", "--weights", "w.safetensors", "--json"], more].concat());
    let (code, printed, said) = predict(&["data/val"]);
    assert_eq!(code, 65, "{said}");
    assert!(with_slashes(&said).contains("data/val/bee/9.jpg") && said.contains("notes.txt"), "{said}");
    let all = lines(&printed);
    assert_eq!(all.len(), 12, "{printed}");
    // In the order of their names, each with what it has alone.
    for (line, name) in all.iter().zip(["ant/0", "ant/1", "ant/2", "ant/3", "bee/0"]) {
        let file = format!("data/val/{name}.png");
        assert_eq!(with_slashes(line["image"].as_str().unwrap()), file);
        let (code, printed, said) = predict(&[&file]);
        assert_eq!(code, 0, "{said}");
        let alone = probabilities(&lines(&printed)[0]);
        let together = probabilities(line);
        assert!(alone.iter().zip(&together).all(|(a, b)| (a - b).abs() < 1e-5), "{alone:?} {together:?}");
    }
    let (code, printed, _) = predict(&["data/val/ant", "data/val/cat/2.png", "--batch-size", "3"]);
    assert_eq!((code, lines(&printed).len()), (0, 5));
    fs::create_dir(here.join("empty")).unwrap();
    let (code, _, said) = predict(&["empty"]);
    assert!(code == 65 && said.contains("empty: there are no pictures"), "{code} {said}");
}

#[test]
fn several_networks_give_the_mean_of_their_probabilities() {
    let folder = folder();
    let here = folder.path();
    resnet20(3, &here.join("a.safetensors"));
    resnet20(4, &here.join("four.safetensors"));
    pictures(&here.join("data"), &["ant", "bee", "cat"]);
    fs::write(here.join("names"), "ant\nbee\ncat\n").unwrap();
    fs::write(here.join("turned"), "cat\nant\nbee\n").unwrap();
    for (names, file) in [("names", "n.safetensors"), ("turned", "t.safetensors")] {
        assert_eq!(run(here, &["convert", "a.safetensors", file, "--labels", names]).0, 0);
    }
    let predict = |weights: &[&str], more: &[&str]| {
        let weights: Vec<&str> = weights.iter().flat_map(|file| ["--weights", *file]).collect();
        run(here, &[&["predict", "data/val", "--json"], &weights[..], more].concat())
    };
    let of = |weights: &[&str]| {
        let (code, printed, said) = predict(weights, &[]);
        assert_eq!(code, 0, "{said}");
        lines(&printed).iter().map(probabilities).collect::<Vec<_>>()
    };
    let one = of(&["n.safetensors"]);
    // The second network has the same numbers under other names: its class 1 is class 0 of the first.
    for (mean, one) in of(&["n.safetensors", "t.safetensors"]).iter().zip(&one) {
        let want: Vec<f64> = [1, 2, 0].iter().zip(one).map(|(other, p)| (p + one[*other]) / 2.0).collect();
        assert!(mean.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6), "{mean:?} {want:?}");
    }
    let (code, _, said) = predict(&["n.safetensors", "four.safetensors"], &[]);
    assert!(code == 2 && said.contains("four.safetensors") && said.contains("4 classes"), "{code} {said}");
    let (code, _, said) = predict(&["n.safetensors", "t.safetensors"], &["--logits"]);
    assert!(code == 2 && said.contains("--logits"), "{code} {said}");
}

#[test]
fn a_table_has_a_row_for_each_picture() {
    let folder = folder();
    let here = folder.path();
    resnet20(3, &here.join("a.safetensors"));
    pictures(&here.join("data"), &["ant", "bee"]);
    fs::write(here.join("names"), "=SUM(A1)\nb,\"e\"\ncat\n").unwrap();
    assert_eq!(run(here, &["convert", "a.safetensors", "w.safetensors", "--labels", "names"]).0, 0);
    let (code, _, said) = run(
        here,
        &["predict", "data/val", "--weights", "w.safetensors", "--top", "2", "--csv", "out.csv", "--json"],
    );
    assert_eq!(code, 0, "{said}");
    let table = fs::read_to_string(here.join("out.csv")).unwrap();
    assert_eq!(table.lines().count(), 9, "{table}");
    assert!(table.starts_with("file,class1,probability1,class2,probability2\n"), "{table}");
    assert!(table.contains("'=SUM(A1)") || table.contains("\"b,\"\"e\"\"\""), "{table}");
    assert!(!table.contains(",=SUM"), "{table}");
    let first = table.lines().nth(1).unwrap();
    assert!(with_slashes(first).starts_with("data/val/ant/0.png,"), "{first}");
}

/// A network for three classes whose answers depend on the pixels. The variance of its weights is `gain` divided by three times the inputs.
pub(crate) fn lively(arch: &str, [h, w]: [usize; 2], gain: f64, seed: u64, file: &Path) {
    let arch = Arch::find(arch).unwrap();
    let settings = Settings { classes: 3, size: [h, w], ..arch.settings(1) };
    let parameters = arch.whole_network(&settings, Mode::Inference).unwrap().parameters;
    let mut rng = Rng(seed);
    let tensors = parameters.into_iter().map(|p| {
        let inputs: usize = p.torch_shape.iter().skip(1).product();
        let most = (gain / inputs.max(1) as f64).sqrt();
        let data = (0..p.torch_shape.iter().product()).map(|_| match p.torch_shape.len() {
            1 if p.name.ends_with("bias") || p.name.ends_with("mean") => 0.0,
            1 => 1.0,
            _ => (most * rng.unit()) as f32,
        });
        (p.name.clone(), Tensor { data: data.collect(), shape: p.torch_shape.clone() })
    });
    let metadata = Metadata {
        arch: arch.name.to_owned(),
        classes: ["ant", "bee", "cat"].map(str::to_owned).to_vec(),
        input: [h, w, 3],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
    };
    write(file, &Weights { tensors: tensors.collect(), metadata: Some(metadata) }).unwrap();
}

#[test]
fn views_are_averaged_as_in_an_evaluation() {
    let folder = folder();
    let here = folder.path();
    // Residual branches add up: smaller weights than He et al.'s keep the probabilities away from 0 and 1.
    lively("resnet20", [32, 32], 1.5, 3, &here.join("a.safetensors"));
    lively("resnet20", [32, 32], 1.5, 4, &here.join("b.safetensors"));
    pictures(&here.join("data"), &["ant", "bee", "cat"]);
    let predict = |more: &[&str]| {
        let (code, printed, said) =
            run(here, &[&["predict", "data/val", "--json", "--weights", "a.safetensors"], more].concat());
        assert_eq!(code, 0, "{said}");
        lines(&printed)
    };
    let eval = |more: &[&str]| -> Vec<f64> {
        let head = ["eval", "--data", "data", "--csv", "out.csv"];
        let (code, _, said) = run(here, &[&head, more, &["--weights", "a.safetensors"]].concat());
        assert_eq!(code, 0, "{said}");
        let table = fs::read_to_string(here.join("out.csv")).unwrap();
        table.lines().skip(1).map(|row| row.split(',').nth(4).unwrap().parse().unwrap()).collect()
    };
    for (views, weights) in [
        (&["--crops", "10"][..], &[][..]),
        (&["--crops", "144"], &[]),
        (&["--scales", "32,40"], &["b.safetensors"]),
        (&["--crops", "10", "--scales", "1.0,1.25"], &["b.safetensors"]),
    ] {
        let more: Vec<&str> = weights.iter().flat_map(|file| ["--weights", *file]).collect();
        let found = predict(&[views, &more].concat());
        let wanted = eval(&[views, &more].concat());
        assert_eq!((found.len(), wanted.len()), (12, 12));
        for (i, (line, wanted)) in found.iter().zip(wanted).enumerate() {
            let of_label = probabilities(line)[i / 4];
            assert!((of_label - wanted).abs() < 1e-6, "{views:?} {i}: {of_label} {wanted}");
        }
    }
    let plain = predict(&["--crops", "centre"]);
    let ten = predict(&["--crops", "10", "--batch-size", "7"]);
    let differ =
        plain.iter().zip(&ten).any(|(a, b)| (probabilities(a)[0] - probabilities(b)[0]).abs() > 1e-3);
    assert!(differ, "ten crops say what the centre says: {plain:?} {ten:?}");
    for (flags, said) in [
        (&["--crops", "10", "--logits"][..], "several views of a picture have no logits in common"),
        (&["--scales", "40", "--logits"], "several views of a picture have no logits in common"),
        (&["--scales", "16"], "16 pixels"),
    ] {
        let head = ["predict", "data/val/ant/0.png", "--weights", "a.safetensors"];
        let (code, _, printed) = run(here, &[&head, flags].concat());
        assert!(code == 2 && printed.contains(said), "{code} {printed}");
    }
}
