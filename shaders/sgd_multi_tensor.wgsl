// sgd_multi_tensor: one step of stochastic gradient descent for several small tensors, which lie in one buffer, and their
//   velocities in another
//   as sgd.wgsl for each of them; their gradients lie in up to five other buffers
// Algorithm: include/sgd_rule.wgsl. A gradient that is a sum of partials is added up here, in the order of the partials.
// Schedule: one invocation = one vec4 of one tensor; a workgroup has one tensor, which it finds by bisection.
// Needs: flat, updated

// For each tensor two entries: its first invocation, where it begins in w and v, its vec4s, the partials of its gradient; and which
// buffer has those and where they begin. The first invocations grow.
struct Params { tensors: u32, table: array<vec4<u32>, 64> }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<vec4<f32>>;    // (1) rate, momentum, decay, unscale
@group(0) @binding(2) var<storage, read> dw0: array<vec4<f32>>;     // (partials, vec4s) of some of the tensors
@group(0) @binding(3) var<storage, read> dw1: array<vec4<f32>>;     // (partials, vec4s)
@group(0) @binding(4) var<storage, read> dw2: array<vec4<f32>>;     // (partials, vec4s)
@group(0) @binding(5) var<storage, read> dw3: array<vec4<f32>>;     // (partials, vec4s)
@group(0) @binding(6) var<storage, read> dw4: array<vec4<f32>>;     // (partials, vec4s)
@group(0) @binding(7) var<storage, read_write> w: array<vec4<f32>>; // (vec4s of all)
@group(0) @binding(8) var<storage, read_write> v: array<vec4<f32>>; // (vec4s of all)

fn gradient(buffer: u32, i: u32) -> vec4<f32> {
    switch buffer {
        case 0u: { return dw0[i]; }
        case 1u: { return dw1[i]; }
        case 2u: { return dw2[i]; }
        case 3u: { return dw3[i]; }
        default: { return dw4[i]; }
    }
}

@compute @workgroup_size(64)
fn together(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = flat(group, groups, 0u);
    var low = 0u;
    var high = params.tensors;
    while high - low > 1u {
        let middle = (low + high) / 2u;
        if params.table[2u * middle].x <= first {
            low = middle;
        } else {
            high = middle;
        }
    }
    let tensor = params.table[2u * low];
    let source = params.table[2u * low + 1u];
    let i = first + lane - tensor.x;
    if i >= tensor.z || step[0].w == 0.0 {
        return;
    }
    var g = gradient(source.x, source.y + i);
    for (var part = 1u; part < tensor.w; part++) {
        g += gradient(source.x, source.y + part * tensor.z + i);
    }
    let at = tensor.y + i;
    let after = updated(step[0], g, w[at], v[at]);
    v[at] = after.v;
    w[at] = after.w;
}
