// direct_reduce: what a lane of gemm/direct.wgsl has reduced of a column is a partial
// Needs: ROWS, params, the_group, write_part
// Provides: end_column

fn end_column(row: u32, col4: u32) {
    write_part(params.first_partial + row / ROWS, the_group * params.cols4 + col4, params.groups * params.cols4);
}
