//! Multi-tensor SGD: one dispatch updates several small tensors, as in PyTorch's fused optimizers.

use crate::error::Result;
use crate::gpu::{Field, Kernel, KernelParams};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, BufId, RecordOptions, Recorder, SgdStep, fold};
use crate::tensor::Shape;

const SHADER: &str = include_str!("../../shaders/sgd_multi_tensor.wgsl");

/// The most tensors in a dispatch.
pub(crate) const MAX_TENSORS: usize = 32;
/// The most buffers that hold their gradients. A dispatch has eight storage buffers; step, weights and velocities take
/// three.
pub(crate) const MAX_GRADIENTS: usize = 5;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    tensors: u32,
    padding: [u32; 3],
    table: [[u32; 4]; 2 * MAX_TENSORS],
}

impl KernelParams for Params {
    const FIELDS: &'static [Field] = &[
        ("tensors", std::mem::offset_of!(Params, tensors), "u32"),
        ("table", std::mem::offset_of!(Params, table), "array<vec4<u32>, 64>"),
    ];

    fn to_bytes(&self) -> Vec<u8> {
        bytemuck::bytes_of(self).to_vec()
    }
}

/// The range of a state arena that holds the weights of a dispatch. The velocities are at the same offset of a second
/// arena.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArenaRange {
    pub(crate) w: BufId,
    pub(crate) v: BufId,
    /// Offset and length in both arenas, in bytes.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Whether the adapter computes the kernel of this dispatch rightly. If not, each tensor gets its own dispatch.
pub(crate) fn is_usable(options: &RecordOptions) -> bool {
    options.check_kernel(&together()).is_ok()
}

fn together() -> Kernel {
    kernel("sgd", SHADER, "together")
}

/// Records one dispatch for consecutive steps. Each step comes with the offset of its tensor in the range, in bytes.
pub(crate) fn record(r: &mut Recorder, steps: &[(SgdStep, u64)], range: ArenaRange) -> Result<()> {
    let mut gradients: Vec<Buf> = Vec::new();
    let table = [[0; 4]; 2 * MAX_TENSORS];
    let mut params = Params { tensors: steps.len() as u32, padding: [0; 3], table };
    let mut invocations = 0;
    for ((step, from), entry) in steps.iter().zip(params.table.chunks_exact_mut(2)) {
        let gradient = step.gradient;
        let buffer = gradients.iter().position(|b| b.id == gradient.buf.id).unwrap_or_else(|| {
            gradients.push(gradient.buf);
            gradients.len() - 1
        });
        let total4 = step.on.w.vec4s();
        entry.copy_from_slice(&[
            [invocations, (from / 16) as u32, total4, gradient.count],
            [buffer as u32, gradient.from4, 0, 0],
        ]);
        invocations += total4.next_multiple_of(64);
    }
    let filled = (0..MAX_GRADIENTS).filter_map(|i| gradients.get(i).or(gradients.first()));
    let reads: Vec<Buf> =
        steps.first().map(|(step, _)| step.on.step).into_iter().chain(filled.copied()).collect();
    let mut kernel = together();
    kernel.constants.extend(steps.first().map_or_else(Vec::new, |(step, _)| step.on.constants()));
    let theirs = |id| Buf { offset: range.offset, ..Buf::new(id, Shape::nothing(), range.bytes) };
    let writes = [range.w, range.v].map(theirs);
    r.dispatch(kernel, params, &reads, &writes, fold(invocations / 64))
}
