//! Trains and runs the classic ImageNet networks on any GPU: compute shaders in WGSL through wgpu, no CUDA.
//!
//! The modules in the order in which data flows through them:
//!
//! 1. [`data`]: picture files become batches of 8-bit RGBA, decoded and varied on CPU threads;
//! 2. [`models`]: a function for each family builds a [`graph`] of symbolic values, as in its paper's table;
//! 3. [`graph`] and [`ops`]: shapes, gradients (which are operations of the same graph), and what each operation records;
//! 4. [`plan`]: the order of the kernels and the place of every buffer, fixed before the first step;
//! 5. [`gpu`]: the only module that knows wgpu; it runs the plan;
//! 6. [`infer`]: pictures in, classes out; [`train`]: the step, the loop, checkpoints, evaluation;
//! 7. [`weights`]: files of weights, safetensors, PyTorch and ONNX; [`exchange`]: the networks in them.
//!
//! Most programs need no more than [`Classifier`]: pictures in, classes out.
//!
//! Tensors of activations are NHWC `(N, H, W, C)`, filters `(R, S, C, K)`, with channels padded to a multiple of four;
//! weights files hold PyTorch's OIHW. Errors are [`Error`]s that say what happened, where, and what to do; nothing
//! panics. The same adapter, driver, version and seed give the same bits.
//!
//! # Examples
//!
//! A graph with its gradient, planned without a GPU:
//!
//! ```
//! use ocelli::graph::{Graph, Shape};
//! use ocelli::ops::{ConvOptions, KernelFamily};
//! use ocelli::plan::{Plan, PlanOptions};
//!
//! # fn main() -> ocelli::Result<()> {
//! let mut graph = Graph::new();
//! let x = graph.input("x", Shape::image(8, 32, 32, 3));
//! let w = graph.state("w", Shape::filter(3, 3, 3, 16));
//! let options = ConvOptions { stride: [1, 1], pad: [1, 1], groups: 1 };
//! let y = graph.conv2d(x, w, None, options)?;
//! let dy = graph.input("dy", graph.shape(y)?);
//! let dw = graph.gradients(y, dy, &[w])?[0].expect("y depends on w");
//! let plan = Plan::new(&graph, &[y, dw], &PlanOptions::new(KernelFamily::Tiled, ocelli::gpu::Limits::WEBGPU))?;
//! assert_eq!(plan.macs(), 2 * 8 * 32 * 32 * 16 * 27);
//! println!("{plan}"); // kernels in order, their buffers, and the memory they need
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `cli` (default): the program, with progress bars;
//! - `train`: reading pictures, the training loop, evaluation;
//! - `resize`: bringing pictures to the size of a network's input, which [`Classifier`] needs for pictures of any size;
//! - none of these: graphs, operations, networks, plans, weights, inference and the GPU.
//!
//! The library without `cli` and `train` compiles to WebAssembly and runs in browsers with WebGPU; whatever blocks, reads or
//! writes files is left out there.

#![deny(missing_docs, unsafe_code)]

mod atomic;
pub mod autodiff;
#[cfg(not(target_family = "wasm"))]
pub mod autotune;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod error;
pub mod exchange;
pub mod gpu;
pub mod graph;
pub mod infer;
pub mod kernels;
pub mod models;
pub mod ops;
pub mod plan;
pub mod random;
pub mod tensor;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;

pub use error::{Error, Result};
pub use infer::{Classifier, ClassifierOptions, Prediction};

// The examples of the README are compiled with the others.
#[cfg(all(doctest, feature = "train"))]
#[doc = include_str!("../README.md")]
struct Readme;
