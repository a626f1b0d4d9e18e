// sgd: one step of stochastic gradient descent with momentum and weight decay
//   g = unscale*dw + decay*w;  v = momentum*v + g;  w = w - rate*v
//   w v dw of one shape; step (4): rate, momentum, decay, unscale; an unscale of 0 changes nothing
// Algorithm: include/sgd_rule.wgsl. A gradient that is a sum of partials is added up here, in the order of the partials: its
//   sum is never written.
// Schedule: one invocation = one vec4.
// Needs: flat, updated

// The partials of the gradient begin at from4 and every total4 behind it.
struct Params { total4: u32, partials: u32, from4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<vec4<f32>>;    // (1) rate, momentum, decay, unscale
@group(0) @binding(2) var<storage, read> dw: array<vec4<f32>>;      // (partials, total4), from from4 on
@group(0) @binding(3) var<storage, read_write> w: array<vec4<f32>>; // (total4)
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f32>>; // (total4)

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 && step[0].w != 0.0 {
        var g = dw[params.from4 + i];
        for (var part = 1u; part < params.partials; part++) {
            g += dw[params.from4 + part * params.total4 + i];
        }
        let after = updated(step[0], g, w[i], v[i]);
        v[i] = after.v;
        w[i] = after.w;
    }
}
