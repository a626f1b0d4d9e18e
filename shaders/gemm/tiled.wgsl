// tiled: the GEMM kernel for GPUs
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   conv2d.wgsl has the loads of a and b, gemm/output_store.wgsl or gemm/output_sgd.wgsl the store of c.
//   Pixels are the rows of a here, and the depth in gemm/tiled_transposed.wgsl.
// Algorithm: blocks of a and b are staged in workgroup memory, k-major, as vec4 along m and n. Each invocation keeps an
//   8x8 tile of c in 16 named vec4s: 4 loads of vec4 for 64 multiply-adds. What the next block needs is loaded into
//   registers before the current one is multiplied, so that the memory's latency passes meanwhile.
// Schedule: one workgroup = 4 ROWS4 x 4 COLS4 of c, TILE_K of the depth at a time between two barriers. A block is
//   loaded in units of four k of four rows of a, or of four columns of b, at most two and one of them an invocation.
//   The sizes (workgroup memory is 16 TILE_K (ROWS4 + COLS4) bytes):
//   128x128x16, 256 invocations, 16 KiB; 128x64x16, 128, 12 KiB; 64x64x16, 64, 8 KiB; 128x32x16, 64, 10 KiB;
//   and, with a 4x4 tile for an invocation, 32x32x32, 64, 8 KiB. For each number that a workgroup loads there are 64, 43, 32,
//   26 and 16 multiply-adds.
// Needs: Pixel, Terms, at, begin, begin_column, end_column, load_a, load_b4, of_column, params, pixel, store_c, tap
// Provides: COLS4, FAR_COLS4, FAR_ROWS4, ROWS4, SMALL, THREADS, TILE_K, Units, a_or_zero, corner, finish, multiply,
//   next_a, next_a2, next_b, sh_a, stage, store_column, units

override THREADS: u32 = 64u;
override ROWS4: u32 = 16u;
override COLS4: u32 = 16u;
override TILE_K: u32 = 16u;
// 4 rows and columns of c for an invocation instead of 8.
override SMALL: bool = false;
// Units of a and of b in a block.
override UNITS_A: u32 = ROWS4 * (TILE_K / 4u);
override UNITS_B: u32 = COLS4 * (TILE_K / 4u);
override SIZE_A: u32 = ROWS4 * TILE_K;
override SIZE_B: u32 = COLS4 * TILE_K;
// Where a tile has its second four rows and its second column.
override FAR_ROWS4: u32 = ROWS4 / 2u;
override FAR_COLS4: u32 = COLS4 / 2u;

var<workgroup> sh_a: array<vec4<f32>, SIZE_A>; // (k, m/4)
var<workgroup> sh_b: array<vec4<f32>, SIZE_B>; // (k, n/4)

// Rows m..m+3 and those FAR_ROWS4 further, columns n..n+3 (l) and those FAR_COLS4 further (r).
var<private> l0: vec4<f32>; var<private> r0: vec4<f32>;
var<private> l1: vec4<f32>; var<private> r1: vec4<f32>;
var<private> l2: vec4<f32>; var<private> r2: vec4<f32>;
var<private> l3: vec4<f32>; var<private> r3: vec4<f32>;
var<private> l4: vec4<f32>; var<private> r4: vec4<f32>;
var<private> l5: vec4<f32>; var<private> r5: vec4<f32>;
var<private> l6: vec4<f32>; var<private> r6: vec4<f32>;
var<private> l7: vec4<f32>; var<private> r7: vec4<f32>;

// What the next block needs: column i is the i-th of four k.
var<private> next_a: mat4x4<f32>;
var<private> next_a2: mat4x4<f32>;
var<private> next_b: mat4x4<f32>;

// Which units of a block an invocation loads.
struct Units {
    m4: u32,         // four rows of a
    a_k4: u32,       // four k of the first unit of a
    a2_k4: u32,      // and of the second one, if a has more units than there are invocations
    has_a: bool,
    has_a2: bool,
    n4: u32,         // a vec4 column of b
    b_k4: u32,
    has_b: bool,     // the last invocations have one: where there are few units others load a
}

fn units(t: u32) -> Units {
    let b = t + UNITS_B - THREADS;
    return Units(t % ROWS4, t / ROWS4, (t + THREADS) / ROWS4, (t < UNITS_A), (t + THREADS < UNITS_A),
        b % COLS4, b / COLS4, (t + UNITS_B >= THREADS));
}

fn put_a(m4: u32, k4: u32, v: mat4x4<f32>) {
    let i = 4u * k4 * ROWS4 + m4;
    sh_a[i] = v[0];
    sh_a[i + ROWS4] = v[1];
    sh_a[i + 2u * ROWS4] = v[2];
    sh_a[i + 3u * ROWS4] = v[3];
}

// Puts what was loaded ahead into workgroup memory.
fn stage(u: Units) {
    if u.has_a {
        put_a(u.m4, u.a_k4, next_a);
    }
    if u.has_a2 {
        put_a(u.m4, u.a2_k4, next_a2);
    }
    if u.has_b {
        let i = 4u * u.b_k4 * COLS4 + u.n4;
        sh_b[i] = next_b[0];
        sh_b[i + COLS4] = next_b[1];
        sh_b[i + 2u * COLS4] = next_b[2];
        sh_b[i + 3u * COLS4] = next_b[3];
    }
}

fn multiply(m4: u32, n4: u32) {
    for (var k = 0u; k < TILE_K; k++) {
        let a = sh_a[k * ROWS4 + m4];
        let b = sh_b[k * COLS4 + n4];
        l0 = fma(vec4(a.x), b, l0);
        l1 = fma(vec4(a.y), b, l1);
        l2 = fma(vec4(a.z), b, l2);
        l3 = fma(vec4(a.w), b, l3);
        if SMALL {
            continue;
        }
        let d = sh_a[k * ROWS4 + m4 + FAR_ROWS4];
        let e = sh_b[k * COLS4 + n4 + FAR_COLS4];
        r0 = fma(vec4(a.x), e, r0);
        r1 = fma(vec4(a.y), e, r1);
        r2 = fma(vec4(a.z), e, r2);
        r3 = fma(vec4(a.w), e, r3);
        l4 = fma(vec4(d.x), b, l4); r4 = fma(vec4(d.x), e, r4);
        l5 = fma(vec4(d.y), b, l5); r5 = fma(vec4(d.y), e, r5);
        l6 = fma(vec4(d.z), b, l6); r6 = fma(vec4(d.z), e, r6);
        l7 = fma(vec4(d.w), b, l7); r7 = fma(vec4(d.w), e, r7);
    }
}

fn finish(row: u32, col: u32) {
    begin_column();
    if col < params.cols4 {
        store_column(row, col, l0, l1, l2, l3, l4, l5, l6, l7);
    }
    end_column(row, col);
    if SMALL {
        return;
    }
    begin_column();
    if col + FAR_COLS4 < params.cols4 {
        store_column(row, col + FAR_COLS4, r0, r1, r2, r3, r4, r5, r6, r7);
    }
    end_column(row, col + FAR_COLS4);
}

fn store_column(
    row: u32, col: u32,
    v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>,
    v4: vec4<f32>, v5: vec4<f32>, v6: vec4<f32>, v7: vec4<f32>,
) {
    let terms = of_column(col);
    store_row(row, col, terms, v0);
    store_row(row + 1u, col, terms, v1);
    store_row(row + 2u, col, terms, v2);
    store_row(row + 3u, col, terms, v3);
    if SMALL {
        return;
    }
    let far = row + 4u * FAR_ROWS4;
    store_row(far, col, terms, v4);
    store_row(far + 1u, col, terms, v5);
    store_row(far + 2u, col, terms, v6);
    store_row(far + 3u, col, terms, v7);
}

fn store_row(row: u32, col: u32, terms: Terms, value: vec4<f32>) {
    if row < params.rows {
        store_c(row, col, terms, value);
    }
}

fn a_or_zero(i: i32, k4: u32) -> vec4<f32> {
    if i < 0 {
        return vec4<f32>();
    }
    return load_a(u32(i) + k4);
}

// The row and the column of the tile of an invocation.
fn corner(t: u32) -> vec2<u32> {
    if SMALL {
        return vec2(t / COLS4, t % COLS4);
    }
    return vec2(t / FAR_COLS4, t % FAR_COLS4);
}

// Four k of four pixels: a is read four k at a time and transposed in registers.
fn of_pixels(k4: u32, p0: Pixel, p1: Pixel, p2: Pixel, p3: Pixel) -> mat4x4<f32> {
    if k4 >= params.segments * params.run4 {
        return mat4x4<f32>();
    }
    let s = k4 / params.run4;
    let j = k4 - s * params.run4;
    let tap = tap(s);
    return transpose(mat4x4<f32>(
        a_or_zero(at(p0, tap), j), a_or_zero(at(p1, tap), j), a_or_zero(at(p2, tap), j), a_or_zero(at(p3, tap), j)));
}

fn of_weights(k4: u32, col: u32) -> mat4x4<f32> {
    if k4 >= params.segments * params.run4 || col >= params.cols4 {
        return mat4x4<f32>();
    }
    let s = k4 / params.run4;
    return load_b4(s, k4 - s * params.run4, col);
}

// Loads what the block from k4 on needs.
fn load_ahead(u: Units, k4: u32, col: u32, p0: Pixel, p1: Pixel, p2: Pixel, p3: Pixel) {
    if u.has_a {
        next_a = of_pixels(k4 + u.a_k4, p0, p1, p2, p3);
    }
    if u.has_a2 {
        next_a2 = of_pixels(k4 + u.a2_k4, p0, p1, p2, p3);
    }
    if u.has_b {
        next_b = of_weights(k4 + u.b_k4, col);
    }
}

// Rows of a are pixels.
@compute @workgroup_size(THREADS)
fn tiled(
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
    let p0 = pixel(row + 4u * u.m4);
    let p1 = pixel(row + 4u * u.m4 + 1u);
    let p2 = pixel(row + 4u * u.m4 + 2u);
    let p3 = pixel(row + 4u * u.m4 + 3u);
    let depth4 = params.segments * params.run4;
    load_ahead(u, 0u, col + u.n4, p0, p1, p2, p3);
    for (var k4 = 0u; k4 < depth4; k4 += TILE_K / 4u) {
        workgroupBarrier();
        stage(u);
        workgroupBarrier();
        load_ahead(u, k4 + TILE_K / 4u, col + u.n4, p0, p1, p2, p3);
        multiply(tile.x, tile.y);
    }
    finish(row + 4u * tile.x, col + tile.y);
}
