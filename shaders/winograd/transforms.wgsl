// transforms: 3x3 convolution of stride 1 with fewer multiplications, NHWC
//   y[n,p,q,k] = sum over r,s,c of x[n, p+r-pad, q+s-pad, c] * w[r,s,c,k]
//   x (N,H,W,C)  w (3,3,C,K)  ->  y (N,P,Q,K),  P = H + 2*pad - 2
//   dx is the same of dy with the taps turned around, C and K exchanged and a padding of 2 - pad.
//   dw[r,s,c,k] = sum over n,p,q of x[n, p+r-pad, q+s-pad, c] * dy[n,p,q,k]
// Algorithm: Winograd, Arithmetic Complexity of Computations, 1980; for convolutions Lavin and Gray, 2015
//   (arXiv:1509.09308). A block of M x M of y comes from T x T of x, T = M + 2, by T*T multiplications for each c and k:
//   Y = A' sum over c of [(G w G') * (B' X B)] A
//   First V = B' X B and U = G w G'; for each of the T*T points the sum over c is a matrix product, all of
//   which together are a 1x1 convolution in T*T groups (conv2d.wgsl); last A' . A and what follows (epilogue/stages.wgsl).
//   For dw, which is the derivative of that by w, G' [sum over blocks of (B' X B) * (A dY A')] G.
//   winograd/f2x2.wgsl or winograd/f4x4.wgsl has M, T and the matrices. The epilogue and its fused reduction are as
//   gemm/output_store.wgsl says; a partial is that of a block.
// Schedule: one invocation = one block (or one tap) of one vec4 of channels; columns first, then lines.
// Needs: M, T, begin_column, flat, followed, of_filter, of_gradient, of_input, of_product, of_sums, see, terms_of,
//   write_part
// Provides: DX, PARTS, dy, params, x

struct Params {
    h: u32, w: u32, c4: u32,          // the image that the blocks are cut from: x, or dy for dx
    pad_h: u32, pad_w: u32,
    p: u32, q: u32, k4: u32,          // what is divided into blocks: y, x's gradient, or dy for dw
    down: u32, across: u32,           // blocks of a picture
    first: u32, blocks: u32,          // the blocks of this call, of those of all pictures
    filter_c: u32, filter_k4: u32,    // rows and columns of w
    out4: u32, out_from4: u32,        // vec4s in a pixel of the tensor that y is or is a slice of; where y begins in it
    mask_pitch4: u32, mask_from4: u32, // where the mask lies, if it is a slice of the channels of a wider tensor
}

// For dx: taps turned around.
override DX: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<StoredA>>;    // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;  // (block, T, T, C/4)
@group(0) @binding(1) var<storage, read> dy: array<vec4<StoredA>>;   // (N, P, Q, K/4)
@group(0) @binding(2) var<storage, read_write> d: array<vec4<f32>>;  // (block, T, T, K/4)
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>;     // (C, T, T, K/4)
@group(0) @binding(2) var<storage, read_write> dw: array<vec4<f32>>; // (3, 3, C, K/4)
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;        // (3, 3, C, K/4)
@group(0) @binding(2) var<storage, read_write> u: array<vec4<f32>>;  // (T, T, C, K/4)
@group(0) @binding(1) var<storage, read> products: array<vec4<f32>>; // (block, T, T, K/4)
@group(0) @binding(6) var<storage, read_write> y: array<vec4<StoredC>>; // (N, P, Q, K/4)

// The binding of what epilogue/reduce_mean_m2.wgsl or epilogue/reduce_sum_dot.wgsl writes.
const PARTS = 7u;

struct Place {
    n: u32,
    i: u32,   // row and column of the first of M x M pixels
    j: u32,
}

fn place(block: u32) -> Place {
    let line = block / params.across;
    let n = line / params.down;
    return Place(n, M * (line - n * params.down), M * (block - line * params.across));
}

@compute @workgroup_size(64)
fn transform_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = flat(group, groups, lane);
    if id >= params.blocks * params.c4 {
        return;
    }
    let block = id / params.c4;
    let c = id - block * params.c4;
    let at = place(params.first + block);
    // Differences below zero wrap around and are not inside.
    let top = at.i - params.pad_h;
    let left = at.j - params.pad_w;
    var columns: array<array<vec4<f32>, T>, T>;
    for (var j = 0u; j < T; j++) {
        var line: array<vec4<f32>, T>;
        for (var i = 0u; i < T; i++) {
            let inside = (top + i < params.h) & (left + j < params.w);
            let index = ((at.n * params.h + top + i) * params.w + left + j) * params.c4 + c;
            line[i] = select(vec4<f32>(), vec4<f32>(x[select(0u, index, inside)]), inside);
        }
        columns[j] = of_input(line);
    }
    for (var i = 0u; i < T; i++) {
        var line: array<vec4<f32>, T>;
        for (var j = 0u; j < T; j++) {
            line[j] = columns[j][i];
        }
        line = of_input(line);
        for (var j = 0u; j < T; j++) {
            v[((block * T + i) * T + j) * params.c4 + c] = line[j];
        }
    }
}

@compute @workgroup_size(64)
fn transform_filter(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = flat(group, groups, lane);
    let count = params.filter_c * params.filter_k4;
    if id >= count {
        return;
    }
    var columns: array<array<vec4<f32>, T>, 3>;
    for (var s = 0u; s < 3u; s++) {
        var taps: array<vec4<f32>, 3>;
        for (var r = 0u; r < 3u; r++) {
            let tap = 3u * r + s;
            taps[r] = w[select(tap, 8u - tap, DX) * count + id];
        }
        columns[s] = of_filter(taps);
    }
    for (var i = 0u; i < T; i++) {
        let line = of_filter(array<vec4<f32>, 3>(columns[0][i], columns[1][i], columns[2][i]));
        for (var j = 0u; j < T; j++) {
            u[(i * T + j) * count + id] = line[j];
        }
    }
}

// Row i. An array that is indexed by anything but a constant would have to leave the registers.
fn row_at(rows: array<array<vec4<f32>, M>, M>, i: u32) -> array<vec4<f32>, M> {
    var row = rows[0];
    for (var j = 0u; j < M; j++) {
        for (var other = 1u; other < M; other++) {
            row[j] = select(row[j], rows[other][j], i == other);
        }
    }
    return row;
}

@compute @workgroup_size(64)
fn transform_product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = flat(group, groups, lane);
    if id >= params.blocks * params.k4 {
        return;
    }
    let block = id / params.k4;
    let k = id - block * params.k4;
    let at = place(params.first + block);
    let terms = terms_of(k, params.k4);
    var columns: array<array<vec4<f32>, M>, T>;
    for (var j = 0u; j < T; j++) {
        var line: array<vec4<f32>, T>;
        for (var i = 0u; i < T; i++) {
            line[i] = products[((block * T + i) * T + j) * params.k4 + k];
        }
        columns[j] = of_product(line);
    }
    var rows: array<array<vec4<f32>, M>, M>;
    for (var i = 0u; i < M; i++) {
        var line: array<vec4<f32>, T>;
        for (var j = 0u; j < T; j++) {
            line[j] = columns[j][i];
        }
        rows[i] = of_product(line);
    }
    begin_column();
    // The number of rows is no constant, so that the compiler meets what is stored M times, not M * M times.
    for (var i = 0u; i < min(M, params.p - at.i); i++) {
        let row = row_at(rows, i);
        for (var j = 0u; j < M; j++) {
            if at.j + j < params.q {
                let pixel = (at.n * params.p + at.i + i) * params.q + at.j + j;
                let v = followed(row[j], pixel, k, params.k4, terms);
                let stored = vec4<StoredC>(v);
                y[pixel * params.out4 + params.out_from4 + k] = stored;
                see(vec4<f32>(stored), pixel, k, params.k4, terms);
            }
        }
    }
    write_part(params.first + block, k, params.k4);
}

@compute @workgroup_size(64)
fn transform_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = flat(group, groups, lane);
    if id >= params.blocks * params.k4 {
        return;
    }
    let block = id / params.k4;
    let k = id - block * params.k4;
    let at = place(params.first + block);
    var columns: array<array<vec4<f32>, T>, M>;
    for (var j = 0u; j < M; j++) {
        var line: array<vec4<f32>, M>;
        for (var i = 0u; i < M; i++) {
            let inside = (at.i + i < params.p) & (at.j + j < params.q);
            let index = ((at.n * params.p + at.i + i) * params.q + at.j + j) * params.k4 + k;
            line[i] = select(vec4<f32>(), vec4<f32>(dy[select(0u, index, inside)]), inside);
        }
        columns[j] = of_gradient(line);
    }
    for (var i = 0u; i < T; i++) {
        var line: array<vec4<f32>, M>;
        for (var j = 0u; j < M; j++) {
            line[j] = columns[j][i];
        }
        let row = of_gradient(line);
        for (var j = 0u; j < T; j++) {
            d[((block * T + i) * T + j) * params.k4 + k] = row[j];
        }
    }
}

@compute @workgroup_size(64)
fn transform_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let id = flat(group, groups, lane);
    let count = params.filter_c * params.filter_k4;
    if id >= count {
        return;
    }
    let c = id / params.filter_k4;
    let k = id - c * params.filter_k4;
    var columns: array<array<vec4<f32>, 3>, T>;
    for (var j = 0u; j < T; j++) {
        var line: array<vec4<f32>, T>;
        for (var i = 0u; i < T; i++) {
            line[i] = sums[((c * T + i) * T + j) * params.filter_k4 + k];
        }
        columns[j] = of_sums(line);
    }
    for (var r = 0u; r < 3u; r++) {
        var line: array<vec4<f32>, T>;
        for (var j = 0u; j < T; j++) {
            line[j] = columns[j][r];
        }
        let row = of_sums(line);
        for (var s = 0u; s < 3u; s++) {
            dw[(3u * r + s) * count + id] = row[s];
        }
    }
}
