// rows: the GEMM kernel where c has at most four rows, as in a fully connected layer and few pictures
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   conv2d.wgsl has the loads of a and b, gemm/output_store.wgsl or gemm/output_sgd.wgsl the store of c.
// Algorithm: the time is that of reading b once. The depth is divided among the invocations of a workgroup, of which
//   each walks its share with four vec4s of c in registers; the partials are added in workgroup memory in fixed order.
//   Two steps are loaded before the first is used, without a branch, and taps advance without a division. One row alone loads a
//   quarter of a.
// Schedule: one workgroup = all rows x COLS4 vec4 columns, 256 invocations, 16 KiB of workgroup memory. Neighbouring
//   invocations read neighbouring vec4s of b: side by side along the columns, or along the depth where ALONG_DEPTH says
//   that those are neighbours in memory.
// Needs: DX, POINTWISE, at, b, begin, join_b, load_a, of_column, params, pixel, store_c, tap, the_group, weights_of

const THREADS: u32 = 256u;
// vec4 columns of a workgroup: 8 or 16.
override COLS4: u32 = 16u;
override ALONG_DEPTH: bool = false;

var<workgroup> sh_c: array<vec4<f32>, 1024>; // (partial, row, n/4)

// Four k: the tap, and the vec4 of it.
struct Depth { tap: vec2<u32>, j: u32 }

// `step` further: rows and columns of taps, and vec4s.
fn further(d: Depth, step: vec3<u32>) -> Depth {
    let j = d.j + step.z;
    if POINTWISE {
        return Depth(d.tap, j);
    }
    let over = j >= params.run4;
    let s = d.tap.y + step.y + u32(over);
    let line_over = s >= params.s;
    return Depth(
        vec2(d.tap.x + step.x + u32(line_over), s - select(0u, params.s, line_over)), j - select(0u, params.run4, over));
}

// Four k of a row, 0 in the padding and behind the depth.
fn row_or_zero(i: i32, k4: u32, in_depth: bool) -> vec4<f32> {
    let inside = in_depth & (i >= 0);
    return select(vec4<f32>(), load_a(select(0u, u32(i) + k4, inside)), inside);
}

// Four k of b at four columns: rows of the weights, or for dx columns of them.
fn weights_at(d: Depth, col: u32) -> mat4x4<f32> {
    let line = select(4u * d.j, 4u * col, DX);
    let i = (weights_of(d.tap) * params.b_segment + line) * params.b_pitch4 + the_group * params.b_group_col4
        + select(col, d.j, DX);
    let b0 = vec4<f32>(b[i]);
    let b1 = vec4<f32>(b[i + params.b_pitch4]);
    let b2 = vec4<f32>(b[i + 2u * params.b_pitch4]);
    let b3 = vec4<f32>(b[i + 3u * params.b_pitch4]);
    return join_b(b0, b1, b2, b3);
}

// One row of four k times four rows of b.
fn times(a: vec4<f32>, b: mat4x4<f32>, c: vec4<f32>) -> vec4<f32> {
    return fma(vec4(a.w), b[3], fma(vec4(a.z), b[2], fma(vec4(a.y), b[1], fma(vec4(a.x), b[0], c))));
}

@compute @workgroup_size(THREADS)
fn rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let block = begin(group.z);
    let parts = THREADS / COLS4;
    var part = t / COLS4;
    var n4 = t % COLS4;
    if ALONG_DEPTH {
        part = t % parts;
        n4 = t / parts;
    }
    let p0 = pixel(0u);
    let p1 = pixel(1u);
    let p2 = pixel(2u);
    let p3 = pixel(3u);
    // Columns beyond the last one compute it again and store nothing.
    let col = min(block.x * COLS4 + n4, params.cols4 - 1u);
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    let depth4 = params.segments * params.run4;
    var d = Depth(vec2<u32>(), part);
    var step = vec3(0u, 0u, parts);
    if !POINTWISE {
        let first = part / params.run4;
        d = Depth(tap(first), part - first * params.run4);
        let taps = parts / params.run4;
        step = vec3(tap(taps), parts - taps * params.run4);
    }
    for (var k4 = part; k4 < depth4; k4 += 2u * parts) {
        let next = further(d, step);
        // Behind the depth it is the first step again, which is in memory.
        let more = k4 + parts < depth4;
        let e = Depth(select(d.tap, next.tap, more), select(d.j, next.j, more));
        let b0 = weights_at(d, col);
        let b1 = weights_at(e, col);
        let a00 = row_or_zero(at(p0, d.tap), d.j, true);
        let a01 = row_or_zero(at(p0, e.tap), e.j, more);
        if params.rows > 1u {
            let a10 = row_or_zero(at(p1, d.tap), d.j, true);
            let a11 = row_or_zero(at(p1, e.tap), e.j, more);
            let a20 = row_or_zero(at(p2, d.tap), d.j, true);
            let a21 = row_or_zero(at(p2, e.tap), e.j, more);
            let a30 = row_or_zero(at(p3, d.tap), d.j, true);
            let a31 = row_or_zero(at(p3, e.tap), e.j, more);
            c1 = times(a11, b1, times(a10, b0, c1));
            c2 = times(a21, b1, times(a20, b0, c2));
            c3 = times(a31, b1, times(a30, b0, c3));
        }
        c0 = times(a01, b1, times(a00, b0, c0));
        d = further(next, step);
    }
    let i = part * 4u * COLS4 + n4;
    sh_c[i] = c0;
    sh_c[i + COLS4] = c1;
    sh_c[i + 2u * COLS4] = c2;
    sh_c[i + 3u * COLS4] = c3;
    workgroupBarrier();
    let row = t / COLS4;
    let last = block.x * COLS4 + t % COLS4;
    if row < params.rows && last < params.cols4 {
        var sum = vec4<f32>();
        for (var q = 0u; q < parts; q++) {
            sum += sh_c[q * 4u * COLS4 + t];
        }
        store_c(row, last, of_column(last), sum);
    }
}
