// subgroup_reduce: merges what the lanes of gemm/subgroup.wgsl, eight rows each, have reduced of a column to one partial
// Needs: LANES, Seen, joined, params, seen, the_group, write_part
// Provides: end_column

fn end_column(row: u32, col4: u32) {
    var all = Seen(subgroupBroadcast(seen.count, 0u), subgroupBroadcast(seen.first, 0u), subgroupBroadcast(seen.second, 0u));
    all = joined(all, Seen(subgroupBroadcast(seen.count, 1u), subgroupBroadcast(seen.first, 1u), subgroupBroadcast(seen.second, 1u)));
    all = joined(all, Seen(subgroupBroadcast(seen.count, 2u), subgroupBroadcast(seen.first, 2u), subgroupBroadcast(seen.second, 2u)));
    all = joined(all, Seen(subgroupBroadcast(seen.count, 3u), subgroupBroadcast(seen.first, 3u), subgroupBroadcast(seen.second, 3u)));
    all = joined(all, Seen(subgroupBroadcast(seen.count, 4u), subgroupBroadcast(seen.first, 4u), subgroupBroadcast(seen.second, 4u)));
    all = joined(all, Seen(subgroupBroadcast(seen.count, 5u), subgroupBroadcast(seen.first, 5u), subgroupBroadcast(seen.second, 5u)));
    all = joined(all, Seen(subgroupBroadcast(seen.count, 6u), subgroupBroadcast(seen.first, 6u), subgroupBroadcast(seen.second, 6u)));
    all = joined(all, Seen(subgroupBroadcast(seen.count, 7u), subgroupBroadcast(seen.first, 7u), subgroupBroadcast(seen.second, 7u)));
    // Where the grid is folded, its last workgroups have no rows.
    if row % (8u * LANES) == 0u && row < params.rows {
        seen = all;
        let part = params.first_partial + row / (8u * LANES);
        write_part(part, the_group * params.cols4 + col4, params.groups * params.cols4);
    }
}
