// not_a_number: what keeps NaN where a maximum would drop it
//   a shader's compiler may take it that there is no NaN, and max(NaN, 0) is 0 on most adapters: numbers that overflow would become
//   others that do not look like it. The bits tell.
// Provides: is_nan, positive_part

// max(v, 0), and NaN for NaN: 0 instead of what has a sign, up to negative infinity.
fn positive_part(v: vec4<f32>) -> vec4<f32> {
    let below = bitcast<vec4<u32>>(v) - vec4(0x80000000u);
    return select(v, vec4<f32>(), below <= vec4(0x7f800000u));
}

fn is_nan(v: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(v) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
}
