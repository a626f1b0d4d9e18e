// param_group: the hyperparameters of a group of parameters
//   y = (step.rate * rate, step.momentum, step.decay * decay, step.unscale)
//   step (4)  ->  y (4)
// Schedule: one invocation = one vec4, and there is one.
// Needs: flat

struct Params { count: u32, rate: f32, decay: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<vec4<f32>>;    // (1) rate, momentum, decay, unscale
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (1)

@compute @workgroup_size(64)
fn param_group(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.count {
        y[i] = step[i] * vec4(params.rate, 1.0, params.decay, 1.0);
    }
}
