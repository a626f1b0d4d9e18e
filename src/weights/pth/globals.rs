//! The Python names that a pickle may use, and their meaning. Nothing is imported and nothing is called. A name without meaning for
//! weights becomes an empty value.

use crate::weights::Dtype;

/// The type of the numbers of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    F16,
    Bf16,
    F32,
    F64,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Scalar {
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::Bf16,
            Self::F32 => Dtype::F32,
            Self::F64 => Dtype::F64,
            Self::I64 => Dtype::Integer("int64"),
            Self::I32 => Dtype::Integer("int32"),
            Self::I16 => Dtype::Integer("int16"),
            Self::I8 => Dtype::Integer("int8"),
            Self::U8 => Dtype::Integer("uint8"),
            Self::Bool => Dtype::Integer("bool"),
        }
    }

    /// The size of a number in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// A mapping.
    Dict,
    /// The function that makes a tensor from (storage, offset, shape, strides).
    Tensor,
    /// The function that makes a tensor from (.., requires_grad, hooks, metadata).
    TensorV2,
    /// The function that makes a tensor from (.., requires_grad, hooks, dtype, metadata).
    TensorV3,
    /// A function that returns its first argument, a tensor.
    Parameter,
    /// A function that calls another one: (function, class, arguments, state).
    FromType,
    /// A tuple of sizes.
    Size,
    /// The class of a storage.
    Storage(Scalar),
    /// A type of numbers.
    Dtype(Scalar),
    /// Something without meaning for weights, such as the options of a training run.
    Inert,
}

/// The meaning of a name; `None` for a name that is not allowed.
pub fn find(module: &str, name: &str) -> Option<Global> {
    let found = match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") => Global::Dict,
        ("torch._utils", "_rebuild_tensor") => Global::Tensor,
        ("torch._utils", "_rebuild_tensor_v2") => Global::TensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => Global::TensorV3,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::Parameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Global::FromType,
        ("torch", "Size") => Global::Size,
        // Before PyTorch 1.10 a storage on a CUDA device has a class of that device.
        ("torch" | "torch.cuda", class) if class.ends_with("Storage") => Global::Storage(storage(class)?),
        ("torch.storage", "UntypedStorage") => Global::Storage(Scalar::U8),
        ("torch", "Tensor" | "device")
        | ("torch.nn.parameter" | "torch.nn", "Parameter")
        | ("torch.storage", "TypedStorage")
        | ("torch.serialization", "_get_layout") => Global::Inert,
        ("torch", dtype) => Global::Dtype(scalar(dtype)?),
        ("collections", "Counter" | "deque")
        | ("argparse", "Namespace")
        | ("_codecs", "encode")
        | ("pathlib" | "pathlib._local", "PosixPath" | "PurePosixPath" | "WindowsPath")
        | (
            "__builtin__" | "builtins",
            "set" | "frozenset" | "dict" | "list" | "tuple" | "int" | "float" | "bool" | "str" | "complex"
            | "slice" | "bytes" | "bytearray",
        ) => Global::Inert,
        _ => return None,
    };
    Some(found)
}

fn storage(class: &str) -> Option<Scalar> {
    Some(match class.strip_suffix("Storage")? {
        "Half" => Scalar::F16,
        "BFloat16" => Scalar::Bf16,
        "Float" => Scalar::F32,
        "Double" => Scalar::F64,
        "Long" => Scalar::I64,
        "Int" => Scalar::I32,
        "Short" => Scalar::I16,
        "Char" => Scalar::I8,
        "Byte" | "Untyped" => Scalar::U8,
        "Bool" => Scalar::Bool,
        _ => return None,
    })
}

fn scalar(dtype: &str) -> Option<Scalar> {
    Some(match dtype {
        "float16" | "half" => Scalar::F16,
        "bfloat16" => Scalar::Bf16,
        "float32" | "float" => Scalar::F32,
        "float64" | "double" => Scalar::F64,
        "int64" | "long" => Scalar::I64,
        "int32" | "int" => Scalar::I32,
        "int16" | "short" => Scalar::I16,
        "int8" => Scalar::I8,
        "uint8" => Scalar::U8,
        "bool" => Scalar::Bool,
        _ => return None,
    })
}
