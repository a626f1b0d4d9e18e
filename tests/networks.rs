//! The networks against the tables of their papers.

use ocelli::Error;
use ocelli::models::{ARCHS, Arch, Mode};

/// Variant, classes, parameters without running statistics, multiply-adds of one picture at the paper's size.
///
/// AlexNet: Krizhevsky et al. 2012 with both towers. ResNets: He et al. 2015, table 6, whose millions these are.
const TABLE: [(&str, usize, u64, f64); 6] = [
    ("alexnet", 1000, 60_965_224, 724.4),
    ("resnet20", 10, 269_722, 40.55),
    ("resnet32", 10, 464_154, 68.86),
    ("resnet44", 10, 658_586, 97.17),
    ("resnet56", 10, 853_018, 125.49),
    ("resnet110", 10, 1_727_962, 252.89),
];

#[test]
fn parameters_and_macs_are_those_of_the_table() {
    assert_eq!(ARCHS.len(), TABLE.len(), "a network without a row in the table");
    for (name, classes, parameters, mega) in TABLE {
        let arch = Arch::find(name).unwrap();
        let summary = arch.summary(&arch.settings(1)).unwrap();
        assert_eq!((summary.classes, summary.parameters), (classes, parameters), "{name}");
        let got = summary.macs as f64 / 1e6;
        assert!((got - mega).abs() <= 0.0051 + mega * 1e-4, "{name}: {got} million multiply-adds");
        let sum = |f: fn(&ocelli::models::Layer) -> u64| summary.layers.iter().map(f).sum::<u64>();
        assert_eq!(sum(|l| l.parameters), summary.parameters, "{name}: the layers add up");
        assert_eq!(sum(|l| l.macs), summary.macs, "{name}: the layers add up");
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
