// conv2d_store: what becomes of the numbers of c that a product of conv2d.wgsl, which it is joined with, has computed
//   c = v, or c + v, or the first layers of what follows v: bias, batch norm, a sum, ReLU or its gradient

// Add to what the calls before have stored (dw only).
override ADD: bool = false;
// What follows in the same kernel, in this order: for y a bias, batch norm, a sum and ReLU, for dx a sum and ReLU's gradient.
override BIAS: bool = false;
override AFFINE: bool = false;
override RESIDUAL: bool = false;
override RELU: bool = false;
override MASK: bool = false;

@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;     // (K/4)
@group(0) @binding(4) var<storage, read> affine: array<vec4<f32>>;   // (3, K/4) mean, scale, shift
@group(0) @binding(5) var<storage, read> residual: array<vec4<StoredC>>; // (N, P, Q, K/4) or (N, H, W, C/4)
@group(0) @binding(6) var<storage, read> mask: array<vec4<StoredC>>;     // (N, H, W, C/4)
@group(0) @binding(7) var<storage, read_write> c: array<vec4<StoredC>>;  // (N, P, Q, K/4), (N, H, W, C/4) or (split, R, S, C, K/4)

// Which pixel of the result a row is.
fn pixel_of(row: u32) -> u32 {
    if PHASE {
        let line = row / params.q;
        let n = line / params.p;
        let h = (line - n * params.p) * params.stride_h + params.phase_h;
        return (n * params.out_h + h) * params.out_w + (row - line * params.q) * params.stride_w + params.phase_w;
    }
    return row;
}

fn store_c(row: u32, col4: u32, value: vec4<f32>) {
    let col = the_group * params.cols4 + col4;
    let pixel = pixel_of(row);
    var v = value;
    if BIAS {
        v += bias[col];
    }
    let all4 = params.groups * params.cols4;
    if AFFINE {
        v = fma(v - affine[col], affine[all4 + col], affine[2u * all4 + col]);
    }
    if RESIDUAL {
        v += vec4<f32>(residual[pixel * all4 + col]);
    }
    if RELU {
        v = max(v, vec4<f32>());
    }
    if MASK {
        let positive = mask[pixel * params.mask_pitch4 + params.mask_from4 + col] > vec4<StoredC>();
        v = select(vec4<f32>(), v, positive);
    }
    let i = ((params.first_split + the_split) * params.rows + pixel) * params.out4 + params.out_from4 + col;
    if ADD {
        v += vec4<f32>(c[i]);
    }
    c[i] = vec4<StoredC>(v);
}
