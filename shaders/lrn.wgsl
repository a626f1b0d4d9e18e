// lrn: local response normalisation across neighbouring channels (Krizhevsky et al. 2012, section 3.3)
//   y[c] = x[c] * s[c]^-beta,  s[c] = bias + alpha/n * sum over j = c-lo .. c+hi of x[j]^2
//   x (N,H,W,C)  ->  y (N,H,W,C), n = lo + 1 + hi channels, fewer at the ends
// Algorithm: s is computed again for the gradient; nothing but x is kept.
// Schedule: one invocation = one vec4 of channels of one pixel. The window is a constant, so that a compiler can unroll the loops over
//   its vec4s, and a load stands in no branch.
// Needs: row_spot

struct Params {
    rows: u32, c4: u32,
    scale: f32,        // alpha/n
    beta: f32, bias: f32,
    lanes_log2: u32,   // the grid, see include/rows.wgsl
}

// Neighbours below and above.
override LO: i32 = 2;
override HI: i32 = 2;
// beta is 0.75, which two square roots give faster and more exactly than a power.
override THREE_QUARTERS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;        // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>;  // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read> dy: array<vec4<Stored>>;       // (N, H, W, C/4)
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Stored>>; // (N, H, W, C/4)

// vec4s beside that of a channel that hold its neighbours below and above.
override LO4: i32 = (LO + 3) / 4;
override HI4: i32 = (HI + 3) / 4;

// Four channels of x in a pixel whose first vec4 is `pixel`, 0 where it has none.
fn x_at(pixel: u32, c: i32) -> vec4<f32> {
    let inside = (c >= 0) & (c < i32(params.c4));
    return select(vec4<f32>(), vec4<f32>(x[pixel + u32(select(0, c, inside))]), inside);
}

fn dy_at(pixel: u32, c: i32) -> vec4<f32> {
    let inside = (c >= 0) & (c < i32(params.c4));
    return select(vec4<f32>(), vec4<f32>(dy[pixel + u32(select(0, c, inside))]), inside);
}

// Which of four channels have the one that is `j` behind the first of them as a neighbour, at most `below` below and at most `above`
// above.
fn near(j: i32, below: i32, above: i32) -> vec4<bool> {
    let distance = vec4(j) - vec4(0, 1, 2, 3);
    return (distance >= vec4(-below)) & (distance <= vec4(above));
}

// The sum over the neighbours of four channels in the vec4 v, which is b vec4s behind them.
fn gather(b: i32, v: vec4<f32>, below: i32, above: i32) -> vec4<f32> {
    var sum = select(vec4<f32>(), vec4(v.x), near(4 * b, below, above));
    sum += select(vec4<f32>(), vec4(v.y), near(4 * b + 1, below, above));
    sum += select(vec4<f32>(), vec4(v.z), near(4 * b + 2, below, above));
    return sum + select(vec4<f32>(), vec4(v.w), near(4 * b + 3, below, above));
}

// s of four channels.
fn scale_of(pixel: u32, c: i32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var b = -LO4; b <= HI4; b++) {
        let v = x_at(pixel, c + b);
        sum += gather(b, v * v, LO, HI);
    }
    return vec4(params.bias) + params.scale * sum;
}

fn power(s: vec4<f32>) -> vec4<f32> {
    if THREE_QUARTERS {
        let root = sqrt(s);
        return 1.0 / (root * sqrt(root));
    }
    return pow(s, vec4(-params.beta));
}

@compute @workgroup_size(64)
fn lrn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    if at.row < params.rows && at.c < params.c4 {
        let pixel = at.row * params.c4;
        y[pixel + at.c] = vec4<Stored>(vec4<f32>(x[pixel + at.c]) * power(scale_of(pixel, i32(at.c))));
    }
}

// y = x * s^-beta  =>  dx[i] = dy[i] * s[i]^-beta - 2*beta*alpha/n * x[i] * sum over j of dy[j] * x[j] * s[j]^(-beta-1),
// over the channels j whose window holds i: j = i-hi .. i+lo.
@compute @workgroup_size(64)
fn lrn_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    if at.row >= params.rows || at.c >= params.c4 {
        return;
    }
    let pixel = at.row * params.c4;
    let c = i32(at.c);
    var own = vec4<f32>();
    var sum = vec4<f32>();
    for (var b = -HI4; b <= LO4; b++) {
        let s = scale_of(pixel, c + b);
        let v = dy_at(pixel, c + b) * power(s);
        own = select(own, v, vec4(b == 0));
        sum += gather(b, v * x_at(pixel, c + b) / s, HI, LO);
    }
    dx[pixel + at.c] = vec4<Stored>(own - 2.0 * params.beta * params.scale * x_at(pixel, c) * sum);
}
