//! Training from memory: data sets and networks of one's own, and weights for other classes.

use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, write_pictures};
use crate::training::{bits, config};
use ocelli::data::{Dataset, Normalization, Picture, Split, open};
use ocelli::error::Note;
use ocelli::models::{Arch, Mode, Settings};
use ocelli::train::{Config, Control, Event, Hyper, Length, TrainingOptions, TrainingRun, TrainingStep};
use ocelli::weights::{InMemory, Tensor, read};
use ocelli::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The pictures of another data set, held in memory.
struct InRam {
    classes: Vec<String>,
    pictures: Vec<(Picture, u32, String)>,
}

impl InRam {
    fn copy(data: &Path, split: Split) -> Arc<dyn Dataset> {
        let set = open(data.to_str().unwrap(), split).unwrap();
        let pictures = (0..set.len()).map(|i| (set.load(i).unwrap(), set.label(i), set.name(i)));
        Arc::new(Self { classes: set.classes().to_vec(), pictures: pictures.collect() })
    }
}

impl Dataset for InRam {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.pictures[i].1
    }

    fn name(&self, i: usize) -> String {
        self.pictures[i].2.clone()
    }

    fn load(&self, i: usize) -> Result<Picture> {
        Ok(self.pictures[i].0.clone())
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        None
    }

    fn normalization(&self) -> Normalization {
        Normalization::IMAGENET
    }
}

#[test]
fn data_sets_of_ones_own_train_to_the_bits_of_a_folder() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 6, 2, 8);
    let config = Config { length: Length::Steps(3), ..config(&data) };
    let [from_folder, from_memory] = ["folder", "memory"].map(|name| folder.path().join(name));
    TrainingRun::new(&gpu(), &config, &from_folder).run(&mut |_| Control::Continue).unwrap();
    let own = || [Split::Train, Split::Val].map(|split| InRam::copy(&data, split));
    // With a stop and a resumption in between.
    let run = |stop: bool| {
        let gpu = gpu();
        let run = TrainingRun::new(&gpu, &config, &from_memory).with_datasets(own()).with_resume(!stop);
        run.run(&mut |event| match event {
            Event::Step { step: 1, .. } if stop => Control::Stop,
            _ => Control::Continue,
        })
    };
    assert!(matches!(run(true), Err(Error::Stopped(_))));
    run(false).unwrap();
    assert_eq!(bits(&from_memory), bits(&from_folder));
}

#[test]
fn contradictions_are_errors_before_the_folder_of_a_run_is_made() {
    let folder = folder();
    let [data, other, out] = ["data", "other", "out"].map(|name| folder.path().join(name));
    write_pictures(&data, 2, 4, 1, 8);
    write_pictures(&other, 3, 4, 1, 8);
    let config = config(&data);
    let own = [InRam::copy(&data, Split::Train), InRam::copy(&other, Split::Val)];
    let gpu = gpu();
    let run = TrainingRun::new(&gpu, &config, &out).with_datasets(own);
    let error = run.run(&mut |_| Control::Continue).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("different classes"), "{error}");
    let config = Config { new_classifier: true, ..config };
    let error = TrainingRun::new(&gpu, &config, &out).run(&mut |_| Control::Continue).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("--weights"), "{error}");
    assert!(!out.exists());
}

#[test]
fn a_run_can_be_stopped_at_a_picture_that_cannot_be_read() {
    let folder = folder();
    let [data, out] = ["data", "out"].map(|name| folder.path().join(name));
    write_pictures(&data, 2, 6, 2, 8);
    let broken = std::fs::read_dir(data.join("train")).unwrap().next().unwrap().unwrap().path();
    let broken = std::fs::read_dir(broken).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&broken, b"no picture").unwrap();
    let config = Config { length: Length::Epochs(2), allow_unreadable: true, ..config(&data) };
    let mut after = 0;
    let run = TrainingRun::new(&gpu(), &config, &out).run(&mut |event| match event {
        Event::Skipped(_) => Control::Stop,
        Event::Epoch(_) => {
            after += 1;
            Control::Continue
        }
        _ => Control::Continue,
    });
    assert!(matches!(run, Err(Error::Stopped(_))), "{run:?}");
    assert_eq!(after, 0);
}

fn settings(arch: &Arch, classes: usize) -> Settings {
    Settings { size: [8, 8], classes, ..arch.settings(4) }
}

fn train(step: &TrainingStep, classes: u32) -> BTreeMap<String, Tensor> {
    let pixels: Vec<u8> = (0..4 * 8 * 8 * 4).map(|i| (i * 37 % 251) as u8).collect();
    let labels: Vec<u32> = (0..4).map(|i| i % classes).collect();
    for i in 0..2 {
        let outcome = step.step(&pixels, &labels, &Hyper::default().with_noise(3, i)).unwrap();
        assert_eq!(outcome.loss.len(), 4);
    }
    step.weights().unwrap()
}

#[test]
fn a_built_network_trains_to_the_bits_of_its_variant() {
    let gpu = gpu();
    let arch = Arch::find("resnet20").unwrap();
    let settings = settings(arch, 3);
    let of_arch = TrainingStep::new(&gpu, arch, &settings, TrainingOptions::default()).unwrap();
    let network = arch.network(&settings, Mode::Training).unwrap();
    let of_network = TrainingStep::of_network(&gpu, network, TrainingOptions::default()).unwrap();
    let [want, got] = [of_arch, of_network].map(|step| {
        step.initialize(5, None).unwrap();
        train(&step, 3)
    });
    assert_eq!(got, want);
}

/// Whether a tensor belongs to a classifier head of ResNet-20 or GoogLeNet.
fn is_head(name: &str) -> bool {
    ["fc.", "linear.", "aux1.fc2.", "aux2.fc2."].iter().any(|head| name.starts_with(head))
}

#[test]
fn everything_but_the_classifier_can_be_loaded() {
    let gpu = gpu();
    for (name, size) in [("resnet20", 8), ("googlenet-tv", 64)] {
        let arch = Arch::find(name).unwrap();
        let step = |classes| {
            let settings = Settings { size: [size; 2], classes, ..arch.settings(2) };
            TrainingStep::new(&gpu, arch, &settings, TrainingOptions::default()).unwrap()
        };
        let (source, other, fresh) = (step(5), step(3), step(3));
        source.initialize(1, None).unwrap();
        let weights = source.weights().unwrap();
        let error = other.load(&InMemory::new(&weights), 2).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{error}");
        other.load_except_classifier(&InMemory::new(&weights), 2).unwrap();
        fresh.initialize(2, None).unwrap();
        let (got, new) = (other.weights().unwrap(), fresh.weights().unwrap());
        assert_eq!(got.len(), weights.len());
        let mut heads = 0;
        for (tensor, content) in &got {
            let want = if is_head(tensor) { &new } else { &weights };
            assert_eq!(content, &want[tensor], "{name}: {tensor}");
            heads += usize::from(is_head(tensor));
        }
        assert_eq!(heads, if name == "resnet20" { 2 } else { 6 });
        // A file for inference has no auxiliary classifiers.
        let inference: BTreeMap<_, _> = weights.into_iter().filter(|(n, _)| !n.starts_with("aux")).collect();
        source.load(&InMemory::new(&inference), 2).unwrap();
        other.load_except_classifier(&InMemory::new(&inference), 2).unwrap();
    }
}

#[test]
fn a_run_fine_tunes_weights_for_other_classes() {
    let folder = folder();
    let [two, three, first, kept, tuned] =
        ["two", "three", "first", "kept", "tuned"].map(|name| folder.path().join(name));
    write_pictures(&two, 2, 4, 1, 8);
    write_pictures(&three, 3, 4, 1, 8);
    let run = |config: &Config, out: &Path| {
        let mut notes = Vec::new();
        let result = TrainingRun::new(&gpu(), config, out).run(&mut |event| {
            if let Event::Start { notes: told, .. } = event {
                notes.extend(told.to_vec());
            }
            Control::Continue
        });
        (result, notes)
    };
    run(&Config { length: Length::Steps(1), ..config(&two) }, &first).0.unwrap();
    let other = Config {
        length: Length::Steps(1),
        lr: 0.0,
        weights: Some(first.join("last.safetensors")),
        ..config(&three)
    };
    // class0 and class1 are known by name, class2 is not.
    let (result, notes) = run(&other, &kept);
    result.unwrap();
    let says =
        |notes: &[Note], what: &str| assert!(notes.iter().any(|n| n.to_string().contains(what)), "{notes:?}");
    says(
        &notes,
        "(linear.bias, linear.weight) starts with the weights of the file for class0, class1, and new ones for class2",
    );
    let [before, rows] = [&first, &kept].map(|out| read(out.join("last.safetensors")).unwrap().tensors);
    for (name, tensor) in rows.iter().filter(|(name, _)| !name.contains("running")) {
        let known = &before[name].data;
        assert_eq!(tensor.data[..known.len()], known[..], "{name}");
        assert_eq!(tensor.data.len() > known.len(), is_head(name), "{name}");
    }
    assert!(rows["linear.weight"].data[2 * 64..].iter().all(|x| *x != 0.0), "drawn at random");
    let other = Config { new_classifier: true, ..other };
    let (result, notes) = run(&other, &tuned);
    result.unwrap();
    says(&notes, "the classifier starts with new weights");
    let [before, after] = [&first, &tuned].map(|out| read(out.join("last.safetensors")).unwrap().tensors);
    // At a learning rate of 0 only the running statistics change.
    for (name, tensor) in after.iter().filter(|(name, _)| !name.contains("running")) {
        assert_eq!(before[name] != *tensor, is_head(name), "{name}");
    }
}
