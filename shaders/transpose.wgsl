// transpose: filters with input and output channels exchanged, for the gradient with respect to x
//   y[t,k,c] = x[t,c,k] in each group
//   x (R,S,C/G,K)  ->  y (R,S,K,C/G)
// Schedule: one invocation = one vec4 of y; it reads a column of four rows of x.

struct Params { total4: u32, c4: u32, k4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // (R*S, C/G, K/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (R*S, K, C/G/4)

@compute @workgroup_size(64)
fn transpose_filter(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let c = 4u * (i % params.c4);
    let k = (i / params.c4) % (4u * params.k4);
    let tap = i / (params.c4 * 4u * params.k4);
    let source = (tap * 4u * params.c4 + c) * params.k4 + k / 4u;
    let l = k % 4u;
    y[i] = vec4(x[source][l], x[source + params.k4][l], x[source + 2u * params.k4][l], x[source + 3u * params.k4][l]);
}
