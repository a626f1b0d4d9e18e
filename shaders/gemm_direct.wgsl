// gemm_direct: the matrix-product core for adapters that compute on a processor
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   The operation that it is joined with declares the bindings and says what a, b and c are:
//   begin, pixel, next, at, load_a, load_b, store_c (see conv2d.wgsl).
// Algorithm: no workgroup memory and no barriers. On a processor both cost time and bring nothing: shared
//   memory is ordinary memory, and a barrier spills the registers of all lanes.
// Schedule: a lane computes 8 rows x (1 or 2) vec4 columns; LANE_COLS neighbouring lanes read neighbouring columns
//   of b, and the next LANE_COLS lanes take the next 8 rows. So no lane is idle however few columns c has.

override LANES: u32 = 8u;
// Lanes side by side along the columns: a divisor of LANES.
override LANE_COLS: u32 = 8u;
// Two vec4 columns a lane, LANE_COLS apart; otherwise one.
override TWO: bool = true;

var<private> acc0: array<vec4<f32>, 8>; // Indexed by constants only: stays in registers.
var<private> acc1: array<vec4<f32>, 8>;

fn clear() {
    let zero = vec4<f32>();
    acc0[0] = zero; acc0[1] = zero; acc0[2] = zero; acc0[3] = zero;
    acc0[4] = zero; acc0[5] = zero; acc0[6] = zero; acc0[7] = zero;
    acc1[0] = zero; acc1[1] = zero; acc1[2] = zero; acc1[3] = zero;
    acc1[4] = zero; acc1[5] = zero; acc1[6] = zero; acc1[7] = zero;
}

// The first row and the first vec4 column of a lane.
fn corner(group: vec3<u32>, groups: vec3<u32>, col_block: u32, lane: u32) -> vec2<u32> {
    let row = (group.y * groups.x + group.x) * (LANES / LANE_COLS) + lane / LANE_COLS;
    return vec2(8u * row, col_block * LANE_COLS * select(1u, 2u, TWO) + lane % LANE_COLS);
}

fn finish(row: u32, col: u32) {
    store_row(row, col, acc0[0], acc1[0]);
    store_row(row + 1u, col, acc0[1], acc1[1]);
    store_row(row + 2u, col, acc0[2], acc1[2]);
    store_row(row + 3u, col, acc0[3], acc1[3]);
    store_row(row + 4u, col, acc0[4], acc1[4]);
    store_row(row + 5u, col, acc0[5], acc1[5]);
    store_row(row + 6u, col, acc0[6], acc1[6]);
    store_row(row + 7u, col, acc0[7], acc1[7]);
}

fn store_row(row: u32, col: u32, v0: vec4<f32>, v1: vec4<f32>) {
    if row < params.rows {
        if col < params.cols4 {
            store_c(row, col, v0);
        }
        if TWO && col + LANE_COLS < params.cols4 {
            store_c(row, col + LANE_COLS, v1);
        }
    }
}

fn zero_unless(i: i32, k4: u32) -> vec4<f32> {
    return select(vec4<f32>(), load_a(u32(max(i, 0)) + k4), i >= 0);
}

// One element of a in each of 8 rows times one row of b.
fn outer(a0: f32, a1: f32, a2: f32, a3: f32, a4: f32, a5: f32, a6: f32, a7: f32, b0: vec4<f32>, b1: vec4<f32>) {
    acc0[0] = fma(vec4(a0), b0, acc0[0]); acc0[1] = fma(vec4(a1), b0, acc0[1]);
    acc0[2] = fma(vec4(a2), b0, acc0[2]); acc0[3] = fma(vec4(a3), b0, acc0[3]);
    acc0[4] = fma(vec4(a4), b0, acc0[4]); acc0[5] = fma(vec4(a5), b0, acc0[5]);
    acc0[6] = fma(vec4(a6), b0, acc0[6]); acc0[7] = fma(vec4(a7), b0, acc0[7]);
    if TWO {
        acc1[0] = fma(vec4(a0), b1, acc1[0]); acc1[1] = fma(vec4(a1), b1, acc1[1]);
        acc1[2] = fma(vec4(a2), b1, acc1[2]); acc1[3] = fma(vec4(a3), b1, acc1[3]);
        acc1[4] = fma(vec4(a4), b1, acc1[4]); acc1[5] = fma(vec4(a5), b1, acc1[5]);
        acc1[6] = fma(vec4(a6), b1, acc1[6]); acc1[7] = fma(vec4(a7), b1, acc1[7]);
    }
}

fn other(segment: u32, k: u32, col: u32) -> vec4<f32> {
    if TWO {
        return load_b(segment, k, col);
    }
    return vec4<f32>();
}

// Rows of a are pixels; a is read four k at a time.
@compute @workgroup_size(LANES)
fn direct(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = begin(group.z);
    let corner = corner(group, groups, block.x, lane);
    let row = corner.x;
    let col = corner.y;
    if row >= params.rows {
        return;
    }
    // Lanes beyond the last column compute the last column again and store nothing.
    let c0 = min(col, params.cols4 - 1u);
    let c1 = min(col + LANE_COLS, params.cols4 - 1u);
    let p0 = pixel(row); let p1 = pixel(row + 1u); let p2 = pixel(row + 2u); let p3 = pixel(row + 3u);
    let p4 = pixel(row + 4u); let p5 = pixel(row + 5u); let p6 = pixel(row + 6u); let p7 = pixel(row + 7u);
    clear();
    for (var s = 0u; s < params.segments; s++) {
        let i0 = at(p0, s); let i1 = at(p1, s); let i2 = at(p2, s); let i3 = at(p3, s);
        let i4 = at(p4, s); let i5 = at(p5, s); let i6 = at(p6, s); let i7 = at(p7, s);
        for (var k = 0u; k < params.run4; k++) {
            let a0 = zero_unless(i0, k); let a1 = zero_unless(i1, k);
            let a2 = zero_unless(i2, k); let a3 = zero_unless(i3, k);
            let a4 = zero_unless(i4, k); let a5 = zero_unless(i5, k);
            let a6 = zero_unless(i6, k); let a7 = zero_unless(i7, k);
            let j = 4u * k;
            outer(a0.x, a1.x, a2.x, a3.x, a4.x, a5.x, a6.x, a7.x, load_b(s, j, c0), other(s, j, c1));
            outer(a0.y, a1.y, a2.y, a3.y, a4.y, a5.y, a6.y, a7.y, load_b(s, j + 1u, c0), other(s, j + 1u, c1));
            outer(a0.z, a1.z, a2.z, a3.z, a4.z, a5.z, a6.z, a7.z, load_b(s, j + 2u, c0), other(s, j + 2u, c1));
            outer(a0.w, a1.w, a2.w, a3.w, a4.w, a5.w, a6.w, a7.w, load_b(s, j + 3u, c0), other(s, j + 3u, c1));
        }
    }
    finish(row, col);
}

// Rows of a are taps of the kernel, k is a pixel; a is read four rows at a time.
@compute @workgroup_size(LANES)
fn direct_transposed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = begin(group.z);
    let corner = corner(group, groups, block.x, lane);
    let row = corner.x;
    let col = corner.y;
    if row >= params.rows {
        return;
    }
    let c0 = min(col, params.cols4 - 1u);
    let c1 = min(col + LANE_COLS, params.cols4 - 1u);
    // The rows are padded to multiples of 4, so the second four may be missing.
    let row4 = row / 4u;
    let last4 = params.rows / 4u - 1u;
    let s0 = row4 / params.run4;
    let k0 = row4 % params.run4;
    let s1 = min(row4 + 1u, last4) / params.run4;
    let k1 = min(row4 + 1u, last4) % params.run4;
    clear();
    var p = pixel(block.y);
    for (var k = block.y; k < block.z; k++) {
        let a = zero_unless(at(p, s0), k0);
        let b = zero_unless(at(p, s1), k1);
        outer(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, load_b(0u, k, c0), other(0u, k, c1));
        p = next(p);
    }
    finish(row, col);
}
