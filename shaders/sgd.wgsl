// sgd: one step of stochastic gradient descent with momentum and weight decay
//   g = dw + decay*w;  v = momentum*v + g;  w = w - rate*v
//   w v dw of one shape; step (4): rate, momentum, decay, unused
//   The convention of PyTorch: the rate is not part of the velocity v.
// Schedule: one invocation = one vec4.

struct Params { total4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<vec4<f32>>;    // (1) rate, momentum, decay, unused
@group(0) @binding(2) var<storage, read> dw: array<vec4<f32>>;      // (total4)
@group(0) @binding(3) var<storage, read_write> w: array<vec4<f32>>; // (total4)
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f32>>; // (total4)

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let s = step[0];
        let g = fma(vec4(s.z), w[i], dw[i]);
        let velocity = fma(vec4(s.y), v[i], g);
        v[i] = velocity;
        w[i] = fma(vec4(-s.x), velocity, w[i]);
    }
}
