//! One step of SGD for several small tensors: one call where there would be one for each.

use super::record::fold;
use super::sgd::Params as Single;
use super::{Access, Buf, BufId, Dispatch};
use crate::gpu::{Field, Kernel, KernelParams};
use crate::graph::Shape;

const SOURCE: &[&str] = &[
    include_str!("../../shaders/sgd_together.wgsl"),
    include_str!("../../shaders/sgd_rule.wgsl"),
    include_str!("../../shaders/grid.wgsl"),
];

/// The most tensors of a call.
pub(crate) const TENSORS: usize = 32;
/// The most buffers in which their gradients may lie: what the limit of eight storage buffers leaves.
pub(crate) const GRADIENTS: usize = 5;

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Params {
    tensors: u32,
    padding: [u32; 3],
    table: [[u32; 4]; 2 * TENSORS],
}

impl KernelParams for Params {
    const FIELDS: &'static [Field] = &[
        ("tensors", std::mem::offset_of!(Params, tensors), "u32"),
        ("table", std::mem::offset_of!(Params, table), "array<vec4<u32>, 64>"),
    ];
}

/// A call of [`super::Graph::sgd`] by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The hyper-parameters.
    pub(crate) step: Buf,
    /// Where the gradient lies.
    pub(crate) gradient: Buf,
    /// The weights.
    pub(crate) w: Buf,
    /// Their velocity.
    pub(crate) v: Buf,
    params: Single,
}

impl Step {
    /// `None` for another call.
    pub(crate) fn of(dispatch: &Dispatch) -> Option<Self> {
        let [(step, _), (gradient, _), (w, _), (v, _)] = dispatch.buffers[..] else { return None };
        let params = bytemuck::try_pod_read_unaligned(&dispatch.params).ok()?;
        (dispatch.kernel.entry == "sgd").then_some(Self { step, gradient, w, v, params })
    }
}

/// Where tensors lie together, and their velocities at the same places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) w: BufId,
    pub(crate) v: BufId,
    /// Where those of a call begin in each, and how many bytes they take.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The one call for steps that follow each other, each with where its tensor begins among theirs, in bytes. It stands in the place of the last one.
pub(crate) fn together(steps: &[(Step, u64)], places: Places, last: &Dispatch) -> Dispatch {
    let mut gradients: Vec<Buf> = Vec::new();
    let mut params = Params { tensors: steps.len() as u32, padding: [0; 3], table: [[0; 4]; 2 * TENSORS] };
    let mut invocations = 0;
    for ((step, from), entry) in steps.iter().zip(params.table.chunks_exact_mut(2)) {
        let buffer = gradients.iter().position(|b| b.id == step.gradient.id).unwrap_or_else(|| {
            gradients.push(step.gradient);
            gradients.len() - 1
        });
        let Single { total4, addends, from4 } = step.params;
        entry.copy_from_slice(&[
            [invocations, (from / 16) as u32, total4, addends],
            [buffer as u32, from4, 0, 0],
        ]);
        invocations += total4.next_multiple_of(64);
    }
    let filled = (0..GRADIENTS).filter_map(|i| gradients.get(i).or(gradients.first()));
    let reads = steps.first().map(|(step, _)| step.step).into_iter().chain(filled.copied());
    let theirs = |id| Buf { offset: places.offset, ..Buf::new(id, Shape::nothing(), places.bytes) };
    let writes = [places.w, places.v].map(|id| (theirs(id), Access::Write));
    Dispatch {
        value: last.value,
        kernel: Kernel { types: last.kernel.types.clone(), ..Kernel::new("sgd", SOURCE, "together") },
        params: bytemuck::bytes_of(&params).to_vec(),
        buffers: reads.map(|buf| (buf, Access::Read)).chain(writes).collect(),
        workgroups: fold(invocations / 64),
        fields: Params::FIELDS,
        product: false,
    }
}
