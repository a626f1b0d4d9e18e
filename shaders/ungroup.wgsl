// ungroup: the filters of a grouped convolution as those of an ordinary one, zero outside the groups
//   y[t,c,k] = x[t, c mod C/G, k] if c and k are of one group, else 0
//   x (R,S,C/G,K)  ->  y (R,S,C,K)
//   Only for groups that do not start at a multiple of four channels; the others need no copy.
// Schedule: one invocation = one vec4 of the result.
// Needs: flat

struct Params { total4: u32, c: u32, group_c: u32, k: u32, group_k: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // (R*S, C/G, K/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // (R*S, C, K/4)
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;       // (R*S, C, K/4)
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>; // (R*S, C/G, K/4)

fn padded(n: u32) -> u32 {
    return ((n + 3u) / 4u) * 4u;
}

@compute @workgroup_size(64)
fn ungroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let k4 = padded(params.k) / 4u;
    let c = (i / k4) % padded(params.c);
    let tap = i / (k4 * padded(params.c));
    let k = vec4(4u * (i % k4)) + vec4(0u, 1u, 2u, 3u);
    let source = (tap * padded(params.group_c) + c % params.group_c) * k4 + i % k4;
    let kept = (k / vec4(params.group_k) == vec4(c / params.group_c)) & (k < vec4(params.k)) & vec4(c < params.c);
    y[i] = select(vec4<f32>(), x[source], kept);
}

// y[t,c,k] = x[t, c mod C/G, k] within a group  =>  dx gathers the one element of dy that it became.
@compute @workgroup_size(64)
fn ungroup_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let k4 = padded(params.k) / 4u;
    let c = (i / k4) % padded(params.group_c);
    let tap = i / (k4 * padded(params.group_c));
    var v = vec4<f32>();
    for (var l = 0u; l < 4u; l++) {
        let k = 4u * (i % k4) + l;
        if k < params.k && c < params.group_c {
            let source = tap * padded(params.c) + (k / params.group_k) * params.group_c + c;
            v[l] = dy[source * k4 + i % k4][l];
        }
    }
    dx[i] = v;
}
