// output_store: stores the numbers of c that a GEMM kernel has computed for conv2d.wgsl
//   c = v, or c + v, or what epilogue/stages.wgsl makes of v
//   What is stored goes to the fused reduction: one of epilogue/reduce_none.wgsl, epilogue/reduce_mean_m2.wgsl and
//   epilogue/reduce_sum_dot.wgsl.
// Needs: PHASE, Terms, followed, params, see, terms_of, the_group, the_split
// Provides: PARTS, b, of_column, store_c

// Add to what the calls before have stored (dw only).
override ADD: bool = false;

@group(0) @binding(6) var<storage, read> b: array<vec4<StoredB>>;       // (R, S, C, K/4) or (N, P, Q, K/4)
@group(0) @binding(7) var<storage, read_write> c: array<vec4<StoredC>>; // (N, P, Q, K/4), (N, H, W, C/4) or (split, R, S, C, K/4)

// The binding of what epilogue/reduce_mean_m2.wgsl or epilogue/reduce_sum_dot.wgsl writes.
const PARTS = 8u;

// Which pixel of the result a row is.
fn pixel_of(row: u32) -> u32 {
    if PHASE {
        let line = row / params.q;
        let n = line / params.p;
        let h = (line - n * params.p) * params.stride_h + params.phase_h;
        return (n * params.out_h + h) * params.out_w + (row - line * params.q) * params.stride_w + params.phase_w;
    }
    return row;
}

// What store_c needs of a column.
fn of_column(col4: u32) -> Terms {
    return terms_of(the_group * params.cols4 + col4, params.groups * params.cols4);
}

fn store_c(row: u32, col4: u32, terms: Terms, value: vec4<f32>) {
    let col = the_group * params.cols4 + col4;
    let pixel = pixel_of(row);
    let all4 = params.groups * params.cols4;
    var v = followed(value, pixel, col, all4, terms);
    let i = ((params.first_split + the_split) * params.rows + pixel) * params.out4 + params.out_from4 + col;
    if ADD {
        v += vec4<f32>(c[i]);
    }
    let stored = vec4<StoredC>(v);
    c[i] = stored;
    see(vec4<f32>(stored), pixel, col, all4, terms);
}
