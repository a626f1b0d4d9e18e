// loss_scale: lets a step of SGD through if all gradients are finite, and changes the scale of the loss accordingly
//   y = (rate, momentum, decay, 2^-exponent) if no number of x is infinite or NaN, else 0
//   step (4)  scale (4)  x (any), f32 or f16  ->  y (4);  scale: exponent, steps since it changed, skipped steps, those in a row
// Algorithm: all bits of the exponent are set in infinities and NaNs. Not x != x, for WGSL lets a compiler assume that there are
//   none. The calls join what they find by "or", which gives the same in any order.
// Schedule: one invocation = every threads-th pair of words.
// Needs: flat, power_of_two

struct Params {
    count: u32,   // pairs of words of x, or vec4s of step
    threads: u32,
    grows_after: f32, smallest: f32, largest: f32, // of rescale
}

// Two numbers of 16 bits a word, not one of 32.
override HALF: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<u32>>;             // (count)
@group(0) @binding(2) var<storage, read_write> found: array<atomic<u32>>; // (1) not 0 if there is one
@group(0) @binding(1) var<storage, read> step: array<vec4<f32>>;          // (1) rate, momentum, decay, unscale
@group(0) @binding(2) var<storage, read> scale: array<vec4<f32>>;         // (1)
@group(0) @binding(3) var<storage, read> found_at_all: array<u32>;        // (1)
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;       // (1)
@group(0) @binding(1) var<storage, read> rates: array<vec4<f32>>;         // (1) y
@group(0) @binding(2) var<storage, read_write> rescaled: array<vec4<f32>>; // (1) scale

fn not_finite(words: vec2<u32>) -> bool {
    if HALF {
        let low = (words & vec2(0x7c00u)) == vec2(0x7c00u);
        return any(low | ((words & vec2(0x7c000000u)) == vec2(0x7c000000u)));
    }
    return any((words & vec2(0x7f800000u)) == vec2(0x7f800000u));
}

@compute @workgroup_size(64)
fn look(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = flat(group, groups, lane);
    if first >= params.threads {
        return;
    }
    var any_here = false;
    for (var i = first; i < params.count; i += params.threads) {
        any_here = any_here | not_finite(x[i]);
    }
    if any_here {
        atomicOr(&found[0], 1u);
    }
}

@compute @workgroup_size(64)
fn let_through(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.count {
        let let_in = vec4(step[i].xyz, power_of_two(-scale[i].x));
        y[i] = select(let_in, vec4<f32>(), found_at_all[0] != 0u);
    }
}

// After a skipped step the scale is halved, after many others in a row it is doubled.
@compute @workgroup_size(64)
fn rescale(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.count {
        return;
    }
    let now = rescaled[i];
    if rates[i].w == 0.0 {
        rescaled[i] = vec4(max(now.x - 1.0, params.smallest), 0.0, now.z + 1.0, now.w + 1.0);
    } else if now.y + 1.0 >= params.grows_after {
        rescaled[i] = vec4(max(now.x, min(now.x + 1.0, params.largest)), 0.0, now.z, 0.0);
    } else {
        rescaled[i] = vec4(now.x, now.y + 1.0, now.z, 0.0);
    }
}
