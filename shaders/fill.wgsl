// fill: one number everywhere
//   y[c] = value for c < C, 0 in the padding; or value times the factor of a loss scale
//   scale (4) as in loss_scale.wgsl  ->  y (C)
// Schedule: one invocation = one number.
// Needs: flat, power_of_two

struct Params { c: u32, padded: u32, value: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (C)

@group(0) @binding(1) var<storage, read> scale: array<vec4<f32>>;  // (1)
@group(0) @binding(2) var<storage, read_write> y_scaled: array<f32>; // (C)

@compute @workgroup_size(64)
fn fill(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.padded {
        y[i] = select(0.0, params.value, i < params.c);
    }
}

@compute @workgroup_size(64)
fn fill_scaled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.padded {
        y_scaled[i] = select(0.0, params.value * power_of_two(scale[0].x), i < params.c);
    }
}
