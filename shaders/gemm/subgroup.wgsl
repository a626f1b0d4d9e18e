// subgroup: the GEMM kernel for adapters that compute on a processor and have subgroups
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   conv2d.wgsl has the loads of a and b, gemm/output_store.wgsl or gemm/output_sgd.wgsl the store of c.
// Algorithm: as gemm/direct.wgsl, no workgroup memory and no barriers, but the lanes share what they load of b.
// Schedule: one subgroup is a workgroup. A lane computes 8 rows x COLS vec4 columns; all lanes have the same columns,
//   each loads one vec4 of b, and all get it by broadcast, which costs such a driver one instruction where a load
//   costs many. Four k at a time: c is read and written once for four multiply-adds.
// Needs: at, begin, begin_column, end_column, join_b, load_b, load_b2, load_b4, next, next_tap, of_column, params,
//   pixel, rows_from, store_c, tap_row, zero_unless
// Provides: LANES, add, clear, finish, outer4, store_column

// The lanes of a subgroup; another size would broadcast wrongly, and such adapters use another GEMM kernel.
const LANES: u32 = 8u;
// vec4 columns of every lane: 4 or 8.
override COLS: u32 = 8u;

// One vec4 of c in each of 8 rows.
var<private> c0: array<vec4<f32>, 8>;
var<private> c1: array<vec4<f32>, 8>;
var<private> c2: array<vec4<f32>, 8>;
var<private> c3: array<vec4<f32>, 8>;
var<private> c4: array<vec4<f32>, 8>;
var<private> c5: array<vec4<f32>, 8>;
var<private> c6: array<vec4<f32>, 8>;
var<private> c7: array<vec4<f32>, 8>;

// c += a * b of one column and four k. Each of the 8 rows has its four k in a vec4 of a.
fn add(c: ptr<private, array<vec4<f32>, 8>>, a: array<vec4<f32>, 8>, b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>) {
    (*c)[0] = fma(vec4(a[0].w), b3, fma(vec4(a[0].z), b2, fma(vec4(a[0].y), b1, fma(vec4(a[0].x), b0, (*c)[0]))));
    (*c)[1] = fma(vec4(a[1].w), b3, fma(vec4(a[1].z), b2, fma(vec4(a[1].y), b1, fma(vec4(a[1].x), b0, (*c)[1]))));
    (*c)[2] = fma(vec4(a[2].w), b3, fma(vec4(a[2].z), b2, fma(vec4(a[2].y), b1, fma(vec4(a[2].x), b0, (*c)[2]))));
    (*c)[3] = fma(vec4(a[3].w), b3, fma(vec4(a[3].z), b2, fma(vec4(a[3].y), b1, fma(vec4(a[3].x), b0, (*c)[3]))));
    (*c)[4] = fma(vec4(a[4].w), b3, fma(vec4(a[4].z), b2, fma(vec4(a[4].y), b1, fma(vec4(a[4].x), b0, (*c)[4]))));
    (*c)[5] = fma(vec4(a[5].w), b3, fma(vec4(a[5].z), b2, fma(vec4(a[5].y), b1, fma(vec4(a[5].x), b0, (*c)[5]))));
    (*c)[6] = fma(vec4(a[6].w), b3, fma(vec4(a[6].z), b2, fma(vec4(a[6].y), b1, fma(vec4(a[6].x), b0, (*c)[6]))));
    (*c)[7] = fma(vec4(a[7].w), b3, fma(vec4(a[7].z), b2, fma(vec4(a[7].y), b1, fma(vec4(a[7].x), b0, (*c)[7]))));
}

fn clear() {
    c0 = array<vec4<f32>, 8>(); c1 = array<vec4<f32>, 8>();
    c2 = array<vec4<f32>, 8>(); c3 = array<vec4<f32>, 8>();
    c4 = array<vec4<f32>, 8>(); c5 = array<vec4<f32>, 8>();
    c6 = array<vec4<f32>, 8>(); c7 = array<vec4<f32>, 8>();
}

// Four elements in each row of a times four rows of b, of which each lane has one column. Columns beyond the last one
// compute the last one again and store nothing.
fn outer8(a: array<vec4<f32>, 8>, b: mat4x4<f32>) {
    add(&c0, a, subgroupBroadcast(b[0], 0u), subgroupBroadcast(b[1], 0u), subgroupBroadcast(b[2], 0u), subgroupBroadcast(b[3], 0u));
    add(&c1, a, subgroupBroadcast(b[0], 1u), subgroupBroadcast(b[1], 1u), subgroupBroadcast(b[2], 1u), subgroupBroadcast(b[3], 1u));
    add(&c2, a, subgroupBroadcast(b[0], 2u), subgroupBroadcast(b[1], 2u), subgroupBroadcast(b[2], 2u), subgroupBroadcast(b[3], 2u));
    add(&c3, a, subgroupBroadcast(b[0], 3u), subgroupBroadcast(b[1], 3u), subgroupBroadcast(b[2], 3u), subgroupBroadcast(b[3], 3u));
    add(&c4, a, subgroupBroadcast(b[0], 4u), subgroupBroadcast(b[1], 4u), subgroupBroadcast(b[2], 4u), subgroupBroadcast(b[3], 4u));
    add(&c5, a, subgroupBroadcast(b[0], 5u), subgroupBroadcast(b[1], 5u), subgroupBroadcast(b[2], 5u), subgroupBroadcast(b[3], 5u));
    add(&c6, a, subgroupBroadcast(b[0], 6u), subgroupBroadcast(b[1], 6u), subgroupBroadcast(b[2], 6u), subgroupBroadcast(b[3], 6u));
    add(&c7, a, subgroupBroadcast(b[0], 7u), subgroupBroadcast(b[1], 7u), subgroupBroadcast(b[2], 7u), subgroupBroadcast(b[3], 7u));
}

// The same for four columns: lanes 0 to 3 have half of the four rows, lanes 4 to 7 the other half.
fn outer4(a: array<vec4<f32>, 8>, b: mat2x4<f32>) {
    add4(&c0, a, join_b(subgroupBroadcast(b[0], 0u), subgroupBroadcast(b[1], 0u), subgroupBroadcast(b[0], 4u), subgroupBroadcast(b[1], 4u)));
    add4(&c1, a, join_b(subgroupBroadcast(b[0], 1u), subgroupBroadcast(b[1], 1u), subgroupBroadcast(b[0], 5u), subgroupBroadcast(b[1], 5u)));
    add4(&c2, a, join_b(subgroupBroadcast(b[0], 2u), subgroupBroadcast(b[1], 2u), subgroupBroadcast(b[0], 6u), subgroupBroadcast(b[1], 6u)));
    add4(&c3, a, join_b(subgroupBroadcast(b[0], 3u), subgroupBroadcast(b[1], 3u), subgroupBroadcast(b[0], 7u), subgroupBroadcast(b[1], 7u)));
}

fn add4(c: ptr<private, array<vec4<f32>, 8>>, a: array<vec4<f32>, 8>, b: mat4x4<f32>) {
    add(c, a, b[0], b[1], b[2], b[3]);
}

// One of the rows of a column. An array that is indexed by anything but a constant would have to leave the registers.
fn element(c: ptr<private, array<vec4<f32>, 8>>, i: u32) -> vec4<f32> {
    var v = (*c)[0];
    v = select(v, (*c)[1], i == 1u);
    v = select(v, (*c)[2], i == 2u);
    v = select(v, (*c)[3], i == 3u);
    v = select(v, (*c)[4], i == 4u);
    v = select(v, (*c)[5], i == 5u);
    v = select(v, (*c)[6], i == 6u);
    return select(v, (*c)[7], i == 7u);
}

// A loop, though it takes some selections: what is stored may be long, and compiling it 64 times takes seconds.
fn store_column(c: ptr<private, array<vec4<f32>, 8>>, row: u32, col: u32) {
    let terms = of_column(col);
    let rows = rows_from(row, 8u);
    begin_column();
    for (var i = 0u; i < rows; i++) {
        store_c(row + i, col, terms, element(c, i));
    }
    end_column(row, col);
}

// A loop for the same reason: the columns move up, so that each is the first in its turn.
fn finish(row: u32, col: u32) {
    let cols = min(COLS, params.cols4 - col);
    for (var i = 0u; i < cols; i++) {
        store_column(&c0, row, col + i);
        c0 = c1;
        c1 = c2;
        c2 = c3;
        if COLS == 8u {
            c3 = c4;
            c4 = c5;
            c5 = c6;
            c6 = c7;
        }
    }
}

// Rows of a are pixels; a is read four k at a time.
@compute @workgroup_size(LANES)
fn subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = begin(group.z);
    let row = 8u * ((group.y * groups.x + group.x) * LANES + lane);
    let col = block.x * COLS;
    let p0 = pixel(row); let p1 = pixel(row + 1u);
    let p2 = pixel(row + 2u); let p3 = pixel(row + 3u);
    let p4 = pixel(row + 4u); let p5 = pixel(row + 5u);
    let p6 = pixel(row + 6u); let p7 = pixel(row + 7u);
    clear();
    let column = min(col + lane % COLS, params.cols4 - 1u);
    var tap = vec2<u32>();
    for (var s = 0u; s < params.segments; s++) {
        let i0 = at(p0, tap); let i1 = at(p1, tap);
        let i2 = at(p2, tap); let i3 = at(p3, tap);
        let i4 = at(p4, tap); let i5 = at(p5, tap);
        let i6 = at(p6, tap); let i7 = at(p7, tap);
        for (var k = 0u; k < params.run4; k++) {
            let a = array<vec4<f32>, 8>(
                zero_unless(i0, k), zero_unless(i1, k), zero_unless(i2, k), zero_unless(i3, k),
                zero_unless(i4, k), zero_unless(i5, k), zero_unless(i6, k), zero_unless(i7, k),
            );
            if COLS == 8u {
                outer8(a, load_b4(s, k, column));
            } else {
                outer4(a, load_b2(s, k, lane / 4u, column));
            }
        }
        tap = next_tap(tap);
    }
    finish(row, col);
}

// Rows of a are taps of the kernel, k is a pixel; a is read four rows at a time.
@compute @workgroup_size(LANES)
fn subgroup_transposed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = begin(group.z);
    let row = 8u * ((group.y * groups.x + group.x) * LANES + lane);
    let col = block.x * COLS;
    let t0 = tap_row(row / 4u);
    let t1 = tap_row(row / 4u + 1u);
    clear();
    let column = min(col + lane % COLS, params.cols4 - 1u);
    let last = block.z - 1u;
    var p = pixel(block.y);
    for (var k = block.y; k < block.z; k += 4u) {
        let a0 = zero_unless(at(p, t0.xy), t0.z);
        let e0 = zero_unless(at(p, t1.xy), t1.z);
        p = next(p);
        p.inside = p.inside & (k + 1u < block.z);
        let a1 = zero_unless(at(p, t0.xy), t0.z);
        let e1 = zero_unless(at(p, t1.xy), t1.z);
        p = next(p);
        p.inside = p.inside & (k + 2u < block.z);
        let a2 = zero_unless(at(p, t0.xy), t0.z);
        let e2 = zero_unless(at(p, t1.xy), t1.z);
        p = next(p);
        p.inside = p.inside & (k + 3u < block.z);
        let a3 = zero_unless(at(p, t0.xy), t0.z);
        let e3 = zero_unless(at(p, t1.xy), t1.z);
        let a = array<vec4<f32>, 8>(
            vec4(a0.x, a1.x, a2.x, a3.x),
            vec4(a0.y, a1.y, a2.y, a3.y),
            vec4(a0.z, a1.z, a2.z, a3.z),
            vec4(a0.w, a1.w, a2.w, a3.w),
            vec4(e0.x, e1.x, e2.x, e3.x),
            vec4(e0.y, e1.y, e2.y, e3.y),
            vec4(e0.z, e1.z, e2.z, e3.z),
            vec4(e0.w, e1.w, e2.w, e3.w),
        );
        if COLS == 8u {
            outer8(a, mat4x4<f32>(
                load_b(0u, k, column), load_b(0u, min(k + 1u, last), column),
                load_b(0u, min(k + 2u, last), column), load_b(0u, min(k + 3u, last), column)));
        } else {
            let half = k + 2u * (lane / 4u);
            outer4(a, mat2x4<f32>(
                load_b(0u, min(half, last), column), load_b(0u, min(half + 1u, last), column)));
        }
        p = next(p);
    }
    finish(row, col);
}
