// tiled_reduce: merges what the invocations of gemm/tiled.wgsl have reduced of a column, in the order of the rows, to one
//   partial of each workgroup. The memory of a is free then, and large enough for two vec4s of each invocation.
// Needs: COLS4, FAR_COLS4, FAR_ROWS4, ROWS4, SMALL, Seen, THREADS, joined, params, seen, sh_a, the_group, write_part
// Provides: end_column

// Rows of the tile of an invocation that there are.
fn rows_of(row: u32) -> u32 {
    let near = min(max(params.rows, row) - row, 4u);
    if SMALL {
        return near;
    }
    let far = row + 4u * FAR_ROWS4;
    return near + min(max(params.rows, far) - far, 4u);
}

// Called by all invocations of a workgroup.
fn end_column(row: u32, col4: u32) {
    let across = select(FAR_COLS4, COLS4, SMALL);
    let first_row = row - row % (4u * ROWS4);
    let down = (row - first_row) / 4u;
    let t = down * across + col4 % across;
    workgroupBarrier();
    let i = 4u * t;
    sh_a[i] = seen.first.xy;
    sh_a[i + 1u] = seen.first.zw;
    sh_a[i + 2u] = seen.second.xy;
    sh_a[i + 3u] = seen.second.zw;
    workgroupBarrier();
    if down == 0u && col4 < params.cols4 {
        for (var i = 1u; i < THREADS / across; i++) {
            let other = 4u * (t + i * across);
            let first = vec4(sh_a[other], sh_a[other + 1u]);
            let second = vec4(sh_a[other + 2u], sh_a[other + 3u]);
            seen = joined(seen, Seen(f32(rows_of(first_row + 4u * i)), first, second));
        }
        let part = params.first_partial + first_row / (4u * ROWS4);
        write_part(part, the_group * params.cols4 + col4, params.groups * params.cols4);
    }
}
