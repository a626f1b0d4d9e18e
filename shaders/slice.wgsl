// slice: one row of a small matrix
//   y[c] = x[row, c]
//   x (rows, C)  ->  y (C)
// Schedule: one invocation = one vec4.
// Needs: flat

struct Params { c4: u32, row: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // (rows, C/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (C/4)

@compute @workgroup_size(64)
fn slice(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.c4 {
        y[i] = x[params.row * params.c4 + i];
    }
}
