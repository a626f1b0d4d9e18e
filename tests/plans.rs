//! What a plan promises: memory that is known, used again, and never grows.

use crate::ops::harness::PRODUCTS;
use ocelli::Error;
use ocelli::gpu::{Gpu, GpuOptions, Limits};
use ocelli::models::{Arch, Mode};
use ocelli::ops::{Access, BufId, Product};
use ocelli::plan::{Plan, PlanOptions};
use ocelli::train::{Hyper, TrainingGraph, TrainingStep};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

fn training(arch: &str, batch_size: usize, product: Product) -> (TrainingGraph, Plan) {
    let arch = Arch::find(arch).unwrap();
    let graph = TrainingGraph::new(arch, &arch.settings(batch_size)).unwrap();
    let plan = graph.plan(&PlanOptions::new(product, Limits::WEBGPU)).unwrap();
    (graph, plan)
}

#[test]
fn a_dispatch_never_writes_what_it_also_binds() {
    for product in PRODUCTS {
        let (_, plan) = training("resnet20", 2, product);
        for dispatch in plan.dispatches() {
            let slots: Vec<(Option<usize>, Access)> =
                dispatch.buffers.iter().map(|(buf, access)| (plan.slot_of(buf.id), *access)).collect();
            for (i, (slot, access)) in slots.iter().enumerate() {
                assert!(slot.is_some(), "{} has a buffer without memory", dispatch.kernel.name);
                if *access == Access::Write {
                    let others = slots.iter().enumerate().filter(|(j, _)| *j != i);
                    let twice = others.filter(|(_, (s, _))| s == slot).count();
                    assert_eq!(twice, 0, "{} writes a slot that it binds twice", dispatch.kernel.name);
                }
            }
        }
    }
}

#[test]
fn a_graph_prints_as_text_and_as_dot() {
    let arch = Arch::find("resnet20").unwrap();
    let graph = arch.network(&arch.settings(1), Mode::Inference).unwrap().graph;
    let text = graph.to_string();
    assert_eq!(text.lines().count(), graph.nodes().len());
    assert!(text.contains("= conv2d(%1, %2)  1x32x32x16  # conv1"), "{text}");
    let dot = graph.to_dot();
    let edges: usize = graph.nodes().iter().map(|n| n.inputs.len()).sum();
    assert_eq!(dot.matches(" -> ").count(), edges);
    assert!(dot.contains("v2 [label=\"conv1.weight\\nstate 3x3x3x16\"]"), "{dot}");
}

#[test]
fn what_is_read_is_what_was_written() {
    // Replays the plan on slots that remember which buffer they hold.
    for product in PRODUCTS {
        let (graph, plan) = training("resnet20", 2, product);
        let mut holds: HashMap<usize, BufId> = HashMap::new();
        let mut written: HashSet<BufId> = HashSet::new();
        for dispatch in plan.dispatches() {
            for (buf, access) in &dispatch.buffers {
                let slot = plan.slot_of(buf.id).unwrap();
                let given = match buf.id {
                    BufId::Value(v) => {
                        !matches!(graph.graph.node(v).unwrap().source, ocelli::graph::Source::Op(_))
                    }
                    BufId::Workspace(_) => false,
                };
                if given {
                    continue;
                }
                match access {
                    Access::Write => {
                        holds.insert(slot, buf.id);
                        written.insert(buf.id);
                    }
                    Access::Read => {
                        assert!(written.contains(&buf.id), "{} reads before a write", dispatch.kernel.name);
                        assert_eq!(holds.get(&slot), Some(&buf.id), "{}", dispatch.kernel.name);
                    }
                }
            }
        }
    }
}

#[test]
fn memory_is_used_again() {
    let (graph, plan) = training("resnet20", 32, Product::Direct);
    let values = graph.graph.nodes().iter().filter(|n| matches!(n.source, ocelli::graph::Source::Op(_)));
    let all: u64 = values.map(|n| n.shape.bytes()).sum();
    let used = plan.memory().temporary;
    println!("temporary memory: {} MiB for values of {} MiB", used >> 20, all >> 20);
    assert!(used * 2 < all);
    let arch = Arch::find("resnet20").unwrap();
    let network = arch.network(&arch.settings(32), Mode::Inference).unwrap();
    let options = PlanOptions::new(Product::Direct, Limits::WEBGPU);
    let inference = Plan::new(&network.graph, &[network.logits], &options).unwrap();
    assert!(inference.memory().temporary * 5 < used, "inference needs no activations of earlier layers");
}

#[test]
fn equal_graphs_give_equal_plans_that_can_be_read() {
    let text = |product| training("resnet20", 2, product).1.to_string();
    for product in PRODUCTS {
        assert_eq!(text(product), text(product));
    }
    let text = text(Product::Tiled);
    for part in ["conv2d.y", "conv2d.dw", "# layer2.0.conv1 conv2d", "sgd", "dispatches; state"] {
        assert!(text.contains(part), "{part} is not in the plan");
    }
}

#[test]
fn nothing_is_made_after_the_first_step() {
    let arch = Arch::find("resnet20").unwrap();
    let mut settings = arch.settings(3);
    settings.size = [8, 8];
    // A device of its own: other tests make buffers on theirs at the same time.
    let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
    let step = TrainingStep::new(&gpu, arch, &settings).unwrap();
    let hyper = Hyper { lr: 0.1, momentum: 0.9, weight_decay: 1e-4, noise: [0; 4] };
    let run = || {
        step.run(&[9; 3 * 8 * 8 * 4], &[1, 2, 3], &hyper).unwrap();
        step.outcome().unwrap();
    };
    run();
    let made = gpu.allocated();
    (0..3).for_each(|_| run());
    assert_eq!(gpu.allocated(), made);
    assert!(made.0 > 0 && made.1 >= step.session().plan().memory().total());
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers_before_anything_is_made() {
    let arch = Arch::find("resnet20").unwrap();
    let graph = TrainingGraph::new(arch, &arch.settings(4096)).unwrap();
    let error = graph.plan(&PlanOptions::new(Product::Tiled, Limits::WEBGPU)).unwrap_err();
    assert!(matches!(error, Error::Gpu(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("MiB") && text.contains("128 MiB") && text.contains("smaller batch"), "{text}");
}
