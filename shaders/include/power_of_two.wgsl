// power_of_two: 2^n for a whole number from -126 to 127, without rounding on any adapter
// Provides: power_of_two

fn power_of_two(n: f32) -> f32 {
    return bitcast<f32>(u32(i32(n) + 127) << 23u);
}
