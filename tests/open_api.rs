//! The public API in other programs: the examples, and custom devices, operations and networks.

use crate::ops::harness::gpu;
use ocelli::Error;
use ocelli::gpu::{Gpu, wgpu};
use ocelli::graph::{Graph, Op, OpTraits, Source, Storage};
use ocelli::kernels::{Buf, ConvOptions, Recorder};
use ocelli::models::{Arch, Conv, Init, Mode, Network, Settings};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Shape, Value};
use std::sync::Arc;

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

/// An invalid operation: it records nothing, returns too few gradients, and updates an input that it does not have.
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

/// Binds one buffer to read and one to write.
const COPY: &str = "struct Params { n: u32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(64)
    fn copy(@builtin(global_invocation_id) id: vec3<u32>) { y[id.x] = x[id.x + params.n]; }";

ocelli::params! {
    Params { n: u32 }
}

/// An invalid operation: it binds bytes beyond the end of its input.
#[derive(Debug)]
struct Beyond;

impl Op for Beyond {
    fn name(&self) -> &'static str {
        "beyond"
    }

    fn shape(&self, inputs: &[Shape]) -> ocelli::Result<Shape> {
        Ok(inputs[0])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> ocelli::Result<()> {
        let far = Buf { offset: 1 << 20, ..x[0] };
        let kernel = ocelli::gpu::Kernel::new("beyond", &[COPY], "copy");
        r.flat(kernel, Params { n: 0 }, &[far], &[y], 64)
    }
}

#[test]
fn an_operation_that_binds_what_is_not_there_is_an_error() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 2, 2, 4));
    let y = graph.add_op(Beyond, &[x]).unwrap();
    let error = Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu())).unwrap_err();
    assert!(
        matches!(error, Error::Internal(_)) && error.to_string().contains("from byte 1048576 on"),
        "{error}"
    );
    // The device still works.
    gpu().flush().unwrap();
}

/// Runs the graph of `build` on these inputs and returns its result.
fn computed(build: impl FnOnce(&mut Graph) -> (Vec<(Value, Vec<f32>)>, Value)) -> ocelli::Result<Vec<f32>> {
    let mut graph = Graph::new();
    let (inputs, y) = build(&mut graph);
    let plan = Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu()))?;
    let session = Session::new(gpu(), plan, None)?;
    session.poison()?;
    for (value, content) in inputs {
        session.write(value, &content)?;
    }
    session.run()?;
    session.output(y)
}

/// The operation that computes a value.
fn op_of(graph: &Graph, value: Value) -> Arc<dyn Op> {
    match &graph.node(value).unwrap().source {
        Source::Op(op) => op.clone(),
        _ => panic!("no operation"),
    }
}

/// An operation that records another one of the library, and claims the same properties.
#[derive(Debug)]
struct Wrapped(Arc<dyn Op>);

impl Op for Wrapped {
    fn name(&self) -> &'static str {
        "wrapped"
    }

    fn shape(&self, inputs: &[Shape]) -> ocelli::Result<Shape> {
        self.0.shape(inputs)
    }

    fn traits(&self) -> OpTraits {
        self.0.traits()
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> ocelli::Result<()> {
        self.0.record(r, x, y)
    }
}

#[test]
fn nothing_is_fused_with_an_operation_of_ones_own() {
    let run = |wrapped: bool| {
        computed(|g| {
            let x = g.input("x", Shape::image(1, 5, 4, 4));
            let w = g.input("w", Shape::filter(3, 3, 4, 4));
            let conv =
                g.conv2d(x, w, None, ConvOptions { pad: [1; 2], ..ConvOptions::square(1, 0) }).unwrap();
            let conv = match wrapped {
                true => g.add_op(Wrapped(op_of(g, conv)), &[x, w]).unwrap(),
                false => conv,
            };
            let y = g.relu(conv).unwrap();
            let numbers = |n: usize| (0..n).map(|i| (i * 7 % 5) as f32 - 2.0).collect::<Vec<_>>();
            (vec![(x, numbers(80)), (w, numbers(144))], y)
        })
        .unwrap()
    };
    let (own, library) = (run(true), run(false));
    assert_eq!(own, library);
    assert!(own.contains(&0.0) && own.iter().any(|y| *y > 0.0));
}

/// An operation that says that its result, of another size, is its input.
#[derive(Debug)]
struct Grown;

impl Op for Grown {
    fn name(&self) -> &'static str {
        "grown"
    }

    fn shape(&self, _inputs: &[Shape]) -> ocelli::Result<Shape> {
        Ok(Shape::image(1, 64, 64, 4))
    }

    fn traits(&self) -> OpTraits {
        let mut traits = OpTraits::NONE;
        traits.storage = Storage::Reshaped;
        traits
    }

    fn gradient(
        &self,
        g: &mut Graph,
        _x: &[Value],
        _y: Value,
        dy: Value,
    ) -> ocelli::Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.relu(dy)?)])
    }

    fn record(&self, _r: &mut Recorder, _x: &[Buf], _y: Buf) -> ocelli::Result<()> {
        Ok(())
    }
}

#[test]
fn an_operation_of_ones_own_gets_memory_for_its_result_and_gives_gradients_of_the_right_size() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 2, 2, 4));
    let y = graph.add_op(Grown, &[x]).unwrap();
    let z = graph.relu(y).unwrap();
    let plan = Plan::new(&graph, &[z], &PlanOptions::for_gpu(&gpu())).unwrap();
    let relu = plan.dispatches().iter().find(|d| d.kernel.name != "grown").unwrap();
    assert!(relu.buffers.iter().all(|(buf, _)| buf.room == 64 * 64 * 16), "{relu:?}");
    let error = graph.gradients(y, z, &[x]).unwrap_err().to_string();
    assert!(error.contains("grown gives a gradient of"), "{error}");
}

/// An invalid operation: it binds too few buffers, or one for reading and for writing.
#[derive(Debug)]
struct Misbound {
    twice: bool,
}

impl Op for Misbound {
    fn name(&self) -> &'static str {
        "misbound"
    }

    fn shape(&self, inputs: &[Shape]) -> ocelli::Result<Shape> {
        Ok(inputs[0])
    }

    fn record(&self, r: &mut Recorder, _x: &[Buf], y: Buf) -> ocelli::Result<()> {
        let kernel = ocelli::gpu::Kernel::new("misbound", &[COPY], "copy");
        let reads = if self.twice { vec![y] } else { Vec::new() };
        r.flat(kernel, Params { n: 0 }, &reads, &[y], 64)
    }
}

#[test]
fn an_operation_that_binds_wrongly_does_not_end_the_device() {
    for twice in [false, true] {
        let made = computed(|g| {
            let x = g.input("x", Shape::image(1, 2, 2, 4));
            (Vec::new(), g.add_op(Misbound { twice }, &[x]).unwrap())
        });
        assert!(matches!(made, Err(Error::Internal(_))), "{made:?}");
        gpu().flush().unwrap();
    }
}

#[test]
fn what_is_sliced_of_a_state_is_read_before_the_state_is_updated() {
    let mut g = Graph::new();
    let [s, ds] = [g.state("s", Shape::image(1, 1, 2, 4)), g.input("ds", Shape::image(1, 1, 2, 4))];
    let vs = g.momentum("vs", Shape::image(1, 1, 2, 4));
    let [w, step] = [g.state("w", Shape::vector(4)), g.input("step", Shape::vector(4))];
    let v = g.momentum("v", Shape::vector(4));
    let slice = g.slice(s, 0).unwrap();
    g.sgd(step, ds, s, vs).unwrap();
    g.sgd(step, slice, w, v).unwrap();
    let plan = Plan::new(&g, &[], &PlanOptions::for_gpu(&gpu())).unwrap();
    let session = Session::new(gpu(), plan, None).unwrap();
    for (value, number, count) in [(s, 3.0, 8), (vs, 0.0, 8), (ds, 100.0, 8), (w, 10.0, 4), (v, 0.0, 4)] {
        session.write(value, &vec![number; count]).unwrap();
    }
    session.write(step, &[1.0, 0.0, 0.0, 1.0]).unwrap();
    session.run().unwrap();
    assert_eq!(session.read(s).unwrap(), [-97.0; 8]);
    assert_eq!(session.read(w).unwrap(), [7.0; 4]);
}

#[test]
fn seeds_of_one_value_are_added() {
    let got = computed(|g| {
        let x = g.input("x", Shape::image(1, 1, 1, 4));
        let [a, b] = ["a", "b"].map(|name| g.input(name, Shape::image(1, 1, 1, 4)));
        let y = g.relu(x).unwrap();
        let dx = g.gradients_of_sum(&[(y, a), (y, b)], &[x]).unwrap();
        (vec![(x, vec![1.0, -1.0, 2.0, 3.0]), (a, vec![1.0; 4]), (b, vec![5.0; 4])], dx[0].unwrap())
    });
    assert_eq!(got.unwrap(), [6.0, 0.0, 6.0, 6.0]);
}

#[test]
fn sizes_beyond_memory_are_errors() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(usize::MAX, 8, 8, 4));
    assert!(Plan::new(&graph, &[x], &PlanOptions::for_gpu(&gpu())).is_err());
    let small = graph.input("small", Shape::image(8, 8, 8, 4));
    let buf = Buf::of_batch(small, Shape::image(8, 8, 8, 4), 4096);
    #[allow(clippy::reversed_empty_ranges, reason = "a wrong range is an error")]
    for images in [12..16, 4..12, 4..2] {
        assert!(matches!(buf.images(images), Err(Error::Usage(_))));
    }
    let settings = Settings { size: [8, 8], ..Arch::find("resnet20").unwrap().settings(2) };
    let network =
        Network::build(&settings, Mode::Inference, |b, x| b.linear("fc", x, usize::MAX, Init::He, 0.0));
    assert!(matches!(network, Err(Error::Usage(_))));
}
