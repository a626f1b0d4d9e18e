//! Recipes: options of optimiser and loss in whole runs, frozen layers, classes of different size, averaged weights.

use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, run as program, write_pictures};
use crate::training::{bits, config, run, run_until};
use ocelli::Error;
use ocelli::data::{Augment, Last, Loader, LoaderOptions, Preprocessing, Split, open};
use ocelli::models::{ARCHS, Arch, Mode};
use ocelli::train::{
    Balance, Config, Freeze, Hyper, Length, Recipe, RecipeName, TrainingOptions, TrainingStep,
};
use ocelli::weights::read;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every option at once.
fn everything(data: &Path) -> Config {
    let augment = "pad=1,mirror,mixup=0.5,cutmix=1".parse().unwrap();
    Config {
        nesterov: true,
        bias_decay: false,
        clip_norm: Some(1.0),
        label_smoothing: 0.1,
        ema_decay: Some(0.9),
        lr_body: Some(0.5),
        augment,
        ..config(data)
    }
}

#[test]
fn a_run_with_every_option_goes_on_to_the_same_bits() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    for (name, accumulate, balance) in
        [("plain", 1, Balance::None), ("weights", 2, Balance::Weights), ("sampling", 1, Balance::Sampling)]
    {
        let config = Config { accumulate, batch_size: (4 / accumulate).into(), balance, ..everything(&data) };
        let [whole, parts] = ["whole", "parts"].map(|part| folder.path().join(format!("{name} {part}")));
        run(&config, &whole, false).unwrap();
        for step in [2, 5, 7] {
            assert!(matches!(run_until(&config, &parts, step).1, Error::Stopped(_)));
        }
        run(&config, &parts, true).unwrap();
        assert_eq!(bits(&whole), bits(&parts), "{name}");
    }
    // Each option changes bits, and a run cannot be resumed with another.
    let out = folder.path().join("plain whole");
    let all = everything(&data);
    for (flag, other) in [
        ("--nesterov", Config { nesterov: false, ..all.clone() }),
        ("--bias-decay", Config { bias_decay: true, ..all.clone() }),
        ("--clip-norm", Config { clip_norm: None, ..all.clone() }),
        ("--label-smoothing", Config { label_smoothing: 0.0, ..all.clone() }),
        ("--ema-decay", Config { ema_decay: None, ..all.clone() }),
        ("--lr-body", Config { lr_body: None, ..all.clone() }),
        ("--augment", Config { augment: Augment::NONE, ..all.clone() }),
        ("--balance", Config { balance: Balance::Sampling, ..all.clone() }),
    ] {
        let error = run(&other, &out, true).unwrap_err().to_string();
        assert!(error.contains(flag), "{flag}: {error}");
        let again = folder.path().join(flag);
        run(&Config { length: Length::Steps(3), ..other }, &again, false).unwrap();
        let base = folder.path().join("three");
        if !base.exists() {
            run(&Config { length: Length::Steps(3), ..all.clone() }, &base, false).unwrap();
        }
        assert_ne!(bits(&again)["last.safetensors"], bits(&base)["last.safetensors"], "{flag}");
    }
}

/// The accuracy that is reported is that of the averages, which are what is written.
#[test]
fn averaged_weights_are_validated_and_written() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 10, 6, 8);
    let (code, _, said) = program(
        here,
        &[
            "train",
            "--arch",
            "resnet20",
            "--data",
            "data",
            "--out",
            "run",
            "--batch-size",
            "4",
            "--size",
            "8",
            "--epochs",
            "2",
            "--ema-decay",
            "0.9",
            "--lr",
            "0.2",
        ],
    );
    assert_eq!(code, 0, "{said}");
    let table = fs::read_to_string(here.join("run/metrics.csv")).unwrap();
    let head: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let last: Vec<&str> = table.lines().last().unwrap().split(',').collect();
    let column = |name: &str| last[head.iter().position(|h| *h == name).unwrap()].parse::<f64>().unwrap();
    let (code, printed, said) =
        program(here, &["eval", "--weights", "run/last.safetensors", "--data", "data", "--json"]);
    assert_eq!(code, 0, "{said}");
    let result: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!((result["loss"].as_f64().unwrap() - column("val_loss")).abs() < 1e-5, "{result} and {table}");
    // The weights that are trained are others, and lie in the checkpoint.
    let tensors = ocelli::weights::read_tensors(here.join("run/checkpoint.safetensors")).unwrap().0;
    let (trained, average) = (&tensors["weights/linear.weight"], &tensors["average/linear.weight"]);
    assert_ne!(trained.data, average.data);
    let written = read(here.join("run/last.safetensors")).unwrap();
    let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect::<BTreeSet<_>>();
    let own = bits(&written.tensors["linear.weight"].data);
    assert!(own.is_subset(&bits(&average.data)) && !own.is_subset(&bits(&trained.data)));
}

#[test]
fn frozen_layers_keep_their_bits_with_their_running_statistics() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let first = folder.path().join("first");
    run(&Config { length: Length::Steps(2), ..config(&data) }, &first, false).unwrap();
    let weights = first.join("last.safetensors");
    let before = read(&weights).unwrap().tensors;
    for (freeze, norm, trained) in [
        (Some("stem"), false, &["layer1", "layer2", "layer3", "linear"][..]),
        (Some("layer1"), false, &["layer2", "layer3", "linear"]),
        (Some("layer2.1"), false, &["layer2.2", "layer3", "linear"]),
        (Some("all-but-head"), false, &["linear"]),
        (None, true, &["conv1", "bn1", "layer1", "layer2", "layer3", "linear"]),
    ] {
        let out = folder.path().join(format!("{freeze:?} {norm}"));
        let config = Config {
            length: Length::Steps(2),
            weights: Some(weights.clone()),
            freeze: freeze.map(|layer| layer.parse().unwrap()),
            freeze_norm: norm,
            ema_decay: Some(0.5),
            ..config(&data)
        };
        run(&config, &out, false).unwrap();
        for (name, tensor) in read(out.join("last.safetensors")).unwrap().tensors {
            let is_trained = trained
                .iter()
                .any(|layer| name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.')));
            let keeps = !is_trained || (norm && name.contains("running"));
            let same = before[&name].data.iter().zip(&tensor.data).all(|(a, b)| a.to_bits() == b.to_bits());
            assert_eq!(same, keeps, "{freeze:?}: {name}");
        }
    }
}

#[test]
fn layers_to_freeze_are_found_in_every_network_or_named() {
    for arch in ARCHS.iter().filter(|arch| !arch.name.contains("1202") && !arch.name.contains("1001")) {
        let network = arch.network(&arch.settings(1), Mode::Training).unwrap();
        let stem = Freeze::Stem.tensors(&network).unwrap();
        let body = Freeze::AllButHead.tensors(&network).unwrap();
        assert!(!stem.is_empty() && stem.is_subset(&body), "{}: {stem:?}", arch.name);
        let first = &network.parameters[0].name;
        assert!(stem.contains(first), "{}: {stem:?}", arch.name);
        let heads = network.parameters.iter().filter(|p| !p.is_auxiliary() && !body.contains(&p.name));
        let heads: BTreeSet<&String> = heads.map(|p| &p.name).collect();
        assert_eq!(heads.len(), 2, "{}: {heads:?}", arch.name);
        let error = Freeze::Through("nowhere".to_owned()).tensors(&network).unwrap_err();
        let beginning = first.split('.').next().unwrap();
        assert!(error.to_string().contains(beginning) && error.to_string().contains("nowhere"), "{error}");
        let head = heads.first().unwrap().rsplit_once('.').unwrap().0.to_owned();
        let error = Freeze::Through(head).tensors(&network).unwrap_err();
        assert!(error.to_string().contains("nothing is left"), "{error}");
    }
    let of = |arch: &str, layer: &str| {
        let arch = Arch::find(arch).unwrap();
        let network = arch.network(&arch.settings(1), Mode::Training).unwrap();
        layer.parse::<Freeze>().unwrap().tensors(&network).unwrap().into_iter().collect::<Vec<_>>().join(" ")
    };
    let norm = |name: &str| {
        ["bias", "running_mean", "running_var", "weight"].map(|p| format!("{name}.{p}")).join(" ")
    };
    assert_eq!(of("resnet18", "stem"), format!("{} conv1.weight", norm("bn1")));
    assert_eq!(of("resnet20", "stem"), format!("{} conv1.weight", norm("bn1")));
    assert_eq!(of("vgg11", "stem"), "features.0.bias features.0.weight");
    assert_eq!(
        of("vgg11", "features.3"),
        "features.0.bias features.0.weight features.3.bias features.3.weight"
    );
}

#[test]
fn flags_of_fine_tuning_are_checked() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 6, 1, 8);
    let start = "train --arch resnet20 --data data --batch-size 4 --size 8 --steps 1";
    let train =
        |more: &[&str]| program(here, &start.split(' ').chain(more.iter().copied()).collect::<Vec<_>>());
    assert_eq!(train(&["--out", "first"]).0, 0);
    for (flags, what) in [
        (&["--freeze", "stem"][..], "--weights"),
        (&["--freeze-norm"], "--weights"),
        (
            &["--weights", "first/last.safetensors", "--freeze", "layer9"],
            "conv1, bn1, layer1, layer2, layer3",
        ),
        (&["--weights", "first/last.safetensors", "--freeze", "linear"], "nothing is left to train"),
        (&["--label-smoothing", "1"], "--label-smoothing"),
        (&["--label-smoothing", "nan"], "--label-smoothing"),
        (&["--clip-norm", "0"], "--clip-norm"),
        (&["--ema-decay", "1"], "--ema-decay"),
        (&["--lr-body", "-1"], "--lr-body"),
        (&["--augment", "mixup=200"], "mixup"),
        (&["--balance", "sampling", "--no-shuffle"], "--balance weights"),
        (&["--recipe", "best"], "torchvision"),
    ] {
        let (code, _, said) = train(&[&["--out", "other"], flags].concat());
        assert!(code == 64 || code == 2, "{flags:?}: {code} {said}");
        assert!(said.contains(what), "{flags:?}: {said}");
        assert!(!here.join("other").exists(), "{flags:?} leaves a folder");
    }
    let weights = ["--weights", "first/last.safetensors", "--freeze", "all-but-head", "--lr-body", "0"];
    let (code, _, said) = train(&[&["--out", "second"], &weights[..]].concat());
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = train(&["--out", "third", "--recipe", "modern"]);
    assert_eq!(code, 0, "{said}");
    let config = fs::read_to_string(here.join("third/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["nesterov"], &config["schedule"]), (&true.into(), &"cosine".into()));
    let (code, _, said) =
        train(&["--out", "fourth", "--recipe", "modern", "--nesterov=no", "--ema-decay", "0"]);
    assert_eq!(code, 0, "{said}");
    let config = fs::read_to_string(here.join("fourth/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["nesterov"], &config["ema_decay"]), (&false.into(), &serde_json::Value::Null));
}

/// A loader of pictures of two classes, ten and two of them.
fn uneven(folder: &Path, balance: bool) -> Loader {
    write_pictures(folder, 2, 10, 1, 8);
    let mut files: Vec<_> =
        fs::read_dir(folder.join("train/class1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().skip(2).for_each(|file| fs::remove_file(file).unwrap());
    let set = open(&folder.display().to_string(), Split::Train).unwrap();
    let options = LoaderOptions {
        batch_size: 6,
        size: [8, 8],
        preprocessing: Preprocessing::covering(set.normalization()),
        augment: Augment::CIFAR,
        shuffle: true,
        balance,
        seed: 3,
        limit: None,
        last: Last::Drop,
    };
    Loader::new(set, options).unwrap()
}

#[test]
fn classes_of_different_size_are_evened_out() {
    let folder = folder();
    let plain = uneven(&folder.path().join("plain"), false);
    // Twelve pictures of two classes: six each on average.
    assert_eq!(plain.class_weights(), [0.6, 3.0]);
    let drawn = uneven(&folder.path().join("drawn"), true);
    let mut seen = BTreeSet::new();
    for epoch in 0..20 {
        let batches: Vec<_> = drawn.epoch(epoch, 0).map(|batch| batch.unwrap()).collect();
        let labels: Vec<u32> = batches.iter().flat_map(|batch| batch.labels.clone()).collect();
        assert_eq!(labels.iter().filter(|label| **label == 1).count(), 6, "{labels:?}");
        // Of ten pictures of the large class, each comes at some time.
        let pictures = batches.iter().flat_map(|b| b.pixels.chunks(256).zip(&b.labels));
        seen.extend(pictures.filter(|(_, label)| **label == 0).map(|(pixels, _)| pixels[132..140].to_vec()));
        let again: Vec<_> = drawn.epoch(epoch, 0).map(|batch| batch.unwrap()).collect();
        assert!(batches == again, "the same seed draws others");
    }
    assert!(seen.len() >= 10, "{}", seen.len());
}

#[test]
fn the_first_loss_of_a_residual_network_is_that_of_a_guess() {
    for name in ["resnet20", "resnet56", "resnet18", "preresnet110"] {
        let arch = Arch::find(name).unwrap();
        let settings = ocelli::models::Settings { size: [32; 2], classes: 10, ..arch.settings(8) };
        let step = TrainingStep::new(&gpu(), arch, &settings, TrainingOptions::default()).unwrap();
        step.initialize(1, None).unwrap();
        let pixels: Vec<u8> =
            (0..8 * 32 * 32 * 4u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let outcome = step.step(&pixels, &[0, 1, 2, 3, 4, 5, 6, 7], &Hyper::default()).unwrap();
        let loss = outcome.loss.iter().map(|x| f64::from(*x)).sum::<f64>() / 8.0;
        assert!((loss - 10f64.ln()).abs() < 0.1, "{name}: {loss}");
    }
}

#[test]
fn every_network_has_each_recipe() {
    for arch in ARCHS {
        for name in [RecipeName::Paper, RecipeName::Torchvision, RecipeName::Modern] {
            let recipe = Recipe::named(name, arch);
            Config::with_recipe(arch, "data", recipe.clone()).check().unwrap();
            // A rate of 0.1 is for networks with batch norm.
            let is_normed = arch
                .network(&arch.settings(1), Mode::Training)
                .is_ok_and(|network| network.parameters.iter().any(|p| p.name.contains("running_mean")));
            assert!(recipe.lr < 0.1 || is_normed, "{}: {recipe:?}", arch.name);
        }
    }
}
