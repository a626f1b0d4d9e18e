// batch_norm_reductions: the sums over the batch and the map that batch_norm.wgsl needs
//   mean and var of x; sum of dy and of dy*xhat, xhat = (x - mean) / sqrt(var + epsilon)
//   x dy (N,H,W,C)  mean and var (2,C)  ->  (2,C)
// Algorithm: mean and sum of squared deviations of four rows at a time, merged to those of a chunk, and those of the chunks,
//   if they are many first some of them, to those of all, by the formula of Chan, Golub and LeVeque (1979): x is read once,
//   and not at all where the kernel that stored it wrote the partials (epilogue/reduce_mean_m2.wgsl,
//   epilogue/reduce_sum_dot.wgsl). Sums of many partials are first added by reduce.wgsl.
// Note: the textbook E[x^2] - E[x]^2 loses (mean/std)^2 in precision and can come out negative.
// Schedule: one invocation = one vec4 of channels of one chunk, four rows at a time: the loads of one row do not wait for
//   the sum of another.
// Needs: dy, flat, inverse_deviation, params, stats, x
// Provides: joined, write_part

@group(0) @binding(1) var<storage, read> part_in: array<vec4<f32>>;         // (partial, 2*C/4 + 1) mean, sum of squares; how many
@group(0) @binding(2) var<storage, read_write> part_out: array<vec4<f32>>;  // (partial, 2*C/4 + 1)
@group(0) @binding(2) var<storage, read_write> stats_out: array<vec4<f32>>; // (2, C/4) mean, var
@group(0) @binding(4) var<storage, read_write> chunk_sums: array<vec4<f32>>; // (chunks, 2, C/4) sum dy, sum dy*(x - mean)
@group(0) @binding(3) var<storage, read_write> sums_out: array<vec4<f32>>;  // (2, C/4) sum dy, sum dy*xhat

// Some numbers of a channel.
struct Part { count: f32, mean: vec4<f32>, squares: vec4<f32> }

fn write_part(i: u32, c: u32, part: Part) {
    let to = i * (2u * params.c4 + 1u);
    part_out[to + c] = part.mean;
    part_out[to + params.c4 + c] = part.squares;
    if c == 0u {
        part_out[to + 2u * params.c4] = vec4(part.count);
    }
}

fn part_at(i: u32, c: u32) -> Part {
    let base = i * (2u * params.c4 + 1u);
    return Part(part_in[base + 2u * params.c4].x, part_in[base + c], part_in[base + params.c4 + c]);
}

fn both(all: Part, more: Part) -> Part {
    let d = more.mean - all.mean;
    let share = more.count / max(all.count + more.count, 1.0);
    return Part(
        all.count + more.count, fma(d, vec4(share), all.mean), all.squares + (more.squares + d * d * (all.count * share)));
}

// The partials from first to before end as one. Four at a time are loaded, then added one after the other.
fn joined(first: u32, end: u32, c: u32) -> Part {
    var all = Part();
    let fours = first + (end - first) / 4u * 4u;
    for (var i = first; i < fours; i += 4u) {
        let p0 = part_at(i, c);
        let p1 = part_at(i + 1u, c);
        let p2 = part_at(i + 2u, c);
        let p3 = part_at(i + 3u, c);
        all = both(both(both(both(all, p0), p1), p2), p3);
    }
    for (var i = fours; i < end; i++) {
        all = both(all, part_at(i, c));
    }
    return all;
}

fn x_at(i: u32) -> vec4<f32> {
    return vec4<f32>(x[i]);
}

fn dy_at(i: u32) -> vec4<f32> {
    return vec4<f32>(dy[i]);
}

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
    var centre = vec4<f32>();
    var squares = vec4<f32>();
    var count = 0.0;
    for (var row = first; row < fours; row += 4u) {
        let at = row * params.c4 + c;
        let x0 = x_at(at);
        let x1 = x_at(at + params.c4);
        let x2 = x_at(at + 2u * params.c4);
        let x3 = x_at(at + 3u * params.c4);
        let mean = 0.25 * ((x0 + x1) + (x2 + x3));
        let own = squared(x0 - mean, squared(x1 - mean, squared(x2 - mean, (x3 - mean) * (x3 - mean))));
        let d = mean - centre;
        let part = 4.0 / (count + 4.0);
        centre = fma(d, vec4(part), centre);
        squares += own + d * d * (count * part);
        count += 4.0;
    }
    for (var row = fours; row < end; row++) {
        let d = x_at(row * params.c4 + c) - centre;
        let part = 1.0 / (count + 1.0);
        centre = fma(d, vec4(part), centre);
        squares += d * d * (count * part);
        count += 1.0;
    }
    write_part(params.first + chunk, c, Part(count, centre, squares));
}

@compute @workgroup_size(64)
fn stats_of_parts(
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
    write_part(chunk, c, joined(first, min(first + params.chunk, params.rows), c));
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
    let all = joined(0u, params.rows, c);
    stats_out[c] = all.mean;
    stats_out[params.c4 + c] = all.squares / all.count;
}

// y = xhat*gamma + beta  =>  dbeta = sum of dy, dgamma = sum of dy*xhat; first over chunks, xhat without its denominator.
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
    let fours = first + (end - first) / 4u * 4u;
    var plain = vec4<f32>();
    var weighted = vec4<f32>();
    for (var row = first; row < fours; row += 4u) {
        let at = row * params.c4 + c;
        let d0 = dy_at(at);
        let d1 = dy_at(at + params.c4);
        let d2 = dy_at(at + 2u * params.c4);
        let d3 = dy_at(at + 3u * params.c4);
        plain += (d0 + d1) + (d2 + d3);
        weighted = fma(d0, x_at(at) - centre, fma(d1, x_at(at + params.c4) - centre, weighted));
        weighted = fma(d2, x_at(at + 2u * params.c4) - centre, fma(d3, x_at(at + 3u * params.c4) - centre, weighted));
    }
    for (var row = fours; row < end; row++) {
        let d = dy_at(row * params.c4 + c);
        plain += d;
        weighted = fma(d, x_at(row * params.c4 + c) - centre, weighted);
    }
    let to = 2u * (params.first + chunk) * params.c4 + c;
    chunk_sums[to] = plain;
    chunk_sums[to + params.c4] = weighted;
}

@compute @workgroup_size(64)
fn sums_joined(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = flat(group, groups, lane);
    if c >= params.c4 {
        return;
    }
    var plain = vec4<f32>();
    var weighted = vec4<f32>();
    let fours = params.rows / 4u * 4u;
    for (var i = 0u; i < fours; i += 4u) {
        let at = 2u * i * params.c4 + c;
        let p0 = part_in[at];
        let w0 = part_in[at + params.c4];
        let p1 = part_in[at + 2u * params.c4];
        let w1 = part_in[at + 3u * params.c4];
        let p2 = part_in[at + 4u * params.c4];
        let w2 = part_in[at + 5u * params.c4];
        let p3 = part_in[at + 6u * params.c4];
        let w3 = part_in[at + 7u * params.c4];
        plain = (((plain + p0) + p1) + p2) + p3;
        weighted = (((weighted + w0) + w1) + w2) + w3;
    }
    for (var i = fours; i < params.rows; i++) {
        plain += part_in[2u * i * params.c4 + c];
        weighted += part_in[(2u * i + 1u) * params.c4 + c];
    }
    sums_out[c] = plain;
    sums_out[params.c4 + c] = weighted * inverse_deviation(stats[params.c4 + c]);
}
