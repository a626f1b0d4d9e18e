// batch_norm_inference: batch norm with fixed statistics
//   y = (x - mean) / sqrt(var + epsilon) * gamma + beta
//   x (N,H,W,C)  mean var gamma beta (C)  ->  y (N,H,W,C)
// Schedule: that of batch_norm.wgsl.
// Needs: Map, ROWS, beta, flat, gamma, inverse_deviation, mapped, params, row_spot, stats, x, x_place, y_place

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

@compute @workgroup_size(64)
fn inference(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    let first = at.row * ROWS;
    if first >= params.rows || at.c >= params.c4 {
        return;
    }
    let own = Map(mean[at.c], inverse_deviation(variance[at.c]) * gamma[at.c], beta[at.c]);
    for (var j = 0u; j < ROWS; j += 4u) {
        let i = x_place(first + j, at.c);
        let x0 = x[i.x];
        let x1 = x[i.y];
        let x2 = x[i.z];
        let x3 = x[i.w];
        let r0 = residual_inference[i.x];
        let r1 = residual_inference[i.y];
        let r2 = residual_inference[i.z];
        let r3 = residual_inference[i.w];
        let to = y_place(first + j, at.c);
        y_inference[to.x] = mapped(x0, own, r0);
        y_inference[to.y] = mapped(x1, own, r1);
        y_inference[to.z] = mapped(x2, own, r2);
        y_inference[to.w] = mapped(x3, own, r3);
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
    let at = row_spot(group, groups, lane);
    let first = at.row * ROWS;
    if first >= params.rows || at.c >= params.c4 {
        return;
    }
    let scale = inverse_deviation(stats[params.c4 + at.c]) * gamma[at.c];
    for (var j = 0u; j < ROWS; j += 4u) {
        let i = x_place(first + j, at.c);
        let d0 = vec4<f32>(fixed_dy[i.x]);
        let d1 = vec4<f32>(fixed_dy[i.y]);
        let d2 = vec4<f32>(fixed_dy[i.z]);
        let d3 = vec4<f32>(fixed_dy[i.w]);
        fixed_dx[i.x] = vec4<Stored>(d0 * scale);
        fixed_dx[i.y] = vec4<Stored>(d1 * scale);
        fixed_dx[i.z] = vec4<Stored>(d2 * scale);
        fixed_dx[i.w] = vec4<Stored>(d3 * scale);
    }
}
