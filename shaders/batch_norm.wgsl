// batch_norm: normalisation of each channel over the batch and the map
//   y = (x - mean) / sqrt(var + epsilon) * gamma + beta
//   x (N,H,W,C)  mean var gamma beta (C)  ->  y (N,H,W,C);  m = N*H*W
//   Training takes mean and var (the biased one) from x, inference takes the running ones.
//   Ioffe and Szegedy, "Batch Normalization", 2015.
// Algorithm: include/batch_norm_reductions.wgsl has the sums.
// Schedule: one invocation = one vec4 of channels of ROWS rows, so that what belongs to a channel is read and computed once
//   for all of them.
// Needs: flat, positive_part
// Provides: ROWS, dy, inverse_deviation, params, stats, x

// A batch in several buffers comes one buffer at a time; `first` is the number of its first chunk, `batch_rows` the m of
// the whole batch.
struct Params {
    rows: u32, c4: u32,
    chunk: u32, chunks: u32, first: u32,
    batch_rows: u32,
    y_pitch4: u32, y_from4: u32,   // where y lies, if it is a slice of the channels of a wider tensor
    epsilon: f32, momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;               // (m, C/4)
// Training
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;           // (2, C/4) mean, var
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;           // (C/4)
@group(0) @binding(4) var<storage, read> beta: array<vec4<f32>>;            // (C/4)
@group(0) @binding(5) var<storage, read> residual: array<vec4<Stored>>;        // (m, C/4)
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Stored>>;         // (m, C/4)
// Inference
@group(0) @binding(2) var<storage, read> mean: array<vec4<f32>>;            // (C/4)
@group(0) @binding(5) var<storage, read> variance: array<vec4<f32>>;        // (C/4)
@group(0) @binding(6) var<storage, read> residual_inference: array<vec4<Stored>>; // (m, C/4)
@group(0) @binding(7) var<storage, read_write> y_inference: array<vec4<Stored>>; // (m, C/4)
// Its gradient
@group(0) @binding(2) var<storage, read> fixed_variance: array<vec4<f32>>;  // (C/4)
@group(0) @binding(3) var<storage, read_write> fixed_stats: array<vec4<f32>>; // (2, C/4) mean, var
@group(0) @binding(1) var<storage, read> fixed_dy: array<vec4<Stored>>;        // (m, C/4)
@group(0) @binding(4) var<storage, read_write> fixed_dx: array<vec4<Stored>>;  // (m, C/4)
// As an affine map for an epilogue, which has x at hand
@group(0) @binding(1) var<storage, read> mean_in: array<vec4<f32>>;         // (C/4)
@group(0) @binding(2) var<storage, read> gamma_in: array<vec4<f32>>;        // (C/4)
@group(0) @binding(3) var<storage, read> beta_in: array<vec4<f32>>;         // (C/4)
@group(0) @binding(4) var<storage, read> variance_in: array<vec4<f32>>;     // (C/4)
@group(0) @binding(5) var<storage, read_write> map: array<vec4<f32>>;       // (3, C/4) mean, scale, shift
// Gradient
@group(0) @binding(3) var<storage, read> dy: array<vec4<Stored>>;              // (m, C/4)
@group(0) @binding(4) var<storage, read> scale: array<vec4<f32>>;           // (C/4) gamma
@group(0) @binding(5) var<storage, read> sums: array<vec4<f32>>;            // (2, C/4) sum dy, sum dy*xhat
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<Stored>>;        // (m, C/4)
// Running statistics
@group(0) @binding(1) var<storage, read> batch_stats: array<vec4<f32>>;     // (2, C/4)
@group(0) @binding(2) var<storage, read_write> running_mean: array<vec4<f32>>; // (C/4)
@group(0) @binding(3) var<storage, read_write> running_var: array<vec4<f32>>; // (C/4)

// Rows whose map one invocation writes.
const ROWS: u32 = 8u;

// What follows in the same kernel: a sum, then ReLU.
override RESIDUAL: bool = false;
override RELU: bool = false;

fn rectified(v: vec4<f32>) -> vec4<f32> {
    if RELU {
        return positive_part(v);
    }
    return v;
}

// The row after the last is the last again: it is written twice with the same numbers, which is cheaper than a branch.
fn row_of(first: u32, j: u32) -> u32 {
    return min(first + j, params.rows - 1u);
}

fn place(row: u32, c: u32) -> u32 {
    return row * params.y_pitch4 + params.y_from4 + c;
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
    let first = i / params.c4 * ROWS;
    if first >= params.rows {
        return;
    }
    let c = i % params.c4;
    let centre = stats[c];
    let scale = inverse_deviation(stats[params.c4 + c]) * gamma[c];
    let shift = beta[c];
    for (var j = 0u; j < ROWS; j++) {
        let row = row_of(first, j);
        var v = (vec4<f32>(x[row * params.c4 + c]) - centre) * scale + shift;
        if RESIDUAL {
            v += vec4<f32>(residual[row * params.c4 + c]);
        }
        y[place(row, c)] = vec4<Stored>(rectified(v));
    }
}

@compute @workgroup_size(64)
fn inference(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    let first = i / params.c4 * ROWS;
    if first >= params.rows {
        return;
    }
    let c = i % params.c4;
    let centre = mean[c];
    let scale = inverse_deviation(variance[c]) * gamma[c];
    let shift = beta[c];
    for (var j = 0u; j < ROWS; j++) {
        let row = row_of(first, j);
        var v = (vec4<f32>(x[row * params.c4 + c]) - centre) * scale + shift;
        if RESIDUAL {
            v += vec4<f32>(residual_inference[row * params.c4 + c]);
        }
        y_inference[place(row, c)] = vec4<Stored>(rectified(v));
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

// mean and var depend on x too  =>  dx = gamma/sqrt(var + epsilon) * (dy - dbeta/m - xhat*dgamma/m).
@compute @workgroup_size(64)
fn training_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    let first = i / params.c4 * ROWS;
    if first >= params.rows {
        return;
    }
    let c = i % params.c4;
    let m = f32(params.batch_rows);
    let centre = stats[c];
    let inverse = inverse_deviation(stats[params.c4 + c]);
    let slope = scale[c] * inverse;
    let dbeta = sums[c] / m;
    let dgamma = inverse * (sums[params.c4 + c] / m);
    for (var j = 0u; j < ROWS; j++) {
        let at = row_of(first, j) * params.c4 + c;
        dx[at] = vec4<Stored>(slope * (vec4<f32>(dy[at]) - dbeta - (vec4<f32>(x[at]) - centre) * dgamma));
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

// What the gradient of inference has in the place of the statistics of a batch.
@compute @workgroup_size(64)
fn fixed_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = flat(group, groups, lane);
    if c < params.c4 {
        fixed_stats[c] = mean_in[c];
        fixed_stats[params.c4 + c] = fixed_variance[c];
    }
}

// y = (x - mean) / sqrt(var + epsilon) * gamma + beta, mean and var fixed  =>  dx = dy * gamma / sqrt(var + epsilon).
@compute @workgroup_size(64)
fn inference_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.rows * params.c4 {
        let c = i % params.c4;
        let scale = inverse_deviation(stats[params.c4 + c]) * gamma[c];
        fixed_dx[i] = vec4<Stored>(vec4<f32>(fixed_dy[i]) * scale);
    }
}
