// gemm_direct_seen: what a lane of gemm_direct.wgsl has seen of a column is a part

fn end_column(row: u32, col4: u32) {
    write_part(params.first_part + row / ROWS, the_group * params.cols4 + col4, params.groups * params.cols4);
}
