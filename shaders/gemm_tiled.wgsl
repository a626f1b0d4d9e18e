// gemm_tiled: the matrix-product core for GPUs
//   c[m, n] = sum over k of a[m, k] * b[k, n]
//   The operation that it is joined with declares the bindings and says what a, b and c are:
//   begin, pixel, tap, at, load_a, load_b, load_b4, store_c (see conv2d.wgsl).
// Algorithm: blocks of a and b are staged in workgroup memory, k-major, as vec4 along m and n. Each
//   invocation keeps an 8x8 tile of c in registers: 4 loads of vec4 for 64 multiply-adds.
// Schedule: one workgroup = 64 x 64 of c, 64 invocations, 16 k at a time, 8 KiB of workgroup memory.

const TILE_K = 16u;

var<workgroup> sh_a: array<vec4<f32>, 256>; // (k, m/4) 16 x 16
var<workgroup> sh_b: array<vec4<f32>, 256>; // (k, n/4) 16 x 16

// Rows m..m+3 and m+32..m+35, columns n..n+3 (l) and n+32..n+35 (r).
var<private> l0: vec4<f32>; var<private> r0: vec4<f32>;
var<private> l1: vec4<f32>; var<private> r1: vec4<f32>;
var<private> l2: vec4<f32>; var<private> r2: vec4<f32>;
var<private> l3: vec4<f32>; var<private> r3: vec4<f32>;
var<private> l4: vec4<f32>; var<private> r4: vec4<f32>;
var<private> l5: vec4<f32>; var<private> r5: vec4<f32>;
var<private> l6: vec4<f32>; var<private> r6: vec4<f32>;
var<private> l7: vec4<f32>; var<private> r7: vec4<f32>;

fn multiply(m4: u32, n4: u32) {
    for (var k = 0u; k < TILE_K; k++) {
        let a = sh_a[k * 16u + m4];
        let d = sh_a[k * 16u + m4 + 8u];
        let b = sh_b[k * 16u + n4];
        let e = sh_b[k * 16u + n4 + 8u];
        l0 = fma(vec4(a.x), b, l0); r0 = fma(vec4(a.x), e, r0);
        l1 = fma(vec4(a.y), b, l1); r1 = fma(vec4(a.y), e, r1);
        l2 = fma(vec4(a.z), b, l2); r2 = fma(vec4(a.z), e, r2);
        l3 = fma(vec4(a.w), b, l3); r3 = fma(vec4(a.w), e, r3);
        l4 = fma(vec4(d.x), b, l4); r4 = fma(vec4(d.x), e, r4);
        l5 = fma(vec4(d.y), b, l5); r5 = fma(vec4(d.y), e, r5);
        l6 = fma(vec4(d.z), b, l6); r6 = fma(vec4(d.z), e, r6);
        l7 = fma(vec4(d.w), b, l7); r7 = fma(vec4(d.w), e, r7);
    }
}

fn finish(row: u32, col: u32) {
    store_row(row, col, l0, r0);
    store_row(row + 1u, col, l1, r1);
    store_row(row + 2u, col, l2, r2);
    store_row(row + 3u, col, l3, r3);
    store_row(row + 32u, col, l4, r4);
    store_row(row + 33u, col, l5, r5);
    store_row(row + 34u, col, l6, r6);
    store_row(row + 35u, col, l7, r7);
}

fn store_row(row: u32, col: u32, left: vec4<f32>, right: vec4<f32>) {
    if row < params.rows {
        if col < params.cols4 {
            store_c(row, col, left);
        }
        if col + 8u < params.cols4 {
            store_c(row, col + 8u, right);
        }
    }
}

fn a_or_zero(i: i32, k4: u32) -> vec4<f32> {
    if i < 0 {
        return vec4<f32>();
    }
    return load_a(u32(i) + k4);
}

fn b_or_zero(k: u32, col: u32, inside: bool) -> vec4<f32> {
    if !inside || col >= params.cols4 {
        return vec4<f32>();
    }
    return load_b(0u, k, col);
}

// Rows of a are pixels; a is read four k at a time and transposed in registers.
@compute @workgroup_size(64)
fn tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let block = begin(group.z);
    let row = (group.y * groups.x + group.x) * 64u;
    if row >= params.rows {
        return;
    }
    let col = block.x * 16u;
    let m4 = t % 16u;
    let k4 = t / 16u;
    let p0 = pixel(row + 4u * m4);
    let p1 = pixel(row + 4u * m4 + 1u);
    let p2 = pixel(row + 4u * m4 + 2u);
    let p3 = pixel(row + 4u * m4 + 3u);
    let depth4 = params.segments * params.run4;
    for (var k = 0u; k < depth4; k += TILE_K / 4u) {
        let s = (k + k4) / params.run4;
        let j = (k + k4) % params.run4;
        let tap = tap(s);
        var v = mat4x4<f32>();
        if k + k4 < depth4 {
            v = mat4x4<f32>(a_or_zero(at(p0, tap), j), a_or_zero(at(p1, tap), j), a_or_zero(at(p2, tap), j), a_or_zero(at(p3, tap), j));
        }
        let u = transpose(v);
        workgroupBarrier();
        sh_a[(4u * k4) * 16u + m4] = u[0];
        sh_a[(4u * k4 + 1u) * 16u + m4] = u[1];
        sh_a[(4u * k4 + 2u) * 16u + m4] = u[2];
        sh_a[(4u * k4 + 3u) * 16u + m4] = u[3];
        // The same invocation stages the four rows of b at its own four k.
        var b = mat4x4<f32>();
        if k + k4 < depth4 && col + m4 < params.cols4 {
            b = load_b4(s, j, col + m4);
        }
        sh_b[(4u * k4) * 16u + m4] = b[0];
        sh_b[(4u * k4 + 1u) * 16u + m4] = b[1];
        sh_b[(4u * k4 + 2u) * 16u + m4] = b[2];
        sh_b[(4u * k4 + 3u) * 16u + m4] = b[3];
        workgroupBarrier();
        multiply(t / 8u, t % 8u);
    }
    finish(row + 4u * (t / 8u), col + t % 8u);
}

// Rows of a are taps of the kernel, k is a pixel; a is read four rows at a time.
@compute @workgroup_size(64)
fn tiled_transposed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let block = begin(group.z);
    let row = (group.y * groups.x + group.x) * 64u;
    if row >= params.rows {
        return;
    }
    let col = block.x * 16u;
    let m4 = t % 16u;
    let row4 = row / 4u + m4;
    let tap = tap(row4 / params.run4);
    let j = row4 % params.run4;
    for (var k = block.y; k < block.z; k += TILE_K) {
        workgroupBarrier();
        for (var i = t / 16u; i < TILE_K; i += 4u) {
            let inside = k + i < block.z;
            var v = vec4<f32>();
            if inside && row4 * 4u < params.rows {
                v = a_or_zero(at(pixel(k + i), tap), j);
            }
            sh_a[i * 16u + m4] = v;
            sh_b[i * 16u + m4] = b_or_zero(k + i, col + m4, inside);
        }
        workgroupBarrier();
        multiply(t / 8u, t % 8u);
    }
    finish(row + 4u * (t / 8u), col + t % 8u);
}
