// conv2d: 2-D cross-correlation, NHWC, in groups
//   y[n,p,q,k] = bias[k] + sum over r,s,c of x[n, p*stride+r-pad, q*stride+s-pad, c] * w[r,s,c,k]
//   x (N,H,W,C)  w (R,S,C/G,K)  bias (K)  ->  y (N,P,Q,K),  P = (H + 2*pad - R)/stride + 1
// Algorithm: three matrix products through one GEMM kernel, the columns of x or dy gathered on the fly:
//   y   (N*P*Q x R*S*C)  . (R*S*C x K)      a = x,  b = w
//   dx  (N*H*W x R*S*K)  . (R*S*K x C)      a = dy, b = w read with C and K exchanged
//   dw  (R*S*C x N*P*Q)  . (N*P*Q x K)      a = x,  b = dy
//   The depth of a product is `segments` (taps r,s) times `run4` vec4s of neighbouring channels of one group.
//   dw walks all pixels once for each block of c: it does so in k chunks, whose x and dy stay in a processor's cache.
// Schedule: that of the GEMM kernel: gemm/tiled.wgsl, gemm/rows.wgsl, gemm/direct.wgsl or gemm/subgroup.wgsl.
//   gemm/output_store.wgsl or gemm/output_sgd.wgsl has the other bindings and says what becomes of a number of c. The z of
//   the grid holds block of columns, group, and for dw the split of the depth; splits are added in fixed order, by
//   reduce.wgsl or sgd.wgsl.
// Needs: b
// Provides: DX, INSIDE, PHASE, POINTWISE, a, at, begin, join_b, load_a, load_b, load_b2, load_b4, next, next_tap,
//   params, pixel, tap, the_group, the_split, weights_of

struct Params {
    h: u32, w: u32, c4: u32,        // the image that a gathers from: x, or dy for dx
    p: u32, q: u32,                 // the grid of pixels: y's, or x's for dx, or those of one phase of x
    s: u32,                         // kernel width
    stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32,
    rows: u32, cols4: u32,          // c of one group
    segments: u32, run4: u32,       // depth of one group
    groups: u32, col_blocks: u32,
    pixels: u32, split: u32,        // pixels of the grid of all pictures, and how many of them one split takes (dw)
    b_pitch4: u32, b_segment: u32, b_group_col4: u32,
    out4: u32, out_from4: u32,      // vec4s in a row of the tensor that c is or is a slice of; where c begins in it
    // dx with a stride: the pixels of x at phase_h, phase_w modulo the stride, which met every stride-th tap from tap0 on.
    // s, segments and the padding are those of these taps alone; taps_w is the width of the kernel.
    phase_h: u32, phase_w: u32, out_h: u32, out_w: u32, tap0: u32, taps_w: u32,
    first_split: u32,               // where a batch lies in several buffers, which come one at a time (dw)
    k_from: u32, k_chunk: u32,      // the k chunk of each split that this call takes: its first pixel, its length (dw)
    mask_pitch4: u32, mask_from4: u32, // where the mask lies, if it is a slice of the channels of a wider tensor
    first_partial: u32,                // the number of the first partial of the fused reduction
}

// Walk the taps backwards: the gradient with respect to x.
override DX: bool = false;
// For dx: the stride is not 1, and the pixels are those of one phase: a convolution of stride 1 with fewer taps.
override PHASE: bool = false;

// One tap, no stride and no padding: a pixel of the grid is that of a.
override POINTWISE: bool = false;
// No tap of any pixel is in the padding.
override INSIDE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<StoredA>>; // (N, H, W, C/4) or (N, P, Q, K/4)

var<private> the_group: u32;
var<private> the_split: u32;

struct Pixel {
    image: u32,   // index of the first vec4 of picture n in a, or of the pixel where it is pointwise
    h: u32,       // row and column of a that tap 0 meets; what lies before the first one wraps around
    w: u32,
    inside: bool,
}

// Row and column of a that tap 0 of pixel i, j meets.
fn meets(i: u32, j: u32) -> vec2<u32> {
    if DX {
        // x at h met y at p where h = p + r - pad.
        return vec2(i + params.pad_h, j + params.pad_w);
    }
    return vec2(i * params.stride_h - params.pad_h, j * params.stride_w - params.pad_w);
}

// What block of c and which range of pixels the z of the grid means.
fn begin(z: u32) -> vec3<u32> {
    the_group = (z / params.col_blocks) % params.groups;
    the_split = z / (params.col_blocks * params.groups);
    let first = the_split * params.split + params.k_from;
    let end = min(min(first + params.k_chunk, (the_split + 1u) * params.split), params.pixels);
    return vec3(z % params.col_blocks, first, end);
}

fn pixel(row: u32) -> Pixel {
    if POINTWISE {
        return Pixel(row * params.c4, 0u, 0u, row < params.pixels);
    }
    let area = params.p * params.q;
    let n = row / area;
    let rest = row - n * area;
    let i = rest / params.q;
    let first = meets(i, rest - i * params.q);
    return Pixel(n * params.h * params.w * params.c4, first.x, first.y, row < params.pixels);
}

// The pixel after this one, without a division; for dw.
fn next(at: Pixel) -> Pixel {
    if POINTWISE {
        return Pixel(at.image + params.c4, 0u, 0u, at.inside);
    }
    let first = meets(0u, 0u);
    let last = meets(params.p - 1u, params.q - 1u);
    let line_ends = at.w == last.y;
    let image_ends = line_ends & (at.h == last.x);
    return Pixel(
        at.image + select(0u, params.h * params.w * params.c4, image_ends),
        select(at.h + select(0u, params.stride_h, line_ends), first.x, image_ends),
        select(at.w + params.stride_w, first.y, line_ends),
        at.inside,
    );
}

// Row and column of a tap.
fn tap(segment: u32) -> vec2<u32> {
    let r = segment / params.s;
    return vec2(r, segment - r * params.s);
}

// The tap after this one, without a division.
fn next_tap(tap: vec2<u32>) -> vec2<u32> {
    return select(vec2(tap.x, tap.y + 1u), vec2(tap.x + 1u, 0u), tap.y + 1u == params.s);
}

// Where a has the first channels of this group at a pixel and a tap; negative where it reads padding.
// Note: & instead of &&, which would be a branch for every load.
fn at(pixel: Pixel, tap: vec2<u32>) -> i32 {
    if POINTWISE {
        return select(-1, i32(pixel.image + the_group * params.run4), pixel.inside);
    }
    var h = pixel.h + tap.x;
    var w = pixel.w + tap.y;
    if DX {
        h = pixel.h - tap.x;
        w = pixel.w - tap.y;
    }
    let inside = pixel.inside & (h < params.h) & (w < params.w);
    return select(-1, i32(pixel.image + (h * params.w + w) * params.c4 + the_group * params.run4), inside);
}

fn load_a(index: u32) -> vec4<f32> {
    return vec4<f32>(a[index]);
}

fn load_b(segment: u32, k: u32, col4: u32) -> vec4<f32> {
    return vec4<f32>(b[(segment * params.b_segment + k) * params.b_pitch4 + the_group * params.b_group_col4 + col4]);
}

// Which tap of w a tap is.
fn weights_of(tap: vec2<u32>) -> u32 {
    if PHASE {
        return params.tap0 + params.stride_h * params.taps_w * tap.x + params.stride_w * tap.y;
    }
    return tap.x * params.s + tap.y;
}

// Which tap of w a segment is.
fn tap_of(segment: u32) -> u32 {
    if PHASE {
        return weights_of(tap(segment));
    }
    return segment;
}

// Half of the rows 4*k4 to 4*k4 + 3 of b at four columns, for join_b. For dx the rows of b are columns of w, of which a
// vec4 has four: then it is half of the columns.
fn load_b2(segment: u32, k4: u32, half: u32, col4: u32) -> mat2x4<f32> {
    if DX {
        let row = tap_of(segment) * params.b_segment + 4u * col4 + 2u * half;
        let i = row * params.b_pitch4 + the_group * params.b_group_col4 + k4;
        return mat2x4<f32>(vec4<f32>(b[i]), vec4<f32>(b[i + params.b_pitch4]));
    }
    let k = 4u * k4 + 2u * half;
    return mat2x4<f32>(load_b(segment, k, col4), load_b(segment, k + 1u, col4));
}

// Rows 4*k4 to 4*k4 + 3 of b from their halves.
fn join_b(b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>) -> mat4x4<f32> {
    let halves = mat4x4<f32>(b0, b1, b2, b3);
    if DX {
        return transpose(halves);
    }
    return halves;
}

fn load_b4(segment: u32, k4: u32, col4: u32) -> mat4x4<f32> {
    let low = load_b2(segment, k4, 0u, col4);
    let high = load_b2(segment, k4, 1u, col4);
    return join_b(low[0], low[1], high[0], high[1]);
}
