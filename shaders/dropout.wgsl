// dropout: sets elements to zero at random (Srivastava et al. 2014), scaled so that the mean stays
//   y = x / (1 - rate) with probability 1 - rate, else 0
//   x (N,H,W,C)  ->  y (N,H,W,C)
// Algorithm: the mask is a function of (key, layer, element), so the gradient computes it again: dx = dropout(dy).
// Schedule: one invocation = one vec4.
// Needs: flat

struct Params {
    first4: u32,    // of the whole batch, the first element here
    total4: u32,
    layer: u32,
    threshold: u32, // an element stays if its random word is not below this
    scale: f32,     // 1/(1 - rate)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;        // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read> key: array<u32>;            // (4), another one each step
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Stored>>;  // (N, H, W, C/4)

// pcg4d of Jarzynski and Olano, JCGT 9(3), 2020; the same function as in src/random.rs. Only the upper bits of its words are random.
fn pcg4d(seed: vec4<u32>) -> vec4<u32> {
    var v = seed * 1664525u + 1013904223u;
    v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
    v = v ^ (v >> vec4(16u));
    v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
    return v;
}

@compute @workgroup_size(64)
fn dropout(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let words = pcg4d(vec4(key[0], key[1] ^ params.layer, key[2] ^ (params.first4 + i), key[3]));
        y[i] = vec4<Stored>(select(vec4<f32>(), vec4<f32>(x[i]) * params.scale, words >= vec4(params.threshold)));
    }
}
