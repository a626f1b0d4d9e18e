//! Networks in files whose modules are wrapped, moved and renamed, with tensors of other things beside them.

use crate::support::fixtures::{folder, run};
use ocelli::exchange::{IdentifyOptions, Renamed};
use ocelli::models::{Arch, Mode};
use ocelli::weights::{Dtype, Entry, Source, Tensor, write_tensors};
use ocelli::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

/// Tensors that hold nothing but a number for the network's tensor that they are.
struct Marked {
    entries: BTreeMap<String, Entry>,
    marks: BTreeMap<String, f32>,
}

impl Source for Marked {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, _rows: Range<usize>) -> Result<Vec<f32>> {
        self.marks.get(name).map(|mark| vec![*mark]).ok_or_else(|| Error::internal(name))
    }
}

type Shapes = Vec<(String, Vec<usize>)>;

fn network(arch: &str) -> Shapes {
    let arch = Arch::find(arch).unwrap();
    let mut settings = arch.settings(1);
    settings.classes = 7;
    let parameters = arch.network(&settings, Mode::Inference).unwrap().parameters;
    let whole = parameters.into_iter().filter(|p| p.rows.start == 0);
    whole.map(|p| (p.name, p.torch_shape)).collect()
}

/// The file, each of the network's tensors marked with its place in the network, and others without a mark.
fn file(network: &Shapes, rename: impl Fn(&str) -> String, others: &[(&str, &[usize])]) -> Marked {
    let (mut entries, mut marks) = (BTreeMap::new(), BTreeMap::new());
    for (i, (name, shape)) in network.iter().enumerate() {
        let name = rename(name);
        entries.insert(name.clone(), Entry { shape: shape.clone(), dtype: Dtype::F32 });
        assert!(marks.insert(name, i as f32).is_none());
    }
    for (name, shape) in others {
        let entry = Entry { shape: shape.to_vec(), dtype: Dtype::F32 };
        assert!(entries.insert((*name).to_owned(), entry).is_none());
    }
    Marked { entries, marks }
}

/// Every tensor has its own role.
fn is_right(network: &Shapes, renamed: &Renamed, arch: &str, what: &str) {
    let found = match renamed.found() {
        Some(Ok(found)) => found,
        Some(Err(error)) => panic!("{arch} {what}: {error}"),
        None => panic!("{arch} {what}: nobody looked"),
    };
    assert_eq!((found.arch.name, found.classes), (arch, 7), "{what}");
    for (i, (name, shape)) in network.iter().enumerate() {
        assert_eq!(renamed.entries()[name].shape, *shape, "{arch} {what} {name}");
        assert_eq!(renamed.rows(name, 0..1).unwrap(), [i as f32], "{arch} {what} {name}");
    }
    assert_eq!(renamed.entries().len(), network.len(), "{arch} {what}");
}

fn notes(renamed: &Renamed) -> String {
    renamed.notes().iter().map(|note| format!("{note}\n")).collect()
}

fn refusal(file: Marked, options: IdentifyOptions) -> String {
    let renamed = Renamed::new(Box::new(file), options);
    match renamed.found() {
        Some(Err(Error::Data(report))) => Error::Data(report.clone()).to_string(),
        other => panic!("{other:?}"),
    }
}

/// A small generator of numbers for choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// Wraps some modules, the same way each time they occur.
fn wrapped(name: &str, wrappers: &mut BTreeMap<String, String>, dice: &mut Dice) -> String {
    const WORDS: [&str; 9] =
        ["module", "model", "backbone", "encoder", "resnet", "net", "_orig_mod", "state_dict", "0"];
    let parts: Vec<&str> = name.split('.').collect();
    let mut out = Vec::new();
    for depth in 0..parts.len() {
        let around = wrappers.entry(parts[..depth].join(".")).or_insert_with(|| {
            let count = [0, 0, 1, 2][dice.below(4)];
            (0..count).map(|_| format!("{}.", WORDS[dice.below(WORDS.len())])).collect()
        });
        out.push(format!("{around}{}", parts[depth]));
    }
    out.join(".")
}

const NETWORKS: [&str; 10] = [
    "alexnet",
    "alexnet-tv",
    "vgg11",
    "vgg16-bn",
    "googlenet",
    "googlenet-tv",
    "resnet18",
    "resnet50",
    "resnet20",
    "preresnet110",
];

#[test]
fn modules_may_be_wrapped_anywhere() {
    let mut dice = Dice(7);
    let beside: [(&str, &[usize]); 5] = [
        ("criterion.weight", &[7]),
        ("val_metrics.confmat", &[7, 7]),
        ("model_ema.decay", &[1]),
        ("optimizer.state.0.exp_avg", &[64, 3, 7, 7]),
        ("normalize.mean", &[1, 3, 1, 1]),
    ];
    for arch in NETWORKS {
        let network = network(arch);
        for round in 0..6 {
            let mut wrappers = BTreeMap::new();
            for (name, _) in &network {
                wrapped(name, &mut wrappers, &mut dice);
            }
            let known = wrappers.clone();
            let rename = move |name: &str| wrapped(name, &mut known.clone(), &mut Dice(0));
            let others = if round % 2 == 0 { &beside[..] } else { &[] };
            let renamed = Renamed::new(Box::new(file(&network, rename, others)), IdentifyOptions::default());
            is_right(&network, &renamed, arch, &format!("{wrappers:?}"));
            assert_eq!(renamed.left_out().len(), others.len());
            let said = notes(&renamed);
            assert_eq!(said.contains("criterion.weight"), round % 2 == 0, "{said}");
        }
    }
}

#[test]
fn a_last_layer_of_another_name_or_place_is_found() {
    for (arch, body, head) in [
        ("resnet18", "backbone.", "fc"),
        ("resnet18", "", "head"),
        ("resnet50", "model.", "model.last_linear"),
        ("resnet18", "features.", "classifier.1"),
        ("resnet20", "module.", "module.fc"),
        ("vgg11", "", "classifier.7"),
        ("alexnet-tv", "net.", "net.classifier.6.1"),
    ] {
        let network = network(arch);
        let last = network.last().unwrap().0.strip_suffix("bias").unwrap().to_owned();
        let rename = |name: &str| match name.strip_prefix(&last) {
            Some(tensor) => format!("{head}.{tensor}"),
            None => format!("{body}{name}"),
        };
        let renamed = Renamed::new(Box::new(file(&network, rename, &[])), IdentifyOptions::default());
        is_right(&network, &renamed, arch, head);
    }
}

#[test]
fn what_could_be_another_network_is_refused() {
    let network = network("resnet18");
    let plain = |name: &str| name.to_owned();
    let backbone = |name: &str| format!("backbone.{name}");
    // A layer that follows, one in a block, two last layers, a second network of another size.
    let said = refusal(
        file(&network, backbone, &[("head.weight", &[5, 7]), ("head.bias", &[5])]),
        IdentifyOptions::default(),
    );
    assert!(said.contains("head.weight") || said.contains("head.bias"), "{said}");
    assert!(said.contains("say which network it is, here resnet18") && !said.contains("--"), "{said}");
    refusal(file(&network, plain, &[("layer1.0.se.weight", &[64, 4])]), IdentifyOptions::default());
    refusal(file(&network, plain, &[("layer1.0.scaler.weight", &[64])]), IdentifyOptions::default());
    let two_layers = |name: &str| name.replace("fc.", "fc.0.");
    let second: [(&str, &[usize]); 2] = [("fc.3.weight", &[5, 7]), ("fc.3.bias", &[5])];
    refusal(file(&network, two_layers, &second), IdentifyOptions::default());
    refusal(
        file(&network, two_layers, &second),
        IdentifyOptions { arch: Some(Arch::find("resnet18").unwrap()), ..IdentifyOptions::default() },
    );
    let two_heads: [(&str, &[usize]); 2] = [("age.weight", &[9, 512]), ("age.bias", &[9])];
    refusal(file(&network, |name| name.replace("fc.", "kind."), &two_heads), IdentifyOptions::default());
    let projection = |name: &str| name.replace("fc.", "projector.");
    refusal(file(&network, projection, &[]), IdentifyOptions::default());
    // Two networks of one kind.
    let mut both = file(&network, |name| format!("student.{name}"), &[]);
    both.entries.extend(file(&network, |name| format!("teacher.{name}"), &[]).entries);
    let said = refusal(both, IdentifyOptions::default());
    assert!(said.contains("student.") && said.contains("teacher."), "{said}");
    // A larger network has the smaller one's tensors, and is not one of several of that.
    let mut both = file(&network, |name| format!("student.{name}"), &[]);
    both.entries.extend(file(&self::network("resnet34"), |name| format!("teacher.{name}"), &[]).entries);
    let said = refusal(both, IdentifyOptions::default());
    assert!(said.contains("may be layers of a larger network") && !said.contains("several times"), "{said}");
    // One tensor is missing, whatever else has its shape.
    let less: Shapes = network.iter().filter(|(name, _)| name != "layer1.1.conv2.weight").cloned().collect();
    let said =
        refusal(file(&less, backbone, &[("other.weight", &[64, 64, 3, 3])]), IdentifyOptions::default());
    assert!(said.contains("resnet18"), "{said}");
    assert!(said.contains("missing: layer1.1.conv2.weight"), "{said}");
}

#[test]
fn somebody_may_say_which_network_it_is() {
    let network = network("resnet18");
    let file =
        file(&network, |name| format!("backbone.{name}"), &[("head.weight", &[5, 7]), ("head.bias", &[5])]);
    let options =
        IdentifyOptions { arch: Some(Arch::find("resnet18").unwrap()), ..IdentifyOptions::default() };
    let renamed = Renamed::new(Box::new(file), options);
    is_right(&network, &renamed, "resnet18", "with --arch");
    assert!(notes(&renamed).contains("head.weight"), "{:?}", renamed.notes());
}

/// A file that has kept the order of its tensors.
struct Ordered(Marked, Vec<String>);

impl Source for Ordered {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        self.0.entries()
    }

    fn order(&self) -> Option<&[String]> {
        Some(&self.1)
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        self.0.rows(name, rows)
    }
}

/// Names as in other implementations of VGG: by block and place in it.
fn by_block(name: &str) -> String {
    let names: Vec<(String, &str)> = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
        .iter()
        .zip(["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3"])
        .map(|(place, block)| (format!("features.{place}."), block))
        .collect();
    match names.iter().find(|(ours, _)| name.starts_with(ours)) {
        Some((ours, block)) => name.replace(ours, &format!("conv{block}.")),
        None => {
            name.replace("classifier.0", "fc6").replace("classifier.3", "fc7").replace("classifier.6", "fc8")
        }
    }
}

/// Refused, in this order of the file.
fn said_of(network: &Shapes, order: Vec<String>, rename: &dyn Fn(&str) -> String) {
    let renamed =
        Renamed::new(Box::new(Ordered(file(network, rename, &[]), order)), IdentifyOptions::default());
    assert!(matches!(renamed.found(), Some(Err(Error::Data(_)))), "{:?}", renamed.found());
}

#[test]
fn names_that_say_nothing_leave_shapes_and_order() {
    // Without an order of the file: only the numbers in the names.
    let vgg = network("vgg16");
    let renamed =
        Renamed::new(Box::new(file(&vgg, by_block, &[("loss.weight", &[7])])), IdentifyOptions::default());
    is_right(&vgg, &renamed, "vgg16", "conv5_1");
    assert!(notes(&renamed).contains("shapes and the order"), "{:?}", renamed.notes());
    // In the order of the file: names of another implementation, whose shortcuts tell themselves.
    let resnet = network("resnet50");
    let theirs = |name: &str| {
        let name = name.replace("layer", "stages.").replace("downsample.0", "shortcut.conv");
        let name = name.replace("downsample.1", "shortcut.norm").replace("fc.", "output.");
        name.replace("bn", "norm").replace("conv", "convolution")
    };
    let order =
        |rename: &dyn Fn(&str) -> String| resnet.iter().map(|(name, _)| rename(name)).collect::<Vec<_>>();
    let ordered = Ordered(file(&resnet, theirs, &[]), order(&theirs));
    is_right(&resnet, &Renamed::new(Box::new(ordered), IdentifyOptions::default()), "resnet50", "stages");
    // Shortcuts that come first, or do not tell themselves, could be the convolutions of their shapes.
    let mut first = order(&theirs);
    let at = first.iter().position(|name| name.contains("shortcut")).unwrap();
    first[at - 5..at + 5].rotate_right(5);
    said_of(&resnet, first, &theirs);
    let silent = |name: &str| theirs(name).replace("shortcut", "extra");
    said_of(&resnet, order(&silent), &silent);
    // And without an order, names with the same numbers.
    refusal(file(&resnet, theirs, &[]), IdentifyOptions::default());
    // Lists of the first and of the second convolutions of all blocks, whatever their names: the order is not the network's.
    let resnet = network("resnet20");
    for (first, second) in [("first.", "second."), ("convs.0.", "convs.1."), ("0.", "1.")] {
        let lists = |name: &str| {
            let parts: Vec<&str> = name.split('.').collect();
            let [stage, block, module, tensor] = parts[..] else { return name.to_owned() };
            let list = if module.ends_with('1') { first } else { second };
            let place = if module.starts_with("conv") { 0 } else { 1 };
            format!("{stage}.{list}{block}.{place}.{tensor}")
        };
        let mut order: Vec<String> = resnet.iter().map(|(name, _)| lists(name)).collect();
        order.sort();
        let head = resnet.last().unwrap().0.split('.').next().unwrap();
        order.sort_by_key(|name| (name.starts_with(head), name.starts_with("layer"), name.starts_with("bn")));
        said_of(&resnet, order, &lists);
        refusal(file(&resnet, lists, &[]), IdentifyOptions::default());
    }
    // Two layers of one shape whose numbers are not in the order of the file.
    let swapped = |name: &str| {
        by_block(name)
            .replace("conv5_1", "conv5_x")
            .replace("conv5_3", "conv5_1")
            .replace("conv5_x", "conv5_3")
    };
    let order = vgg.iter().map(|(name, _)| swapped(name)).collect();
    let renamed =
        Renamed::new(Box::new(Ordered(file(&vgg, swapped, &[]), order)), IdentifyOptions::default());
    assert!(matches!(renamed.found(), Some(Err(Error::Data(_)))), "{:?}", renamed.found());
}

#[test]
fn the_nearest_network_is_the_nearest_by_shapes() {
    let network = network("resnet34");
    let renamed = |name: &str| format!("x{}", name.replace('.', "_"));
    let said = refusal(file(&network, renamed, &[]), IdentifyOptions::default());
    assert!(said.contains("resnet34"), "{said}");
}

#[test]
fn averaged_weights_are_taken_and_plain_ones_can_be() {
    let network = network("resnet20");
    let both = || {
        let mut all = file(&network, |name| format!("model.{name}"), &[]);
        let averaged = file(&network, |name| format!("model_ema.module.{name}"), &[]);
        all.entries.extend(averaged.entries);
        all.marks.extend(averaged.marks.into_iter().map(|(name, mark)| (name, mark + 1000.0)));
        Box::new(all)
    };
    let first = |options: IdentifyOptions| {
        let renamed = Renamed::new(both(), options);
        assert!(notes(&renamed).contains("model_ema.module."), "{:?}", renamed.notes());
        renamed.rows("conv1.weight", 0..1).unwrap()[0]
    };
    assert_eq!(first(IdentifyOptions::default()), 1000.0);
    assert_eq!(first(IdentifyOptions { averaged: Some(true), ..IdentifyOptions::default() }), 1000.0);
    assert_eq!(first(IdentifyOptions { averaged: Some(false), ..IdentifyOptions::default() }), 0.0);
    let plain = file(&network, |name| format!("model.{name}"), &[]);
    let said = refusal(plain, IdentifyOptions { averaged: Some(true), ..IdentifyOptions::default() });
    assert!(said.contains("do not ask for averaged ones"), "{said}");
    let averaged = file(&network, |name| format!("ema.{name}"), &[]);
    refusal(averaged, IdentifyOptions { averaged: Some(false), ..IdentifyOptions::default() });
}

/// Weights of resnet20 with numbers that make a difference.
pub fn resnet20() -> BTreeMap<String, Tensor> {
    let tensor = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let count: usize = shape.iter().product();
        let least = if name.ends_with("running_var") { 0.5 } else { -0.25 };
        let data = (0..count).map(|j| ((i * 7 + j * 13 + j / 50) % 32) as f32 / 64.0 + least).collect();
        (name, Tensor { shape, data })
    };
    network("resnet20").into_iter().enumerate().map(tensor).collect()
}

#[test]
fn a_wrapped_file_gives_the_logits_of_the_plain_one() {
    let folder = folder();
    let here = folder.path();
    image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([8 * x as u8, 8 * y as u8, 90]))
        .save(here.join("p.png"))
        .unwrap();
    let plain = resnet20();
    let mut wrapped: BTreeMap<String, Tensor> = plain
        .iter()
        .map(|(name, tensor)| (format!("net.{}", name.replace("layer2.", "layer2.module.")), tensor.clone()))
        .collect();
    wrapped.insert("criterion.weight".into(), Tensor { shape: vec![7], data: vec![1.0; 7] });
    write_tensors(here.join("plain.safetensors"), &plain, &BTreeMap::new()).unwrap();
    write_tensors(here.join("wrapped.safetensors"), &wrapped, &BTreeMap::new()).unwrap();
    let predict = |file: &str| run(here, &["predict", "p.png", "--weights", file, "--json", "--logits"]);
    let (code, want, said) = predict("plain.safetensors");
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("left out"), "{said}");
    let (code, got, said) = predict("wrapped.safetensors");
    assert_eq!((code, got), (0, want), "{said}");
    assert!(said.contains("left out") && said.contains("criterion.weight"), "{said}");
    // What is converted has the network's names and nothing else.
    let (code, _, said) = run(here, &["convert", "wrapped.safetensors", "new.safetensors"]);
    assert!(code == 0 && said.contains("criterion.weight"), "{said}");
    assert_eq!(ocelli::weights::read(here.join("new.safetensors")).unwrap().tensors, plain);
    let (code, stdout, _) = run(here, &["inspect", "wrapped.safetensors"]);
    let line = stdout.lines().find(|line| line.starts_with("criterion.weight")).unwrap();
    assert!(code == 0 && line.ends_with("left out"), "{stdout}");
    fs::remove_file(here.join("new.safetensors")).unwrap();
}
