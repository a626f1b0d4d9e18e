// pool: maximum and average over windows, NHWC
//   max      y[n,p,q,c] = max over r,s of x[n, p*stride+r-pad, q*stride+s-pad, c], padding left out
//   average  y[n,p,q,c] = sum over r,s of the same / (R*S, or the number of taps that are no padding)
//   x (N,H,W,C)  ->  y (N,P,Q,C),  P = (H + top + bottom - R)/stride + 1, rounded down or up
//   adaptive y[n,p,q,c] = mean of x over rows floor(p*H/P) to ceil((p+1)*H/P) and the columns alike
//   include/pool_means.wgsl has the averages.
// Algorithm: the gradients gather: each element of dx visits the windows that hold it. No atomics, fixed order.
// Schedule: one invocation = one vec4 of the result, and for dx of the maximum those of 2 x 2 pixels, which lie in nearly the
//   same windows. Windows are constants, so that a compiler can unroll them, and loads stand in no branch.
// Needs: is_nan, spot
// Provides: KERNEL_H, KERNEL_W, PADDING, STRIDE_H, STRIDE_W, dy, in_x, in_y, params, x

struct Params {
    n: u32,
    h: u32, w: u32, c4: u32, p: u32, q: u32,
    pad_h: u32, pad_w: u32,
    count_h: u32, count_w: u32, // where what an average counts ends: h and w, or with the padding behind them
    lanes_log2: u32, blocks: u32, per_column: f32, // the grid, see include/map.wgsl
}

override KERNEL_H: u32 = 1u;
override KERNEL_W: u32 = 1u;
override STRIDE_H: u32 = 1u;
override STRIDE_W: u32 = 1u;
// Whether an average counts the padding.
override PADDING: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;        // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>;  // (N, P, Q, C/4)
@group(0) @binding(2) var<storage, read_write> winner: array<u32>;   // (N, P, Q, C/4) four 8-bit taps
@group(0) @binding(1) var<storage, read> won: array<u32>;            // (N, P, Q, C/4) four 8-bit taps
@group(0) @binding(2) var<storage, read> dy: array<vec4<Stored>>;       // (N, P, Q, C/4)
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Stored>>; // (N, H, W, C/4)

// Indices of vec4s of x and of y.
fn in_x(n: u32, h: u32, w: u32, c: u32) -> u32 {
    return ((n * params.h + h) * params.w + w) * params.c4 + c;
}

fn in_y(n: u32, p: u32, q: u32, c: u32) -> u32 {
    return ((n * params.p + p) * params.q + q) * params.c4 + c;
}

struct Best { value: vec4<Stored>, tap: vec4<u32> }

// Instead of a tap in the padding it reads the nearest one of the map, which is in the window too.
// Note: of equal values the first in reading order wins, and NaN wins over all, as in PyTorch.
fn best(n: u32, p: u32, q: u32, c: u32) -> Best {
    let top = i32(p * STRIDE_H) - i32(params.pad_h);
    let left = i32(q * STRIDE_W) - i32(params.pad_w);
    var found = Best();
    for (var r = 0u; r < KERNEL_H; r++) {
        let h = clamp(top + i32(r), 0, i32(params.h) - 1);
        for (var s = 0u; s < KERNEL_W; s++) {
            let w = clamp(left + i32(s), 0, i32(params.w) - 1);
            let v = x[in_x(n, u32(h), u32(w), c)];
            let better = (v > found.value) | is_nan(vec4<f32>(v)) | vec4(r + s == 0u);
            found.value = select(found.value, v, better);
            found.tap = select(found.tap, vec4(u32(h - top) * KERNEL_W + u32(w - left)), better);
        }
    }
    return found;
}

@compute @workgroup_size(64)
fn max_pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = spot(group.x, lane);
    if at.column >= params.q || at.c >= params.c4 {
        return;
    }
    for (var n = group.z; n < params.n; n += groups.z) {
        for (var p = group.y; p < params.p; p += groups.y) {
            y[in_y(n, p, at.column, at.c)] = best(n, p, at.column, at.c).value;
        }
    }
}

// Which tap of its window each element of y came from.
@compute @workgroup_size(64)
fn max_winner(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = spot(group.x, lane);
    if at.column >= params.q || at.c >= params.c4 {
        return;
    }
    for (var n = group.z; n < params.n; n += groups.z) {
        for (var p = group.y; p < params.p; p += groups.y) {
            let tap = best(n, p, at.column, at.c).tap;
            winner[in_y(n, p, at.column, at.c)] = tap.x | (tap.y << 8u) | (tap.z << 16u) | (tap.w << 24u);
        }
    }
}

// The windows along one side that hold one of the lines 2*i and 2*i + 1, counted from the padding on: how many they are at most,
override WINDOWS_H: u32 = select(KERNEL_H / STRIDE_H + 1u, (KERNEL_H - 1u) / 2u + 1u, STRIDE_H == 2u);
override WINDOWS_W: u32 = select(KERNEL_W / STRIDE_W + 1u, (KERNEL_W - 1u) / 2u + 1u, STRIDE_W == 2u);

// and the last one, and which of its lines line 2*i is. It may begin behind it, then that wraps around.
fn last_window(i: u32, stride: u32) -> vec2<u32> {
    // What a compiler makes constants of, for the usual strides.
    if stride == 1u {
        return vec2(2u * i + 1u, 0u - 1u);
    }
    if stride == 2u {
        return vec2(i, 0u);
    }
    let last = (2u * i + 1u) / stride;
    return vec2(last, 2u * i - last * stride);
}

// What a pixel gets from a window of which it is the tap at r, s, if it is one.
fn won_by(r: u32, s: u32, taps: vec4<u32>, v: vec4<f32>) -> vec4<f32> {
    let tap = select(256u, r * KERNEL_W + s, (r < KERNEL_H) & (s < KERNEL_W));
    return select(vec4<f32>(), v, taps == vec4(tap));
}

fn put(sum: vec4<f32>, n: u32, h: u32, w: u32, c: u32) {
    if h < params.h && w < params.w {
        dx[in_x(n, h, w, c)] = vec4<Stored>(sum);
    }
}

// 2 x 2 pixels of dx.
fn max_dx(n: u32, i: u32, j: u32, c: u32) {
    let last_p = last_window(i, STRIDE_H);
    let last_q = last_window(j, STRIDE_W);
    var sum00 = vec4<f32>();
    var sum01 = vec4<f32>();
    var sum10 = vec4<f32>();
    var sum11 = vec4<f32>();
    for (var a = 1u; a <= WINDOWS_H; a++) {
        let p = last_p.x + a - WINDOWS_H;
        let r = last_p.y + (WINDOWS_H - a) * STRIDE_H;
        for (var b = 1u; b <= WINDOWS_W; b++) {
            let q = last_q.x + b - WINDOWS_W;
            let s = last_q.y + (WINDOWS_W - b) * STRIDE_W;
            let inside = (p < params.p) & (q < params.q);
            let place = select(0u, in_y(n, p, q, c), inside);
            let v = select(vec4<f32>(), vec4<f32>(dy[place]), inside);
            let taps = (vec4(won[place]) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
            sum00 += won_by(r, s, taps, v);
            sum01 += won_by(r, s + 1u, taps, v);
            sum10 += won_by(r + 1u, s, taps, v);
            sum11 += won_by(r + 1u, s + 1u, taps, v);
        }
    }
    // Differences below zero wrap around and are not inside.
    let h = 2u * i - params.pad_h;
    let w = 2u * j - params.pad_w;
    put(sum00, n, h, w, c);
    put(sum01, n, h, w + 1u, c);
    put(sum10, n, h + 1u, w, c);
    put(sum11, n, h + 1u, w + 1u, c);
}

// y = x at the winning tap  =>  dx = sum of dy over the windows that x won.
@compute @workgroup_size(64)
fn max_pool_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = spot(group.x, lane);
    if at.column >= (params.w + params.pad_w + 1u) / 2u || at.c >= params.c4 {
        return;
    }
    for (var n = group.z; n < params.n; n += groups.z) {
        for (var i = group.y; i < (params.h + params.pad_h + 1u) / 2u; i += groups.y) {
            max_dx(n, i, at.column, at.c);
        }
    }
}
