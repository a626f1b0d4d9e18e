// limit_rms: scales each filter whose root mean square exceeds a limit back to it (Zeiler and Fergus 2013, section 3)
//   w[:,k] = w[:,k] * min(1, limit / rms of w[:,k])
//   w (R,S,C,K), in place; step (4) as in sgd.wgsl: nothing changes where that changed nothing
// Schedule: one invocation = one vec4 of filters. The tensors are those of convolutions, some thousand rows.
// Needs: flat

struct Params {
    rows: u32, k4: u32,
    count: f32, // numbers of a filter, padding not counted
    limit: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<vec4<f32>>;    // (1) rate, momentum, decay, unscale
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>; // (R, S, C, K/4)

@compute @workgroup_size(64)
fn limit_rms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let k = flat(group, groups, lane);
    if k >= params.k4 || step[0].w == 0.0 {
        return;
    }
    var squares = vec4<f32>();
    for (var row = 0u; row < params.rows; row++) {
        let v = w[row * params.k4 + k];
        squares += v * v;
    }
    let rms = sqrt(squares / params.count);
    let scale = select(vec4(1.0), params.limit / rms, rms > vec4(params.limit));
    for (var row = 0u; row < params.rows; row++) {
        w[row * params.k4 + k] *= scale;
    }
}
