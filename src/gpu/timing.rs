//! Kernel times from timestamp queries, downloads, and optional allocations. All of them are asynchronous, so that a
//! browser can await them.

use super::device::{Fault, Gpu};
use super::resource::{BoundDispatch, Buffer};
use super::stamp::{Expected, STAMP_BYTES, Stamp};
use super::submit::{CommandList, Submission, copy, record};
use crate::error::{Error, Result};
use std::sync::atomic::Ordering;

impl Gpu {
    /// Submits a command list and measures each of its kernels on the GPU, in milliseconds; `None` where the adapter
    /// has no timestamp queries. Browsers round the times, for example to 0.1 ms.
    ///
    /// # Errors
    /// As [`Gpu::submit`], [`Gpu::read_async`] and [`Gpu::verify`]: lost work has no valid time.
    pub async fn submit_timed_async(&self, pass: &CommandList<'_>) -> Result<Option<Vec<f64>>> {
        if !self.info().timestamps {
            self.submit(pass)?;
            return Ok(None);
        }
        let stamp = self.stamp(Vec::new())?;
        let bound = self.bind_stamp(&stamp)?;
        let number = self.downloads.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.number(&stamp, number)?;
        let mut times = Vec::with_capacity(pass.dispatches.len());
        // A query set holds at most 4096 timestamps, two for each dispatch.
        for (chunk, count) in pass.dispatches.chunks(2048).zip(1u32..) {
            let stamp = (&stamp, &bound[..], Expected { number, count });
            times.extend(self.submit_chunk_timed(chunk, stamp).await?);
        }
        stamp.destroy();
        self.submit(&CommandList { dispatches: &[], ..*pass })?;
        Ok(Some(times))
    }

    async fn submit_chunk_timed(
        &self,
        chunk: &[BoundDispatch],
        (stamp, stamping, expected): (&Stamp, &[BoundDispatch], Expected),
    ) -> Result<Vec<f64>> {
        let count = chunk.len() as u32 * 2;
        let bytes = u64::from(count) * 8;
        let set = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved =
            self.make("timestamps", bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let staging = self.staging("timestamps read back", bytes + STAMP_BYTES)?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let (runs, copies) = (!self.loses(Fault::Dispatches, true), !self.loses(Fault::Copies, true));
        for (i, bound) in (0u32..).zip(chunk).filter(|_| runs) {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                }),
            });
            record(&mut compute, bound);
        }
        if runs {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            stamping.iter().for_each(|bound| record(&mut compute, bound));
        }
        if copies {
            if runs {
                encoder.resolve_query_set(&set, 0..count, &resolved.inner, 0);
            }
            copy(&mut encoder, &[(resolved.clone(), staging.clone(), bytes), stamp.copy(0, &staging, bytes)]);
        }
        let submission = Submission(self.queue.submit([encoder.finish()]));
        let read = self.read_async(&staging, bytes + STAMP_BYTES, &submission).await;
        // In a browser a dropped object lives until the next garbage collection, which does not consider GPU memory.
        staging.destroy();
        resolved.destroy();
        set.destroy();
        let mut read = read?;
        self.verify_count(&read.split_off(bytes as usize), expected)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&read);
        let period = f64::from(self.queue.get_timestamp_period()) * 1e-6;
        Ok(ticks.chunks_exact(2).map(|t| t[1].saturating_sub(t[0]) as f64 * period).collect())
    }

    /// Copies the first `bytes` bytes of a buffer to the host after the work that was submitted before.
    ///
    /// # Errors
    /// As [`Gpu::verify`] and [`Gpu::read_async`].
    pub async fn download_async(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>> {
        self.download_stamped(buffer, bytes, None).await
    }

    /// Like [`Gpu::download_async`], but also verifies the stamp of the session that computed the buffer.
    ///
    /// # Errors
    /// As [`Gpu::download_async`].
    pub async fn download_stamped(
        &self,
        buffer: &Buffer,
        bytes: u64,
        by: Option<(&Stamp, Expected)>,
    ) -> Result<Vec<u8>> {
        if bytes > buffer.size {
            return Err(Error::internal(format!("{bytes} bytes read from a buffer of {}", buffer.size)));
        }
        let whole = bytes.next_multiple_of(STAMP_BYTES).min(buffer.size);
        let stamp = self.stamp(vec![(buffer.clone(), bytes)])?;
        let bound = self.bind_stamp(&stamp)?;
        let number = self.downloads.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.number(&stamp, number)?;
        let staging = self.staging("read back", whole + 2 * STAMP_BYTES)?;
        let mut copies = vec![(buffer.clone(), staging.clone(), whole), stamp.copy(0, &staging, whole)];
        copies.extend(by.map(|(by, _)| by.copy(0, &staging, whole + STAMP_BYTES)));
        let submission =
            self.submit(&CommandList { stamp: &bound, copies: &copies, ..CommandList::default() })?;
        let read = self.read_async(&staging, whole + 2 * STAMP_BYTES, &submission).await;
        staging.destroy();
        stamp.destroy();
        let mut read = read?;
        let stamps = read.split_off(whole as usize);
        read.truncate(bytes as usize);
        self.verify(&stamps, &read, Expected { number, count: 1 })?;
        if let Some((_, expected)) = by {
            self.verify_count(stamps.get(STAMP_BYTES as usize..).unwrap_or_default(), expected)?;
        }
        Ok(read)
    }

    /// Runs `make`, which creates optional buffers. If there is no memory for them, only this call fails; the device
    /// stays usable.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the memory does not suffice, [`Error::Internal`] if the driver rejects the buffers; the errors
    /// of `make`.
    pub async fn if_memory_suffices<T>(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let [memory, validation] = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation]
            .map(|filter| self.device.push_error_scope(filter));
        let made = make();
        let refused = validation.pop();
        let missing = memory.pop();
        let (refused, missing) = (refused.await, missing.await);
        // A buffer without memory also causes a validation error at each use. Report the cause.
        if missing.is_some() {
            return Err(Error::out_of_memory("the GPU has no memory left for this")
                .hint("close other pages and programs that use it"));
        }
        let made = made?;
        match refused {
            None => Ok(made),
            Some(error) => Err(Error::internal(format!("the driver refused a command: {error}"))
                .hint("please report this with the output of `ocelli devices`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;

    #[test]
    fn what_is_made_of_a_buffer_that_is_none_is_an_error_of_the_call_and_no_fault_of_the_device() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let make = |size| -> Result<Buffer> {
            let descriptor =
                wgpu::BufferDescriptor { label: Some("test"), size, usage, mapped_at_creation: false };
            let buffer = Buffer::new(gpu.device.create_buffer(&descriptor), size);
            gpu.write(&buffer, &[7; 64])?;
            Ok(buffer)
        };
        // Unlike `Gpu::buffer`, it does not check the size, so the driver has to reject the buffer and the write to it.
        let failed = pollster::block_on(gpu.if_memory_suffices(|| make(gpu.limits().buffer_bytes + 16)));
        assert!(matches!(failed, Err(Error::Internal(_) | Error::Gpu(_))), "{failed:?}");
        gpu.faults.check().unwrap();
        gpu.flush().unwrap();
        pollster::block_on(gpu.if_memory_suffices(|| make(64))).unwrap();
    }
}
