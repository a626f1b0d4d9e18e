// stages: what a convolution does with each number of its result before it writes it
//   what epilogue/affine.wgsl or epilogue/reduce_sum_dot.wgsl has, then v + residual, then max(v, 0) or v where the mask is
//   positive
//   The kernel has mask_pitch4 and mask_from4 among its parameters. StoredC is how the result lies in memory.
// Needs: Terms, mapped, params, positive_part
// Provides: followed

// For y a sum and ReLU, for dx a sum and ReLU's gradient; in this order.
override RESIDUAL: bool = false;
override RELU: bool = false;
override MASK: bool = false;

@group(0) @binding(4) var<storage, read> residual: array<vec4<StoredC>>; // (N, P, Q, K/4) or (N, H, W, C/4)
@group(0) @binding(5) var<storage, read> mask: array<vec4<StoredC>>;     // (N, H, W, C/4)

// A vec4 of the result, of which a pixel has all4.
fn followed(value: vec4<f32>, pixel: u32, col: u32, all4: u32, terms: Terms) -> vec4<f32> {
    var v = mapped(value, terms);
    if RESIDUAL {
        v += vec4<f32>(residual[pixel * all4 + col]);
    }
    if RELU {
        v = positive_part(v);
    }
    if MASK {
        let positive = mask[pixel * params.mask_pitch4 + params.mask_from4 + col] > vec4<StoredC>();
        v = select(vec4<f32>(), v, positive);
    }
    return v;
}
