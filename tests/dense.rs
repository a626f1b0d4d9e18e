//! Dense evaluation: fully connected layers as convolutions over whole pictures.

use crate::ops::harness::gpu;
use crate::predict::lively;
use crate::support::fixtures::{folder, run};
use ocelli::data::Picture;
use ocelli::models::{ARCHS, Arch, Mode, Settings};
use ocelli::weights::{Tensor, Weights, read, write};
use ocelli::{Classifier, ClassifierOptions};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Puts a picture into the folders of all three classes, so that the probability of the label is that of each class once.
fn picture(data: &Path, h: usize, w: usize, name: &str) -> Picture {
    let rgb = image::RgbImage::from_fn(w as u32, h as u32, |x, y| {
        image::Rgb([(x * x / 9 + y) as u8, (3 * y + x * y / 20) as u8, (5 * x + 2 * y) as u8])
    });
    for class in ["ant", "bee", "cat"] {
        let class = data.join("val").join(class);
        fs::create_dir_all(&class).unwrap();
        rgb.save(class.join(name)).unwrap();
    }
    let rgba = rgb.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2], 255]).collect();
    Picture::from_rgba(h, w, rgba).unwrap()
}

/// The probabilities of the three classes of one picture.
fn eval(here: &Path, data: &str, more: &[&str]) -> [f64; 3] {
    let head = ["eval", "--weights", "w.safetensors", "--data", data, "--csv", "out.csv"];
    let (code, _, said) = run(here, &[&head, more].concat());
    assert_eq!(code, 0, "{said}");
    let table = fs::read_to_string(here.join("out.csv")).unwrap();
    let of: Vec<f64> =
        table.lines().skip(1).map(|row| row.split(',').nth(4).unwrap().parse().unwrap()).collect();
    of.try_into().unwrap()
}

fn close(found: [f64; 3], wanted: [f64; 3], error: f64) {
    let largest = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("{found:?}: largest difference {largest:.1e}");
    assert!(largest < error, "{found:?} {wanted:?}");
}

fn softmax(logits: &[f64]) -> [f64; 3] {
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    [0, 1, 2].map(|i| logits[i].exp() / sum)
}

/// A fully connected layer in double precision.
fn linear(tensors: &BTreeMap<String, Tensor>, name: &str, x: &[f64], relu: bool) -> Vec<f64> {
    let (w, b) = (&tensors[&format!("{name}.weight")], &tensors[&format!("{name}.bias")]);
    let rows = w.data.chunks(x.len()).zip(&b.data);
    let y =
        rows.map(|(row, b)| f64::from(*b) + row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>());
    y.map(|y| if relu { y.max(0.0) } else { y }).collect()
}

/// AlexNet for pictures of 99x99, whose fully connected layers see a map of 2x2.
#[test]
fn whole_pictures_get_the_mean_over_all_windows_of_the_map() {
    let folder = folder();
    let here = folder.path();
    lively("alexnet", [99, 99], 6.0, 5, &here.join("w.safetensors"));
    let Weights { tensors, .. } = read(here.join("w.safetensors")).unwrap();

    // A map of 3x4: the maps before fc6 as a network for such pictures computes them.
    let big = picture(&here.join("big"), 131, 163, "0.png");
    lively("alexnet", [131, 163], 6.0, 6, &here.join("big.safetensors"));
    let mut other = read(here.join("big.safetensors")).unwrap();
    let features = tensors.iter().filter(|(name, _)| name.starts_with("conv"));
    other.tensors.extend(features.map(|(name, tensor)| (name.clone(), tensor.clone())));
    write(here.join("big.safetensors"), &other).unwrap();
    let features =
        Classifier::open(&gpu(), here.join("big.safetensors"), ClassifierOptions::default()).unwrap();
    let map = features.activations_of_prepared(big.rgba(), "pool5").unwrap();
    assert_eq!(map.shape, [3, 4, 256]);
    let mut mean = [0.0; 3];
    for (top, left) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        let at = |i: usize| {
            let (c, r, s) = (i / 4, i / 2 % 2, i % 2);
            f64::from(map.data[((top + r) * 4 + left + s) * 256 + c])
        };
        let window: Vec<f64> = (0..4 * 256).map(at).collect();
        let x = linear(&tensors, "fc6", &window, true);
        let x = linear(&tensors, "fc7", &x, true);
        let logits = linear(&tensors, "fc8", &x, false);
        mean.iter_mut().zip(logits).for_each(|(mean, x)| *mean += x / 6.0);
    }
    let dense = eval(here, "big", &["--dense", "--scales", "131"]);
    close(dense, softmax(&mean), 1e-5);

    // At the input of the network it is the plain evaluation.
    let small = picture(&here.join("small"), 99, 99, "0.png");
    let plain = eval(here, "small", &[]);
    close(eval(here, "small", &["--dense", "--scales", "99"]), plain, 1e-5);
    // The mirrored picture.
    let network = Classifier::open(&gpu(), here.join("w.safetensors"), ClassifierOptions::default()).unwrap();
    let rows = small.rgba().chunks(99 * 4);
    let mirrored: Vec<u8> = rows.flat_map(|row| row.chunks(4).rev().flatten().copied()).collect();
    let logits = network.logits_of_prepared(&mirrored).unwrap().remove(0);
    let mirrored = softmax(&logits.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
    let both = [0, 1, 2].map(|i| (plain[i] + mirrored[i]) / 2.0);
    close(eval(here, "small", &["--dense", "--mirror", "--scales", "99"]), both, 1e-5);
    assert!(plain.iter().zip(mirrored).any(|(a, b)| (a - b).abs() > 1e-3), "{plain:?} {mirrored:?}");

    // Several scales; 140 is cut to 131 from the centre.
    let other = eval(here, "big", &["--dense", "--scales", "99"]);
    assert!(dense.iter().zip(other).any(|(a, b)| (a - b).abs() > 1e-3), "{dense:?} {other:?}");
    let both = [0, 1, 2].map(|i| (dense[i] + other[i]) / 2.0);
    close(eval(here, "big", &["--dense", "--scales", "99,131"]), both, 1e-5);
    // Networks of an ensemble.
    let head = ["--dense", "--scales", "131", "--weights", "w.safetensors"];
    close(eval(here, "big", &head), dense, 1e-5);
    for (flags, code) in
        [(&["--dense", "--crops", "10"][..], 2), (&["--mirror"], 2), (&["--dense", "--scales", "50"], 2)]
    {
        let head = ["eval", "--weights", "w.safetensors", "--data", "big"];
        assert_eq!(run(here, &[&head, flags].concat()).0, code, "{flags:?}");
    }
}

#[test]
fn every_network_is_a_convolutional_one_with_the_same_parameters() {
    for arch in ARCHS {
        let settings = Settings { classes: 10, ..arch.settings(2) };
        let dense = arch.dense(&settings).unwrap();
        let stride = if arch.size > 32 { 32 } else { 4 };
        assert_eq!(dense.stride(), [stride; 2], "{}", arch.name);
        assert_eq!(dense.covered([arch.size + 3 * stride + 1, 1]), [arch.size + 3 * stride, arch.size]);
        let network = dense.network([arch.size + stride, arch.size + 3 * stride]).unwrap();
        assert_eq!(network.graph.shape(network.logits).unwrap().dims(), [2, 1, 1, 10], "{}", arch.name);
        let own = arch.network(&settings, Mode::Inference).unwrap();
        let names = |network: &ocelli::models::Network| {
            network.parameters.iter().map(|p| (p.key(), p.shape)).collect::<Vec<_>>()
        };
        assert_eq!(names(&network), names(&own), "{}", arch.name);
    }
}

#[test]
fn a_network_that_averages_its_map_to_another_size_is_refused() {
    let arch = Arch::find("vgg11").unwrap();
    let error = arch.dense(&Settings { size: [64; 2], ..arch.settings(1) }).unwrap_err().to_string();
    assert!(error.contains("avgpool") && error.contains("2x2 to 7x7"), "{error}");
}
