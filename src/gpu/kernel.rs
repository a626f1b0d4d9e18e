//! A kernel as data: WGSL text, entry point and constants; and its parameters.

use std::hash::{Hash, Hasher};

/// The most workgroups in one dimension of a dispatch that WebGPU guarantees.
pub const MAX_WORKGROUPS: u32 = 65_535;

/// A compute shader with its constants: everything needed to create a pipeline. Kernels are equal if they compile to
/// the same pipeline; their names may differ.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The display name, e.g. `conv2d.y`. Two operations may use the same pipeline under different names.
    pub name: &'static str,
    /// The WGSL texts that form the module. WGSL accepts declarations in any order.
    pub sources: Vec<&'static str>,
    /// The name of the entry point.
    pub entry: &'static str,
    /// The values of `override` constants.
    pub constants: Vec<(&'static str, i32)>,
    /// Type names in the texts and the WGSL types that replace them. If the list is empty, the recorder sets `Stored`
    /// to f16 or f32.
    pub types: Vec<(&'static str, &'static str)>,
    /// Whether the kernel's indices are known to be in bounds, so that it runs without bounds checks. Only kernels of
    /// this library are trusted.
    pub(crate) trusted: bool,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.compiled() == other.compiled()
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.compiled().hash(state);
    }
}

type Compiled<'a> =
    (&'a [&'static str], &'static str, &'a [(&'static str, i32)], &'a [(&'static str, &'static str)], bool);

impl Kernel {
    /// Everything that the pipeline depends on.
    fn compiled(&self) -> Compiled<'_> {
        let Self { name: _, sources, entry, constants, types, trusted } = self;
        (sources, entry, constants, types, *trusted)
    }

    /// A kernel of these texts, without constants. The driver checks its indices.
    pub fn new(name: &'static str, sources: &[&'static str], entry: &'static str) -> Self {
        let (sources, constants, types) = (sources.to_vec(), Vec::new(), Vec::new());
        Self { name, sources, entry, constants, types, trusted: false }
    }

    /// Adds the value of an `override` constant.
    #[must_use]
    pub fn with(mut self, constant: &'static str, value: i32) -> Self {
        self.constants.push((constant, value));
        self
    }

    /// Whether the kernel needs half precision.
    pub fn is_half(&self) -> bool {
        self.types.iter().any(|(_, of)| *of == "f16")
    }

    /// Whether the kernel needs cooperative matrices.
    pub fn is_cooperative(&self) -> bool {
        self.sources.iter().any(|text| text.contains("coop_mat"))
    }

    /// The complete WGSL text of the module.
    pub fn source(&self) -> String {
        // WGSL requires enable directives first.
        let mut text = String::new();
        if self.is_half() {
            text.push_str("enable f16;\n");
        }
        if self.is_cooperative() {
            text.push_str("enable wgpu_cooperative_matrix;\n");
        }
        for source in &self.sources {
            // Types are replaced in the text, not declared by `alias`: in naga's output an alias and the type itself
            // are two different types.
            for piece in source.split_inclusive(|c| !is_of_name(c)) {
                let word = piece.trim_end_matches(|c| !is_of_name(c));
                let known = self.types.iter().find(|(name, _)| *name == word);
                text.push_str(known.map_or(word, |(_, of)| of));
                text.push_str(&piece[word.len()..]);
            }
            text.push('\n');
        }
        text
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A member of a parameter struct: name, byte offset, WGSL type.
pub type Field = (&'static str, usize, &'static str);

/// The parameters of a kernel. The kernel reads them from a uniform buffer as its WGSL struct `Params`.
/// [`params!`](crate::params) implements this trait.
pub trait KernelParams {
    /// The members in order. Tests compare them with the shader's struct.
    const FIELDS: &'static [Field];

    /// The struct as bytes in WGSL's layout.
    fn to_bytes(&self) -> Vec<u8>;
}

/// Declares the parameters of a kernel: a struct of scalars (`u32`, `i32`, `f32`) whose memory layout is that of the
/// WGSL struct with the same members in the same order.
///
/// ```
/// ocelli::params! {
///     Params { total4: u32, slope: f32 }
/// }
/// let params = Params { total4: 16, slope: 0.1 };
/// # use ocelli::gpu::KernelParams;
/// assert_eq!(params.to_bytes().len(), 8);
/// ```
#[macro_export]
macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }

        impl $crate::gpu::KernelParams for $name {
            const FIELDS: &'static [$crate::gpu::Field] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($type))),*];

            fn to_bytes(&self) -> Vec<u8> {
                [$(self.$field.to_ne_bytes()),*].concat()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn kernels_that_differ_in_name_alone_are_one_pipeline() {
        let kernel = |name, entry| Kernel::new(name, &["text"], entry);
        let kernels = [
            kernel("conv2d.y", "main"),
            kernel("conv2d.dx", "main"),
            kernel("conv2d.dx", "other"),
            kernel("conv2d.dx", "main").with("DX", 1),
        ];
        assert_eq!(HashSet::from(kernels).len(), 3);
    }
}
