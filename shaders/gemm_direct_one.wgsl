// gemm_direct_one: one row of a lane of gemm_direct.wgsl, where c has few, as in a linear layer of one picture

const ROWS = 1u;

alias Rows = f32;         // one element in each of the rows
alias Column = vec4<f32>; // one vec4 of c in each of the rows

// c += a * b of one column.
fn add(c: ptr<private, Column>, a: Rows, b: vec4<f32>) {
    *c = fma(vec4(a), b, *c);
}

fn store_column(c: ptr<private, Column>, row: u32, col: u32) {
    if col < params.cols4 {
        store_c(row, col, of_column(col), *c);
    }
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
            outer4(s, k, col, a.x, a.y, a.z, a.w);
        }
        tap = next_tap(tap);
    }
    finish(row, col);
}
