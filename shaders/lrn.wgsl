// lrn: local response normalisation across neighbouring channels (Krizhevsky et al. 2012, section 3.3)
//   y[c] = x[c] * s[c]^-beta,  s[c] = bias + alpha/n * sum over j = c-lo .. c+hi of x[j]^2
//   x (N,H,W,C)  ->  y (N,H,W,C), n = lo + 1 + hi channels, fewer at the ends
// Algorithm: s is computed again for the gradient; nothing but x is kept.
// Schedule: one invocation = one vec4 of channels of one pixel.
// Needs: flat

struct Params {
    total4: u32, c4: u32,
    lo: u32, hi: u32,  // neighbours below and above
    scale: f32,        // alpha/n
    beta: f32, bias: f32,
}

// beta is 0.75, which two square roots give faster and more exactly than a power.
override THREE_QUARTERS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;        // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>;  // (N, H, W, C/4)
@group(0) @binding(2) var<storage, read> dy: array<vec4<Stored>>;       // (N, H, W, C/4)
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Stored>>; // (N, H, W, C/4)

// The vec4s that hold channels first-below .. first+3+above, cut to those that are there: from .x up to, not including, .y.
fn blocks(c: u32, below: u32, above: u32) -> vec2<u32> {
    return vec2((max(4u * c, below) - below) / 4u, min((4u * c + 3u + above) / 4u + 1u, params.c4));
}

// For each channel of vec4 c: is channel j at most `below` below it and at most `above` above it?
fn near(c: u32, j: u32, below: u32, above: u32) -> vec4<bool> {
    let distance = vec4(i32(j) - i32(4u * c)) - vec4(0, 1, 2, 3);
    return (distance >= vec4(-i32(below))) & (distance <= vec4(i32(above)));
}

// The sum over the neighbours of each channel of vec4 c, of which v holds four, from channel 4b on.
fn gather(c: u32, b: u32, v: vec4<f32>, below: u32, above: u32) -> vec4<f32> {
    var sum = select(vec4<f32>(), vec4(v.x), near(c, 4u * b, below, above));
    sum += select(vec4<f32>(), vec4(v.y), near(c, 4u * b + 1u, below, above));
    sum += select(vec4<f32>(), vec4(v.z), near(c, 4u * b + 2u, below, above));
    return sum + select(vec4<f32>(), vec4(v.w), near(c, 4u * b + 3u, below, above));
}

// s of four channels; pixel is the index of the pixel's first vec4. Padding is zero and adds nothing.
fn scale_of(pixel: u32, c: u32) -> vec4<f32> {
    let range = blocks(c, params.lo, params.hi);
    var sum = vec4<f32>();
    for (var b = range.x; b < range.y; b++) {
        let v = vec4<f32>(x[pixel + b]);
        sum += gather(c, b, v * v, params.lo, params.hi);
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
    let i = flat(group, groups, lane);
    if i < params.total4 {
        let c = i % params.c4;
        y[i] = vec4<Stored>(vec4<f32>(x[i]) * power(scale_of(i - c, c)));
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
    let i = flat(group, groups, lane);
    if i >= params.total4 {
        return;
    }
    let c = i % params.c4;
    let pixel = i - c;
    let range = blocks(c, params.hi, params.lo);
    var own = vec4<f32>();
    var sum = vec4<f32>();
    for (var b = range.x; b < range.y; b++) {
        let s = scale_of(pixel, b);
        let inverse = power(s);
        let v = vec4<f32>(dy[pixel + b]) * inverse;
        if b == c {
            own = v;
        }
        sum += gather(c, b, v * vec4<f32>(x[pixel + b]) / s, params.hi, params.lo);
    }
    dx[i] = vec4<Stored>(own - 2.0 * params.beta * params.scale * vec4<f32>(x[i]) * sum);
}
