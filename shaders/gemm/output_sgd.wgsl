// output_sgd: a weight gradient of conv2d.wgsl goes straight into the step of SGD
//   g = unscale*dw + decay*w;  v = momentum*v + g;  w = w - rate*v
//   The gradient is never written: where it is a product over few pixels, as in a fully connected layer, writing and
//   reading it again costs more than computing it.
// Needs: params, the_group, updated
// Provides: Terms, b, of_column, store_c

@group(0) @binding(2) var<storage, read> b: array<vec4<StoredB>>;          // (N, P, Q, K/4)
@group(0) @binding(3) var<storage, read> step: array<vec4<f32>>;          // (1) rate, momentum, decay, unscale
@group(0) @binding(4) var<storage, read_write> weights: array<vec4<f32>>;  // (R, S, C, K/4)
@group(0) @binding(5) var<storage, read_write> velocity: array<vec4<f32>>; // (R, S, C, K/4)

struct Terms { rates: vec4<f32> }

// What store_c needs of a column: the same of each.
fn of_column(col4: u32) -> Terms {
    return Terms(step[0]);
}

fn store_c(row: u32, col4: u32, terms: Terms, value: vec4<f32>) {
    if terms.rates.w == 0.0 {
        return;
    }
    let i = row * params.out4 + the_group * params.cols4 + col4;
    let after = updated(terms.rates, value, weights[i], velocity[i]);
    velocity[i] = after.v;
    weights[i] = after.w;
}
