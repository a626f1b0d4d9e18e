// concat: activations side by side along the channels
//   y[n,h,w,from+c] = x[n,h,w,c]
//   x (N,H,W,C)  ->  channels from .. from+C of y (N,H,W,K); the gradient copies them back
// Note: only where the operation that makes x cannot write into y itself; see src/plan/slices.rs.
// Schedule: one invocation = one vec4, or one number where the channels do not begin at a multiple of 4. The last part writes the padding
//   behind it too.
// Needs: row_spot

struct Params {
    rows: u32,
    width: u32,               // numbers copied for each pixel, padding included; here and below vec4s in copy4
    channels: u32,            // those that are no padding
    x_pitch: u32, x_from: u32,
    y_pitch: u32, y_from: u32,
    lanes_log2: u32,          // the grid, see include/rows.wgsl
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;       // (N, H, W, x_pitch)
@group(0) @binding(2) var<storage, read_write> y: array<Stored>; // (N, H, W, y_pitch)
@group(0) @binding(1) var<storage, read> x4: array<vec4<Stored>>;       // (N, H, W, x_pitch)
@group(0) @binding(2) var<storage, read_write> y4: array<vec4<Stored>>; // (N, H, W, y_pitch)

@compute @workgroup_size(64)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    if at.row >= params.rows || at.c >= params.width {
        return;
    }
    var v = Stored();
    if at.c < params.channels {
        v = x[at.row * params.x_pitch + params.x_from + at.c];
    }
    y[at.row * params.y_pitch + params.y_from + at.c] = v;
}

@compute @workgroup_size(64)
fn copy4(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    if at.row < params.rows && at.c < params.width {
        y4[at.row * params.y_pitch + params.y_from + at.c] = x4[at.row * params.x_pitch + params.x_from + at.c];
    }
}
