// reshape: the same numbers under other sizes
//   y[i] = x[i]
//   x (any)  ->  y (any of as many numbers in memory)
// Note: only where the result is read back; elsewhere it is x itself, see src/plan/slices.rs.
// Schedule: one invocation = one vec4.
// Needs: flat

struct Params { total4: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;       // (total4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>; // (total4)

@compute @workgroup_size(64)
fn reshape(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i < params.total4 {
        y[i] = x[i];
    }
}
