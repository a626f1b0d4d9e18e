// clip_grad_norm: hyperparameters with which a step of SGD takes gradients of at most a norm
//   y = (rate, momentum, decay, unscale * min(1, max_norm / (norm + 1e-6))),  norm = sqrt(sum of (unscale*x)^2)
//   step (4)  x (any)  ->  y (4); an unscale of 0 stays 0
// Algorithm: squares gives a partial sum for each invocation. They are added in a fixed order, so the norm has the same bits in each
//   run.
// Schedule: one invocation = every threads-th vec4 of a tensor; one invocation adds the last partial sums.
// Needs: flat

struct Params {
    count: u32,     // vec4s of x, or partial sums
    threads: u32,   // partial sums of x, or vec4s of y
    first: u32,     // where those of x begin
    max_norm: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<vec4<f32>>;       // (1) rate, momentum, decay, unscale
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;          // (count)
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>; // (partial sums of all tensors)
@group(0) @binding(2) var<storage, read> all_sums: array<vec4<f32>>;   // (count)
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;    // (1)

@compute @workgroup_size(64)
fn squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = flat(group, groups, lane);
    if first >= params.threads {
        return;
    }
    var sum = vec4<f32>();
    for (var i = first; i < params.count; i += params.threads) {
        let g = step[0].w * x[i];
        sum = fma(g, g, sum);
    }
    sums[params.first + first] = sum;
}

@compute @workgroup_size(64)
fn clip(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.threads {
        return;
    }
    var sum = vec4<f32>();
    for (var part = 0u; part < params.count; part++) {
        sum += all_sums[part];
    }
    let norm = sqrt((sum.x + sum.y) + (sum.z + sum.w));
    let before = step[i];
    let factor = min(1.0, params.max_norm / (norm + 1e-6));
    // A skipped step has gradients that are not finite, and stays one.
    y[i] = select(vec4<f32>(), vec4(before.xyz, before.w * factor), before.w != 0.0);
}
