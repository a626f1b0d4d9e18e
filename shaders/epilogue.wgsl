// epilogue: what a convolution does with each number of its result before it writes it
//   v + bias[k], then (v - mean[k]) * scale[k] + shift[k], then v + residual, then max(v, 0) or v where the mask is positive
//   The text that it is joined with has mask_pitch4 and mask_from4 among its parameters. StoredC is how the result lies in memory.

// For y a bias, batch norm, a sum and ReLU, for dx a sum and ReLU's gradient; in this order.
override BIAS: bool = false;
override AFFINE: bool = false;
override RESIDUAL: bool = false;
override RELU: bool = false;
override MASK: bool = false;

@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;     // (K/4)
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;   // (3, K/4) mean, scale, shift
@group(0) @binding(4) var<storage, read> residual: array<vec4<StoredC>>; // (N, P, Q, K/4) or (N, H, W, C/4)
@group(0) @binding(5) var<storage, read> mask: array<vec4<StoredC>>;     // (N, H, W, C/4)

// What is the same for all pixels.
struct Terms { bias: vec4<f32>, mean: vec4<f32>, scale: vec4<f32>, shift: vec4<f32> }

// Of a vec4 of channels, of which there are all4.
fn terms_of(col: u32, all4: u32) -> Terms {
    var terms: Terms;
    if BIAS {
        terms.bias = bias[col];
    }
    if AFFINE {
        terms.mean = affine[col];
        terms.scale = affine[all4 + col];
        terms.shift = affine[2u * all4 + col];
    }
    return terms;
}

// A vec4 of the result, of which a pixel has all4.
fn followed(value: vec4<f32>, pixel: u32, col: u32, all4: u32, terms: Terms) -> vec4<f32> {
    var v = value;
    if BIAS {
        v += terms.bias;
    }
    if AFFINE {
        v = fma(v - terms.mean, terms.scale, terms.shift);
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
    return v;
}
