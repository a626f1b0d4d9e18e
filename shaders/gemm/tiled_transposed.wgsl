// tiled_transposed: the form of gemm/tiled.wgsl whose rows of a are taps of the kernel, for the gradient of weights
//   c[m, n] = sum over k of a[m, k] * b[k, n], k a pixel
// Schedule: that of gemm/tiled.wgsl; both operands lie in memory as they do in workgroup memory.
// Needs: COLS4, Pixel, ROWS4, THREADS, TILE_K, Units, a_or_zero, at, begin, corner, finish, load_b, multiply, next,
//   next_a, next_a2, next_b, params, pixel, stage, tap, units

fn of_tap(p: Pixel, tap: vec2<u32>, j: u32, inside: bool) -> vec4<f32> {
    if !inside {
        return vec4<f32>();
    }
    return a_or_zero(at(p, tap), j);
}

// Four k of four rows that are channels j of a tap; k is a pixel and a is read four rows at a time.
fn of_taps(k: u32, end: u32, tap: vec2<u32>, j: u32, inside: bool) -> mat4x4<f32> {
    let p0 = pixel(k);
    let p1 = next(p0);
    let p2 = next(p1);
    let p3 = next(p2);
    return mat4x4<f32>(
        of_tap(p0, tap, j, inside && k < end), of_tap(p1, tap, j, inside && k + 1u < end),
        of_tap(p2, tap, j, inside && k + 2u < end), of_tap(p3, tap, j, inside && k + 3u < end));
}

fn b_or_zero(k: u32, end: u32, col: u32) -> vec4<f32> {
    if k >= end || col >= params.cols4 {
        return vec4<f32>();
    }
    return load_b(0u, k, col);
}

fn of_gradient(k: u32, end: u32, col: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        b_or_zero(k, end, col), b_or_zero(k + 1u, end, col), b_or_zero(k + 2u, end, col), b_or_zero(k + 3u, end, col));
}

fn load_ahead_transposed(u: Units, k: u32, end: u32, col: u32, tap: vec2<u32>, j: u32, inside: bool) {
    if u.has_a {
        next_a = of_taps(k + 4u * u.a_k4, end, tap, j, inside);
    }
    if u.has_a2 {
        next_a2 = of_taps(k + 4u * u.a2_k4, end, tap, j, inside);
    }
    if u.has_b {
        next_b = of_gradient(k + 4u * u.b_k4, end, col);
    }
}

// Rows of a are taps of the kernel, k is a pixel.
@compute @workgroup_size(THREADS)
fn tiled_transposed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let block = begin(group.z);
    let row = (group.y * groups.x + group.x) * (4u * ROWS4);
    if row >= params.rows {
        return;
    }
    let col = block.x * COLS4;
    let u = units(t);
    let tile = corner(t);
    let row4 = row / 4u + u.m4;
    let tap = tap(row4 / params.run4);
    let j = row4 % params.run4;
    let inside = 4u * row4 < params.rows;
    load_ahead_transposed(u, block.y, block.z, col + u.n4, tap, j, inside);
    for (var k = block.y; k < block.z; k += TILE_K) {
        workgroupBarrier();
        stage(u);
        workgroupBarrier();
        load_ahead_transposed(u, k + TILE_K, block.z, col + u.n4, tap, j, inside);
        multiply(tile.x, tile.y);
    }
    finish(row + 4u * tile.x, col + tile.y);
}
