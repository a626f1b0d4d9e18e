//! Kernels compiled side by side: each once, and of several that do not compile the first in order is named.

use ocelli::error::Error;
use ocelli::gpu::{CommandList, Gpu, GpuOptions, Kernel, PipelineCacheOptions};
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

const GOOD: &str = "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(4) fn add(@builtin(local_invocation_index) i: u32) { y[i] += i; }";
const BAD: &str = "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(4) fn add(@builtin(local_invocation_index) i: u32) { y[i] = 1.5; }";

/// Natively nothing waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn of_kernels_that_do_not_compile_the_first_is_named_and_the_others_are_of_use() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    for (first, second) in [(3, 20), (0, 1), (30, 31)] {
        let names: Vec<&'static str> = (0..32).map(|i| &*format!("kernel {first} {i}").leak()).collect();
        let kernels: Vec<Kernel> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Kernel::new(name, &[if i == first || i == second { BAD } else { GOOD }], "add"))
            .collect();
        let error = now(gpu.compile(kernels.iter())).unwrap_err().to_string();
        assert!(error.contains(&format!("{} add", names[first])), "{error}");
        assert!(error.contains("does not compile"), "{error}");
        assert!(!error.contains(&format!("{} add", names[second])), "{error}");
        let good =
            kernels.iter().enumerate().filter(|(i, _)| *i != first && *i != second).map(|(_, kernel)| kernel);
        now(gpu.compile(good)).unwrap();
    }
}

#[test]
fn threads_that_ask_for_the_same_kernels_all_get_them() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let names: Vec<&'static str> = (0..8).map(|i| &*format!("shared {i}").leak()).collect();
    let kernels: Vec<Kernel> = names.iter().map(|name| Kernel::new(name, &[GOOD], "add")).collect();
    std::thread::scope(|scope| {
        for from in 0..8 {
            let (gpu, kernels) = (&gpu, &kernels);
            scope.spawn(move || {
                for i in 0..8 {
                    gpu.pipeline(&kernels[(from + i) % 8]).unwrap();
                }
                now(gpu.compile(kernels.iter())).unwrap();
            });
        }
    });
}

/// Opens a device with a cache of pipelines in `folder`, compiles a kernel, runs it, and closes the device. Returns the
/// files of the cache; `None`, with the reason printed, if the adapter has no such cache.
fn compile_with(folder: &Path, failed: fn(&Error)) -> Option<Vec<PathBuf>> {
    let pipeline_cache = Some(PipelineCacheOptions { folder: folder.to_owned(), failed });
    let gpu = Gpu::open(&GpuOptions { pipeline_cache, ..GpuOptions::default() }).unwrap();
    if !gpu.device().features().contains(ocelli::gpu::wgpu::Features::PIPELINE_CACHE) {
        println!("skipped: {} has no pipeline cache", gpu.info().name);
        return None;
    }
    let kernel = Kernel::new("kept", &[GOOD], "add");
    now(gpu.compile([&kernel].into_iter())).unwrap();
    let pipeline = gpu.pipeline(&kernel).unwrap();
    let (buffer, staging) = (gpu.buffer("y", 16).unwrap(), gpu.staging("read", 16).unwrap());
    let bound = gpu.bind("kept", &pipeline, &[(&buffer, 0..16)], [1, 1, 1]).unwrap();
    let copies = [(buffer, staging.clone(), 16)];
    let commands = CommandList { dispatches: &[bound], copies: &copies, ..CommandList::default() };
    let filled = gpu.submit(&commands).unwrap();
    let got = gpu.read(&staging, 16, &filled).unwrap();
    assert_eq!(got, [0u32, 1, 2, 3].map(u32::to_ne_bytes).concat());
    drop(gpu);
    let files = fs::read_dir(folder).ok()?;
    Some(files.map(|file| file.unwrap().path()).collect())
}

#[test]
fn compiled_kernels_are_kept_and_what_is_damaged_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let failed = |error: &Error| panic!("{error}");
    let Some(files) = compile_with(&cache, failed) else { return };
    let [file] = &files[..] else { panic!("one file, and nothing temporary: {files:?}") };
    let whole = fs::read(file).unwrap();
    assert!(whole.starts_with(b"OCELLIP1"));
    assert_eq!(compile_with(&cache, failed).unwrap(), files);
    for damage in [&b""[..], b"something else", &whole[..whole.len() / 2], &[&whole[..], &[0]].concat()] {
        fs::write(file, damage).unwrap();
        assert_eq!(compile_with(&cache, failed).unwrap(), files);
        assert!(fs::read(file).unwrap().starts_with(b"OCELLIP1"), "the file is written anew");
    }
}

#[test]
fn kernels_that_cannot_be_kept_are_reported_once_and_run() {
    static FAILURES: AtomicU32 = AtomicU32::new(0);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("a file");
    fs::write(&cache, "in place of the folder").unwrap();
    let failed = |error: &Error| {
        assert!(error.to_string().contains("a file"), "{error}");
        FAILURES.fetch_add(1, Ordering::Relaxed);
    };
    compile_with(&cache, failed);
    assert!(FAILURES.load(Ordering::Relaxed) <= 1);
    assert_eq!(fs::read(&cache).unwrap(), b"in place of the folder");
}
