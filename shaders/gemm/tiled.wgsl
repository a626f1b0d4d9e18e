// tiled: the GEMM kernel for GPUs
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   gemm/tiled_pixels.wgsl or gemm/tiled_transposed.wgsl loads blocks of a and b, gemm/output_store.wgsl or
//   gemm/output_sgd.wgsl stores c.
// Algorithm: blocks of a and b are staged in workgroup memory, k-major. Each invocation keeps an 8x8 tile of c in 16 named
//   vec4s: 4 loads of vec4 for 64 multiply-adds. What the next block needs is loaded into registers before the current one
//   is multiplied, so that the memory's latency passes meanwhile.
// Schedule: one workgroup = 4 ROWS4 x 4 COLS4 of c, TILE_K of the depth at a time between two barriers. All invocations
//   load the same number of vec4s, without a branch: a compiler waits for a load where branches join.
//   The sizes (workgroup memory is 16 TILE_K (ROWS4 + COLS4) bytes):
//   128x128x16, 256 invocations, 16 KiB; 128x64x16, 128, 12 KiB; 64x64x16, 64, 8 KiB; 128x32x16, 64, 10 KiB;
//   and, with a 4x4 tile for an invocation, 32x32x32, 64, 8 KiB. For each number that a workgroup loads there are 64, 43, 32,
//   26 and 16 multiply-adds.
// Needs: DX, TRANSPOSED, Terms, begin_column, end_column, of_column, params, store_c
// Provides: COLS4, DEPTH4, FAR_COLS4, FAR_ROWS4, LOADS_A, LOADS_B, PAIR, ROWS4, SMALL, THREADS, TILE_K, WHOLE, corner, finish,
//   multiply, place_of_pair, put_a, put_b, put_pair_a, put_pair_b, sh_a, store_column

override THREADS: u32 = 64u;
override ROWS4: u32 = 16u;
override COLS4: u32 = 16u;
override TILE_K: u32 = 16u;
// 4 rows and columns of c for an invocation instead of 8.
override SMALL: bool = false;
// All blocks of the depth are full, and each lies in one tap.
override WHOLE: bool = false;
// vec4s of a block along the depth, and vec4s of a and b that an invocation loads.
override DEPTH4: u32 = TILE_K / 4u;
override LOADS_A: u32 = ROWS4 * TILE_K / THREADS;
override LOADS_B: u32 = COLS4 * TILE_K / THREADS;
override SIZE_A: u32 = 2u * ROWS4 * TILE_K;
override SIZE_B: u32 = 2u * COLS4 * TILE_K;
// Where a tile has its second four rows and its second column.
override FAR_ROWS4: u32 = ROWS4 / 2u;
override FAR_COLS4: u32 = COLS4 / 2u;
// Invocations side by side along the columns.
override ACROSS: u32 = select(FAR_COLS4, COLS4, SMALL);
// Groups of 32 of them, of which each is 8 wide.
override GROUPS: u32 = max(ACROSS / 8u, 1u);

// Two rows of an operand that is transposed on its way, in vec2s.
const PAIR = 1u;

// vec2s, because an operand that is transposed on its way is stored in pairs. Two of them are read as one vec4.
var<workgroup> sh_a: array<vec2<f32>, SIZE_A>; // (k, m/2)
var<workgroup> sh_b: array<vec2<f32>, SIZE_B>; // (k, n/2)

// Rows m..m+3 and those FAR_ROWS4 further, columns n..n+3 (l) and those FAR_COLS4 further (r).
var<private> l0: vec4<f32>; var<private> r0: vec4<f32>;
var<private> l1: vec4<f32>; var<private> r1: vec4<f32>;
var<private> l2: vec4<f32>; var<private> r2: vec4<f32>;
var<private> l3: vec4<f32>; var<private> r3: vec4<f32>;
var<private> l4: vec4<f32>; var<private> r4: vec4<f32>;
var<private> l5: vec4<f32>; var<private> r5: vec4<f32>;
var<private> l6: vec4<f32>; var<private> r6: vec4<f32>;
var<private> l7: vec4<f32>; var<private> r7: vec4<f32>;

// Where four m or n of four k begin. An operand that is transposed on its way is stored by invocations of different k4 at
// the same time: the exclusive or spreads them over the banks.
fn swizzled(m4: u32, k4: u32, transposed: bool) -> u32 {
    return select(m4, m4 ^ (k4 * (8u / DEPTH4)), transposed);
}

// Four m at i, which is where a row of a block has them.
fn put_a(i: u32, v: vec4<f32>) {
    sh_a[i] = v.xy;
    sh_a[i + 1u] = v.zw;
}

fn put_b(i: u32, v: vec4<f32>) {
    sh_b[i] = v.xy;
    sh_b[i + 1u] = v.zw;
}

// Where a block has the first of four k of m = 2 m2; the others follow after the rows of a block.
fn place_of_pair(k4: u32, m2: u32, row4: u32) -> u32 {
    return 2u * (4u * k4 * row4 + swizzled(m2 / 2u, k4, true)) + m2 % 2u;
}

// Four k of two m.
fn put_pair_a(i: u32, v: vec4<f32>, w: vec4<f32>) {
    sh_a[i] = vec2(v.x, w.x);
    sh_a[i + 2u * ROWS4] = vec2(v.y, w.y);
    sh_a[i + 4u * ROWS4] = vec2(v.z, w.z);
    sh_a[i + 6u * ROWS4] = vec2(v.w, w.w);
}

fn put_pair_b(i: u32, v: vec4<f32>, w: vec4<f32>) {
    sh_b[i] = vec2(v.x, w.x);
    sh_b[i + 2u * COLS4] = vec2(v.y, w.y);
    sh_b[i + 4u * COLS4] = vec2(v.z, w.z);
    sh_b[i + 6u * COLS4] = vec2(v.w, w.w);
}

fn get_a(i: u32) -> vec4<f32> {
    return vec4(sh_a[2u * i], sh_a[2u * i + 1u]);
}

fn get_b(i: u32) -> vec4<f32> {
    return vec4(sh_b[2u * i], sh_b[2u * i + 1u]);
}

fn multiply(m4: u32, n4: u32) {
    four(0u, m4, n4);
    four(1u, m4, n4);
    four(2u, m4, n4);
    four(3u, m4, n4);
    if DEPTH4 > 4u {
        four(4u, m4, n4);
        four(5u, m4, n4);
        four(6u, m4, n4);
        four(7u, m4, n4);
    }
}

fn four(k4: u32, m4: u32, n4: u32) {
    let i = 4u * k4 * ROWS4 + swizzled(m4, k4, !TRANSPOSED);
    let j = 4u * k4 * COLS4 + swizzled(n4, k4, DX);
    // The exclusive or changes columns in eights.
    let apart = 4u * k4 * COLS4 + swizzled(n4 + FAR_COLS4, k4, DX);
    let far = select(j + FAR_COLS4, apart, FAR_COLS4 < 8u);
    outer_product(i, j, far);
    outer_product(i + ROWS4, j + COLS4, far + COLS4);
    outer_product(i + 2u * ROWS4, j + 2u * COLS4, far + 2u * COLS4);
    outer_product(i + 3u * ROWS4, j + 3u * COLS4, far + 3u * COLS4);
}

// One k: four or eight m times four or eight n.
fn outer_product(i: u32, j: u32, far: u32) {
    let a = get_a(i);
    let b = get_b(j);
    l0 = fma(vec4(a.x), b, l0);
    l1 = fma(vec4(a.y), b, l1);
    l2 = fma(vec4(a.z), b, l2);
    l3 = fma(vec4(a.w), b, l3);
    if SMALL {
        return;
    }
    let d = get_a(i + FAR_ROWS4);
    let e = get_b(far);
    r0 = fma(vec4(a.x), e, r0);
    r1 = fma(vec4(a.y), e, r1);
    r2 = fma(vec4(a.z), e, r2);
    r3 = fma(vec4(a.w), e, r3);
    l4 = fma(vec4(d.x), b, l4); r4 = fma(vec4(d.x), e, r4);
    l5 = fma(vec4(d.y), b, l5); r5 = fma(vec4(d.y), e, r5);
    l6 = fma(vec4(d.z), b, l6); r6 = fma(vec4(d.z), e, r6);
    l7 = fma(vec4(d.w), b, l7); r7 = fma(vec4(d.w), e, r7);
}

// The row and the column of the tile of an invocation, in vec4s. 32 neighbours form a tile of 4x8, whose operands are the
// fewest.
fn corner(t: u32) -> vec2<u32> {
    if ACROSS <= 8u {
        return vec2(t / ACROSS, t % ACROSS);
    }
    let group = t / 32u;
    return vec2(4u * (group / GROUPS) + t / 8u % 4u, 8u * (group % GROUPS) + t % 8u);
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
