//! A device that a program has opened itself, such as that of a game: both share it, and results need not leave the GPU.
//! `cargo run --example shared_device`

use ocelli::gpu::{Gpu, wgpu};
use ocelli::graph::Graph;
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::Shape;
use ocelli::{Error, Result};
use std::sync::Arc;

/// What the program has anyway.
async fn open() -> Option<(wgpu::Adapter, wgpu::Device, wgpu::Queue)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await.ok()?;
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await.ok()?;
    Some((adapter, device, queue))
}

/// Runs it.
pub fn main() -> Result<()> {
    let (adapter, device, queue) =
        pollster::block_on(open()).ok_or_else(|| Error::no_adapter("there is no adapter"))?;
    let gpu = Arc::new(Gpu::from_wgpu(&adapter, device.clone(), queue.clone())?);
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 4, 4, 4));
    let y = graph.relu(x)?;
    let session = Session::new(gpu.clone(), Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu))?, None)?;

    // The program's own buffer goes in by a copy on the GPU, and so does the result into another one.
    let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let own = |label| {
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size: 256, usage, mapped_at_creation: false };
        device.create_buffer(&descriptor)
    };
    let (before, after) = (own("before"), own("after"));
    let numbers: Vec<u8> = (0..64u8).flat_map(|i| (f32::from(i) - 32.0).to_ne_bytes()).collect();
    queue.write_buffer(&before, 0, &numbers);
    let copy = |from: (&wgpu::Buffer, u64), to: (&wgpu::Buffer, u64)| {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(from.0, from.1, to.0, to.1, 256);
        queue.submit([encoder.finish()]);
    };
    let (buffer, bytes) = session.buffer(x)?.as_wgpu();
    copy((&before, 0), (buffer, bytes.start));
    session.run()?;
    let (buffer, bytes) = session.buffer(y)?.as_wgpu();
    copy((buffer, bytes.start), (&after, 0));
    println!("{:?}", &session.output(y)?[30..36]);
    Ok(())
}
