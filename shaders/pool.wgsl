// pool: maximum and average over windows, NHWC
//   max      y[n,p,q,c] = max over r,s of x[n, p*stride+r-pad, q*stride+s-pad, c], padding left out
//   average  y[n,p,q,c] = sum over r,s of the same / (R*S, or the number of taps that are no padding)
//   x (N,H,W,C)  ->  y (N,P,Q,C),  P = (H + top + bottom - R)/stride + 1, rounded down or up
//   adaptive y[n,p,q,c] = mean of x over rows floor(p*H/P) to ceil((p+1)*H/P) and the columns alike
// Algorithm: the gradients gather: each element of dx visits the windows that hold it. No atomics, fixed order.
// Schedule: one invocation = one vec4 of the result.
// Needs: flat, is_nan

struct Params {
    total4: u32,
    h: u32, w: u32, c4: u32, p: u32, q: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32,
    count_h: u32, count_w: u32, // where what an average counts ends: h and w, or with the padding behind them
}

// Whether an average counts the padding.
override PADDING: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;        // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>;  // (N, P, Q, C/4)
@group(0) @binding(2) var<storage, read_write> winner: array<u32>;   // (N, P, Q, C/4) four 8-bit taps
@group(0) @binding(1) var<storage, read> won: array<u32>;            // (N, P, Q, C/4) four 8-bit taps
@group(0) @binding(2) var<storage, read> dy: array<vec4<Stored>>;       // (N, P, Q, C/4)
@group(0) @binding(1) var<storage, read> mean_dy: array<vec4<Stored>>;  // (N, P, Q, C/4)
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Stored>>; // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read_write> mean_dx: array<vec4<Stored>>; // (N, H, W, C/4)

struct Window { base: u32, top: u32, left: u32 } // top and left wrap around in the padding

fn window(i: u32) -> Window {
    let pixel = i / params.c4;
    let line = pixel / params.q;
    let base = (line / params.p) * params.h * params.w * params.c4 + i % params.c4;
    return Window(base, (line % params.p) * params.stride_h - params.pad_h, (pixel % params.q) * params.stride_w - params.pad_w);
}

struct Best { value: vec4<Stored>, tap: vec4<u32> }

// Note: of equal values the first in reading order wins, and NaN wins over all, as in PyTorch.
fn best(i: u32) -> Best {
    let win = window(i);
    var found = Best();
    var first = true;
    for (var r = 0u; r < params.kernel_h; r++) {
        for (var s = 0u; s < params.kernel_w; s++) {
            let h = win.top + r;
            let w = win.left + s;
            if h < params.h && w < params.w {
                let v = x[win.base + (h * params.w + w) * params.c4];
                let better = (v > found.value) | is_nan(vec4<f32>(v)) | vec4(first);
                found.value = select(found.value, v, better);
                found.tap = select(found.tap, vec4(r * params.kernel_w + s), better);
                first = false;
            }
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
    let i = flat(group, groups, lane);
    if i < params.total4 {
        y[i] = best(i).value;
    }
}

// Which tap of its window each element of y came from.
@compute @workgroup_size(64)
fn max_winner(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let tap = best(i).tap;
        winner[i] = tap.x | (tap.y << 8u) | (tap.z << 16u) | (tap.w << 24u);
    }
}

// The windows along one side that hold position `at` of x: from .x up to, not including, .y.
fn holding(at: u32, kernel: u32, stride: u32, pad: u32, count: u32) -> vec2<u32> {
    let last = at + pad;
    let first = select(0u, (last - kernel) / stride + 1u, last >= kernel);
    return vec2(first, min(last / stride + 1u, count));
}

// y = x at the winning tap  =>  dx = sum of dy over the windows that x won.
@compute @workgroup_size(64)
fn max_pool_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let pixel = i / params.c4;
    let line = pixel / params.w;
    let h = line % params.h;
    let w = pixel % params.w;
    let ps = holding(h, params.kernel_h, params.stride_h, params.pad_h, params.p);
    let qs = holding(w, params.kernel_w, params.stride_w, params.pad_w, params.q);
    var sum = vec4<f32>();
    for (var p = ps.x; p < ps.y; p++) {
        for (var q = qs.x; q < qs.y; q++) {
            let tap = (h + params.pad_h - p * params.stride_h) * params.kernel_w + w + params.pad_w - q * params.stride_w;
            let j = (((line / params.h) * params.p + p) * params.q + q) * params.c4 + i % params.c4;
            let taps = (vec4(won[j]) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
            sum += select(vec4<f32>(), vec4<f32>(dy[j]), taps == vec4(tap));
        }
    }
    dx[i] = vec4<Stored>(sum);
}

// How many taps of a window count along one side of x. If the padding counts, so does that in front.
fn counted(start: u32, kernel: u32, end: u32) -> i32 {
    let first = select(max(i32(start), 0), i32(start), PADDING);
    return min(i32(start + kernel), i32(end)) - first;
}

fn divisor(top: u32, left: u32) -> f32 {
    return f32(counted(top, params.kernel_h, params.count_h) * counted(left, params.kernel_w, params.count_w));
}

@compute @workgroup_size(64)
fn average_pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let win = window(i);
    var sum = vec4<f32>();
    for (var r = 0u; r < params.kernel_h; r++) {
        for (var s = 0u; s < params.kernel_w; s++) {
            let h = win.top + r;
            let w = win.left + s;
            if h < params.h && w < params.w {
                sum += vec4<f32>(x[win.base + (h * params.w + w) * params.c4]);
            }
        }
    }
    y[i] = vec4<Stored>(sum / divisor(win.top, win.left));
}

// y = mean of a window  =>  dx = sum over the windows that hold x of dy / divisor.
@compute @workgroup_size(64)
fn average_pool_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let pixel = i / params.c4;
    let line = pixel / params.w;
    let ps = holding(line % params.h, params.kernel_h, params.stride_h, params.pad_h, params.p);
    let qs = holding(pixel % params.w, params.kernel_w, params.stride_w, params.pad_w, params.q);
    var sum = vec4<f32>();
    for (var p = ps.x; p < ps.y; p++) {
        for (var q = qs.x; q < qs.y; q++) {
            let j = (((line / params.h) * params.p + p) * params.q + q) * params.c4 + i % params.c4;
            sum += vec4<f32>(mean_dy[j]) / divisor(p * params.stride_h - params.pad_h, q * params.stride_w - params.pad_w);
        }
    }
    mean_dx[i] = vec4<Stored>(sum);
}

// The part of x along one side that element i of y is the mean of: from .x up to, not including, .y.
fn part(i: u32, size: u32, count: u32) -> vec2<u32> {
    return vec2((i * size) / count, ((i + 1u) * size + count - 1u) / count);
}

@compute @workgroup_size(64)
fn adaptive_pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let pixel = i / params.c4;
    let line = pixel / params.q;
    let hs = part(line % params.p, params.h, params.p);
    let ws = part(pixel % params.q, params.w, params.q);
    var sum = vec4<f32>();
    for (var h = hs.x; h < hs.y; h++) {
        for (var w = ws.x; w < ws.y; w++) {
            sum += vec4<f32>(x[(((line / params.p) * params.h + h) * params.w + w) * params.c4 + i % params.c4]);
        }
    }
    y[i] = vec4<Stored>(sum / f32((hs.y - hs.x) * (ws.y - ws.x)));
}

// y = mean of a part  =>  dx = sum over the parts that hold x of dy / size. They are those of `part` the other way round.
@compute @workgroup_size(64)
fn adaptive_pool_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let pixel = i / params.c4;
    let line = pixel / params.w;
    let ps = part(line % params.h, params.p, params.h);
    let qs = part(pixel % params.w, params.q, params.w);
    var sum = vec4<f32>();
    for (var p = ps.x; p < ps.y; p++) {
        for (var q = qs.x; q < qs.y; q++) {
            let hs = part(p, params.h, params.p);
            let ws = part(q, params.w, params.q);
            let j = (((line / params.h) * params.p + p) * params.q + q) * params.c4 + i % params.c4;
            sum += vec4<f32>(mean_dy[j]) / f32((hs.y - hs.x) * (ws.y - ws.x));
        }
    }
    mean_dx[i] = vec4<Stored>(sum);
}
