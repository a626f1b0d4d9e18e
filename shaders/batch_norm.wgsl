// batch_norm: normalisation of each channel over the batch and the map
//   y = (x - mean) / sqrt(var + epsilon) * gamma + beta
//   x (N,H,W,C)  mean var gamma beta (C)  ->  y (N,H,W,C);  m = N*H*W
//   Training takes mean and var (the biased one) from x, inference takes the running ones.
//   Ioffe and Szegedy, "Batch Normalization", 2015.
// Algorithm: mean and sum of squared deviations of chunks of rows, each in two passes, joined by the formula of
//   Chan, Golub and LeVeque (1979).
// Note: the textbook E[x^2] - E[x]^2 loses (mean/std)^2 in precision and can come out negative.
// Schedule: reductions: one invocation = one vec4 of channels of one chunk; else one vec4 of the result.

// A batch in several buffers comes one buffer at a time; `first` is the number of its first chunk, `batch_rows` the m of
// the whole batch.
struct Params {
    total4: u32, rows: u32, c4: u32,
    chunk: u32, chunks: u32, first: u32,
    batch_rows: u32,
    y_pitch4: u32, y_from4: u32,   // where y lies, if it is a slice of the channels of a wider tensor
    epsilon: f32, momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;               // (m, C/4)
@group(0) @binding(2) var<storage, read_write> chunk_stats: array<vec4<f32>>; // (chunks, 2, C/4) mean, sum of squares
@group(0) @binding(1) var<storage, read> chunk_in: array<vec4<f32>>;        // (chunks, 2, C/4)
@group(0) @binding(2) var<storage, read_write> stats_out: array<vec4<f32>>; // (2, C/4) mean, var
// Training
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;           // (2, C/4) mean, var
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;           // (C/4)
@group(0) @binding(4) var<storage, read> beta: array<vec4<f32>>;            // (C/4)
@group(0) @binding(5) var<storage, read> residual: array<vec4<f32>>;        // (m, C/4)
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;         // (m, C/4)
// Inference
@group(0) @binding(2) var<storage, read> mean: array<vec4<f32>>;            // (C/4)
@group(0) @binding(5) var<storage, read> variance: array<vec4<f32>>;        // (C/4)
@group(0) @binding(6) var<storage, read> residual_inference: array<vec4<f32>>; // (m, C/4)
@group(0) @binding(7) var<storage, read_write> y_inference: array<vec4<f32>>; // (m, C/4)
// The same as an affine map for the end of a product: x has no part in it
@group(0) @binding(1) var<storage, read> mean_in: array<vec4<f32>>;         // (C/4)
@group(0) @binding(2) var<storage, read> gamma_in: array<vec4<f32>>;        // (C/4)
@group(0) @binding(3) var<storage, read> beta_in: array<vec4<f32>>;         // (C/4)
@group(0) @binding(4) var<storage, read> variance_in: array<vec4<f32>>;     // (C/4)
@group(0) @binding(5) var<storage, read_write> map: array<vec4<f32>>;       // (3, C/4) mean, scale, shift
// Gradient
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;              // (m, C/4)
@group(0) @binding(4) var<storage, read_write> chunk_sums: array<vec4<f32>>; // (chunks, 2, C/4)
@group(0) @binding(4) var<storage, read> scale: array<vec4<f32>>;           // (C/4) gamma
@group(0) @binding(5) var<storage, read> sums: array<vec4<f32>>;            // (2, C/4) sum dy, sum dy*xhat
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;        // (m, C/4)
// Running statistics
@group(0) @binding(1) var<storage, read> batch_stats: array<vec4<f32>>;     // (2, C/4)
@group(0) @binding(2) var<storage, read_write> running_mean: array<vec4<f32>>; // (C/4)
@group(0) @binding(3) var<storage, read_write> running_var: array<vec4<f32>>; // (C/4)

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
    var sum = vec4<f32>();
    for (var row = first; row < end; row++) {
        sum += x[row * params.c4 + c];
    }
    let centre = sum / f32(end - first);
    var squares = vec4<f32>();
    for (var row = first; row < end; row++) {
        let d = x[row * params.c4 + c] - centre;
        squares = fma(d, d, squares);
    }
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

// What follows in the same kernel: a sum, then ReLU.
override RESIDUAL: bool = false;
override RELU: bool = false;

fn rectified(v: vec4<f32>) -> vec4<f32> {
    if RELU {
        return max(v, vec4<f32>());
    }
    return v;
}

fn place(i: u32) -> u32 {
    return (i / params.c4) * params.y_pitch4 + params.y_from4 + i % params.c4;
}

fn inverse_deviation(v: vec4<f32>) -> vec4<f32> {
    return 1.0 / sqrt(v + params.epsilon);
}

@compute @workgroup_size(64)
fn training(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let c = i % params.c4;
        var v = (x[i] - stats[c]) * inverse_deviation(stats[params.c4 + c]) * gamma[c] + beta[c];
        if RESIDUAL {
            v += residual[i];
        }
        y[place(i)] = rectified(v);
    }
}

@compute @workgroup_size(64)
fn inference(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let c = i % params.c4;
        var v = (x[i] - mean[c]) * inverse_deviation(variance[c]) * gamma[c] + beta[c];
        if RESIDUAL {
            v += residual_inference[i];
        }
        y_inference[place(i)] = rectified(v);
    }
}

@compute @workgroup_size(64)
fn affine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = flat(group, groups, lane);
    if c < params.c4 {
        map[c] = mean_in[c];
        map[params.c4 + c] = inverse_deviation(variance_in[c]) * gamma_in[c];
        map[2u * params.c4 + c] = beta_in[c];
    }
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
    var plain = vec4<f32>();
    var weighted = vec4<f32>();
    for (var row = first; row < end; row++) {
        let d = dy[row * params.c4 + c];
        plain += d;
        weighted = fma(d, (x[row * params.c4 + c] - centre) * inverse, weighted);
    }
    let to = 2u * (params.first + chunk) * params.c4 + c;
    chunk_sums[to] = plain;
    chunk_sums[to + params.c4] = weighted;
}

// mean and var depend on x too  =>  dx = gamma/sqrt(var + epsilon) * (dy - dbeta/m - xhat*dgamma/m).
@compute @workgroup_size(64)
fn training_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let c = i % params.c4;
        let m = f32(params.batch_rows);
        let inverse = inverse_deviation(stats[params.c4 + c]);
        let hat = (x[i] - stats[c]) * inverse;
        dx[i] = scale[c] * inverse * (dy[i] - sums[c] / m - hat * (sums[params.c4 + c] / m));
    }
}

// running = (1 - momentum)*running + momentum*batch.
// Note: as in PyTorch the running variance takes the unbiased one of the batch, m/(m-1) times the biased.
@compute @workgroup_size(64)
fn running(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = flat(group, groups, lane);
    if c < params.c4 {
        let m = f32(params.rows);
        let unbiased = batch_stats[params.c4 + c] * (m / max(m - 1.0, 1.0));
        running_mean[c] = (1.0 - params.momentum) * running_mean[c] + params.momentum * batch_stats[c];
        running_var[c] = (1.0 - params.momentum) * running_var[c] + params.momentum * unbiased;
    }
}
