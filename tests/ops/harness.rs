//! Runs a small graph on the GPU and measures the errors of its outputs.

use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::graph::Graph;
use ocelli::kernels::{Algorithm, AlgorithmCache, GemmKernel, KernelFamily, WinogradMode};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Precision, Shape, Value};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// Unit roundoff of f32.
pub const U: f64 = 1.0 / (1u64 << 24) as f64;

/// The adapter under test, opened once. `OCELLI_TEST_CHECKED=1` compiles the kernels with bounds checks.
pub fn gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| {
        let checked = std::env::var("OCELLI_TEST_CHECKED").is_ok_and(|v| v == "1");
        let gpu = Gpu::open(&GpuOptions { checked, ..GpuOptions::default() }).unwrap();
        println!("adapter: {} ({}), checked: {checked}", gpu.info().name, gpu.info().driver);
        Arc::new(gpu)
    })
    .clone()
}

/// All kernel families.
pub const PRODUCTS: [KernelFamily; 3] = [KernelFamily::Tiled, KernelFamily::Direct, KernelFamily::Subgroup];

/// The kernel families that the adapter under test can run. Every test of an operation with GEMMs runs with each of
/// them.
pub fn products() -> Vec<KernelFamily> {
    let fits = |product: &KernelFamily| {
        *product != KernelFamily::Subgroup || KernelFamily::for_adapter(gpu().info()) == *product
    };
    let (run, skipped): (Vec<_>, Vec<_>) = PRODUCTS.into_iter().partition(fits);
    for product in skipped {
        println!("skipped: {product:?}, because {} has no subgroups of eight", gpu().info().name);
    }
    run
}

/// How the GEMMs of a test are computed: as the heuristic says, or by one GEMM kernel wherever it fits.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    pub product: KernelFamily,
    pub forced: Option<GemmKernel>,
    pub winograd: WinogradMode,
}

/// The heuristic of every kernel family, and every GEMM kernel in each of its sizes that the adapter under test can
/// run.
pub fn variants() -> Vec<Variant> {
    let products = products();
    let with_subgroups = products.contains(&KernelFamily::Subgroup);
    let product = if with_subgroups { KernelFamily::Subgroup } else { KernelFamily::Direct };
    let cores =
        GemmKernel::all().filter(|core| with_subgroups || !matches!(core, GemmKernel::Subgroup { .. }));
    let forced = cores.map(|core| Variant { forced: Some(core), ..Variant::of(product) });
    products.into_iter().map(Variant::of).chain(forced).collect()
}

impl Variant {
    /// The heuristic of a kernel family, without Winograd's algorithm.
    pub fn of(product: KernelFamily) -> Self {
        Self { product, forced: None, winograd: WinogradMode::Off }
    }

    /// The plan of a graph. `None` if a GEMM kernel is forced that fits none of its problems.
    pub fn plan(&self, graph: &Graph, outputs: &[Value]) -> Option<Plan> {
        let mut options = PlanOptions::new(self.product, gpu().limits());
        options.record.winograd = self.winograd;
        let plan = Plan::new(graph, outputs, &options).unwrap();
        let Some(core) = self.forced else { return Some(plan) };
        let mut choices = AlgorithmCache::default();
        for (key, choice) in plan.products() {
            let forced = match *choice {
                Algorithm::Gemm(_) => Algorithm::Gemm(core),
                // The k chunk is so small that tests with few pixels have several.
                Algorithm::SplitK { splits, .. } => Algorithm::SplitK { kernel: core, splits, k_chunk: 64 },
                Algorithm::Winograd { .. } => continue,
            };
            if options.record.supports(forced, key) {
                choices.insert(*key, forced);
            }
        }
        choices.iter().next()?;
        let plan = Plan::new(graph, outputs, &options.with_algorithms(choices.clone())).unwrap();
        assert!(choices.iter().all(|(key, choice)| plan.products()[key] == *choice));
        Some(plan)
    }
}

/// The cases in each precision that the adapter under test has. Every test of an operation on activations runs in
/// each.
pub fn each<X: Clone>(cases: impl IntoIterator<Item = X>) -> Vec<(Precision, X)> {
    let half = gpu().check_half();
    if let Err(reason) = &half {
        println!("skipped: f16, because {reason}");
    }
    let precisions = if half.is_ok() { &[Precision::F32, Precision::F16][..] } else { &[Precision::F32] };
    cases.into_iter().flat_map(|case| precisions.iter().map(move |p| (*p, case.clone()))).collect()
}

/// The largest error of rounding to a precision: relative to the number, and absolute for small numbers.
fn rounding(precision: Precision) -> (f64, f64) {
    match precision {
        Precision::F32 => (0.0, 0.0),
        // f16 has eleven significant bits, and its smallest positive number is 2^-24. The error is half of the last
        // bit.
        Precision::F16 => (1.0 / 2048.0, 1.0 / (1 << 25) as f64),
    }
}

/// A graph with the contents of its inputs and states, run on the GPU.
pub struct Run {
    pub graph: Graph,
    contents: Vec<(Value, Vec<u8>)>,
    variant: Variant,
    precision: Precision,
}

impl Run {
    pub fn new(product: KernelFamily) -> Self {
        Self::by(product, WinogradMode::Off)
    }

    /// Like [`Run::new`], but with a mode for Winograd's algorithm.
    pub fn by(product: KernelFamily, winograd: WinogradMode) -> Self {
        Self::with(Variant { winograd, ..Variant::of(product) })
    }

    pub fn with(variant: Variant) -> Self {
        Self { graph: Graph::new(), contents: Vec::new(), variant, precision: Precision::F32 }
    }

    /// Stores activations in `precision`.
    pub fn storing(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// An input without padding.
    pub fn input(&mut self, shape: Shape, content: &[f64]) -> Value {
        self.input_as(self.precision, shape, content)
    }

    /// Like [`Run::input`], but in `precision`.
    pub fn input_as(&mut self, precision: Precision, shape: Shape, content: &[f64]) -> Value {
        let shape = shape.stored_as(precision);
        let value = self.graph.input("input", shape);
        let dense: Vec<f32> = content.iter().map(|x| *x as f32).collect();
        let bytes = shape.encode(&shape.pad(&dense).unwrap());
        let kept = shape.unpad(&shape.decode(&bytes).unwrap()).unwrap();
        assert_eq!(kept, dense, "the twin must work on what is stored");
        self.contents.push((value, bytes));
        value
    }

    /// A state with f32 content.
    pub fn state(&mut self, shape: Shape, content: &[f64]) -> Value {
        let value = self.graph.state(format!("state{}", self.contents.len()), shape);
        let dense: Vec<f32> = content.iter().map(|x| *x as f32).collect();
        self.contents.push((value, bytemuck::cast_slice(&shape.pad(&dense).unwrap()).to_vec()));
        value
    }

    /// An input of u32.
    pub fn words(&mut self, shape: Shape, content: &[u32]) -> Value {
        let value = self.graph.input("words", shape);
        self.contents.push((value, bytemuck::cast_slice(content).to_vec()));
        value
    }

    pub fn session(&self, outputs: &[Value]) -> Session {
        let plan = self.variant.plan(&self.graph, outputs).expect("products of the forced core");
        plan.dispatches().iter().for_each(crate::shaders::check);
        let session = Session::new(gpu(), plan, None).unwrap();
        session.poison().unwrap();
        for (value, bytes) in &self.contents {
            if session.has(*value) {
                session.write_stored(*value, bytes).unwrap();
            }
        }
        session
    }

    /// Whether the variant applies: a forced GEMM kernel may fit no problem of the graph.
    pub fn applies(&self, outputs: &[Value]) -> bool {
        self.variant.plan(&self.graph, outputs).is_some()
    }

    /// Runs twice on memory full of NaN patterns and returns the outputs. Both runs must agree bit for bit, and the
    /// padding must be zero.
    pub fn outputs(&self, outputs: &[Value]) -> Vec<Vec<f64>> {
        let session = self.session(outputs);
        session.run().unwrap();
        let first: Vec<Vec<f32>> = outputs.iter().map(|v| session.output(*v).unwrap()).collect();
        for value in outputs {
            let shape = self.graph.shape(*value).unwrap();
            let stored = session.read_stored(*value).unwrap();
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let padded_again = shape.pad(&shape.unpad(&stored).unwrap()).unwrap();
            assert_eq!(bits(&stored), bits(&padded_again), "the padding of {shape} is not zero");
        }
        if !self.graph.nodes().iter().any(|n| matches!(n.source, ocelli::graph::Source::State)) {
            session.poison().unwrap();
            session.run().unwrap();
            let second: Vec<Vec<f32>> = outputs.iter().map(|v| session.output(*v).unwrap()).collect();
            for (a, b) in first.iter().zip(&second) {
                assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()), "two runs differ");
            }
        }
        first.into_iter().map(|v| v.into_iter().map(f64::from).collect()).collect()
    }
}

/// The largest error of all elements, in units of the allowed error: |got - want| <= (8 + 2 sqrt(k)) u scale.
pub fn worst(got: &[f64], want: &[f64], scale: &[f64], k: usize) -> f64 {
    worst_in(Precision::F32, got, want, scale, k)
}

/// Like [`worst`], but the result is stored in `precision`, which may round it once.
pub fn worst_in(precision: Precision, got: &[f64], want: &[f64], scale: &[f64], k: usize) -> f64 {
    let (relative, least) = rounding(precision);
    assert_eq!(got.len(), want.len());
    assert_eq!(got.len(), scale.len());
    let rule = (8.0 + 2.0 * (k as f64).sqrt()) * U;
    let mut worst = 0.0f64;
    for ((got, want), scale) in got.iter().zip(want).zip(scale) {
        assert!(got.is_finite(), "{got} instead of {want}");
        // WGSL guarantees nothing for subnormal numbers.
        let allowed = rule * scale + f64::from(f32::MIN_POSITIVE) + relative * want.abs() + least;
        worst = worst.max((got - want).abs() / allowed);
    }
    note(precision, worst);
    worst
}

/// Adds a line to the file that `OCELLI_TEST_ERRORS` names: the test, the precision, and the largest error in units of
/// the allowed error.
fn note(precision: Precision, worst: f64) {
    static FILE: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
        let path = std::env::var_os("OCELLI_TEST_ERRORS")?;
        Some(Mutex::new(OpenOptions::new().create(true).append(true).open(path).unwrap()))
    });
    if let Some(file) = &*FILE {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("unnamed");
        writeln!(file.lock().unwrap(), "{test} {precision:?} {worst:.3e}").unwrap();
    }
}

/// Asserts that every element is within `tolerance` of `want`, relative to max(1, |want|).
pub fn close(got: &[f64], want: &[f64], tolerance: f64) {
    close_in(Precision::F32, got, want, tolerance);
}

/// Like [`close`], but the result is stored in `precision`, which may round it once.
pub fn close_in(precision: Precision, got: &[f64], want: &[f64], tolerance: f64) {
    let (relative, least) = rounding(precision);
    assert_eq!(got.len(), want.len());
    let mut worst = 0.0f64;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let allowed = tolerance * want.abs().max(1.0) + relative * want.abs() + least;
        let error = (got - want).abs();
        assert!(error <= allowed, "element {i}: {got} instead of {want}");
        worst = worst.max(if error == 0.0 { 0.0 } else { error / allowed });
    }
    note(precision, worst);
}
