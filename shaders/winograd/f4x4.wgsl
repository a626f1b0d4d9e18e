// f4x4: the matrices of F(4x4, 3x3), at the points 0, 1/sqrt 2, -1/sqrt 2, sqrt 2, -sqrt 2 and infinity
//   of_input: B' x   of_filter: G w   of_product: A' m   of_gradient: A dy   of_sums: G' m
// Note: the usual points 0, 1, -1, 2, -2 give factors up to 8 and four to five times the error.
// Provides: M, T, of_filter, of_gradient, of_input, of_product, of_sums

const M = 4u;
const T = 6u;

const A = 0.70710678118654752; // 1 / sqrt 2
const B = 1.41421356237309505; // sqrt 2

// factor * x + y
fn times(factor: f32, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return fma(vec4(factor), x, y);
}

fn of_input(x: array<vec4<f32>, 6>) -> array<vec4<f32>, 6> {
    let even_a = times(-2.0, x[2], x[4]);
    let odd_a = times(A, x[3], -B * x[1]);
    let even_b = times(-0.5, x[2], x[4]);
    let odd_b = times(B, x[3], -A * x[1]);
    return array<vec4<f32>, 6>(
        times(-2.5, x[2], x[0]) + x[4],
        even_a + odd_a, even_a - odd_a,
        even_b + odd_b, even_b - odd_b,
        times(-2.5, x[3], x[1]) + x[5],
    );
}

fn of_filter(w: array<vec4<f32>, 3>) -> array<vec4<f32>, 6> {
    let even_a = times(-2.0 / 3.0, w[0], (-1.0 / 3.0) * w[2]);
    let even_b = times(1.0 / 6.0, w[0], (1.0 / 3.0) * w[2]);
    return array<vec4<f32>, 6>(
        w[0],
        times(-B / 3.0, w[1], even_a), times(B / 3.0, w[1], even_a),
        times(B / 6.0, w[1], even_b), times(-B / 6.0, w[1], even_b),
        w[2],
    );
}

fn of_product(m: array<vec4<f32>, 6>) -> array<vec4<f32>, 4> {
    let sum_a = m[1] + m[2];
    let difference_a = m[1] - m[2];
    let sum_b = m[3] + m[4];
    let difference_b = m[3] - m[4];
    return array<vec4<f32>, 4>(
        m[0] + sum_a + sum_b,
        times(A, difference_a, B * difference_b),
        times(2.0, sum_b, 0.5 * sum_a),
        times(2.0 * B, difference_b, times(0.5 * A, difference_a, m[5])),
    );
}

fn of_gradient(dy: array<vec4<f32>, 4>) -> array<vec4<f32>, 6> {
    let even_a = times(0.5, dy[2], dy[0]);
    let odd_a = times(0.5 * A, dy[3], A * dy[1]);
    let even_b = times(2.0, dy[2], dy[0]);
    let odd_b = times(2.0 * B, dy[3], B * dy[1]);
    return array<vec4<f32>, 6>(
        dy[0],
        even_a + odd_a, even_a - odd_a,
        even_b + odd_b, even_b - odd_b,
        dy[3],
    );
}

fn of_sums(m: array<vec4<f32>, 6>) -> array<vec4<f32>, 3> {
    let sum_a = m[1] + m[2];
    let sum_b = m[3] + m[4];
    return array<vec4<f32>, 3>(
        times(-2.0 / 3.0, sum_a, times(1.0 / 6.0, sum_b, m[0])),
        times(-B / 3.0, m[1] - m[2], (B / 6.0) * (m[3] - m[4])),
        times(1.0 / 3.0, sum_b - sum_a, m[5]),
    );
}
