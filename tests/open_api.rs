//! What programs outside of the crate do with it: the examples, and devices, operations and networks of their own.

use crate::ops::harness::gpu;
use ocelli::Error;
use ocelli::gpu::{Gpu, wgpu};
use ocelli::graph::{Graph, Op, OpTraits};
use ocelli::kernels::{Buf, Recorder};
use ocelli::models::{Arch, Conv, Init, Mode, Network, Settings};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Shape, Value};

#[path = "../examples/custom_op.rs"]
mod custom_op;
#[path = "../examples/shared_device.rs"]
mod shared_device;

#[test]
fn an_operation_of_ones_own_has_the_right_gradient() {
    custom_op::main().unwrap();
}

#[test]
fn a_device_is_shared_and_results_need_not_leave_it() {
    shared_device::main().unwrap();
}

fn open(limits: wgpu::Limits) -> Option<(wgpu::Adapter, wgpu::Device, wgpu::Queue)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).ok()?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).ok()?;
    Some((adapter, device, queue))
}

#[test]
fn a_device_with_too_low_limits_is_refused_with_the_number() {
    let few = wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::default() };
    let (adapter, device, queue) = open(few).unwrap();
    let error = Gpu::from_wgpu(&adapter, device, queue).err().unwrap();
    assert!(
        matches!(error, Error::NoAdapter(_)) && error.to_string().contains("4 storage buffers"),
        "{error}"
    );
}

#[test]
fn an_error_of_the_program_that_shares_the_device_is_returned_and_does_not_end_it() {
    let (adapter, device, queue) = open(wgpu::Limits::default()).unwrap();
    let gpu = Gpu::from_wgpu(&adapter, device.clone(), queue).unwrap();
    gpu.flush().unwrap();
    let nonsense = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE;
    let _invalid = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 64,
        usage: nonsense,
        mapped_at_creation: false,
    });
    assert!(matches!(gpu.flush(), Err(Error::Internal(_))));
}

/// Records nothing, and has too few gradients and an input that it does not have.
#[derive(Debug)]
struct Wrong;

impl Op for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn shape(&self, inputs: &[Shape]) -> ocelli::Result<Shape> {
        Ok(inputs[0])
    }

    fn gradient(
        &self,
        _g: &mut Graph,
        _x: &[Value],
        _y: Value,
        _dy: Value,
    ) -> ocelli::Result<Vec<Option<Value>>> {
        Ok(Vec::new())
    }

    fn traits(&self) -> OpTraits {
        OpTraits::NONE.with_updates(&[7])
    }

    fn record(&self, _r: &mut Recorder, _x: &[Buf], _y: Buf) -> ocelli::Result<()> {
        Ok(())
    }
}

#[test]
fn an_operation_that_is_wrong_is_an_error_or_computes_nothing() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 2, 2, 4));
    let y = graph.add_op(Wrong, &[x]).unwrap();
    let error = graph.gradients(y, x, &[x]).unwrap_err();
    assert!(error.to_string().contains("wrong gives 0 gradients for 1 inputs"), "{error}");
    Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu())).unwrap();
}

#[test]
fn a_network_of_ones_own_is_planned_for_training_and_for_inference() {
    let settings = Settings { size: [8, 8], classes: 3, ..Arch::find("resnet20").unwrap().settings(2) };
    for mode in [Mode::Training, Mode::Inference] {
        let build = |groups| {
            Network::build(&settings, mode, |b, x| {
                let conv = Conv { filters: 8, kernel: 3, pad: 1, groups, ..Conv::default() };
                let x = b.conv("stem", x, conv)?;
                let x = b.batch_norm("norm", x, 1e-5)?;
                let x = b.relu("relu", x)?;
                let x = b.graph.layer("pool").global_average_pool(x)?;
                b.logits("fc", x, Init::He, 0.0)
            })
        };
        let network = build(1).unwrap();
        let plan = Plan::new(&network.graph, &[network.logits], &PlanOptions::for_gpu(&gpu())).unwrap();
        Session::new(gpu(), plan, None).unwrap();
        assert!(matches!(build(0), Err(Error::Usage(_))), "0 groups");
        assert!(matches!(build(2), Err(Error::Usage(_))), "three channels in two groups");
    }
}
