// batch_norm_statistics: the sums over the batch and the map that batch_norm.wgsl, which it is joined with, needs
//   mean and var of x; sum of dy and of dy*xhat, xhat = (x - mean) / sqrt(var + epsilon)
//   x dy (N,H,W,C)  mean and var (2,C)  ->  (2,C)
// Algorithm: mean and sum of squared deviations of chunks of rows, each in two passes, joined by the formula of
//   Chan, Golub and LeVeque (1979).
// Note: the textbook E[x^2] - E[x]^2 loses (mean/std)^2 in precision and can come out negative.
// Schedule: one invocation = one vec4 of channels of one chunk, four rows at a time: the loads of one row do not wait for
//   the sum of another.

@group(0) @binding(2) var<storage, read_write> chunk_stats: array<vec4<f32>>; // (chunks, 2, C/4) mean, sum of squares
@group(0) @binding(1) var<storage, read> chunk_in: array<vec4<f32>>;        // (chunks, 2, C/4)
@group(0) @binding(2) var<storage, read_write> stats_out: array<vec4<f32>>; // (2, C/4) mean, var
@group(0) @binding(4) var<storage, read_write> chunk_sums: array<vec4<f32>>; // (chunks, 2, C/4)

fn squared(d: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    return fma(d, d, sum);
}

@compute @workgroup_size(64)
fn stats_of_chunks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.chunks * params.c4 {
        return;
    }
    let chunk = i / params.c4;
    let c = i % params.c4;
    let first = chunk * params.chunk;
    let end = min(first + params.chunk, params.rows);
    let fours = first + (end - first) / 4u * 4u;
    var a = vec4<f32>();
    var b = vec4<f32>();
    for (var row = first; row < fours; row += 4u) {
        let at = row * params.c4 + c;
        a += x[at] + x[at + params.c4];
        b += x[at + 2u * params.c4] + x[at + 3u * params.c4];
    }
    for (var row = fours; row < end; row++) {
        a += x[row * params.c4 + c];
    }
    let centre = (a + b) / f32(end - first);
    a = vec4<f32>();
    b = vec4<f32>();
    for (var row = first; row < fours; row += 4u) {
        let at = row * params.c4 + c;
        a = squared(x[at] - centre, squared(x[at + params.c4] - centre, a));
        b = squared(x[at + 2u * params.c4] - centre, squared(x[at + 3u * params.c4] - centre, b));
    }
    for (var row = fours; row < end; row++) {
        a = squared(x[row * params.c4 + c] - centre, a);
    }
    let squares = a + b;
    let to = 2u * (params.first + chunk) * params.c4 + c;
    chunk_stats[to] = centre;
    chunk_stats[to + params.c4] = squares;
}

@compute @workgroup_size(64)
fn stats_joined(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = flat(group, groups, lane);
    if c >= params.c4 {
        return;
    }
    var centre = chunk_in[c];
    var squares = chunk_in[params.c4 + c];
    var count = f32(min(params.chunk, params.rows));
    for (var chunk = 1u; chunk < params.chunks; chunk++) {
        let more = f32(min(params.chunk, params.rows - chunk * params.chunk));
        let d = chunk_in[2u * chunk * params.c4 + c] - centre;
        let part = more / (count + more);
        centre = fma(d, vec4(part), centre);
        squares += chunk_in[(2u * chunk + 1u) * params.c4 + c] + d * d * (count * part);
        count += more;
    }
    stats_out[c] = centre;
    stats_out[params.c4 + c] = squares / count;
}

// y = xhat*gamma + beta  =>  dbeta = sum of dy, dgamma = sum of dy*xhat; first over chunks, then by reduce.wgsl.
@compute @workgroup_size(64)
fn sums_of_chunks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.chunks * params.c4 {
        return;
    }
    let chunk = i / params.c4;
    let c = i % params.c4;
    let first = chunk * params.chunk;
    let end = min(first + params.chunk, params.rows);
    let centre = stats[c];
    let inverse = inverse_deviation(stats[params.c4 + c]);
    let fours = first + (end - first) / 4u * 4u;
    var plain = vec4<f32>();
    var weighted = vec4<f32>();
    for (var row = first; row < fours; row += 4u) {
        let at = row * params.c4 + c;
        let d0 = dy[at];
        let d1 = dy[at + params.c4];
        let d2 = dy[at + 2u * params.c4];
        let d3 = dy[at + 3u * params.c4];
        plain += (d0 + d1) + (d2 + d3);
        weighted = fma(d0, x[at] - centre, fma(d1, x[at + params.c4] - centre, weighted));
        weighted = fma(d2, x[at + 2u * params.c4] - centre, fma(d3, x[at + 3u * params.c4] - centre, weighted));
    }
    for (var row = fours; row < end; row++) {
        let d = dy[row * params.c4 + c];
        plain += d;
        weighted = fma(d, x[row * params.c4 + c] - centre, weighted);
    }
    let to = 2u * (params.first + chunk) * params.c4 + c;
    chunk_sums[to] = plain;
    chunk_sums[to + params.c4] = weighted * inverse;
}
