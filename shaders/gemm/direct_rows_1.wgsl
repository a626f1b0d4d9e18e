// direct_rows_1: one row of a lane of gemm/direct.wgsl, where c has few, as in a linear layer of one picture
// Needs: LANES, at, begin, clear, corner, finish, next_tap, of_column, outer4, params, pixel, store_c, zero_unless
// Provides: ROWS, add, store_column

const ROWS = 1u;

// c += a * b of one column.
fn add(c: ptr<private, array<vec4<f32>, ROWS>>, a: array<f32, ROWS>, b: vec4<f32>) {
    (*c)[0] = fma(vec4(a[0]), b, (*c)[0]);
}

fn store_column(c: ptr<private, array<vec4<f32>, ROWS>>, row: u32, col: u32) {
    store_c(row, col, of_column(col), (*c)[0]);
}

// Rows of a are pixels; a is read four k at a time.
@compute @workgroup_size(LANES)
fn direct(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = begin(group.z);
    let corner = corner(group, groups, block.x, lane);
    let row = corner.x;
    let col = corner.y;
    if row >= params.rows {
        return;
    }
    let p = pixel(row);
    clear();
    var tap = vec2<u32>();
    for (var s = 0u; s < params.segments; s++) {
        let i = at(p, tap);
        for (var k = 0u; k < params.run4; k++) {
            let a = zero_unless(i, k);
            outer4(s, k, col,
                array<f32, ROWS>(a.x), array<f32, ROWS>(a.y), array<f32, ROWS>(a.z), array<f32, ROWS>(a.w));
        }
        tap = next_tap(tap);
    }
    finish(row, col);
}
