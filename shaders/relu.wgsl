// relu: rectified linear unit
//   y = max(x, 0)
//   x (N,H,W,C)  ->  y (N,H,W,C)
// Schedule: one invocation = one vec4.

struct Params { total4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // (N, H, W, C/4); y for the gradient
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;       // (N, H, W, C/4)
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>; // (N, H, W, C/4)

@compute @workgroup_size(64)
fn relu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        y[i] = max(x[i], vec4<f32>());
    }
}

// y = max(x, 0)  =>  dx = dy where y > 0, else 0.
// Note: the derivative at 0 is 0, so that y alone tells it and x need not be kept.
@compute @workgroup_size(64)
fn relu_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        dx[i] = select(vec4<f32>(), dy[i], x[i] > vec4<f32>());
    }
}
