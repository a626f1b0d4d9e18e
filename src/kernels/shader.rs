//! Links the WGSL texts of a kernel by their header comments: `// Needs:` lists the names that a text uses, `//
//! Provides:` the names that it defines for others.

use crate::gpu::Kernel;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The texts that provide names to others.
const INCLUDES: [&str; 34] = [
    include_str!("../../shaders/conv2d.wgsl"),
    include_str!("../../shaders/batch_norm.wgsl"),
    include_str!("../../shaders/include/batch_norm_reductions.wgsl"),
    include_str!("../../shaders/pool.wgsl"),
    include_str!("../../shaders/include/pool_means.wgsl"),
    include_str!("../../shaders/include/grid.wgsl"),
    include_str!("../../shaders/include/map.wgsl"),
    include_str!("../../shaders/include/rows.wgsl"),
    include_str!("../../shaders/include/not_a_number.wgsl"),
    include_str!("../../shaders/include/power_of_two.wgsl"),
    include_str!("../../shaders/include/sgd_rule.wgsl"),
    include_str!("../../shaders/epilogue/stages.wgsl"),
    include_str!("../../shaders/epilogue/affine.wgsl"),
    include_str!("../../shaders/epilogue/reduce_none.wgsl"),
    include_str!("../../shaders/epilogue/reduce_mean_m2.wgsl"),
    include_str!("../../shaders/epilogue/reduce_sum_dot.wgsl"),
    include_str!("../../shaders/gemm/output_store.wgsl"),
    include_str!("../../shaders/gemm/output_sgd.wgsl"),
    include_str!("../../shaders/gemm/lanes.wgsl"),
    include_str!("../../shaders/gemm/direct.wgsl"),
    include_str!("../../shaders/gemm/direct_rows_16.wgsl"),
    include_str!("../../shaders/gemm/direct_rows_4.wgsl"),
    include_str!("../../shaders/gemm/direct_rows_1.wgsl"),
    include_str!("../../shaders/gemm/direct_reduce.wgsl"),
    include_str!("../../shaders/gemm/subgroup.wgsl"),
    include_str!("../../shaders/gemm/subgroup_reduce.wgsl"),
    include_str!("../../shaders/gemm/tiled.wgsl"),
    include_str!("../../shaders/gemm/tiled_reduce.wgsl"),
    include_str!("../../shaders/gemm/tiled_pixels.wgsl"),
    include_str!("../../shaders/gemm/cooperative.wgsl"),
    include_str!("../../shaders/gemm/tiled_transposed.wgsl"),
    include_str!("../../shaders/winograd/transforms.wgsl"),
    include_str!("../../shaders/winograd/f2x2.wgsl"),
    include_str!("../../shaders/winograd/f4x4.wgsl"),
];

/// The texts that provide each name.
static PROVIDERS: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let mut providers: HashMap<&str, Vec<&str>> = HashMap::new();
    for text in INCLUDES {
        for name in listed(text, "// Provides:") {
            providers.entry(name).or_default().push(text);
        }
    }
    providers
});

/// A kernel of this library from `root` and the texts that it needs. The library guarantees that its indices are in
/// bounds, so it runs without bounds checks.
pub(crate) fn kernel(name: &'static str, root: &'static str, entry: &'static str) -> Kernel {
    linked_kernel(name, &[root], entry)
}

/// Like [`kernel`], but with several texts. They select the provider where several texts provide the same name.
pub(crate) fn linked_kernel(name: &'static str, texts: &[&'static str], entry: &'static str) -> Kernel {
    Kernel { trusted: true, ..Kernel::new(name, &linked(texts), entry) }
}

/// Adds the provider of each needed name to the texts, recursively. If a name has several providers, the caller must
/// select one of them; otherwise the compiler reports the missing name.
fn linked(texts: &[&'static str]) -> Vec<&'static str> {
    let mut linked = texts.to_vec();
    let mut next = 0;
    while let Some(text) = linked.get(next).copied() {
        for name in listed(text, "// Needs:") {
            let providers = PROVIDERS.get(name).map_or(&[][..], Vec::as_slice);
            if let ([only], false) = (providers, providers.iter().any(|p| linked.contains(p))) {
                linked.push(only);
            }
        }
        next += 1;
    }
    linked
}

/// The names after `label` in the header comment of a text. The list continues in the next line after a trailing comma.
fn listed<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = &'a str> {
    let mut goes_on = false;
    let lines = text.lines().take_while(|line| line.starts_with("//")).filter_map(move |line| {
        let list = match line.strip_prefix(label) {
            Some(list) => Some(list),
            None => line.strip_prefix("//").filter(|_| goes_on),
        };
        goes_on = list.is_some_and(|list| list.trim_end().ends_with(','));
        list
    });
    lines.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_a_card_may_have_several_lines() {
        let text = "// a: b\n// Needs: one, two,\n//   three\n// Provides: four\n\n// Needs: five\n";
        assert_eq!(listed(text, "// Needs:").collect::<Vec<_>>(), ["one", "two", "three"]);
        assert_eq!(listed(text, "// Provides:").collect::<Vec<_>>(), ["four"]);
    }

    #[test]
    fn what_a_text_needs_comes_with_it_once() {
        let relu = linked(&[include_str!("../../shaders/relu.wgsl")]);
        assert!(relu.iter().any(|text| text.starts_with("// not_a_number: ")), "{relu:?}");
        let distinct: std::collections::HashSet<&str> = relu.iter().copied().collect();
        assert_eq!(distinct.len(), relu.len(), "{relu:?}");
    }
}
