// sgd_rule: the step of sgd.wgsl, sgd_multi_tensor.wgsl and gemm/output_sgd.wgsl for four numbers
//   g = unscale*dw + decay*w;  v = momentum*v + g;  w = w - rate*v, or with NESTEROV w = w - rate*(momentum*v + g)
//   rates: rate, momentum, decay, unscale: what a gradient is multiplied by, 1 unless the loss was scaled. The convention of
//   PyTorch: the rate is not part of the velocity v.
// Provides: updated

override NESTEROV: bool = false;

struct Updated { w: vec4<f32>, v: vec4<f32> }

fn updated(rates: vec4<f32>, dw: vec4<f32>, w: vec4<f32>, v: vec4<f32>) -> Updated {
    let g = fma(vec4(rates.z), w, rates.w * dw);
    let velocity = fma(vec4(rates.y), v, g);
    var direction = velocity;
    if NESTEROV {
        direction = fma(vec4(rates.y), velocity, g);
    }
    return Updated(fma(vec4(-rates.x), direction, w), velocity);
}
