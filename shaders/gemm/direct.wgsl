// direct: the GEMM kernel for adapters that compute on a processor
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   conv2d.wgsl has the loads of a and b, gemm/output_store.wgsl or gemm/output_sgd.wgsl the store of c.
//   What depends on the rows of a lane is in gemm/direct_rows_16.wgsl, gemm/direct_rows_4.wgsl or gemm/direct_rows_1.wgsl,
//   and so are the entries direct and, but for one row, direct_transposed. A compiler takes long for rows that are there
//   and not used.
// Algorithm: no workgroup memory and no barriers. On a processor both cost time and bring nothing: shared
//   memory is ordinary memory, and a barrier spills the registers of all lanes.
// Schedule: a lane computes ROWS rows x COLS vec4 columns; LANE_COLS neighbouring lanes lie side by side along the
//   columns, the next LANE_COLS lanes take the next ROWS rows. Such a driver loads each element of each lane by itself,
//   which costs more than a multiply-add: the larger the tile, the fewer loads for each of them.
// Needs: ROWS, add, load_b, load_b4, params, store_column
// Provides: LANES, clear, corner, finish, outer, outer4

override LANES: u32 = 8u;
// Lanes side by side along the columns: a divisor of LANES.
override LANE_COLS: u32 = 1u;
// vec4 columns of a lane, LANE_COLS apart: 1, 2 or 4.
override COLS: u32 = 4u;

// One vec4 of c in each of the rows, indexed by constants only: these can stay in registers.
var<private> c0: array<vec4<f32>, ROWS>;
var<private> c1: array<vec4<f32>, ROWS>;
var<private> c2: array<vec4<f32>, ROWS>;
var<private> c3: array<vec4<f32>, ROWS>;

// Columns beyond the last one compute the last one again and store nothing.
fn column(col: u32, i: u32) -> u32 {
    return min(col + i * LANE_COLS, params.cols4 - 1u);
}

// Four elements in each of the rows of a, times four rows of b.
fn outer4(
    segment: u32, k4: u32, col: u32,
    a0: array<f32, ROWS>, a1: array<f32, ROWS>, a2: array<f32, ROWS>, a3: array<f32, ROWS>,
) {
    add4(&c0, a0, a1, a2, a3, load_b4(segment, k4, column(col, 0u)));
    if COLS > 1u {
        add4(&c1, a0, a1, a2, a3, load_b4(segment, k4, column(col, 1u)));
    }
    if COLS > 2u {
        add4(&c2, a0, a1, a2, a3, load_b4(segment, k4, column(col, 2u)));
        add4(&c3, a0, a1, a2, a3, load_b4(segment, k4, column(col, 3u)));
    }
}

fn add4(
    c: ptr<private, array<vec4<f32>, ROWS>>,
    a0: array<f32, ROWS>, a1: array<f32, ROWS>, a2: array<f32, ROWS>, a3: array<f32, ROWS>,
    b: mat4x4<f32>,
) {
    add(c, a0, b[0]);
    add(c, a1, b[1]);
    add(c, a2, b[2]);
    add(c, a3, b[3]);
}

// One element of a in each of the rows times one row of b.
fn outer(k: u32, col: u32, a: array<f32, ROWS>) {
    add(&c0, a, load_b(0u, k, column(col, 0u)));
    if COLS > 1u {
        add(&c1, a, load_b(0u, k, column(col, 1u)));
    }
    if COLS > 2u {
        add(&c2, a, load_b(0u, k, column(col, 2u)));
        add(&c3, a, load_b(0u, k, column(col, 3u)));
    }
}

fn clear() {
    c0 = array<vec4<f32>, ROWS>();
    c1 = array<vec4<f32>, ROWS>();
    c2 = array<vec4<f32>, ROWS>();
    c3 = array<vec4<f32>, ROWS>();
}

// A loop, so that the compiler meets what is stored once: the columns move up, and each is the first in its turn.
fn finish(row: u32, col: u32) {
    for (var i = 0u; i < COLS && col + i * LANE_COLS < params.cols4; i++) {
        store_column(&c0, row, col + i * LANE_COLS);
        if COLS > 1u {
            c0 = c1;
        }
        if COLS > 2u {
            c1 = c2;
            c2 = c3;
        }
    }
}

// The first row and the first vec4 column of a lane.
fn corner(group: vec3<u32>, groups: vec3<u32>, col_block: u32, lane: u32) -> vec2<u32> {
    let row = (group.y * groups.x + group.x) * (LANES / LANE_COLS) + lane / LANE_COLS;
    return vec2(ROWS * row, col_block * LANE_COLS * COLS + lane % LANE_COLS);
}
