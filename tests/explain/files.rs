//! Explanations of a network from a file, by the library.

use crate::ops::harness::gpu;
use crate::support::fixtures::folder;
use ocelli::data::{ChannelOrder, ColourMap, Normalization, Picture, Preprocessing};
use ocelli::explain::{
    self, Explainer, Map, MaximizeOptions, OcclusionOptions, SmoothGradOptions, Target, UnitSearch, Units,
};
use ocelli::models::{Arch, Init, Settings};
use ocelli::train::{EvaluationStep, transfer};
use ocelli::weights::{Metadata, Weights, read, write};
use ocelli::{Classifier, ClassifierOptions, Error};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A network with first weights and running statistics that change something.
pub fn weights(name: &str, classes: usize, size: usize, order: ChannelOrder, path: &Path) {
    let arch = Arch::find(name).unwrap();
    let settings = Settings { classes, size: [size; 2], ..arch.settings(1) };
    let step = EvaluationStep::new(&gpu(), arch, &settings, None).unwrap();
    for (i, parameter) in step.parameters().iter().enumerate() {
        let mut numbers = parameter.initial(3, i, Some(Init::He));
        if !parameter.trained || parameter.torch_shape.len() == 1 {
            let wave = |(j, x): (usize, &mut f32)| *x += 0.3 * ((i + 3 * j) as f32).sin().abs();
            numbers.iter_mut().enumerate().for_each(wave);
        }
        step.session().write(parameter.value, &numbers).unwrap();
    }
    let metadata = Metadata {
        arch: name.to_owned(),
        classes: (0..classes).map(|i| format!("kind{i}")).collect(),
        input: [size, size, 3],
        preprocessing: Preprocessing { order, ..Preprocessing::covering(Normalization::IMAGENET) },
    };
    let tensors = transfer::save(step.session(), step.parameters().iter()).unwrap();
    write(path, &Weights { tensors, metadata: Some(metadata) }).unwrap();
}

fn picture(number: u32) -> Picture {
    let byte = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(number.wrapping_mul(40_503)) >> 24) as u8;
    Picture::from_rgb(40, 48, &(0..40 * 48 * 3).map(byte).collect::<Vec<u8>>()).unwrap()
}

fn opened(name: &str, size: usize, order: ChannelOrder) -> (Classifier, Explainer) {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights(name, 4, size, order, &file);
    let classifier = Classifier::open(&gpu(), &file, ClassifierOptions::default()).unwrap();
    let explainer = Explainer::new(&classifier).unwrap();
    (classifier, explainer)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
    logits.iter().map(|x| f64::from(*x).exp() / sum).collect()
}

fn says(result: ocelli::Result<impl std::fmt::Debug>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn occlusion_is_the_loop_of_single_predictions() {
    for order in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
        let (classifier, mut explainer) = opened("resnet20", 32, order);
        let input = explainer.input(&picture(1)).unwrap();
        let options = OcclusionOptions { size: Some(9), stride: Some(6), colour: Some([90, 140, 10]) };
        let mut told = Vec::new();
        let mut progress = |done, all| {
            told.push([done, all]);
            ControlFlow::Continue(())
        };
        let found = explain::occlusion(&mut explainer, &input, Some(2), options, &mut progress).unwrap();
        assert_eq!((&found.rows[..], &found.columns[..]), (&[0, 6, 12, 18, 23][..], &[0, 6, 12, 18, 23][..]));
        assert_eq!(told.last().unwrap(), &[25, 25]);
        let mut worst = 0.0f32;
        for (i, row) in found.rows.iter().enumerate() {
            for (j, column) in found.columns.iter().enumerate() {
                let mut hidden = input.picture().unwrap();
                for y in *row..row + 9 {
                    for x in *column..column + 9 {
                        hidden.rgba_mut()[4 * (y * 32 + x)..][..3].copy_from_slice(&[90, 140, 10]);
                    }
                }
                let logits = classifier.logits(&[hidden]).unwrap().remove(0);
                let p = softmax(&logits)[2] as f32;
                worst = worst.max((p - found.map.data[i * 5 + j]).abs());
            }
        }
        println!("{order}: {worst:e}");
        assert!(worst < 1e-5, "{worst:e}");
        let stopped = explain::occlusion(
            &mut explainer,
            &input,
            None,
            OcclusionOptions { size: Some(4), stride: Some(1), colour: None },
            &mut |_, _| ControlFlow::Break(()),
        );
        assert!(matches!(stopped, Err(Error::Stopped(_))));
    }
}

#[test]
fn a_gradient_says_how_the_logit_changes() {
    // The derivative along a direction, by differences of the library's own logits of pictures with other preprocessing: the logit of
    // a picture that is brighter by one in 255.
    let (classifier, mut explainer) = opened("resnet20", 32, ChannelOrder::Bgr);
    let input = explainer.input(&picture(2)).unwrap();
    let gradient = explain::saliency(&mut explainer, &input, Some(1)).unwrap().gradient;
    let at = |change: i16| {
        let mut picture = input.picture().unwrap();
        for pixel in picture.rgba_mut().chunks_mut(4) {
            pixel[0] = (i16::from(pixel[0].clamp(4, 250)) + change) as u8;
        }
        f64::from(classifier.logits(&[picture]).unwrap()[0][1])
    };
    let slope = (at(2) - at(-2)) / 4.0;
    let red = gradient.channel(0).data.iter().map(|x| f64::from(*x)).sum::<f64>() / (255.0 * 0.229);
    println!("{slope} {red}");
    assert!((slope - red).abs() < 0.15 * red.abs(), "{slope} {red}");
}

#[test]
fn smooth_grad_without_noise_is_the_gradient_and_seeds_decide_it() {
    let (_, mut explainer) = opened("resnet20", 32, ChannelOrder::Rgb);
    let input = explainer.input(&picture(3)).unwrap();
    let mut smooth = |samples, noise, seed| {
        let options = SmoothGradOptions { samples, noise, seed };
        explain::smooth_grad(&mut explainer, &input, None, options, &mut |_| ControlFlow::Continue(()))
    };
    let still = smooth(3, 0.0, 0).unwrap();
    let [a, b, c] = [smooth(5, 0.2, 1), smooth(5, 0.2, 1), smooth(5, 0.2, 2)].map(Result::unwrap);
    assert_eq!(a, b);
    assert_ne!(a.gradient, c.gradient);
    for wrong in [smooth(0, 0.1, 0), smooth(1, -1.0, 0), smooth(1, f32::NAN, 0)] {
        assert!(matches!(wrong, Err(Error::Usage(_))));
    }
    let plain = explain::saliency(&mut explainer, &input, None).unwrap();
    assert_eq!(plain.class, still.class);
    // Faint noise changes it little: the mean is over all samples, not over those of a batch.
    let norm = |map: &Map| map.data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let options = SmoothGradOptions { samples: 70, noise: 1e-4, seed: 3 };
    let faint =
        explain::smooth_grad(&mut explainer, &input, None, options, &mut |_| ControlFlow::Continue(()))
            .unwrap();
    let share = norm(&faint.gradient) / norm(&plain.gradient);
    assert!((0.9..1.1).contains(&share) && faint.gradient != plain.gradient, "{share}");
    let most = plain.gradient.data.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let off = plain.gradient.data.iter().zip(&still.gradient.data).map(|(a, b)| (a - b).abs());
    assert!(off.fold(0.0f32, f32::max) < 1e-5 * most);
}

#[test]
fn every_family_is_explained() {
    for (name, size) in [
        ("alexnet", 67),
        ("zfnet", 64),
        ("vgg11", 32),
        ("googlenet", 64),
        ("resnet18", 64),
        ("preresnet110", 16),
    ] {
        let (_, mut explainer) = opened(name, size, ChannelOrder::Rgb);
        let input = explainer.input(&picture(4)).unwrap();
        let cam = explain::grad_cam(&mut explainer, &input, None, None).unwrap();
        assert_eq!(cam.heat.shape, [size, size, 1], "{name}");
        assert!(cam.heat.data.iter().all(|x| (0.0..=1.0).contains(x)));
        let both = explain::guided_grad_cam(&mut explainer, &input, None, None).unwrap();
        assert_eq!((&both.cam, both.product.shape), (&cam, [size, size, 3]), "{name}");
        let units = explain::deconvnet(&mut explainer, &input, None, &Units::Top(3)).unwrap();
        assert!(!units.is_empty() && units.len() <= 3, "{name}");
        assert!(units.windows(2).all(|two| two[0].activation >= two[1].activation));
        for unit in &units {
            assert!(unit.image.data.iter().any(|x| *x != 0.0), "{name} {unit:?}");
            let [top, left, height, width] = unit.field;
            assert!(height > 0 && width > 0 && top + height <= size && left + width <= size, "{name}");
            // Nothing comes back to where the unit does not look, but for rounding by the algorithm of Winograd.
            let mut inside = 0.0;
            for x in unit.image.part(unit.field).data {
                inside += f64::from(x.abs());
            }
            let all: f64 = unit.image.data.iter().map(|x| f64::from(x.abs())).sum();
            assert!((all - inside).abs() <= 1e-6 * all, "{name}: {all} and {inside} in {:?}", unit.field);
        }
        let maps = explain::activations(&mut explainer, &input, None).unwrap();
        assert_eq!(maps.strongest.len(), maps.maps.shape[2], "{name}");
        if name == "googlenet" {
            let error =
                explain::filters(&mut explainer, Some("inception5b.branch1")).unwrap_err().to_string();
            assert!(error.contains("filters are of one pixel"), "{error}");
        }
        let filters = explain::filters(&mut explainer, None).unwrap();
        assert_eq!(filters.shape[3], 3, "{name}");
        let picture = input.picture().unwrap();
        explain::overlay(&picture, &both.cam.heat, 0.5, ColourMap::Viridis).unwrap();
    }
}

#[test]
fn one_unit_in_a_batch_and_alone_and_by_pictures_come_back_the_same() {
    let (_, mut explainer) = opened("resnet20", 32, ChannelOrder::Rgb);
    let inputs: Vec<_> = (0..3).map(|i| explainer.input(&picture(i)).unwrap()).collect();
    let layer = explainer.layer("layer2.1.relu2").unwrap().clone();
    let together = explain::deconvnet(&mut explainer, &inputs[1], Some(&layer.name), &Units::Top(5)).unwrap();
    let close = |a: &Map, b: &Map| {
        let most = b.data.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() <= 1e-5 * most)
    };
    for one in &together {
        let units = Units::These(vec![one.unit]);
        let alone = explain::deconvnet(&mut explainer, &inputs[1], Some(&layer.name), &units).unwrap();
        assert!(close(&alone[0].image, &one.image), "unit {}", one.unit);
        let found = explain::deconvnet_of_pictures(&mut explainer, &layer, one.unit, &inputs).unwrap();
        assert_eq!(found.len(), 3);
        assert!(close(&found[1].image, &one.image) && found[1].place == one.place);
    }
}

#[test]
fn a_search_finds_the_pictures_with_the_greatest_activations() {
    let (_, mut explainer) = opened("resnet20", 32, ChannelOrder::Rgb);
    let inputs: Vec<_> = (0..11).map(|i| explainer.input(&picture(i)).unwrap()).collect();
    for layer in ["conv1", "layer3.2.relu2", "layer2.0.bn2"] {
        let name = explainer.layer(layer).unwrap().name.clone();
        let mut search = UnitSearch::new(&explainer, Some(&name), 3).unwrap();
        search.add(&mut explainer, &inputs[..4]).unwrap();
        search.add(&mut explainer, &inputs[4..]).unwrap();
        assert_eq!(search.seen(), 11);
        let maps: Vec<Map> = inputs
            .iter()
            .map(|input| explain::activations(&mut explainer, input, Some(&name)).unwrap().maps)
            .collect();
        for unit in 0..search.layer().shape[2] {
            let mut wanted: Vec<(usize, f32)> = maps.iter().map(|map| map.peak(unit).1).enumerate().collect();
            wanted.retain(|(_, x)| *x > 0.0);
            wanted.sort_by(|a, b| b.1.total_cmp(&a.1));
            wanted.truncate(3);
            let best = search.best(unit);
            assert_eq!(best.len(), wanted.len(), "{name} {unit}");
            for (found, (_, activation)) in best.iter().zip(&wanted) {
                assert!((found.activation - activation).abs() <= 1e-4 * activation, "{name} {unit}");
            }
        }
        let strongest = search.strongest();
        let peaks: Vec<f32> = strongest.iter().map(|unit| search.best(*unit)[0].activation).collect();
        assert!(peaks.windows(2).all(|two| two[0] >= two[1]));
    }
}

#[test]
fn a_picture_is_improved_step_by_step_and_the_same_seed_gives_the_same() {
    let (_, mut explainer) = opened("resnet20", 32, ChannelOrder::Rgb);
    let unit = Target::Unit { layer: "layer2.2.relu2".to_owned(), unit: 5 };
    for target in [Target::Class(3), unit] {
        let options = MaximizeOptions { steps: 30, ..MaximizeOptions::default() };
        let mut go_on = |_, _| ControlFlow::Continue(());
        let found = explain::maximize(&mut explainer, &target, None, options, &mut go_on).unwrap();
        assert_eq!(found.history.len(), 31);
        let (first, last) = (found.history[0], *found.history.last().unwrap());
        println!("{target:?}: {first} {last}");
        assert!(last > first + 0.05 * first.abs(), "{target:?}: {first} {last}");
        assert_eq!(explain::maximize(&mut explainer, &target, None, options, &mut go_on).unwrap(), found);
        let other = MaximizeOptions { seed: 1, ..options };
        assert_ne!(explain::maximize(&mut explainer, &target, None, other, &mut go_on).unwrap(), found);
        let stopped = explain::maximize(&mut explainer, &target, None, options, &mut |step, _| {
            if step == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(stopped.unwrap().history.len(), 5);
    }
}

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    let (_, mut explainer) = opened("resnet20", 32, ChannelOrder::Rgb);
    let input = explainer.input(&picture(5)).unwrap();
    let error = says(explain::grad_cam(&mut explainer, &input, Some(4), None));
    assert!(error.contains("there is no class 4") && error.contains("0 to 3"), "{error}");
    let error = says(explain::grad_cam(&mut explainer, &input, None, Some("layer9")));
    assert!(error.contains("there is no layer layer9") && error.contains("layer1.0.conv1"), "{error}");
    let error = says(explain::grad_cam(&mut explainer, &input, None, Some("layer1")));
    assert!(error.contains("a part of the names of") && error.contains("layer1.2"), "{error}");
    let error = says(explain::deconvnet(&mut explainer, &input, Some("conv1"), &Units::These(vec![0, 16])));
    assert!(error.contains("there is no unit 16") && error.contains("0 to 15"), "{error}");
    let error = says(explainer.prepared(vec![0; 5]));
    assert!(error.contains("4096 bytes"), "{error}");
    let wrong = OcclusionOptions { size: Some(33), ..OcclusionOptions::default() };
    let mut go_on = |_, _| ControlFlow::Continue(());
    let error = says(explain::occlusion(&mut explainer, &input, None, wrong, &mut go_on));
    assert!(error.contains("1 to 32 pixels"), "{error}");
    assert_eq!(explain::filters(&mut explainer, Some("linear")).unwrap().layer, "layer3.2.conv2");
    let error = says(explain::grad_cam(&mut explainer, &input, None, Some("linear")));
    assert!(error.contains("it has no map") && error.contains("layer3.2.relu2"), "{error}");
    for (wrong, what) in [
        (MaximizeOptions { rate: f32::NAN, ..MaximizeOptions::default() }, "a rate of NaN"),
        (MaximizeOptions { decay: 1.5, ..MaximizeOptions::default() }, "from 0 to 1"),
        (MaximizeOptions { total_variation: 1e30, ..MaximizeOptions::default() }, "total variation"),
        (MaximizeOptions { steps: 0, ..MaximizeOptions::default() }, "at least one step"),
    ] {
        let result = explain::maximize(&mut explainer, &Target::Class(0), None, wrong, &mut |_, _| {
            ControlFlow::Continue(())
        });
        let error = says(result);
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn a_unit_that_never_fires_is_said_to() {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights("resnet20", 4, 32, ChannelOrder::Rgb, &file);
    let mut changed = read(&file).unwrap();
    let tensor = |name: &str| format!("layer1.0.bn1.{name}");
    changed.tensors.get_mut(&tensor("bias")).unwrap().data[3] = -1000.0;
    write(&file, &changed).unwrap();
    let classifier = Classifier::open(&gpu(), &file, ClassifierOptions::default()).unwrap();
    let mut explainer = Explainer::new(&classifier).unwrap();
    let input = explainer.input(&picture(5)).unwrap();
    for layer in ["layer1.0.bn1", "layer1.0.relu1"] {
        let error = says(explain::deconvnet(&mut explainer, &input, Some(layer), &Units::These(vec![2, 3])));
        assert!(error.contains("unit 3 does not fire") && error.contains(layer), "{error}");
        let top = explain::deconvnet(&mut explainer, &input, Some(layer), &Units::Top(16)).unwrap();
        assert!(top.iter().all(|one| one.unit != 3));
    }
    let target = Target::Unit { layer: "layer1.0.relu1".to_owned(), unit: 3 };
    let options = MaximizeOptions { steps: 3, ..MaximizeOptions::default() };
    let result =
        explain::maximize(&mut explainer, &target, None, options, &mut |_, _| ControlFlow::Continue(()));
    let error = says(result);
    assert!(error.contains("layer layer1.0.relu1, unit 3") && error.contains("gradient is 0"), "{error}");
    let mut search = UnitSearch::new(&explainer, Some("layer1.0.relu1"), 9).unwrap();
    search.add(&mut explainer, &[input]).unwrap();
    assert!(search.best(3).is_empty() && !search.strongest().contains(&3));
}

#[test]
fn one_output_is_two_classes_with_opposite_gradients() {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights("resnet20", 1, 32, ChannelOrder::Rgb, &file);
    let classifier = Classifier::open(&gpu(), &file, ClassifierOptions::default()).unwrap();
    let mut explainer = Explainer::new(&classifier).unwrap();
    assert_eq!(explainer.class_names().len(), 2);
    let input = explainer.input(&picture(6)).unwrap();
    let both = explainer.probabilities(&input).unwrap();
    assert!((both.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{both:?}");
    let [no, yes] = [0, 1].map(|class| explain::saliency(&mut explainer, &input, Some(class)).unwrap());
    assert_eq!([no.class.probability, yes.class.probability], [both[0], both[1]]);
    assert!(no.gradient.data.iter().zip(&yes.gradient.data).all(|(a, b)| *a == -*b));
    assert!(yes.gradient.data.iter().any(|x| *x != 0.0));
    let options = OcclusionOptions { size: Some(16), stride: Some(16), colour: None };
    let mut go_on = |_, _| ControlFlow::Continue(());
    let [a, b] = [0, 1].map(|class| {
        explain::occlusion(&mut explainer, &input, Some(class), options, &mut go_on).unwrap().map.data
    });
    assert!(a.iter().zip(&b).all(|(a, b)| (a + b - 1.0).abs() < 1e-6), "{a:?} {b:?}");
}

#[test]
fn a_graph_that_is_no_variant_is_explained_in_batches_of_its_classifier() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("tests/golden/onnx/exporters/torch_several_heads.opset17.onnx");
    for batch_size in [1, 3] {
        let options = ClassifierOptions { batch_size, ..ClassifierOptions::default() };
        let classifier = Classifier::open(&gpu(), &file, options).unwrap();
        assert!(classifier.card().arch().is_none(), "this is to be a graph that is no variant");
        let mut explainer = Explainer::new(&classifier).unwrap();
        let input = explainer.input(&picture(7)).unwrap();
        let seen = input.picture().unwrap();
        let wanted = softmax(&classifier.logits(std::slice::from_ref(&seen)).unwrap()[0]);
        let got = explainer.probabilities(&input).unwrap();
        assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {wanted:?}");
        let plain = explain::saliency(&mut explainer, &input, None).unwrap();
        let still = SmoothGradOptions { samples: 4, noise: 0.0, seed: 0 };
        let smooth =
            explain::smooth_grad(&mut explainer, &input, None, still, &mut |_| ControlFlow::Continue(()));
        assert_eq!(plain, smooth.unwrap(), "the same batch, so the same bits");
        let [h, w] = explainer.size();
        let options =
            OcclusionOptions { size: Some(h.min(w) / 2), stride: Some(h.min(w) / 3), colour: Some([9; 3]) };
        let mut go_on = |_, _| ControlFlow::Continue(());
        let found = explain::occlusion(&mut explainer, &input, Some(1), options, &mut go_on).unwrap();
        for (i, row) in found.rows.iter().enumerate() {
            for (j, column) in found.columns.iter().enumerate() {
                let mut hidden = seen.clone();
                for y in *row..row + found.size {
                    for x in *column..column + found.size {
                        hidden.rgba_mut()[4 * (y * w + x)..][..3].copy_from_slice(&[9; 3]);
                    }
                }
                let p = softmax(&classifier.logits(&[hidden]).unwrap()[0])[1];
                let got = f64::from(found.map.data[i * found.columns.len() + j]);
                assert!((got - p).abs() < 1e-5, "{got} {p}");
            }
        }
        let layer = explainer.layer_or_middle_map(None).unwrap().name.clone();
        assert!(
            !explain::deconvnet(&mut explainer, &input, Some(&layer), &Units::Top(2)).unwrap().is_empty()
        );
        let mut search = UnitSearch::new(&explainer, Some(&layer), 2).unwrap();
        let inputs: Vec<_> = (0..4).map(|i| explainer.input(&picture(i)).unwrap()).collect();
        search.add(&mut explainer, &inputs).unwrap();
        assert_eq!(search.seen(), 4);
        let error = explainer.layer("nothing").unwrap_err().to_string();
        assert!(error.contains(&layer) && !error.contains("ocelli show"), "{error}");
    }
}

#[test]
fn memory_is_told_before_it_is_taken() {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights("resnet20", 4, 32, ChannelOrder::Rgb, &file);
    let classifier = Classifier::open(&gpu(), &file, ClassifierOptions::default()).unwrap();
    let told: Arc<Mutex<Vec<u64>>> = Arc::default();
    let hears = told.clone();
    let made = Explainer::new_async(&classifier, move |bytes| hears.lock().unwrap().push(bytes));
    let mut explainer = crate::activations::at_once(made).unwrap();
    let input = explainer.input(&picture(1)).unwrap();
    for _ in 0..2 {
        explain::grad_cam(&mut explainer, &input, None, None).unwrap();
    }
    let told = told.lock().unwrap();
    // The network for one picture, and Grad-CAM, which is kept for the second question.
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|bytes| *bytes > 10_000), "{told:?}");
}
