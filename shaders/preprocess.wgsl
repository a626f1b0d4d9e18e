// preprocess: 8-bit pictures to normalised activations
//   y[n,h,w,c] = x[n,h,w,c] * scale[c] + shift[c],  scale = 1/(255 std), shift = -mean/std; alpha becomes padding
//   x (N,H,W) RGBA of 8 bits each, red lowest  ->  y (N,H,W,3)
// Schedule: one invocation = one pixel.
// Needs: flat

struct Params {
    total: u32, first: u32,   // pixels of y; where they begin in x
    scale_r: f32, scale_g: f32, scale_b: f32, shift_r: f32, shift_g: f32, shift_b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;             // (N, H, W)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>; // (N, H, W, 3 of 4)
@group(0) @binding(1) var<storage, read> dy: array<vec4<Stored>>;      // (N, H, W, 3 of 4)
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<Stored>>; // (N, H, W, 3 of 4)

@compute @workgroup_size(64)
fn preprocess(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total {
        let rgb = vec3<f32>((vec3(x[params.first + i]) >> vec3(0u, 8u, 16u)) & vec3(255u));
        let scale = vec3(params.scale_r, params.scale_g, params.scale_b);
        y[i] = vec4(vec3<Stored>(fma(rgb, scale, vec3(params.shift_r, params.shift_g, params.shift_b))), Stored());
    }
}

// y = x * scale + shift  =>  dx = dy * scale, of each colour from 0 to 255.
@compute @workgroup_size(64)
fn preprocess_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total {
        let scale = vec4(params.scale_r, params.scale_g, params.scale_b, 0.0);
        dx[i] = vec4<Stored>(vec4<f32>(dy[i]) * scale);
    }
}
