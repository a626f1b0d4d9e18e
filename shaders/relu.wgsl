// relu: rectified linear unit
//   y = max(x, 0), NaN for NaN
//   x (N,H,W,C)  ->  y (N,H,W,C)
// Schedule: one invocation = one vec4.
// Needs: flat, positive_part, row_spot

struct Params {
    total4: u32, c4: u32,
    y_pitch4: u32, y_from4: u32,   // where y lies, if it is a slice of the channels of a wider tensor
    dy_pitch4: u32, dy_from4: u32,
    lanes_log2: u32,               // the grid of slices, see include/rows.wgsl
}

override SLICED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;        // (N, H, W, C/4); y for the gradient
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>;  // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read> dy: array<vec4<Stored>>;       // (N, H, W, C/4)
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Stored>>; // (N, H, W, C/4)

// Where an element lies in a whole tensor, in y, and in dy.
struct Place { i: u32, y: u32, dy: u32, inside: bool }

fn place(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> Place {
    if SLICED {
        let at = row_spot(group, groups, lane);
        let i = at.row * params.c4 + at.c;
        let inside = at.c < params.c4 && i < params.total4;
        let y_i = at.row * params.y_pitch4 + params.y_from4 + at.c;
        return Place(i, y_i, at.row * params.dy_pitch4 + params.dy_from4 + at.c, inside);
    }
    let i = flat(group, groups, lane);
    return Place(i, i, i, i < params.total4);
}

@compute @workgroup_size(64)
fn relu(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    if at.inside {
        y[at.y] = vec4<Stored>(positive_part(vec4<f32>(x[at.i])));
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
    let at = place(group, groups, lane);
    if at.inside {
        dx[at.i] = select(vec4<Stored>(), dy[at.dy], x[at.y] > vec4<Stored>());
    }
}
