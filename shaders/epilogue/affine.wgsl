// affine: the first of what follows a convolution in its kernel (epilogue/stages.wgsl)
//   v + bias[k], then (v - mean[k]) * scale[k] + shift[k]
// Provides: Terms, mapped, terms_of

// A bias and batch norm, in this order.
override BIAS: bool = false;
override AFFINE: bool = false;

@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;     // (K/4)
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;   // (3, K/4) mean, scale, shift

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

fn mapped(value: vec4<f32>, terms: Terms) -> vec4<f32> {
    var v = value;
    if BIAS {
        v += terms.bias;
    }
    if AFFINE {
        v = fma(v - terms.mean, terms.scale, terms.shift);
    }
    return v;
}
