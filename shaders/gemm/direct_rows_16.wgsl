// direct_rows_16: 16 rows of a lane of gemm/direct.wgsl, where c has many
// Needs: LANES, at, begin, begin_column, clear, corner, end_column, finish, next, next_tap, of_column, outer, outer4,
//   params, pixel, rows_from, store_c, tap_row, zero_unless
// Provides: ROWS, add, store_column

const ROWS = 16u;

// c += a * b of one column.
fn add(c: ptr<private, array<vec4<f32>, ROWS>>, a: array<f32, ROWS>, b: vec4<f32>) {
    (*c)[0] = fma(vec4(a[0]), b, (*c)[0]);
    (*c)[1] = fma(vec4(a[1]), b, (*c)[1]);
    (*c)[2] = fma(vec4(a[2]), b, (*c)[2]);
    (*c)[3] = fma(vec4(a[3]), b, (*c)[3]);
    (*c)[4] = fma(vec4(a[4]), b, (*c)[4]);
    (*c)[5] = fma(vec4(a[5]), b, (*c)[5]);
    (*c)[6] = fma(vec4(a[6]), b, (*c)[6]);
    (*c)[7] = fma(vec4(a[7]), b, (*c)[7]);
    (*c)[8] = fma(vec4(a[8]), b, (*c)[8]);
    (*c)[9] = fma(vec4(a[9]), b, (*c)[9]);
    (*c)[10] = fma(vec4(a[10]), b, (*c)[10]);
    (*c)[11] = fma(vec4(a[11]), b, (*c)[11]);
    (*c)[12] = fma(vec4(a[12]), b, (*c)[12]);
    (*c)[13] = fma(vec4(a[13]), b, (*c)[13]);
    (*c)[14] = fma(vec4(a[14]), b, (*c)[14]);
    (*c)[15] = fma(vec4(a[15]), b, (*c)[15]);
}

// One of the rows of a column. An array that is indexed by anything but a constant would have to leave the registers.
fn element(c: ptr<private, array<vec4<f32>, ROWS>>, i: u32) -> vec4<f32> {
    var v = (*c)[0];
    v = select(v, (*c)[1], i == 1u);
    v = select(v, (*c)[2], i == 2u);
    v = select(v, (*c)[3], i == 3u);
    v = select(v, (*c)[4], i == 4u);
    v = select(v, (*c)[5], i == 5u);
    v = select(v, (*c)[6], i == 6u);
    v = select(v, (*c)[7], i == 7u);
    v = select(v, (*c)[8], i == 8u);
    v = select(v, (*c)[9], i == 9u);
    v = select(v, (*c)[10], i == 10u);
    v = select(v, (*c)[11], i == 11u);
    v = select(v, (*c)[12], i == 12u);
    v = select(v, (*c)[13], i == 13u);
    v = select(v, (*c)[14], i == 14u);
    v = select(v, (*c)[15], i == 15u);
    return v;
}

// A loop, though it takes some selections: what is stored may be long, and compiling it for each row takes seconds.
fn store_column(c: ptr<private, array<vec4<f32>, ROWS>>, row: u32, col: u32) {
    let terms = of_column(col);
    let rows = rows_from(row, ROWS);
    begin_column();
    for (var i = 0u; i < rows; i++) {
        store_c(row + i, col, terms, element(c, i));
    }
    end_column(row, col);
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
    let p4 = pixel(row + 4u); let p5 = pixel(row + 5u);
    let p6 = pixel(row + 6u); let p7 = pixel(row + 7u);
    let p8 = pixel(row + 8u); let p9 = pixel(row + 9u);
    let p10 = pixel(row + 10u); let p11 = pixel(row + 11u);
    let p12 = pixel(row + 12u); let p13 = pixel(row + 13u);
    let p14 = pixel(row + 14u); let p15 = pixel(row + 15u);
    clear();
    var tap = vec2<u32>();
    for (var s = 0u; s < params.segments; s++) {
        let i0 = at(p0, tap); let i1 = at(p1, tap);
        let i2 = at(p2, tap); let i3 = at(p3, tap);
        let i4 = at(p4, tap); let i5 = at(p5, tap);
        let i6 = at(p6, tap); let i7 = at(p7, tap);
        let i8 = at(p8, tap); let i9 = at(p9, tap);
        let i10 = at(p10, tap); let i11 = at(p11, tap);
        let i12 = at(p12, tap); let i13 = at(p13, tap);
        let i14 = at(p14, tap); let i15 = at(p15, tap);
        for (var k = 0u; k < params.run4; k++) {
            let a0 = zero_unless(i0, k); let a1 = zero_unless(i1, k);
            let a2 = zero_unless(i2, k); let a3 = zero_unless(i3, k);
            let a4 = zero_unless(i4, k); let a5 = zero_unless(i5, k);
            let a6 = zero_unless(i6, k); let a7 = zero_unless(i7, k);
            let a8 = zero_unless(i8, k); let a9 = zero_unless(i9, k);
            let a10 = zero_unless(i10, k); let a11 = zero_unless(i11, k);
            let a12 = zero_unless(i12, k); let a13 = zero_unless(i13, k);
            let a14 = zero_unless(i14, k); let a15 = zero_unless(i15, k);
            outer4(s, k, col,
                array<f32, ROWS>(a0.x, a1.x, a2.x, a3.x, a4.x, a5.x, a6.x, a7.x,
                    a8.x, a9.x, a10.x, a11.x, a12.x, a13.x, a14.x, a15.x),
                array<f32, ROWS>(a0.y, a1.y, a2.y, a3.y, a4.y, a5.y, a6.y, a7.y,
                    a8.y, a9.y, a10.y, a11.y, a12.y, a13.y, a14.y, a15.y),
                array<f32, ROWS>(a0.z, a1.z, a2.z, a3.z, a4.z, a5.z, a6.z, a7.z,
                    a8.z, a9.z, a10.z, a11.z, a12.z, a13.z, a14.z, a15.z),
                array<f32, ROWS>(a0.w, a1.w, a2.w, a3.w, a4.w, a5.w, a6.w, a7.w,
                    a8.w, a9.w, a10.w, a11.w, a12.w, a13.w, a14.w, a15.w),
            );
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
    let t1 = tap_row(row / 4u + 1u);
    let t2 = tap_row(row / 4u + 2u);
    let t3 = tap_row(row / 4u + 3u);
    clear();
    var p = pixel(block.y);
    for (var k = block.y; k < block.z; k++) {
        let a0 = zero_unless(at(p, t0.xy), t0.z);
        let a1 = zero_unless(at(p, t1.xy), t1.z);
        let a2 = zero_unless(at(p, t2.xy), t2.z);
        let a3 = zero_unless(at(p, t3.xy), t3.z);
        outer(k, col, array<f32, ROWS>(a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w,
            a2.x, a2.y, a2.z, a2.w, a3.x, a3.y, a3.z, a3.w));
        p = next(p);
    }
    finish(row, col);
}
