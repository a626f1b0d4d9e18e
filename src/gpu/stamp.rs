//! Verification that submitted work was done. Some drivers lose a submission, or run kernels that do nothing, and
//! report no error. The results are then old numbers or zeros that look valid. Therefore every submission of a session
//! ends with a kernel that writes a stamp: the number of the run, a counter of submissions, and a sum over samples of
//! each result. The host checks the stamp with each read-back.

use super::device::{Fault, Gpu};
use super::kernel::{Field, Kernel, KernelParams};
use super::resource::{BoundDispatch, Buffer};
use super::submit::CommandList;
use crate::error::{Choice, Error, Result};
use crate::params;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SOURCE: &str = include_str!("../../shaders/device/stamp.wgsl");

/// The number of words of a result that are sampled at least. Shorter results are summed completely. Longer ones are
/// sampled at a constant stride, which gives fewer than twice this number.
const SAMPLES: usize = 1024;

/// The number of results that one dispatch stamps.
const TOGETHER: usize = 4;

/// The size of the stamp of one result in bytes.
pub const STAMP_BYTES: u64 = 16;

params! {
    Params { first: u32, count: u32, words_a: u32, words_b: u32, words_c: u32, words_d: u32 }
}

/// The buffers that stamp the results of a session. Without results it only counts the submissions.
pub struct Stamp {
    number: Buffer,
    stamps: Buffer,
    results: Vec<(Buffer, u64)>,
    /// The parameters of its dispatches. They are freed with the other buffers.
    uniforms: Mutex<Vec<Buffer>>,
}

/// The values that the stamp of a run must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The number of the run, which the host has written before it.
    pub number: u32,
    /// The number of stamped submissions up to and including that run.
    pub count: u32,
}

impl Stamp {
    /// The members of the kernel's parameters. A test compares them with the shader's struct.
    pub const FIELDS: &'static [Field] = Params::FIELDS;

    /// The storage buffers of the kernel: the number of the run, the results, and their stamps.
    pub(crate) const BUFFERS: usize = TOGETHER + 2;

    /// The kernel that writes stamps.
    pub fn kernel() -> Kernel {
        Kernel { trusted: true, ..Kernel::new("stamp", &[SOURCE], "stamp") }
    }

    /// The copy of the stamp of result `i` to byte `at` of a buffer.
    pub fn copy(&self, i: usize, to: &Buffer, at: u64) -> (Buffer, Buffer, u64) {
        let from = self.stamps.after(STAMP_BYTES * i as u64);
        (from, to.after(at), STAMP_BYTES)
    }

    /// Frees the buffers.
    pub(super) fn destroy(&self) {
        self.number.destroy();
        self.stamps.destroy();
        self.uniforms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .for_each(|uniform| uniform.destroy());
    }
}

impl Gpu {
    /// Creates the stamp of these results, each with its size in bytes.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn stamp(&self, results: Vec<(Buffer, u64)>) -> Result<Stamp> {
        let number = self.buffer("number of the run", 16)?;
        let stamps = self.buffer("stamps", STAMP_BYTES * results.len().max(1) as u64)?;
        Ok(Stamp { number, stamps, results, uniforms: Mutex::default() })
    }

    /// Compiles the kernel of a stamp and binds its buffers.
    ///
    /// # Errors
    /// As [`Gpu::pipeline`] and [`Gpu::bind`].
    pub fn bind_stamp(&self, stamp: &Stamp) -> Result<Vec<BoundDispatch>> {
        let pipeline = self.planned_pipeline(&Stamp::kernel())?;
        let mut bound = Vec::new();
        for first in (0..stamp.results.len().max(1)).step_by(TOGETHER) {
            let group = stamp.results.get(first..).unwrap_or_default();
            let count = group.len().clamp(1, TOGETHER);
            let seen = |i: usize| group.get(i).map_or(0, |(_, bytes)| self.stamped_bytes(*bytes));
            let words = |i: usize| (seen(i) / 4) as u32;
            let params = Params {
                first: first as u32,
                count: count as u32,
                words_a: words(0),
                words_b: words(1),
                words_c: words(2),
                words_d: words(3),
            };
            let params = self.uniform("stamp", &params.to_bytes())?;
            let mut buffers = vec![(&params, 0..params.size()), (&stamp.number, 0..16)];
            for i in 0..TOGETHER {
                // A missing or empty result still needs a buffer in its binding.
                buffers.push(match group.get(i) {
                    Some((buffer, _)) if seen(i) > 0 => (buffer, 0..seen(i)),
                    _ => (&stamp.number, 0..16),
                });
            }
            buffers.push((&stamp.stamps, 0..stamp.stamps.size()));
            bound.push(self.bind("stamp", &pipeline, &buffers, [1, 1, 1])?);
            stamp.uniforms.lock().unwrap_or_else(PoisonError::into_inner).push(params);
        }
        Ok(bound)
    }

    /// The bytes of a result that the kernel can bind.
    fn stamped_bytes(&self, bytes: u64) -> u64 {
        bytes.min(self.limits().binding_bytes / 16 * 16)
    }

    /// Writes the number of the next run.
    ///
    /// # Errors
    /// As [`Gpu::write`].
    pub fn number(&self, stamp: &Stamp, number: u32) -> Result<()> {
        self.write(&stamp.number, bytemuck::bytes_of(&[number, 0, 0, 0]))
    }

    /// Compares the stamp of a result with the result and with the expected values.
    ///
    /// # Errors
    /// [`Error::Gpu`] naming the adapter and its driver if they differ. In that case submitted work was lost, and the
    /// device is marked as lost.
    pub fn verify(&self, stamp: &[u8], result: &[u8], expected: Expected) -> Result<()> {
        let [.., sum] = self.verify_count(stamp, expected)?;
        let seen = self.stamped_bytes(result.len() as u64) as usize;
        if sum == sampled(result.get(..seen).unwrap_or(result)) {
            return Ok(());
        }
        Err(self.lost_work("what was read is not what was computed"))
    }

    /// Compares the number of the run and the count of submissions in a stamp, without its result. Returns number,
    /// count and sum.
    ///
    /// # Errors
    /// As [`Gpu::verify`].
    pub fn verify_count(&self, stamp: &[u8], expected: Expected) -> Result<[u32; 3]> {
        let words: Vec<u32> =
            bytemuck::pod_collect_to_vec(stamp.get(..STAMP_BYTES as usize).unwrap_or_default());
        let [number, count, sum, _] = words[..] else {
            return Err(Error::internal("a result without its stamp"));
        };
        if number != expected.number {
            let wanted = expected.number;
            return Err(
                self.lost_work(&format!("run {wanted} was not done, what was read is of run {number}"))
            );
        }
        if count != expected.count {
            return Err(self.lost_work(&format!("of {} submissions {count} were done", expected.count)));
        }
        Ok([number, count, sum])
    }

    /// Waits for the submitted work and compares the stamp with the expected values.
    ///
    /// # Errors
    /// As [`Gpu::verify`] and [`Gpu::read_async`].
    pub async fn check_stamp(&self, stamp: &Stamp, expected: Expected) -> Result<()> {
        let staging = self.staging("stamp read back", STAMP_BYTES)?;
        let copies = [stamp.copy(0, &staging, 0)];
        let submission = self.submit(&CommandList { copies: &copies, ..CommandList::default() })?;
        let read = self.read_async(&staging, STAMP_BYTES, &submission).await;
        staging.destroy();
        self.verify_count(&read?, expected).map(drop)
    }

    /// Whether this adapter with this driver has passed the self-check in this process and has lost no work since.
    pub fn is_trusted(&self) -> bool {
        self.injected() == Fault::None && trusted().contains(&self.who())
    }

    /// Records that this adapter with this driver has passed the self-check.
    pub(crate) fn trust(&self) {
        trusted().insert(self.who());
    }

    fn lost_work(&self, what: &str) -> Error {
        trusted().remove(&self.who());
        let error = Error::gpu(format!("the driver has lost work and reported no error: {what}"))
            .at(self.who())
            .hint(Choice::Adapter.after("nothing of it is used; update the driver, or "));
        self.broken(error)
    }

    /// The adapter and its driver as text, for error messages.
    pub fn who(&self) -> String {
        let info = self.info();
        format!("{} ({}, {})", info.name, info.backend, info.driver)
    }
}

/// The adapters with their drivers that have passed the self-check in this process.
fn trusted() -> MutexGuard<'static, BTreeSet<String>> {
    static TRUSTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    TRUSTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sum over the samples of a result, as the kernel computes it.
fn sampled(result: &[u8]) -> u32 {
    let words = result.len() / 4;
    let stride = (words / SAMPLES).max(1);
    let samples = result.chunks_exact(4).step_by(stride);
    samples.zip(0u32..).fold(0u32, |sum, (bytes, k)| {
        let word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        sum.wrapping_add(scrambled(word ^ scrambled(k)))
    })
}

/// A permutation of 32 bits (Wellons, "Prospecting for hash functions", 2018).
fn scrambled(word: u32) -> u32 {
    let x = (word ^ (word >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
#[cfg(not(target_family = "wasm"))]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;

    /// Runs `submissions` stamped submissions on results of these sizes in bytes. Returns the results and their stamps.
    fn stamped(gpu: &Gpu, sizes: &[usize], submissions: u32) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let content =
            |i: usize, n: usize| (0..n).map(|k| (scrambled((k + 7 * i) as u32) >> 3) as u8).collect();
        let contents: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, n)| content(i, *n)).collect();
        let results: Vec<(Buffer, u64)> = contents
            .iter()
            .map(|bytes| {
                let buffer = gpu.buffer("result", bytes.len() as u64).unwrap();
                gpu.write(&buffer, bytes).unwrap();
                (buffer, bytes.len() as u64)
            })
            .collect();
        let stamp = gpu.stamp(results).unwrap();
        let bound = gpu.bind_stamp(&stamp).unwrap();
        let to = gpu.staging("stamps", STAMP_BYTES * sizes.len() as u64).unwrap();
        let copies: Vec<_> = (0..sizes.len()).map(|i| stamp.copy(i, &to, STAMP_BYTES * i as u64)).collect();
        gpu.number(&stamp, 41).unwrap();
        let mut last = None;
        for _ in 0..submissions {
            last = Some(
                gpu.submit(&CommandList { stamp: &bound, copies: &copies, ..CommandList::default() })
                    .unwrap(),
            );
        }
        let bytes = gpu.read(&to, STAMP_BYTES * sizes.len() as u64, &last.unwrap()).unwrap();
        (contents, bytes.chunks(16).map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn the_kernel_and_its_twin_agree_and_every_difference_is_seen() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let sizes = [16, 4, 4096, 4 * 1023, 4 * 1024, 4 * 2047, 4 * 2048, 4 * 100_003, 64];
        let (contents, stamps) = stamped(&gpu, &sizes, 3);
        let expected = Expected { number: 41, count: 3 };
        for (content, stamp) in contents.iter().zip(&stamps) {
            gpu.verify(stamp, content, expected).unwrap();
            assert_eq!(stamp[12..], [0; 4]);
        }
        // Each case uses its own `Gpu`, because a failed check marks it as lost.
        let (content, stamp) = (&contents[2], &stamps[2]);
        let mut bit = content.clone();
        bit[1234] ^= 1;
        let mut swapped = content.clone();
        swapped.rotate_left(4);
        for (content, expected, says) in [
            (&bit, expected, "not what was computed"),
            (&swapped, expected, "not what was computed"),
            (&vec![0; content.len()], expected, "not what was computed"),
            (content, Expected { number: 42, ..expected }, "run 42 was not done"),
            (content, Expected { count: 4, ..expected }, "of 4 submissions 3"),
        ] {
            let gpu = Gpu::open(&GpuOptions::default()).unwrap();
            let error = gpu.verify(stamp, content, expected).unwrap_err();
            assert!(matches!(error, Error::Gpu(_)), "{error:?}");
            let said = error.to_string();
            assert!(said.contains(says) && said.contains(&gpu.info().name), "{said}");
            assert!(gpu.is_lost() && gpu.flush().is_err(), "a driver that loses work is not asked again");
        }
    }

    #[test]
    fn a_download_that_is_lost_is_an_error() {
        for fault in [Fault::Dispatches, Fault::Copies, Fault::Submissions, Fault::Writes] {
            let gpu = Gpu::open(&GpuOptions::default()).unwrap();
            let buffer = gpu.buffer("weights", 4096).unwrap();
            gpu.write(&buffer, &[9; 4096]).unwrap();
            assert_eq!(gpu.download(&buffer, 4096).unwrap(), [9; 4096]);
            gpu.inject(fault);
            let error = gpu.download(&buffer, 4096).expect_err(&format!("{fault:?}"));
            assert!(matches!(error, Error::Gpu(_)), "{fault:?}: {error:?}");
        }
    }
}
