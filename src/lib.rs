//! Trains and runs the classic ImageNet networks on any GPU: WGSL compute shaders through wgpu, no CUDA.
//!
//! The modules:
//!
//! 1. [`tensor`]: shapes, memory layouts, precisions, and the values of a graph;
//! 2. [`kernels`]: recording of dispatches, GEMM algorithms, Winograd, epilogues, fused reductions;
//! 3. [`graph`]: the computation as data, and the trait of an operation;
//! 4. [`ops`]: one file per operation: shape rule, gradient, recording, multiply-adds;
//! 5. [`autodiff`]: gradients as nodes of the same graph, gradient checkpointing;
//! 6. [`plan`]: from a graph to dispatches and memory, fixed before the first step; a session runs them;
//! 7. [`autotune`]: measures which algorithm is the fastest on an adapter;
//! 8. [`selftest`]: tests every kernel on an adapter;
//! 9. [`gpu`]: adapters, devices, pipelines, buffers, submission; the only module that uses wgpu;
//! 10. [`models`]: one file per family of networks, written like the table of its paper;
//! 11. [`data`]: image files become batches of 8-bit RGBA, decoded and augmented on CPU threads;
//! 12. [`weights`]: tensors in files: safetensors, PyTorch and ONNX;
//! 13. [`exchange`]: the network in a file: names of other programs, ONNX graphs in and out, preprocessing;
//! 14. [`infer`]: pixels in, logits out;
//! 15. [`explain`]: what a network sees: Grad-CAM, DeconvNet, occlusion, saliency;
//! 16. [`train`]: the training step, the loop, checkpoints, evaluation.
//!
//! [`Classifier`] combines them for the most frequent use: images in, classes out.
//!
//! Activations are NHWC `(N, H, W, C)` and filters are `(R, S, C, K)`, with channels padded to a multiple of four.
//! Files of weights have PyTorch's OIHW. An [`Error`] says what happened, where, and what to do. The library does not
//! panic. The same adapter, driver, version and seed give the same bits.
//!
//! # Examples
//!
//! A graph with its gradient, planned without a GPU:
//!
//! ```
//! use ocelli::gpu::Limits;
//! use ocelli::graph::Graph;
//! use ocelli::kernels::{ConvOptions, KernelFamily};
//! use ocelli::plan::{Plan, PlanOptions};
//! use ocelli::tensor::Shape;
//!
//! # fn main() -> ocelli::Result<()> {
//! let mut graph = Graph::new();
//! let x = graph.input("x", Shape::image(8, 32, 32, 3));
//! let w = graph.state("w", Shape::filter(3, 3, 3, 16));
//! let options = ConvOptions { stride: [1, 1], pad: [1, 1], groups: 1 };
//! let y = graph.conv2d(x, w, None, options)?;
//! let dy = graph.input("dy", graph.shape(y)?);
//! let dw = graph.gradients(y, dy, &[w])?[0].expect("y depends on w");
//! let plan = Plan::new(&graph, &[y, dw], &PlanOptions::new(KernelFamily::Tiled, Limits::WEBGPU))?;
//! assert_eq!(plan.macs(), 2 * 8 * 32 * 32 * 16 * 27);
//! println!("{plan}"); // kernels in order, their buffers, and the memory they need
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `cli` (default): the program, with progress bars; includes `train` and `pth`;
//! - `train`: reading images, the training loop, evaluation; includes `resize`;
//! - `pth`: reading and writing PyTorch's `.pth` files;
//! - `resize`: resizing images to the input of a network, which [`Classifier`] needs for images of any size;
//! - none of these: graphs, operations, networks, plans, weights, inference and the GPU.
//!
//! Without `cli` and `train` the library compiles to WebAssembly and runs in browsers with WebGPU. Code that blocks, or
//! reads or writes files, is left out there.

#![cfg_attr(not(feature = "train"), allow(rustdoc::broken_intra_doc_links))]

mod atomic;
pub mod autodiff;
#[cfg(not(target_family = "wasm"))]
pub mod autotune;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod gpu;
pub mod graph;
pub mod infer;
pub mod kernels;
pub mod models;
pub mod ops;
pub mod plan;
pub mod random;
#[cfg(feature = "train")]
mod report;
#[cfg(not(target_family = "wasm"))]
pub mod selftest;
pub mod tensor;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;

pub use error::{Error, Result};
pub use infer::{Classifier, ClassifierOptions, Prediction};

// Compiles the examples of the README as doctests.
#[cfg(all(doctest, feature = "train"))]
#[doc = include_str!("../README.md")]
struct Readme;
