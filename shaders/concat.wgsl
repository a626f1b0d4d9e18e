// concat: activations side by side along the channels
//   y[n,h,w,from+c] = x[n,h,w,c]
//   x (N,H,W,C)  ->  channels from .. from+C of y (N,H,W,K); the gradient copies them back
// Note: only where the operation that makes x cannot write into y itself; see src/plan/slices.rs.
// Schedule: one invocation = one number. The last part writes the padding behind it too.
// Needs: flat

struct Params {
    total: u32,
    width: u32,               // numbers copied for each pixel, padding included
    channels: u32,            // those that are no padding
    x_pitch: u32, x_from: u32,
    y_pitch: u32, y_from: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;       // (N, H, W, x_pitch)
@group(0) @binding(2) var<storage, read_write> y: array<Stored>; // (N, H, W, y_pitch)

@compute @workgroup_size(64)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.total {
        return;
    }
    let pixel = i / params.width;
    let c = i % params.width;
    var v = Stored();
    if c < params.channels {
        v = x[pixel * params.x_pitch + params.x_from + c];
    }
    y[pixel * params.y_pitch + params.y_from + c] = v;
}
