// grid: the index of an invocation in a flat grid of workgroups of 64
// Note: WebGPU allows 65,535 workgroups a dimension, so a long row of them is folded into x and y.
// Provides: flat

fn flat(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * 64u + lane;
}
