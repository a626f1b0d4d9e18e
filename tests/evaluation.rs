//! What follows from the scores of pictures, against cases computed by hand.

use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, run, shared, skipped};
use ocelli::data::{Crops, Normalization, Picture, Preprocessing, Resize, Scale, Views, read_picture};
use ocelli::train::{Calibration, Score, Scores};
use ocelli::{Classifier, ClassifierOptions};
use std::fs;
use std::path::Path;

fn picture(position: u32, label: u32, predicted: u32, rank: u32, probability: f32, of_label: f32) -> Score {
    Score { position, label, predicted, rank, probability, of_label, loss: -of_label.ln() }
}

/// Six pictures of three classes. Class 2 has one picture, which is taken for class 0.
fn six() -> Scores {
    let scores = vec![
        picture(0, 0, 0, 0, 0.9, 0.9),
        picture(1, 0, 1, 1, 0.5, 0.3),
        picture(2, 0, 2, 2, 0.75, 0.05),
        picture(3, 1, 1, 0, 0.5, 0.5),
        picture(4, 1, 1, 0, 1.0, 1.0),
        picture(5, 2, 0, 1, 0.75, 0.125),
    ];
    Scores::new(3, scores).unwrap()
}

#[test]
fn accuracy_loss_and_calibration_error_of_six_pictures() {
    let result = six().evaluation();
    assert_eq!((result.images, result.correct_top1, result.correct_top5), (6, 3, 6));
    assert!((result.top1 - 0.5).abs() < 1e-12 && (result.top5 - 1.0).abs() < 1e-12);
    let loss: f64 =
        [0.9_f32, 0.3, 0.05, 0.5, 1.0, 0.125].iter().map(|p| f64::from(-p.ln())).sum::<f64>() / 6.0;
    assert!((result.loss - loss).abs() < 1e-7);
    // Bins: 0.5 twice (one right), 0.75 twice (none right), 0.9 (right), 1.0 (right).
    let by_hand = (2.0 * 0.0 + 2.0 * 0.75 + 0.1 + 0.0) / 6.0;
    assert!((result.calibration_error - by_hand).abs() < 1e-7, "{}", result.calibration_error);
}

#[test]
fn bins_hold_their_upper_end() {
    // 1/15 as f32 is a little above or below the end of bin 0; 0.2 and 1 have bins of their own on either side.
    let calibration = Calibration::of([(0.0, false), (0.05, true), (0.21, false), (1.0, true)].into_iter());
    let filled: Vec<(usize, u64)> = calibration
        .bins()
        .iter()
        .enumerate()
        .filter_map(|(i, bin)| (bin.images > 0).then_some((i, bin.images)))
        .collect();
    assert_eq!(filled, [(0, 2), (3, 1), (14, 1)]);
    assert_eq!(calibration.bins().len(), 15);
    let first = calibration.bins()[0];
    assert!((first.confidence - 0.025).abs() < 1e-8 && (first.accuracy - 0.5).abs() < 1e-12);
    // (2 * 0.475 + 0.21 + 0) / 4
    assert!((calibration.error() - 0.29).abs() < 1e-7);
    assert_eq!(Calibration::of(std::iter::empty()).error(), 0.0);
}

#[test]
fn the_confusion_matrix_of_six_pictures() {
    let scores = six();
    let confusion = scores.confusion();
    assert_eq!(confusion.matrix(3).unwrap(), [[1, 1, 1], [0, 2, 0], [1, 0, 0]]);
    assert_eq!(confusion.matrix(2), None);
    assert_eq!(confusion.pairs().count(), 5);
    // Of two equal ones the lower class.
    assert_eq!(confusion.most_confused(0), Some((1, 1)));
    assert_eq!(confusion.most_confused(1), None);
    assert_eq!(confusion.most_confused(2), Some((0, 1)));
    let classes = scores.per_class(&confusion);
    let counts: Vec<_> = classes.iter().map(|c| (c.images, c.correct_top1, c.correct_top5)).collect();
    assert_eq!(counts, [(3, 1, 3), (2, 2, 2), (1, 0, 1)]);
}

#[test]
fn the_worst_are_wrong_with_the_most_confidence() {
    let scores = six();
    let positions = |list: Vec<Score>| list.iter().map(|s| s.position).collect::<Vec<_>>();
    // 2 and 5 are equally sure; 2 gives the right class less.
    assert_eq!(positions(scores.worst(9)), [2, 5, 1]);
    assert_eq!(positions(scores.worst(1)), [2]);
    assert_eq!(positions(scores.best(2)), [4, 0]);
}

#[test]
fn a_class_without_pictures_has_no_accuracy_and_no_pictures_are_an_error() {
    let scores = Scores::new(4, vec![picture(0, 3, 0, 1, 0.5, 0.25)]).unwrap();
    let classes = scores.per_class(&scores.confusion());
    assert_eq!(classes.iter().map(|c| c.top1()).collect::<Vec<_>>(), [None, None, None, Some(0.0)]);
    assert!(Scores::new(4, Vec::new()).is_err());
}

/// A picture whose red says where a pixel is: ten times the row plus the column.
fn numbered(h: usize, w: usize) -> Picture {
    let rgba = (0..h * w).flat_map(|i| [(10 * (i / w) + i % w) as u8, 0, 0, 255]);
    Picture::from_rgba(h, w, rgba.collect()).unwrap()
}

fn shorter(side: usize) -> Preprocessing {
    Preprocessing { resize: Resize::Shorter(side), ..Preprocessing::covering(Normalization::IMAGENET) }
}

#[test]
fn ten_crops_are_those_of_torchvision() {
    let ten = Views { crops: Crops::Ten, scales: Vec::new() };
    let corner = |view: &Picture| view.rgba()[0];
    let first = |h, w| -> Vec<u8> {
        let views = ten.of(&numbered(h, w), [2, 2], &shorter(h.min(w))).unwrap();
        views.iter().map(corner).collect()
    };
    // Top left, top right, bottom left, bottom right, centre; then the same of the mirrored picture.
    assert_eq!(first(4, 6), [0, 4, 20, 24, 12, 5, 1, 25, 21, 13]);
    // round(1 / 2) is 0 and round(3 / 2) is 2 in Python: half to even. The mirrored centre is the centre of the mirrored picture.
    assert_eq!(first(3, 5), [0, 3, 10, 13, 2, 4, 1, 14, 11, 2]);
    // Taller than wide.
    assert_eq!(first(6, 4), [0, 2, 40, 42, 21, 3, 1, 43, 41, 22]);
}

#[test]
fn views_are_counted_and_cover_the_input() {
    for (crops, scales, count) in [
        (Crops::Centre, vec![], 1),
        (Crops::Centre, vec![Scale::Pixels(28), Scale::Times(1.5)], 2),
        (Crops::Ten, vec![Scale::Pixels(30), Scale::Pixels(40)], 20),
        (Crops::Many, vec![], 144),
    ] {
        let views = Views { crops, scales };
        views.check([28, 28]).unwrap();
        for (h, w) in [(20, 25), (25, 20), (9, 9)] {
            let of = views.of(&numbered(h, w), [28, 28], &shorter(32)).unwrap();
            assert_eq!((of.len(), views.count()), (count, count));
            assert!(of.iter().all(|view| [view.height(), view.width()] == [28, 28]));
            assert!(of.iter().all(|view| view.rgba().chunks(4).all(|p| p[3] == 255)));
        }
    }
    let small = Views { crops: Crops::Centre, scales: vec![Scale::Pixels(27)] };
    assert!(small.check([28, 28]).unwrap_err().to_string().contains("27 pixels"));
    for wrong in ["", "0", "x", "0.5", "-3", "17.0", "99999", "nan."] {
        assert!(wrong.parse::<Scale>().is_err(), "{wrong}");
    }
    assert!("11".parse::<Crops>().is_err());
}

#[test]
fn a_flat_picture_and_its_many_views_are_alike() {
    let flat = Picture::from_rgba(40, 60, [7, 8, 9, 255].repeat(40 * 60)).unwrap();
    let many = Views { crops: Crops::Many, scales: Vec::new() };
    for view in many.of(&flat, [28, 28], &shorter(32)).unwrap() {
        assert!(view.rgba().chunks(4).all(|pixel| pixel == [7, 8, 9, 255]));
    }
}

/// Twelve pictures of two classes that CIFAR-10 has, beside each other without parts.
fn two_classes(folder: &Path) {
    for (class, name) in ["cat", "ship"].iter().enumerate() {
        fs::create_dir_all(folder.join(name)).unwrap();
        for i in 0..6_usize {
            let value = |k: usize| (k * (7 + 5 * i + 3 * class) % 251) as u8;
            let rgba = (0..48 * 40).flat_map(|k| [value(k), value(k / 3), value(k / 40), 255]);
            let picture = image::RgbaImage::from_raw(40, 48, rgba.collect()).unwrap();
            picture.save(folder.join(name).join(format!("{i},=.png"))).unwrap();
        }
    }
}

#[test]
fn the_program_averages_views_and_networks() {
    let name = "the_program_averages_views_and_networks";
    let weights = match shared("cifar-resnets") {
        Ok(weights) => weights,
        Err(reason) => return skipped(name, &reason),
    };
    let files = ["resnet20", "resnet56"].map(|n| weights.join(format!("{n}-cifar10.safetensors")));
    let files = files.each_ref().map(|path| path.to_str().unwrap());
    let folder = folder();
    let here = folder.path();
    two_classes(&here.join("data"));
    // The weights do not name their classes.
    let classes = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    fs::write(here.join("labels.txt"), classes.join("\n")).unwrap();
    let eval = |weights: &[&str], more: &[&str]| {
        let head = ["eval", "--labels", "labels.txt", "--data", "data", "--batch-size", "7", "--weights"];
        run(here, &[&head, weights, more].concat())
    };
    // The mean of both networks over ten crops, against the classifier on each view.
    let (code, stdout, stderr) =
        eval(&files, &["--crops", "10", "--csv", "out.csv", "--json", "--per-class", "--worst", "2"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("all pictures are evaluated"), "{stderr}");
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["images"], 12);
    assert_eq!(result["classes"].as_array().unwrap().len(), 10);
    assert_eq!(result["confusion"].as_array().unwrap().len(), 10);
    let table = fs::read_to_string(here.join("out.csv")).unwrap();
    let rows: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(rows.len(), 12);
    let ten = Views { crops: Crops::Ten, scales: Vec::new() };
    let both = files.map(|file| Classifier::open(&gpu(), file, ClassifierOptions::default()).unwrap());
    for (i, row) in rows.iter().enumerate() {
        let class = ["cat", "ship"][i / 6];
        let file = here.join("data").join(class).join(format!("{},=.png", i % 6));
        let picture = read_picture(&file).unwrap();
        let mut mean = [0.0; 10];
        for network in &both {
            for view in ten.of(&picture, [32, 32], &network.metadata().preprocessing).unwrap() {
                let logits = network.logits_of_prepared(view.rgba()).unwrap().remove(0);
                let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
                mean.iter_mut().zip(logits).for_each(|(m, x)| *m += f64::from(x).exp() / sum / 20.0);
            }
        }
        let label = classes.iter().position(|c| *c == class).unwrap();
        // The name has a comma, so it is quoted.
        let rest = row.split_once(".png\",").unwrap_or_else(|| panic!("{row}")).1;
        let fields: Vec<&str> = rest.split(',').collect();
        let of_label: f64 = fields[3].parse().unwrap();
        let largest = mean.iter().copied().fold(0.0, f64::max);
        assert_eq!(fields[0], class);
        assert!((of_label - mean[label]).abs() < 1e-5, "{row}: {}", mean[label]);
        assert!((fields[2].parse::<f64>().unwrap() - largest).abs() < 1e-5, "{row}: {largest}");
        assert_eq!(mean.iter().position(|p| *p == largest), classes.iter().position(|c| *c == fields[1]));
    }
    // A network and itself are the network.
    let number = |stdout: &str, key: &str| {
        serde_json::from_str::<serde_json::Value>(stdout).unwrap()[key].as_f64().unwrap()
    };
    let one = eval(&files[..1], &["--json"]).1;
    let twice = eval(&[files[0], files[0]], &["--json"]).1;
    for key in ["top1", "top5", "loss", "calibration_error"] {
        assert!((number(&one, key) - number(&twice, key)).abs() < 1e-4, "{key}: {one} {twice}");
    }
    // What a run has held out, listed under another path.
    fs::create_dir_all(here.join("run")).unwrap();
    fs::copy(files[0], here.join("run/best.safetensors")).unwrap();
    fs::write(here.join("run/validation.txt"), "elsewhere/cat/1,=.png\nelsewhere/ship/3,=.png\ngone.png\n")
        .unwrap();
    let (code, stdout, stderr) = eval(&["run/best.safetensors"], &["--confusion", "matrix.csv"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("2 images: ") && stdout.contains("error: top-1 "), "{stdout}");
    assert!(stderr.contains("the 2 of 12 pictures") && stderr.contains("1 more are listed"), "{stderr}");
    assert_eq!(fs::read_to_string(here.join("matrix.csv")).unwrap().lines().count(), 11);
    fs::write(here.join("run/validation.txt"), "gone.png\n").unwrap();
    assert_eq!(eval(&["run/best.safetensors"], &[]).0, 65);
    assert_eq!(eval(&files, &["--scales", "16"]).0, 2);
}

/// `tests/golden/evaluation.py` made the numbers with PyTorch and torchvision. Each picture lies in the folder of every class, so that the
/// probability of the label is that of each class once.
#[test]
fn averaged_probabilities_are_those_of_pytorch() {
    let name = "averaged_probabilities_are_those_of_pytorch";
    let weights = match shared("cifar-resnets") {
        Ok(weights) => weights,
        Err(reason) => return skipped(name, &reason),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluation.json");
    let golden: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let folder = folder();
        let here = folder.path();
        let pictures = case["pictures"].as_array().unwrap();
        for (i, size) in pictures.iter().enumerate() {
            let [h, w] = [0, 1].map(|side| size[side].as_u64().unwrap() as u32);
            let picture = image::RgbImage::from_fn(w, h, |x, y| {
                let blue = if (x / 9 + y / 6) % 2 == 0 { 230 } else { 20 };
                let (red, green) = ((x * x * 3 + y * 7) / 5 % 256, (x * 11 + y * y * 2) / 7 % 256);
                image::Rgb([red as u8, green as u8, blue])
            });
            for class in 0..10 {
                let class = here.join(format!("data/c{class}"));
                fs::create_dir_all(&class).unwrap();
                picture.save(class.join(format!("{i}.png"))).unwrap();
            }
        }
        let files = case["networks"].as_array().unwrap().iter().map(|n| {
            let file = weights.join(format!("{}-cifar10.safetensors", n.as_str().unwrap()));
            file.display().to_string()
        });
        let scales: Vec<String> =
            case["scales"].as_array().unwrap().iter().map(ToString::to_string).collect();
        let crops = case["crops"].as_str().unwrap();
        let (files, scales): (Vec<String>, String) = (files.collect(), scales.join(","));
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let mut arguments = vec!["eval", "--data", "data", "--crops", crops, "--csv", "out.csv"];
        // For ten crops 37 is the scale of an input of 32, and 144 crops have four scales.
        let own = scales == "37" || crops == "144";
        if !own {
            arguments.extend(["--scales", scales.as_str()]);
        }
        arguments.push("--weights");
        arguments.extend(files.iter().copied());
        let probabilities = |arguments: &[&str]| -> Vec<f64> {
            let (code, _, stderr) = run(here, arguments);
            assert_eq!(code, 0, "{stderr}");
            let table = fs::read_to_string(here.join("out.csv")).unwrap();
            table.lines().skip(1).map(|row| row.split(',').nth(4).unwrap().parse().unwrap()).collect()
        };
        let found = probabilities(&arguments);
        // Pillow rounds a scaled picture after each of two passes: its bytes differ by a level, and probabilities by more than 1e-5. The
        // mean over the scales does not depend on that.
        let each: Vec<&str> = scales.split(',').filter(|scale| !own && *scale != scales).collect();
        let alone: Vec<Vec<f64>> = each
            .iter()
            .map(|scale| {
                probabilities(
                    &arguments.iter().map(|a| if *a == scales { scale } else { *a }).collect::<Vec<_>>(),
                )
            })
            .collect();
        for (i, mean) in found.iter().enumerate().filter(|_| !alone.is_empty()) {
            let sum: f64 = alone.iter().map(|one| one[i]).sum();
            assert!((sum / alone.len() as f64 - mean).abs() < 1e-5, "picture {i}: {mean}");
        }
        let tolerance = case["tolerance"].as_f64().unwrap();
        let mut largest = 0.0_f64;
        for (i, _) in pictures.iter().enumerate() {
            for class in 0..10 {
                let wanted = case["probabilities"][i][class].as_f64().unwrap();
                largest = largest.max((found[class * pictures.len() + i] - wanted).abs());
            }
        }
        println!("crops {crops}, scales {scales}, {}: largest difference {largest:.2e}", case["networks"]);
        assert!(largest <= tolerance, "crops {crops}, scales {scales}: {largest:e}");
    }
}
