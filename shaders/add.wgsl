// add: sum of two activations, the second one possibly a smaller shortcut
//   y[n,p,q,k] = a[n,p,q,k] + s[n, p*stride, q*stride, k - front],  0 where k - front is no channel of s
//   a (N,P,Q,K)  s (N,H,W,C)  ->  y (N,P,Q,K),  front = (K - C)/2
//   With stride 1 and C = K it is the plain sum; otherwise the parameter-free shortcut "option A" of
//   He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2.
// Schedule: one invocation = one vec4 of the result.
// Needs: flat

struct Params { total4: u32, h: u32, w: u32, c: u32, p: u32, q: u32, k: u32, stride: u32, front: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<Stored>>;        // (N, P, Q, K/4)
@group(0) @binding(2) var<storage, read> s: array<vec4<Stored>>;        // (N, H, W, C/4)
@group(0) @binding(3) var<storage, read_write> y: array<vec4<Stored>>;  // (N, P, Q, K/4)
@group(0) @binding(2) var<storage, read_write> into: array<vec4<Stored>>; // (N, P, Q, K/4)
@group(0) @binding(1) var<storage, read> dy: array<vec4<Stored>>;       // (N, P, Q, K/4)
@group(0) @binding(2) var<storage, read_write> ds: array<vec4<Stored>>; // (N, H, W, C/4)

@compute @workgroup_size(64)
fn add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        y[i] = vec4<Stored>(vec4<f32>(a[i]) + vec4<f32>(s[i]));
    }
}

// into = into + a, in place.
@compute @workgroup_size(64)
fn accumulate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        into[i] += a[i];
    }
}

@compute @workgroup_size(64)
fn add_shortcut(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let k4 = (params.k + 3u) / 4u;
    let pixel = i / k4;
    let line = pixel / params.q;
    let q = pixel % params.q;
    let source = ((line / params.p) * params.h + (line % params.p) * params.stride) * params.w + q * params.stride;
    var v = vec4<f32>(a[i]);
    for (var l = 0u; l < 4u; l++) {
        let c = (i % k4) * 4u + l - params.front; // wraps around below the front, and then is no channel
        if c < params.c {
            v[l] += f32(s[source * ((params.c + 3u) / 4u) + c / 4u][c % 4u]);
        }
    }
    y[i] = vec4<Stored>(v);
}

// y = a + s[:, ::stride, ::stride] moved by front  =>  ds is dy there, 0 elsewhere; da = dy.
@compute @workgroup_size(64)
fn shortcut_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let c4 = (params.c + 3u) / 4u;
    let k4 = (params.k + 3u) / 4u;
    let pixel = i / c4;
    let line = pixel / params.w;
    let n = line / params.h;
    let p = (line % params.h) / params.stride;
    let q = (pixel % params.w) / params.stride;
    var v = vec4<Stored>();
    let kept = p * params.stride == line % params.h && q * params.stride == pixel % params.w;
    if kept && p < params.p && q < params.q {
        let to = ((n * params.p + p) * params.q + q) * k4;
        for (var l = 0u; l < 4u; l++) {
            let c = (i % c4) * 4u + l;
            if c < params.c {
                v[l] = dy[to + (c + params.front) / 4u][(c + params.front) % 4u];
            }
        }
    }
    ds[i] = v;
}
