//! Kernels compiled side by side: each once, and of several that do not compile the first in order is named.

use ocelli::gpu::{Gpu, GpuOptions, Kernel};
use std::future::Future;
use std::pin::pin;
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
