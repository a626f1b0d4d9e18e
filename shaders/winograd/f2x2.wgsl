// f2x2: the matrices of F(2x2, 3x3), at the points 0, 1, -1 and infinity
//   of_input: B' x   of_filter: G w   of_product: A' m   of_gradient: A dy   of_sums: G' m
// Note: exact for small integers: the only factors beside 1 and -1 are halves of w.
// Provides: M, T, of_filter, of_gradient, of_input, of_product, of_sums

const M = 2u;
const T = 4u;

fn of_input(x: array<vec4<f32>, 4>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]);
}

fn of_filter(w: array<vec4<f32>, 3>) -> array<vec4<f32>, 4> {
    let even = 0.5 * (w[0] + w[2]);
    let odd = 0.5 * w[1];
    return array<vec4<f32>, 4>(w[0], even + odd, even - odd, w[2]);
}

fn of_product(m: array<vec4<f32>, 4>) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}

fn of_gradient(dy: array<vec4<f32>, 2>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(dy[0], dy[0] + dy[1], dy[0] - dy[1], -dy[1]);
}

fn of_sums(m: array<vec4<f32>, 4>) -> array<vec4<f32>, 3> {
    let half = 0.5 * (m[1] + m[2]);
    return array<vec4<f32>, 3>(m[0] + half, 0.5 * (m[1] - m[2]), half + m[3]);
}
