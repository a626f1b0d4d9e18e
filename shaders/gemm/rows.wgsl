// rows: the GEMM kernel where c has at most four rows, as in a fully connected layer and few pictures
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   conv2d.wgsl has the loads of a and b, gemm/output_store.wgsl or gemm/output_sgd.wgsl the store of c.
// Algorithm: the time is that of reading b once. The depth is divided among the invocations of a workgroup, of which
//   each walks its share with four vec4s of c in registers; the partials are added in workgroup memory in fixed order.
// Schedule: one workgroup = all rows x COLS4 vec4 columns, 256 invocations, 16 KiB of workgroup memory. Neighbouring
//   invocations read neighbouring vec4s of b: side by side along the columns, or along the depth where ALONG_DEPTH says
//   that those are neighbours in memory.
// Needs: at, begin, load_a, load_b4, of_column, params, pixel, store_c, tap

const THREADS: u32 = 256u;
// vec4 columns of a workgroup: 8 or 16.
override COLS4: u32 = 16u;
override ALONG_DEPTH: bool = false;

var<workgroup> sh_c: array<vec4<f32>, 1024>; // (partial, row, n/4)

fn row_or_zero(i: i32, k4: u32) -> vec4<f32> {
    if i < 0 {
        return vec4<f32>();
    }
    return load_a(u32(i) + k4);
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
    for (var k4 = part; k4 < depth4; k4 += parts) {
        let s = k4 / params.run4;
        let j = k4 - s * params.run4;
        let tap = tap(s);
        let b = load_b4(s, j, col);
        c0 = times(row_or_zero(at(p0, tap), j), b, c0);
        c1 = times(row_or_zero(at(p1, tap), j), b, c1);
        c2 = times(row_or_zero(at(p2, tap), j), b, c2);
        c3 = times(row_or_zero(at(p3, tap), j), b, c3);
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
