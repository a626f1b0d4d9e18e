// moving_average: the exponential moving average of a tensor
//   average = average + share * (w - average)
//   share (4), of which the first counts  w, average of one shape
// Schedule: one invocation = one vec4.
// Needs: flat

struct Params { total4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> share: array<vec4<f32>>;         // (1)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;             // (total4)
@group(0) @binding(3) var<storage, read_write> average: array<vec4<f32>>; // (total4)

@compute @workgroup_size(64)
fn moving_average(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let before = average[i];
        average[i] = fma(vec4(share[0].x), w[i] - before, before);
    }
}
