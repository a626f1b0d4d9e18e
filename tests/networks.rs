//! The networks against the tables of their papers.

use ocelli::Error;
use ocelli::models::{ARCHS, Arch, Init, Mode, Settings};

/// Variant, parameters without running statistics, multiply-adds of one picture at the paper's size in millions.
///
/// The figures are those of the papers' tables, of torchvision's metadata where it has the network, and of Caffe's files.
/// `preresnet110` has as many as `resnet110`: its batch norms are narrower where a stage begins by as much as the last one
/// adds.
const TABLE: [(&str, u64, f64); 34] = [
    ("alexnet", 60_965_224, 724.4),
    ("caffenet", 60_965_224, 724.4),
    ("alexnet-tv", 61_100_840, 714.2),
    ("zfnet", 62_357_608, 1168.0),
    ("zfnet512", 87_250_536, 1481.7),
    ("vgg11", 132_863_336, 7609.1),
    ("vgg11-lrn", 132_863_336, 7609.1),
    ("vgg11-bn", 132_868_840, 7609.1),
    ("vgg13", 133_047_848, 11_308.5),
    ("vgg13-bn", 133_053_736, 11_308.5),
    ("vgg16-1x1", 133_638_952, 11_770.9),
    ("vgg16", 138_357_544, 15_470.3),
    ("vgg16-bn", 138_365_992, 15_470.3),
    ("vgg19", 143_667_240, 19_632.1),
    ("vgg19-bn", 143_678_248, 19_632.1),
    ("googlenet", 6_998_552, 1582.7),
    ("googlenet-tv", 6_624_904, 1498.4),
    ("resnet18", 11_689_512, 1814.1),
    ("resnet34", 21_797_672, 3663.8),
    ("resnet50", 25_557_032, 4089.2),
    ("resnet101", 44_549_160, 7801.4),
    ("resnet152", 60_192_808, 11_513.6),
    ("resnet50-v1", 25_557_032, 3858.0),
    ("resnet101-v1", 44_549_160, 7570.2),
    ("resnet152-v1", 60_192_808, 11_282.4),
    ("resnet20", 269_722, 40.55),
    ("resnet32", 464_154, 68.86),
    ("resnet44", 658_586, 97.17),
    ("resnet56", 853_018, 125.49),
    ("resnet110", 1_727_962, 252.89),
    ("resnet1202", 19_421_274, 2829.2),
    ("preresnet110", 1_727_962, 252.89),
    ("preresnet164", 1_703_258, 244.5),
    ("preresnet1001", 10_327_706, 1487.8),
];

#[test]
fn parameters_and_macs_are_those_of_the_table() {
    assert_eq!(ARCHS.len(), TABLE.len(), "a network without a row in the table");
    for (arch, (name, parameters, mega)) in ARCHS.iter().zip(TABLE) {
        assert_eq!(arch.name, name);
        let summary = arch.summary(&arch.settings(1)).unwrap();
        assert_eq!((summary.classes, summary.parameters), (arch.classes, parameters), "{name}");
        let got = summary.macs as f64 / 1e6;
        assert!((got - mega).abs() <= 0.0051 + mega * 1e-4, "{name}: {got} million multiply-adds");
        let sum = |f: fn(&ocelli::models::Layer) -> u64| summary.layers.iter().map(f).sum::<u64>();
        assert_eq!(sum(|l| l.parameters), summary.parameters, "{name}: the layers add up");
        assert_eq!(sum(|l| l.macs), summary.macs, "{name}: the layers add up");
    }
}

#[test]
fn auxiliary_classifiers_are_there_in_training_only() {
    for (name, parameters) in [("googlenet", 13_378_280), ("googlenet-tv", 13_004_888)] {
        let arch = Arch::find(name).unwrap();
        let network = arch.network(&arch.settings(2), Mode::Training).unwrap();
        assert_eq!(network.auxiliary.len(), 2);
        let trained = network.parameters.iter().filter(|p| p.trained);
        assert_eq!(trained.map(|p| p.shape.elements().unwrap()).sum::<usize>(), parameters, "{name}");
    }
}

#[test]
fn no_piece_of_a_tensor_exceeds_what_webgpu_grants() {
    for arch in ARCHS {
        let network = arch.network(&arch.settings(2), Mode::Training).unwrap();
        let mut rows = std::collections::BTreeMap::new();
        for parameter in &network.parameters {
            assert!(parameter.shape.bytes() <= 128 << 20, "{} {}", arch.name, parameter.key());
            let next: &mut usize = rows.entry(parameter.name.clone()).or_default();
            assert_eq!(*next, parameter.rows.start, "{} follows what comes before", parameter.key());
            *next = parameter.rows.end;
            let whole: usize = parameter.torch_shape.iter().product();
            let part = parameter.shape.elements().unwrap();
            assert_eq!(part * parameter.torch_shape[0], whole * parameter.rows.len());
        }
        for parameter in &network.parameters {
            assert_eq!(rows[&parameter.name], parameter.torch_shape[0], "all rows of {}", parameter.name);
        }
    }
    let vgg = Arch::find("vgg16").unwrap();
    let network = vgg.network(&vgg.settings(1), Mode::Inference).unwrap();
    assert_eq!(network.parameters.iter().filter(|p| p.name == "classifier.0.weight").count(), 4);
}

#[test]
fn every_variant_takes_other_classes_and_small_inputs() {
    for arch in ARCHS {
        let size = if ["AlexNet", "ZFNet"].contains(&arch.family) { 96 } else { 64 };
        for mode in [Mode::Training, Mode::Inference] {
            let settings = Settings { size: [size; 2], classes: 7, ..arch.settings(2) };
            let network = arch.network(&settings, mode).unwrap();
            assert_eq!(network.graph.shape(network.logits).unwrap().dims(), [2, 1, 1, 7], "{}", arch.name);
        }
    }
}

#[test]
fn first_weights_are_those_of_the_paper_unless_others_are_asked_for() {
    let (alexnet, resnet) = (Arch::find("alexnet").unwrap(), Arch::find("resnet20").unwrap());
    let first = |arch: &Arch, name: &str, init| {
        let network = arch.network(&arch.settings(2), Mode::Training).unwrap();
        let i = network.parameters.iter().position(|p| p.name == name).unwrap();
        network.parameters[i].initial(0, i, init)
    };
    let deviation =
        |list: Vec<f32>| (list.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / list.len() as f64).sqrt();
    let he = (2.0f64 / (11.0 * 11.0 * 3.0)).sqrt();
    for (init, weight, bias) in
        [(None, 0.01, 1.0), (Some(Init::He), he, 0.0), (Some(Init::Xavier), he / 2f64.sqrt(), 0.0)]
    {
        let found = deviation(first(alexnet, "conv1.weight", init));
        assert!((found / weight - 1.0).abs() < 0.02, "{init:?}: {found}, not {weight}");
        assert!(first(alexnet, "conv1.bias", init).iter().all(|b| *b == 0.0));
        for name in ["conv2.bias", "fc6.bias"] {
            assert!(first(alexnet, name, init).iter().all(|b| *b == bias), "{name} with {init:?}");
        }
        assert!(first(resnet, "bn1.weight", init).iter().all(|scale| *scale == 1.0), "{init:?}");
    }
}

#[test]
fn a_change_of_classes_changes_the_last_layer_only() {
    let arch = Arch::find("resnet20").unwrap();
    let mut settings = arch.settings(1);
    settings.classes = 100;
    assert_eq!(arch.summary(&settings).unwrap().parameters, 269_722 + 90 * 65);
}

#[test]
fn shapes_that_make_no_sense_are_refused_with_their_place() {
    let alexnet = Arch::find("alexnet").unwrap();
    let mut settings = alexnet.settings(1);
    settings.size = [40, 40];
    let error = alexnet.summary(&settings).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("alexnet at 40x40"), "{error}");
    for change in [
        |s: &mut ocelli::models::Settings| s.classes = 0,
        |s: &mut ocelli::models::Settings| s.classes = usize::MAX,
        |s: &mut ocelli::models::Settings| s.batch_size = 0,
        |s: &mut ocelli::models::Settings| s.size = [0, 32],
        |s: &mut ocelli::models::Settings| s.size = [usize::MAX / 2, 32],
        |s: &mut ocelli::models::Settings| s.batch_size = 1 << 40,
    ] {
        let mut settings = Arch::find("resnet20").unwrap().settings(1);
        change(&mut settings);
        let error = Arch::find("resnet20").unwrap().network(&settings, Mode::Training).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
    }
    let error = Arch::find("resnet19").unwrap_err();
    assert!(error.to_string().contains("did you mean resnet"), "{error}");
}
