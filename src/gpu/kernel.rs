//! A kernel as data: WGSL text, an entry point, constants; and the parameters it is given.

/// The most workgroups of one dimension of a dispatch that WebGPU grants.
pub const MAX_WORKGROUPS: u32 = 65_535;

/// A compute shader with its constants: all that is needed to make a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The name for people, e.g. `conv2d.y`.
    pub name: &'static str,
    /// WGSL texts that make up the module together; WGSL takes declarations in any order.
    pub sources: Vec<&'static str>,
    /// The entry point.
    pub entry: &'static str,
    /// Values of `override` constants.
    pub constants: Vec<(&'static str, i32)>,
    /// WGSL types by the names that the texts give them, which are replaced.
    pub types: Vec<(&'static str, &'static str)>,
}

impl Kernel {
    /// A kernel of one text without constants.
    pub fn new(name: &'static str, sources: &[&'static str], entry: &'static str) -> Self {
        Self { name, sources: sources.to_vec(), entry, constants: Vec::new(), types: Vec::new() }
    }

    /// The same kernel with an `override` constant set.
    #[must_use]
    pub fn with(mut self, constant: &'static str, value: i32) -> Self {
        self.constants.push((constant, value));
        self
    }

    /// Whether it needs half precision.
    pub fn is_half(&self) -> bool {
        self.types.iter().any(|(_, of)| *of == "f16")
    }

    /// The whole WGSL text.
    pub fn source(&self) -> String {
        // WGSL wants this before all else.
        let enable = if self.is_half() { "enable f16;\n" } else { "" };
        let mut text = String::from(enable);
        for source in &self.sources {
            // Not by `alias`: an aliased type and the same type written out are two types in what naga writes.
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

/// A Rust struct that lies in memory exactly as the WGSL struct `Params` of a kernel.
pub trait KernelParams: bytemuck::Pod {
    /// The members in order; a test compares them with the shader's.
    const FIELDS: &'static [Field];
}

/// Declares a parameter struct once, with the list of its fields for the test that compares it with WGSL.
macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub(crate) struct $name { $(pub $field: $type),* }

        impl $crate::gpu::KernelParams for $name {
            const FIELDS: &'static [$crate::gpu::Field] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($type))),*];
        }
    };
}
pub(crate) use params;
