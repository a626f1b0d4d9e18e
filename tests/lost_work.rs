//! Drivers that lose work without an error: what was not computed is never taken for a result.

use crate::activations::at_once;
use crate::support::fixtures::{folder, skipped, write_pictures};
use ocelli::gpu::{Fault, Gpu, GpuOptions, Stamp};
use ocelli::graph::Graph;
use ocelli::infer::InferenceStep;
use ocelli::kernels::{ConvOptions, Dispatch};
use ocelli::models::{Arch, Init, Mode, Settings};
use ocelli::plan::{Plan, PlanOptions, Session, check_adapter};
use ocelli::tensor::{Shape, Value};
use ocelli::train::{BatchSize, Config, Control, Event, Hyper, Length, TrainingOptions, TrainingStep, train};
use ocelli::{Error, Result};
use std::sync::Arc;

const FAULTS: [Fault; 4] = [Fault::Dispatches, Fault::Copies, Fault::Submissions, Fault::Writes];

/// A Gpu of its own: each test breaks one.
fn gpu(fault: Fault) -> Arc<Gpu> {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    gpu.inject(fault);
    Arc::new(gpu)
}

fn lost<T: std::fmt::Debug>(gpu: &Gpu, result: Result<T>, what: &str) {
    let error = result.expect_err(what);
    let said = error.to_string();
    assert!(matches!(error, Error::Gpu(_)) && error.exit_code() == 71, "{what}: {error:?}");
    for part in [&gpu.info().name[..], &gpu.info().driver, "lost work"] {
        assert!(said.contains(part), "{what} does not say {part}: {said}");
    }
}

/// y = relu(conv(x)) `deep` times, with five outputs, more than one dispatch stamps; and a state that a step changes.
struct Small {
    session: Session,
    x: Value,
    outputs: Vec<Value>,
    state: Value,
}

fn small(gpu: &Arc<Gpu>, deep: usize) -> Small {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 5, 5, 4));
    let w = graph.state("w", Shape::filter(3, 3, 4, 4));
    let hyper = graph.input("hyper", Shape::vector(4));
    let (mut y, mut all) = (x, Vec::new());
    for _ in 0..deep {
        y = graph.conv2d(y, w, None, ConvOptions { stride: [1, 1], pad: [1, 1], groups: 1 }).unwrap();
        y = graph.relu(y).unwrap();
        all.push(y);
    }
    let outputs = all.split_off(all.len().saturating_sub(5));
    let state = graph.state("changed", Shape::vector(8));
    let velocity = graph.momentum("velocity", Shape::vector(8));
    let gradient = graph.fill(8, 1.0).unwrap();
    graph.sgd(hyper, gradient, state, velocity).unwrap();
    let plan = Plan::new(&graph, &outputs, &PlanOptions::for_gpu(gpu)).unwrap();
    let session = Session::new(gpu.clone(), plan, None).unwrap();
    session.write(w, &[0.1; 144]).unwrap();
    session.write(hyper, &[0.5, 0.0, 0.0, 1.0]).unwrap();
    Small { session, x, outputs, state }
}

impl Small {
    fn run(&self, x: f32) -> Result<()> {
        self.session.write(self.x, &[x; 100])?;
        self.session.run()
    }
}

#[test]
fn an_output_of_a_run_that_was_lost_is_an_error_and_not_that_of_the_run_before() {
    for fault in FAULTS {
        let gpu = gpu(Fault::None);
        let small = small(&gpu, 7);
        // Both sets of outputs hold something.
        for x in [1.0, 2.0, 3.0] {
            small.run(x).unwrap();
            for output in &small.outputs {
                assert!(small.session.output(*output).unwrap().iter().all(|y| *y > 0.0));
            }
        }
        gpu.inject(fault);
        let ran = small.run(4.0).and_then(|()| small.session.output(small.outputs[4]));
        lost(&gpu, ran, &format!("{fault:?}"));
        // What has failed so is not asked again.
        gpu.inject(Fault::None);
        assert!(gpu.is_lost() && small.run(5.0).is_err(), "{fault:?}");
    }
}

#[test]
fn a_run_that_was_lost_shows_in_the_next_one_that_is_read() {
    for fault in [Fault::Dispatches, Fault::Submissions] {
        let gpu = gpu(Fault::None);
        // More calls than one submission has.
        let small = small(&gpu, 150);
        assert!(small.session.plan().submissions().len() > 1);
        small.run(1.0).unwrap();
        small.session.output(small.outputs[0]).unwrap();
        gpu.inject(fault);
        small.run(2.0).unwrap();
        gpu.inject(Fault::None);
        small.run(3.0).unwrap();
        lost(&gpu, small.session.output(small.outputs[0]), &format!("{fault:?}"));
    }
}

#[test]
fn a_state_is_not_read_if_a_step_was_lost_that_should_have_changed_it() {
    for fault in [Fault::Dispatches, Fault::Submissions] {
        let gpu = gpu(Fault::None);
        let small = small(&gpu, 5);
        assert_eq!(small.session.read(small.state).unwrap(), [0.0; 8], "before the first run");
        small.run(1.0).unwrap();
        assert_eq!(small.session.read(small.state).unwrap(), [-0.5; 8]);
        gpu.inject(fault);
        small.run(1.0).unwrap();
        gpu.inject(Fault::None);
        lost(&gpu, small.session.read(small.state), &format!("{fault:?}"));
    }
}

#[test]
fn training_and_inference_end_where_work_is_lost() {
    let arch = Arch::find("resnet20").unwrap();
    let settings = Settings { size: [8, 8], classes: 3, ..arch.settings(2) };
    let pixels = [9; 2 * 8 * 8 * 4];
    for fault in FAULTS {
        let gpu = gpu(Fault::None);
        let network = arch.network(&settings, Mode::Inference).unwrap();
        let infer = InferenceStep::new(&gpu, network, &PlanOptions::for_gpu(&gpu)).unwrap();
        for (i, parameter) in infer.parameters().iter().enumerate() {
            infer.session().write(parameter.value, &parameter.initial(1, i, Some(Init::He))).unwrap();
        }
        let logits = || infer.start(&pixels).and_then(|run| at_once(infer.logits(&run)));
        logits().unwrap();
        gpu.inject(fault);
        lost(&gpu, logits(), &format!("inference, {fault:?}"));
    }
    for fault in [Fault::Dispatches, Fault::Copies] {
        let gpu = gpu(Fault::None);
        let step = TrainingStep::new(&gpu, arch, &settings, TrainingOptions::default()).unwrap();
        let hyper = Hyper { lr: 0.1, momentum: 0.9, weight_decay: 0.0, average_share: 1e-3, noise: [0; 4] };
        step.step(&pixels, &[0, 1], &hyper).unwrap();
        gpu.inject(fault);
        lost(&gpu, step.step(&pixels, &[0, 1], &hyper), &format!("training, {fault:?}"));
    }
}

#[test]
fn an_adapter_that_does_nothing_is_found_out_by_the_first_session() {
    for fault in FAULTS {
        let gpu = gpu(fault);
        let mut graph = Graph::new();
        let image = graph.input("image", Shape::image(1, 1, 1, 4));
        let y = graph.relu(image).unwrap();
        let plan = Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu)).unwrap();
        let error = Session::new(gpu.clone(), plan, None).err().unwrap();
        assert!(matches!(error, Error::Gpu(_)), "{fault:?}: {error:?}");
        assert!(error.to_string().contains(&gpu.info().name), "{fault:?}: {error}");
    }
    let works = gpu(Fault::None);
    // The other tests lose work of the same adapter.
    let once = (0..100).any(|_| {
        at_once(check_adapter(&works)).unwrap();
        let made = works.allocated();
        at_once(check_adapter(&works)).unwrap();
        works.allocated() == made
    });
    assert!(once, "once for each adapter");
}

#[test]
fn an_adapter_that_loses_work_must_show_again_that_it_computes() {
    // Another test may have it checked in between.
    let distrusted = (0..100).any(|_| {
        let broken = gpu(Fault::None);
        at_once(check_adapter(&broken)).unwrap();
        let buffer = broken.buffer("weights", 64).unwrap();
        broken.inject(Fault::Submissions);
        lost(&broken, broken.download(&buffer, 64), "a download");
        !gpu(Fault::None).is_trusted()
    });
    assert!(distrusted);
}

#[test]
fn the_time_of_kernels_that_were_lost_is_none() {
    if !gpu(Fault::None).info().timestamps {
        return skipped("the_time_of_kernels_that_were_lost_is_none", "the adapter has no timestamps");
    }
    for fault in FAULTS {
        let gpu = gpu(Fault::None);
        let small = small(&gpu, 3);
        let times = small.session.run_timed().unwrap().unwrap();
        assert!(times.len() == small.session.plan().dispatches().len() && times.iter().sum::<f64>() > 0.0);
        gpu.inject(fault);
        lost(&gpu, small.session.run_timed(), &format!("{fault:?}"));
    }
}

#[test]
fn weights_are_not_written_if_an_update_of_summed_gradients_was_lost() {
    let folder = folder();
    write_pictures(&folder.path().join("data"), 2, 4, 2, 8);
    let mut config =
        Config::new(Arch::find("resnet20").unwrap(), folder.path().join("data").to_str().unwrap());
    config.length = Length::Steps(2);
    config.batch_size = BatchSize::Fixed(2);
    config.accumulate = 2;
    for (fault, whole) in [(Fault::None, true), (Fault::Updates, false)] {
        let gpu = gpu(Fault::None);
        let out = folder.path().join(format!("{fault:?}"));
        let result = train(&gpu, &config, &out, false, &mut |event| {
            if matches!(event, Event::Planned { .. }) {
                gpu.inject(fault);
            }
            Control::Continue
        });
        for name in ["last.safetensors", "best.safetensors", "metrics.csv"] {
            assert_eq!(out.join(name).exists(), whole, "{fault:?}: {name}");
        }
        if whole {
            result.unwrap();
        } else {
            lost(&gpu, result, "training");
        }
    }
}

#[test]
fn the_kernel_of_the_stamp_compiles_for_every_backend() {
    crate::shaders::check(&Dispatch {
        value: Value::default(),
        kernel: Stamp::kernel(),
        params: vec![0; 24],
        buffers: Vec::new(),
        workgroups: [1; 3],
        fields: Stamp::FIELDS,
        product: false,
    });
}
