//! All tests in one binary: each one more would link wgpu once more.

mod browser;
mod budget;
mod cli;
mod data;
mod exchange;
mod families;
mod fusion;
mod golden;
mod half;
mod house;
mod large_batches;
mod networks;
mod onnx_in;
mod onnx_out;
mod ops;
mod oracle;
mod outside;
mod plans;
mod preprocessing;
mod pth;
mod serve;
mod shaders;
mod training;
mod tune;
mod weights;
