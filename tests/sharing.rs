//! What threads share, and what they cannot.

use crate::ops::harness::gpu;
use crate::support::fixtures::folder;
use ocelli::data::{Normalization, Picture, Preprocessing};
use ocelli::gpu::Gpu;
use ocelli::infer::{ActivationRecorder, InferenceStep};
use ocelli::models::{Arch, Init, Settings};
use ocelli::plan::Session;
use ocelli::train::{EvaluationStep, TrainingStep, transfer};
use ocelli::weights::{Metadata, Weights, write};
use ocelli::{Classifier, ClassifierOptions};
use std::path::Path;

/// Compiles for a type that is not `Sync`: for another one there are two `check`, and neither is chosen.
trait NotSync<Which> {
    fn check() {}
}
impl<T: ?Sized> NotSync<()> for T {}
struct Shared;
impl<T: ?Sized + Sync> NotSync<Shared> for T {}

fn sent<T: Send>() {}
fn shared<T: Send + Sync>() {}

#[test]
fn what_has_one_set_of_inputs_is_not_shared() {
    <Session as NotSync<_>>::check();
    <TrainingStep as NotSync<_>>::check();
    <EvaluationStep as NotSync<_>>::check();
    <InferenceStep as NotSync<_>>::check();
    <ActivationRecorder as NotSync<_>>::check();
    sent::<Session>();
    sent::<TrainingStep>();
    sent::<EvaluationStep>();
    sent::<InferenceStep>();
    sent::<ActivationRecorder>();
    shared::<Gpu>();
    shared::<Classifier>();
}

fn weights(path: &Path) {
    let arch = Arch::find("resnet20").unwrap();
    let step = EvaluationStep::new(&gpu(), arch, &Settings { classes: 5, ..arch.settings(1) }, None).unwrap();
    for (i, parameter) in step.parameters().iter().enumerate() {
        step.session().write(parameter.value, &parameter.initial(8, i, Some(Init::He))).unwrap();
    }
    let metadata = Metadata {
        arch: "resnet20".to_owned(),
        classes: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
        input: [32, 32, 3],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
    };
    let tensors = transfer::save(step.session(), step.parameters().iter()).unwrap();
    write(path, &Weights { tensors, metadata: Some(metadata) }).unwrap();
}

fn picture(number: u32) -> Picture {
    let byte = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(number.wrapping_mul(40_503)) >> 24) as u8;
    Picture::from_rgba(32, 32, (0..32 * 32 * 4).map(byte).collect()).unwrap()
}

#[test]
fn eight_threads_share_a_classifier_and_all_answers_are_right() {
    const THREADS: u32 = 8;
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights(&file);
    let classifier =
        Classifier::open(&gpu(), &file, ClassifierOptions { batch_size: 2, ..Default::default() }).unwrap();
    let pictures = |thread: u32| (0..3).map(|i| picture(3 * thread + i)).collect::<Vec<_>>();
    let alone: Vec<_> = (0..THREADS).map(|t| classifier.logits(&pictures(t)).unwrap()).collect();
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "threads that cannot be told apart");
    std::thread::scope(|scope| {
        for (thread, alone) in (0..THREADS).zip(&alone) {
            let (classifier, pictures) = (&classifier, pictures(thread));
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(classifier.logits(&pictures).unwrap(), *alone, "thread {thread}");
                    let best = classifier.classify(&pictures[1], 1).unwrap();
                    assert_eq!(best, classifier.top(&alone[1], 1).unwrap());
                }
            });
        }
    });
    assert!(!gpu().is_lost());
    assert_eq!(classifier.logits(&pictures(0)).unwrap(), alone[0]);
}
