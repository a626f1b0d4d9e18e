// cooperative: the GEMM kernel for GPUs with matrix instructions, for activations in half precision
//   c[m, n] = sum over k of a[m, k] * b[k, n], a and b rounded to half precision, the sum in single precision
//   gemm/tiled_pixels.wgsl or gemm/tiled_transposed.wgsl loads blocks of a and b, gemm/output_store.wgsl stores c.
// Algorithm: blocks of a and b are staged in workgroup memory as f16, as they lie in memory: an operand that is read along k
//   is stored along k. The subgroup multiplies tiles of 16x16x16 by cooperative matrices (VK_KHR_cooperative_matrix).
// Schedule: one workgroup = one subgroup = 64 rows x 32 columns of c in eight accumulators, 16 of the depth between two
//   barriers. c goes through workgroup memory to the invocations, of which each stores some rows of a vec4 column.
//   11 KiB of workgroup memory. Where a driver makes several subgroups of a workgroup, each computes all of it.
// Needs: DX, TRANSPOSED, begin_column, end_column, of_column, params, store_c
// Provides: COLS4, DEPTH4, LOADS_A, LOADS_B, PAIR, ROWS4, THREADS, TILE_K, WHOLE, corner, finish, multiply, place_of_pair,
//   put_a, put_b, put_pair_a, put_pair_b, sh_a

// The adapter's largest subgroup: 32 or 64.
override THREADS: u32 = 32u;
const ROWS4 = 16u;
const COLS4 = 8u;
const TILE_K = 16u;
const DEPTH4 = TILE_K / 4u;
override LOADS_A: u32 = ROWS4 * TILE_K / THREADS;
override LOADS_B: u32 = COLS4 * TILE_K / THREADS;
// vec4s of c that an invocation stores, and rows that all of them store together.
override STORES: u32 = 4u * ROWS4 * COLS4 / THREADS;
override TOGETHER: u32 = 4u * THREADS / COLS4;
// All blocks of the depth are full, and each lies in one tap.
override WHOLE: bool = false;

// Two rows of an operand that is stored along k.
const PAIR = 2u * TILE_K;

var<workgroup> sh_a: array<f16, 1024>; // (m, k), or (k, m) for the gradient of weights
var<workgroup> sh_b: array<f16, 512>;  // (k, n), or (n, k) for dx
var<workgroup> sh_c: array<f32, 2048>; // (m, n)

var<private> c00: coop_mat16x16<f32, C>; var<private> c01: coop_mat16x16<f32, C>;
var<private> c10: coop_mat16x16<f32, C>; var<private> c11: coop_mat16x16<f32, C>;
var<private> c20: coop_mat16x16<f32, C>; var<private> c21: coop_mat16x16<f32, C>;
var<private> c30: coop_mat16x16<f32, C>; var<private> c31: coop_mat16x16<f32, C>;

fn put_four_a(i: u32, v: vec4<f32>) {
    let h = vec4<f16>(v);
    sh_a[i] = h.x;
    sh_a[i + 1u] = h.y;
    sh_a[i + 2u] = h.z;
    sh_a[i + 3u] = h.w;
}

fn put_four_b(i: u32, v: vec4<f32>) {
    let h = vec4<f16>(v);
    sh_b[i] = h.x;
    sh_b[i + 1u] = h.y;
    sh_b[i + 2u] = h.z;
    sh_b[i + 3u] = h.w;
}

// Four m; i counts pairs of numbers, as in gemm/tiled.wgsl.
fn put_a(i: u32, v: vec4<f32>) {
    put_four_a(2u * i, v);
}

fn put_b(i: u32, v: vec4<f32>) {
    put_four_b(2u * i, v);
}

// Where four k of row 2 m2 begin; those of the next row follow TILE_K further.
fn place_of_pair(k4: u32, m2: u32, row4: u32) -> u32 {
    return PAIR * m2 + 4u * k4;
}

fn put_pair_a(i: u32, v: vec4<f32>, w: vec4<f32>) {
    put_four_a(i, v);
    put_four_a(i + TILE_K, w);
}

fn put_pair_b(i: u32, v: vec4<f32>, w: vec4<f32>) {
    put_four_b(i, v);
    put_four_b(i + TILE_K, w);
}

fn rows_of_a(i: u32) -> coop_mat16x16<f16, A> {
    if TRANSPOSED {
        return coopLoad<coop_mat16x16<f16, A>>(&sh_a[16u * i], 4u * ROWS4);
    }
    return coopLoadT<coop_mat16x16<f16, A>>(&sh_a[16u * TILE_K * i], TILE_K);
}

fn columns_of_b(j: u32) -> coop_mat16x16<f16, B> {
    if DX {
        return coopLoad<coop_mat16x16<f16, B>>(&sh_b[16u * TILE_K * j], TILE_K);
    }
    return coopLoadT<coop_mat16x16<f16, B>>(&sh_b[16u * j], 4u * COLS4);
}

fn multiply(m4: u32, n4: u32) {
    let b0 = columns_of_b(0u);
    let b1 = columns_of_b(1u);
    let a0 = rows_of_a(0u);
    c00 = coopMultiplyAdd(a0, b0, c00);
    c01 = coopMultiplyAdd(a0, b1, c01);
    let a1 = rows_of_a(1u);
    c10 = coopMultiplyAdd(a1, b0, c10);
    c11 = coopMultiplyAdd(a1, b1, c11);
    let a2 = rows_of_a(2u);
    c20 = coopMultiplyAdd(a2, b0, c20);
    c21 = coopMultiplyAdd(a2, b1, c21);
    let a3 = rows_of_a(3u);
    c30 = coopMultiplyAdd(a3, b0, c30);
    c31 = coopMultiplyAdd(a3, b1, c31);
}

// The first row, in fours, and the vec4 column that an invocation stores.
fn corner(t: u32) -> vec2<u32> {
    return vec2(t / COLS4, t % COLS4);
}

fn finish(row: u32, col: u32) {
    let width = 4u * COLS4;
    coopStoreT(c00, &sh_c[0], width);
    coopStoreT(c01, &sh_c[16], width);
    coopStoreT(c10, &sh_c[512], width);
    coopStoreT(c11, &sh_c[528], width);
    coopStoreT(c20, &sh_c[1024], width);
    coopStoreT(c21, &sh_c[1040], width);
    coopStoreT(c30, &sh_c[1536], width);
    coopStoreT(c31, &sh_c[1552], width);
    workgroupBarrier();
    begin_column();
    if col < params.cols4 {
        let terms = of_column(col);
        for (var i = 0u; i < STORES; i++) {
            let m = row + TOGETHER * (i / 4u) + i % 4u;
            let at = (m % (4u * ROWS4)) * width + 4u * (col % COLS4);
            if m < params.rows {
                store_c(m, col, terms, vec4(sh_c[at], sh_c[at + 1u], sh_c[at + 2u], sh_c[at + 3u]));
            }
        }
    }
    end_column(row, col);
}
