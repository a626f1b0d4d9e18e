// conv2d_sgd: a weight gradient of conv2d.wgsl, which it is joined with, goes straight into the step of SGD
//   g = unscale*dw + decay*w;  v = momentum*v + g;  w = w - rate*v
//   The gradient is never written: where it is a product over few pixels, as in a fully connected layer, writing and
//   reading it again costs more than computing it.

@group(0) @binding(2) var<storage, read> b: array<vec4<StoredB>>;          // (N, P, Q, K/4)
@group(0) @binding(3) var<storage, read> step: array<vec4<f32>>;          // (1) rate, momentum, decay, unscale
@group(0) @binding(4) var<storage, read_write> weights: array<vec4<f32>>;  // (R, S, C, K/4)
@group(0) @binding(5) var<storage, read_write> velocity: array<vec4<f32>>; // (R, S, C, K/4)

fn store_c(row: u32, col4: u32, value: vec4<f32>) {
    if step[0].w == 0.0 {
        return;
    }
    let i = row * params.out4 + the_group * params.cols4 + col4;
    let after = updated(step[0], value, weights[i], velocity[i]);
    velocity[i] = after.v;
    weights[i] = after.w;
}
