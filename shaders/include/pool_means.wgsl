// pool_means: the averages of pool.wgsl
//   average  y[n,p,q,c] = sum over r,s of x[n, p*stride+r-pad, q*stride+s-pad, c] / (R*S, or the number of taps that are no padding)
//   adaptive y[n,p,q,c] = mean of x over rows floor(p*H/P) to ceil((p+1)*H/P) and the columns alike
//   x (N,H,W,C)  ->  y (N,P,Q,C)
// Schedule: one invocation = one vec4 of the result.
// Needs: KERNEL_H, KERNEL_W, PADDING, STRIDE_H, STRIDE_W, in_x, in_y, params, spot, x

@group(0) @binding(2) var<storage, read_write> mean: array<vec4<Stored>>;    // (N, P, Q, C/4)
@group(0) @binding(1) var<storage, read> mean_dy: array<vec4<Stored>>;       // (N, P, Q, C/4)
@group(0) @binding(2) var<storage, read_write> mean_dx: array<vec4<Stored>>; // (N, H, W, C/4)

// How many taps of a window count along one side of x. If the padding counts, so does that in front.
fn counted(start: u32, kernel: u32, end: u32) -> i32 {
    let first = select(max(i32(start), 0), i32(start), PADDING);
    return min(i32(start + kernel), i32(end)) - first;
}

fn divisor(top: u32, left: u32) -> f32 {
    return f32(counted(top, KERNEL_H, params.count_h) * counted(left, KERNEL_W, params.count_w));
}

fn average(n: u32, p: u32, q: u32, c: u32) -> vec4<f32> {
    // Both wrap around in the padding.
    let top = p * STRIDE_H - params.pad_h;
    let left = q * STRIDE_W - params.pad_w;
    var sum = vec4<f32>();
    for (var r = 0u; r < KERNEL_H; r++) {
        for (var s = 0u; s < KERNEL_W; s++) {
            let inside = (top + r < params.h) & (left + s < params.w);
            let place = select(0u, in_x(n, top + r, left + s, c), inside);
            sum += select(vec4<f32>(), vec4<f32>(x[place]), inside);
        }
    }
    return sum / divisor(top, left);
}

@compute @workgroup_size(64)
fn average_pool(
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
            mean[in_y(n, p, at.column, at.c)] = vec4<Stored>(average(n, p, at.column, at.c));
        }
    }
}

// The windows along one side that hold position `at` of x: from .x up to, not including, .y.
fn holding(at: u32, kernel: u32, stride: u32, pad: u32, count: u32) -> vec2<u32> {
    let last = at + pad;
    let first = select(0u, (last - kernel) / stride + 1u, last >= kernel);
    return vec2(first, min(last / stride + 1u, count));
}

fn average_dx(n: u32, h: u32, w: u32, c: u32) -> vec4<f32> {
    let ps = holding(h, KERNEL_H, STRIDE_H, params.pad_h, params.p);
    let qs = holding(w, KERNEL_W, STRIDE_W, params.pad_w, params.q);
    var sum = vec4<f32>();
    for (var p = ps.x; p < ps.y; p++) {
        for (var q = qs.x; q < qs.y; q++) {
            sum += vec4<f32>(mean_dy[in_y(n, p, q, c)]) / divisor(p * STRIDE_H - params.pad_h, q * STRIDE_W - params.pad_w);
        }
    }
    return sum;
}

// y = mean of a window  =>  dx = sum over the windows that hold x of dy / divisor.
@compute @workgroup_size(64)
fn average_pool_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = spot(group.x, lane);
    if at.column >= params.w || at.c >= params.c4 {
        return;
    }
    for (var n = group.z; n < params.n; n += groups.z) {
        for (var h = group.y; h < params.h; h += groups.y) {
            mean_dx[in_x(n, h, at.column, at.c)] = vec4<Stored>(average_dx(n, h, at.column, at.c));
        }
    }
}

// The part of x along one side that element i of y is the mean of: from .x up to, not including, .y.
fn part(i: u32, size: u32, count: u32) -> vec2<u32> {
    return vec2((i * size) / count, ((i + 1u) * size + count - 1u) / count);
}

fn adaptive(n: u32, p: u32, q: u32, c: u32) -> vec4<f32> {
    let hs = part(p, params.h, params.p);
    let ws = part(q, params.w, params.q);
    var sum = vec4<f32>();
    for (var h = hs.x; h < hs.y; h++) {
        for (var w = ws.x; w < ws.y; w++) {
            sum += vec4<f32>(x[in_x(n, h, w, c)]);
        }
    }
    return sum / f32((hs.y - hs.x) * (ws.y - ws.x));
}

@compute @workgroup_size(64)
fn adaptive_pool(
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
            mean[in_y(n, p, at.column, at.c)] = vec4<Stored>(adaptive(n, p, at.column, at.c));
        }
    }
}

fn adaptive_dx(n: u32, h: u32, w: u32, c: u32) -> vec4<f32> {
    let ps = part(h, params.p, params.h);
    let qs = part(w, params.q, params.w);
    var sum = vec4<f32>();
    for (var p = ps.x; p < ps.y; p++) {
        for (var q = qs.x; q < qs.y; q++) {
            let hs = part(p, params.h, params.p);
            let ws = part(q, params.w, params.q);
            sum += vec4<f32>(mean_dy[in_y(n, p, q, c)]) / f32((hs.y - hs.x) * (ws.y - ws.x));
        }
    }
    return sum;
}

// y = mean of a part  =>  dx = sum over the parts that hold x of dy / size. They are those of `part` the other way round.
@compute @workgroup_size(64)
fn adaptive_pool_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = spot(group.x, lane);
    if at.column >= params.w || at.c >= params.c4 {
        return;
    }
    for (var n = group.z; n < params.n; n += groups.z) {
        for (var h = group.y; h < params.h; h += groups.y) {
            mean_dx[in_x(n, h, at.column, at.c)] = vec4<Stored>(adaptive_dx(n, h, at.column, at.c));
        }
    }
}
