// relu: rectified linear unit
//   y = max(x, 0), NaN for NaN
//   x (N,H,W,C)  ->  y (N,H,W,C)
// Schedule: one invocation = one vec4.
// Needs: flat, positive_part

struct Params {
    total4: u32, c4: u32,
    y_pitch4: u32, y_from4: u32,   // where y lies, if it is a slice of the channels of a wider tensor
    dy_pitch4: u32, dy_from4: u32,
}

override SLICED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;        // (N, H, W, C/4); y for the gradient
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>;  // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read> dy: array<vec4<Stored>>;       // (N, H, W, C/4)
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Stored>>; // (N, H, W, C/4)

// Where element i of a slice lies in the whole tensor.
fn place(i: u32, pitch4: u32, from4: u32) -> u32 {
    if SLICED {
        return (i / params.c4) * pitch4 + from4 + i % params.c4;
    }
    return i;
}

@compute @workgroup_size(64)
fn relu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        y[place(i, params.y_pitch4, params.y_from4)] = vec4<Stored>(positive_part(vec4<f32>(x[i])));
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
        let y_i = x[place(i, params.y_pitch4, params.y_from4)];
        dx[i] = select(vec4<Stored>(), dy[place(i, params.dy_pitch4, params.dy_from4)], y_i > vec4<Stored>());
    }
}
