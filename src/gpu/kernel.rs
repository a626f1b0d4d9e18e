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
    /// WGSL types by the names that the texts give them, which are replaced. If there are none, a recorder sets `Stored` to f16 or f32.
    pub types: Vec<(&'static str, &'static str)>,
    /// Whether its indices are known to be right, so that it runs without bounds checks: only kernels of this library.
    pub(crate) trusted: bool,
}

impl Kernel {
    /// A kernel of some texts without constants. The driver checks its indices.
    pub fn new(name: &'static str, sources: &[&'static str], entry: &'static str) -> Self {
        let (sources, constants, types) = (sources.to_vec(), Vec::new(), Vec::new());
        Self { name, sources, entry, constants, types, trusted: false }
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

/// The parameters of a kernel, which its WGSL struct `Params` reads from a uniform buffer. [`params!`](crate::params) implements it.
pub trait KernelParams {
    /// The members in order; tests compare them with the shader's.
    const FIELDS: &'static [Field];

    /// The bytes of the WGSL struct.
    fn to_bytes(&self) -> Vec<u8>;
}

/// Declares the parameters of a kernel: a struct of scalars (`u32`, `i32`, `f32`) that lies in memory as the WGSL struct of the same
/// members in the same order.
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
