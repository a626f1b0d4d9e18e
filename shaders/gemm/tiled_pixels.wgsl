// tiled_pixels: the form of gemm/tiled.wgsl whose rows of a are pixels, for results and the gradients of inputs
//   c[m, n] = sum over k of a[m, k] * b[k, n], m a pixel
//   conv2d.wgsl says where a and b lie.
// Schedule: that of gemm/tiled.wgsl. An invocation loads pairs: two pixels of a at the same four k, and for dx two columns of b.
//   Otherwise b lies in memory as in workgroup memory. Neighbours load neighbouring k of the same pixel.
//   Addresses advance from block to block. Where WHOLE is set, all invocations advance by the same, which is a scalar.
// Needs: COLS4, DEPTH4, DX, INSIDE, LOADS_A, LOADS_B, PAIR, POINTWISE, ROWS4, THREADS, WHOLE, a, b, begin, corner, finish,
//   multiply, next_tap, params, pixel, place_of_pair, put_b, put_pair_a, put_pair_b, tap, the_group, weights_of
// Provides: TRANSPOSED

const TRANSPOSED = false;

// What the next block needs, as it lies in memory.
var<private> next_a: array<vec4<StoredA>, 8>;
var<private> next_b: array<vec4<StoredB>, 4>;
// Whether it is there: not padding, and not behind the depth.
var<private> has_a: array<bool, 8>;
var<private> has_b: array<bool, 4>;

// A pixel of which an invocation loads taps: where a has its first tap, which may be in the padding.
struct Row { index: u32, h: u32, w: u32 }
var<private> rows: array<Row, 8>;
// Where b has the columns that an invocation loads: all of them for dx, otherwise the first.
var<private> columns: array<u32, 4>;

// Four k: the tap, the vec4 of it, and the vec4 of the depth.
struct Depth { tap: vec2<u32>, j: u32, k4: u32 }

// Pairs of rows or columns that all invocations load together.
override PAIRS: u32 = THREADS / DEPTH4;
// Rows of b that they load together.
override DEEP: u32 = THREADS / COLS4;

fn row_of(row: u32, k4: u32) -> Row {
    let p = pixel(min(row, params.rows - 1u));
    let first = p.image + the_group * params.run4 + k4;
    if POINTWISE {
        return Row(first, 0u, 0u);
    }
    return Row(first + (p.h * params.w + p.w) * params.c4, p.h, p.w);
}

fn begin_pair(i: u32, row: u32, k4: u32) {
    rows[2u * i] = row_of(row, k4);
    rows[2u * i + 1u] = row_of(row + 1u, k4);
}

// For dx a column of c is a row of the weights.
fn begin_columns(i: u32, col: u32, k4: u32) {
    let last = 4u * params.cols4 - 1u;
    let first = the_group * params.b_group_col4 + k4;
    columns[2u * i] = min(col, last) * params.b_pitch4 + first;
    columns[2u * i + 1u] = min(col + 1u, last) * params.b_pitch4 + first;
}

// The next block. `step` is how much further that is where a block is not one of a tap: rows and columns of taps, and
// vec4s. Behind the last block it is that block again, which is in memory.
fn advance(d: Depth, step: vec3<u32>, more: bool) -> Depth {
    let k4 = d.k4 + DEPTH4;
    if WHOLE {
        let over = d.j + DEPTH4 == params.run4;
        let tap = select(d.tap, next_tap(d.tap), over);
        let j = select(d.j + DEPTH4, 0u, over);
        return Depth(select(d.tap, tap, more), select(d.j, j, more), k4);
    }
    let j = d.j + step.z;
    let over = j >= params.run4;
    let s = d.tap.y + step.y + u32(over);
    let line_over = s >= params.s;
    return Depth(
        vec2(d.tap.x + step.x + u32(line_over), s - select(0u, params.s, line_over)),
        j - select(0u, params.run4, over), k4);
}

fn fetch_a(i: u32, tap: vec2<u32>, offset: u32, in_depth: bool) {
    has_a[i] = in_depth;
    if !INSIDE {
        let h = rows[i].h + select(tap.x, 0u - tap.x, DX);
        let w = rows[i].w + select(tap.y, 0u - tap.y, DX);
        has_a[i] = in_depth & (h < params.h) & (w < params.w);
    }
    var index = rows[i].index + offset;
    if !(INSIDE && WHOLE) {
        index = select(0u, index, has_a[i]);
    }
    next_a[i] = a[index];
}

fn fetch_b(i: u32, index: u32, in_depth: bool) {
    has_b[i] = in_depth;
    next_b[i] = b[select(select(0u, index, in_depth), index, WHOLE)];
}

// Loads the block at d, whose first k is 4 k4. k is the first of those that an invocation loads of b.
fn load_ahead(d: Depth, k4: u32, k: u32) {
    let depth4 = params.segments * params.run4;
    let in_depth = WHOLE || d.k4 < depth4;
    let taps = (d.tap.x * params.w + d.tap.y) * params.c4;
    let offset = select(taps, 0u - taps, DX) + d.j;
    fetch_a(0u, d.tap, offset, in_depth);
    fetch_a(1u, d.tap, offset, in_depth);
    if LOADS_A > 2u {
        fetch_a(2u, d.tap, offset, in_depth);
        fetch_a(3u, d.tap, offset, in_depth);
    }
    if LOADS_A > 4u {
        fetch_a(4u, d.tap, offset, in_depth);
        fetch_a(5u, d.tap, offset, in_depth);
        fetch_a(6u, d.tap, offset, in_depth);
        fetch_a(7u, d.tap, offset, in_depth);
    }
    if DX {
        let start = weights_of(d.tap) * params.b_segment * params.b_pitch4 + d.j;
        fetch_b(0u, columns[0] + start, in_depth);
        fetch_b(1u, columns[1] + start, in_depth);
        if LOADS_B > 2u {
            fetch_b(2u, columns[2] + start, in_depth);
            fetch_b(3u, columns[3] + start, in_depth);
        }
        return;
    }
    // The rows of the weights are those of b, tap after tap.
    let start = columns[0] + 4u * k4 * params.b_pitch4;
    let room = 4u * (depth4 - min(k4, depth4));
    let step = DEEP * params.b_pitch4;
    fetch_b(0u, start, k < room);
    fetch_b(1u, start + step, k + DEEP < room);
    if LOADS_B > 2u {
        fetch_b(2u, start + 2u * step, k + 2u * DEEP < room);
        fetch_b(3u, start + 3u * step, k + 3u * DEEP < room);
    }
}

fn got_a(i: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(next_a[i]), has_a[i] || (INSIDE && WHOLE));
}

fn got_b(i: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(next_b[i]), has_b[i] || WHOLE);
}

// Puts what was loaded ahead into workgroup memory, of which the invocation writes these places.
fn stage(a0: u32, a1: u32, b0: u32, b1: u32) {
    put_pair_a(a0, got_a(0u), got_a(1u));
    if LOADS_A > 2u {
        put_pair_a(a1, got_a(2u), got_a(3u));
    }
    if LOADS_A > 4u {
        put_pair_a(a0 + 2u * PAIRS * PAIR, got_a(4u), got_a(5u));
        put_pair_a(a1 + 2u * PAIRS * PAIR, got_a(6u), got_a(7u));
    }
    if DX {
        put_pair_b(b0, got_b(0u), got_b(1u));
        if LOADS_B > 2u {
            put_pair_b(b1, got_b(2u), got_b(3u));
        }
        return;
    }
    let step = 2u * THREADS;
    put_b(b0, got_b(0u));
    put_b(b0 + step, got_b(1u));
    if LOADS_B > 2u {
        put_b(b0 + 2u * step, got_b(2u));
        put_b(b0 + 3u * step, got_b(3u));
    }
}

// Where the second pair of an invocation is stored. Its columns are those of the first one and PAIRS more, which the
// exclusive or of gemm/tiled.wgsl leaves alone if they are a multiple of 16.
fn second(first: u32, k4: u32, pair: u32, row4: u32) -> u32 {
    if PAIRS % 16u == 0u {
        return first + PAIRS * PAIR;
    }
    return place_of_pair(k4, pair + PAIRS, row4);
}

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
    let k4 = t % DEPTH4;
    let pair = t / DEPTH4;
    let k = t / COLS4;
    let n4 = t % COLS4;
    // Where a block is one of a tap, the four k of an invocation are part of its first address.
    let lane = select(0u, k4, WHOLE);
    begin_pair(0u, row + 2u * pair, lane);
    if LOADS_A > 2u {
        begin_pair(1u, row + 2u * (pair + PAIRS), lane);
    }
    if LOADS_A > 4u {
        begin_pair(2u, row + 2u * (pair + 2u * PAIRS), lane);
        begin_pair(3u, row + 2u * (pair + 3u * PAIRS), lane);
    }
    if DX {
        begin_columns(0u, 4u * col + 2u * pair, lane);
        if LOADS_B > 2u {
            begin_columns(1u, 4u * col + 2u * (pair + PAIRS), lane);
        }
    } else {
        columns[0] = k * params.b_pitch4 + the_group * params.b_group_col4 + min(col + n4, params.cols4 - 1u);
    }
    let depth4 = params.segments * params.run4;
    var d = Depth(vec2<u32>(), 0u, 0u);
    var step = vec3<u32>();
    if !WHOLE {
        let taps = DEPTH4 / params.run4;
        step = vec3(tap(taps), DEPTH4 - taps * params.run4);
        let first = k4 / params.run4;
        d = Depth(tap(first), k4 - first * params.run4, k4);
    }
    load_ahead(d, 0u, k);
    let a0 = place_of_pair(k4, pair, ROWS4);
    let a1 = second(a0, k4, pair, ROWS4);
    let b0 = select(2u * t, place_of_pair(k4, pair, COLS4), DX);
    let b1 = second(b0, k4, pair, COLS4);
    let tile = corner(t);
    for (var start = 0u; start < depth4; start += DEPTH4) {
        workgroupBarrier();
        stage(a0, a1, b0, b1);
        workgroupBarrier();
        let more = start + DEPTH4 < depth4;
        d = advance(d, step, more);
        load_ahead(d, select(start + DEPTH4, start, WHOLE && !more), k);
        multiply(tile.x, tile.y);
    }
    finish(row + 4u * tile.x, col + tile.y);
}
