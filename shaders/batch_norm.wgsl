// batch_norm: normalisation of each channel over the batch and the map
//   y = (x - mean) / sqrt(var + epsilon) * gamma + beta
//   x (N,H,W,C)  mean var gamma beta (C)  ->  y (N,H,W,C);  m = N*H*W
//   Training takes mean and var (the biased one) from x, inference (include/batch_norm_inference.wgsl) takes the running ones.
//   Ioffe and Szegedy, "Batch Normalization", 2015.
// Algorithm: include/batch_norm_reductions.wgsl has the sums.
// Schedule: one invocation = one vec4 of channels of ROWS rows, so that what belongs to a channel is read and computed once
//   for all of them, and the loads of four rows are under way together.
// Needs: flat, positive_part, row_spot
// Provides: Map, ROWS, beta, dy, gamma, inverse_deviation, mapped, params, stats, x, x_place, y_place

// A batch in several buffers comes one buffer at a time; `first` is the number of its first chunk, `batch_rows` the m of
// the whole batch.
struct Params {
    rows: u32, c4: u32,
    chunk: u32, chunks: u32, first: u32,
    batch_rows: u32,
    y_pitch4: u32, y_from4: u32,   // where y lies, if it is a slice of the channels of a wider tensor
    epsilon: f32, momentum: f32,
    lanes_log2: u32,               // the grid, see include/rows.wgsl
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;               // (m, C/4)
// Training
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;           // (2, C/4) mean, var
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;           // (C/4)
@group(0) @binding(4) var<storage, read> beta: array<vec4<f32>>;            // (C/4)
@group(0) @binding(5) var<storage, read> residual: array<vec4<Stored>>;        // (m, C/4)
@group(0) @binding(6) var<storage, read_write> y: array<vec4<Stored>>;         // (m, C/4)
// Gradient
@group(0) @binding(3) var<storage, read> dy: array<vec4<Stored>>;              // (m, C/4)
@group(0) @binding(4) var<storage, read> scale: array<vec4<f32>>;           // (C/4) gamma
@group(0) @binding(5) var<storage, read> sums: array<vec4<f32>>;            // (2, C/4) sum dy, sum dy*xhat
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<Stored>>;        // (m, C/4)
// Running statistics
@group(0) @binding(1) var<storage, read> batch_stats: array<vec4<f32>>;     // (2, C/4)
@group(0) @binding(2) var<storage, read_write> running_mean: array<vec4<f32>>; // (C/4)
@group(0) @binding(3) var<storage, read_write> running_var: array<vec4<f32>>; // (C/4)

// Rows whose map one invocation writes, a multiple of 4.
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

fn inverse_deviation(v: vec4<f32>) -> vec4<f32> {
    return 1.0 / sqrt(v + params.epsilon);
}

// Where x has the four rows that an invocation loads together, and where y has them. A row after the last is the last again:
// it is written twice with the same numbers, which is cheaper than a branch.
fn x_place(row: u32, c: u32) -> vec4<u32> {
    return min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(params.rows - 1u)) * params.c4 + c;
}

fn y_place(row: u32, c: u32) -> vec4<u32> {
    return min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(params.rows - 1u)) * params.y_pitch4 + (params.y_from4 + c);
}

// What belongs to a channel.
struct Map { centre: vec4<f32>, scale: vec4<f32>, shift: vec4<f32> }

fn mapped(v: vec4<Stored>, own: Map, more: vec4<Stored>) -> vec4<Stored> {
    var sum = (vec4<f32>(v) - own.centre) * own.scale + own.shift;
    if RESIDUAL {
        sum += vec4<f32>(more);
    }
    return vec4<Stored>(rectified(sum));
}

@compute @workgroup_size(64)
fn training(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    let first = at.row * ROWS;
    if first >= params.rows || at.c >= params.c4 {
        return;
    }
    let deviation = inverse_deviation(stats[params.c4 + at.c]);
    let own = Map(stats[at.c], deviation * gamma[at.c], beta[at.c]);
    for (var j = 0u; j < ROWS; j += 4u) {
        let i = x_place(first + j, at.c);
        let x0 = x[i.x];
        let x1 = x[i.y];
        let x2 = x[i.z];
        let x3 = x[i.w];
        let r0 = residual[i.x];
        let r1 = residual[i.y];
        let r2 = residual[i.z];
        let r3 = residual[i.w];
        let to = y_place(first + j, at.c);
        y[to.x] = mapped(x0, own, r0);
        y[to.y] = mapped(x1, own, r1);
        y[to.z] = mapped(x2, own, r2);
        y[to.w] = mapped(x3, own, r3);
    }
}

struct Slope { centre: vec4<f32>, slope: vec4<f32>, dbeta: vec4<f32>, dgamma: vec4<f32> }

fn sloped(d: vec4<Stored>, v: vec4<Stored>, own: Slope) -> vec4<Stored> {
    return vec4<Stored>(own.slope * (vec4<f32>(d) - own.dbeta - (vec4<f32>(v) - own.centre) * own.dgamma));
}

// mean and var depend on x too  =>  dx = gamma/sqrt(var + epsilon) * (dy - dbeta/m - xhat*dgamma/m).
@compute @workgroup_size(64)
fn training_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    let first = at.row * ROWS;
    if first >= params.rows || at.c >= params.c4 {
        return;
    }
    let m = f32(params.batch_rows);
    let inverse = inverse_deviation(stats[params.c4 + at.c]);
    let slope = scale[at.c] * inverse;
    let own = Slope(stats[at.c], slope, sums[at.c] / m, inverse * (sums[params.c4 + at.c] / m));
    for (var j = 0u; j < ROWS; j += 4u) {
        let i = x_place(first + j, at.c);
        let d0 = dy[i.x];
        let d1 = dy[i.y];
        let d2 = dy[i.z];
        let d3 = dy[i.w];
        let x0 = x[i.x];
        let x1 = x[i.y];
        let x2 = x[i.z];
        let x3 = x[i.w];
        dx[i.x] = sloped(d0, x0, own);
        dx[i.y] = sloped(d1, x1, own);
        dx[i.z] = sloped(d2, x2, own);
        dx[i.w] = sloped(d3, x3, own);
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
