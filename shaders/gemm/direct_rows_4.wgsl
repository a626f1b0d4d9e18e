// direct_rows_4: 4 rows of a lane of gemm/direct.wgsl, where c has few or the kernel must be compiled soon
// Needs: LANES, at, begin, clear, corner, finish, next, next_tap, of_column, outer, outer4, params, pixel, rows_from,
//   store_c, tap_row, zero_unless
// Provides: ROWS, add, store_column

const ROWS = 4u;

// c += a * b of one column.
fn add(c: ptr<private, array<vec4<f32>, ROWS>>, a: array<f32, ROWS>, b: vec4<f32>) {
    (*c)[0] = fma(vec4(a[0]), b, (*c)[0]);
    (*c)[1] = fma(vec4(a[1]), b, (*c)[1]);
    (*c)[2] = fma(vec4(a[2]), b, (*c)[2]);
    (*c)[3] = fma(vec4(a[3]), b, (*c)[3]);
}

// One of the rows of a column. An array that is indexed by anything but a constant would have to leave the registers.
fn element(c: ptr<private, array<vec4<f32>, ROWS>>, i: u32) -> vec4<f32> {
    var v = (*c)[0];
    v = select(v, (*c)[1], i == 1u);
    v = select(v, (*c)[2], i == 2u);
    v = select(v, (*c)[3], i == 3u);
    return v;
}

// A loop, though it takes some selections: what is stored may be long, and compiling it for each row takes seconds.
fn store_column(c: ptr<private, array<vec4<f32>, ROWS>>, row: u32, col: u32) {
    let terms = of_column(col);
    let rows = rows_from(row, ROWS);
    for (var i = 0u; i < rows; i++) {
        store_c(row + i, col, terms, element(c, i));
    }
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
    let p0 = pixel(row); let p1 = pixel(row + 1u);
    let p2 = pixel(row + 2u); let p3 = pixel(row + 3u);
    clear();
    var tap = vec2<u32>();
    for (var s = 0u; s < params.segments; s++) {
        let i0 = at(p0, tap); let i1 = at(p1, tap);
        let i2 = at(p2, tap); let i3 = at(p3, tap);
        for (var k = 0u; k < params.run4; k++) {
            let a0 = zero_unless(i0, k); let a1 = zero_unless(i1, k);
            let a2 = zero_unless(i2, k); let a3 = zero_unless(i3, k);
            outer4(s, k, col,
                array<f32, ROWS>(a0.x, a1.x, a2.x, a3.x),
                array<f32, ROWS>(a0.y, a1.y, a2.y, a3.y),
                array<f32, ROWS>(a0.z, a1.z, a2.z, a3.z),
                array<f32, ROWS>(a0.w, a1.w, a2.w, a3.w));
        }
        tap = next_tap(tap);
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
    let t0 = tap_row(row / 4u);
    clear();
    var p = pixel(block.y);
    for (var k = block.y; k < block.z; k++) {
        let a = zero_unless(at(p, t0.xy), t0.z);
        outer(k, col, array<f32, ROWS>(a.x, a.y, a.z, a.w));
        p = next(p);
    }
    finish(row, col);
}
