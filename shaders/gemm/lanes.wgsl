// lanes: what gemm/direct.wgsl and gemm/subgroup.wgsl share: loads and stores of a lane that computes some rows and vec4
//   columns of c by itself
// Needs: load_a, params, tap
// Provides: rows_from, tap_row, zero_unless

// Four elements of a row of a; i < 0 is a row that reads padding.
fn zero_unless(i: i32, k4: u32) -> vec4<f32> {
    return select(vec4<f32>(), load_a(u32(max(i, 0)) + k4), i >= 0);
}

// Which tap and which four of its channels are rows 4 * row4 to 4 * row4 + 3 of a; rows beyond the last repeat it.
fn tap_row(row4: u32) -> vec3<u32> {
    let r = min(row4, params.rows / 4u - 1u);
    return vec3(tap(r / params.run4), r % params.run4);
}

// How many of a lane's rows there are: rows beyond the last one are computed and not stored.
fn rows_from(row: u32, of_lane: u32) -> u32 {
    return min(of_lane, max(row, params.rows) - row);
}
