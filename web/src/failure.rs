//! Errors for JavaScript: an `Error` whose name tells its kind.

use ocelli::Error;
use ocelli::error::Choice;
use ocelli::gpu::Gpu;
use wasm_bindgen::JsValue;

/// The kinds of errors, by the name that JavaScript sees.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// No usable adapter.
    NoWebGpu,
    /// The file cannot be used.
    BadWeights,
    /// The picture cannot be used.
    BadPicture,
    /// The GPU was lost.
    DeviceLost,
    /// It does not fit into memory.
    TooLarge,
    /// A defect of the library.
    Internal,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::NoWebGpu => "NoWebGpu",
            Self::BadWeights => "BadWeights",
            Self::BadPicture => "BadPicture",
            Self::DeviceLost => "DeviceLost",
            Self::TooLarge => "TooLarge",
            Self::Internal => "Internal",
        }
    }
}

/// Makes an error for JavaScript.
pub fn failure(kind: Kind, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    error.set_name(kind.name());
    error.into()
}

/// Converts an error of the library. `data` is the kind of an error in data or in its use.
pub fn thrown(error: &Error, gpu: Option<&Gpu>, data: Kind) -> JsValue {
    let kind = match error {
        _ if gpu.is_some_and(Gpu::is_lost) => Kind::DeviceLost,
        Error::NoAdapter(_) => Kind::NoWebGpu,
        Error::Data(_) | Error::NotFound(_) | Error::Usage(_) => data,
        Error::Gpu(report) if report.memory => Kind::TooLarge,
        // It cannot be opened, or computes something wrong.
        Error::Gpu(_) => Kind::NoWebGpu,
        // Without files it is only memory that the system refuses.
        Error::Io(_) => Kind::TooLarge,
        _ => Kind::Internal,
    };
    let error = match kind {
        // The library speaks of batches and options of its program.
        Kind::TooLarge => error.clone().hint("choose a smaller network, or a device with more memory"),
        _ => error.clone(),
    };
    let hint = error.report().hint.in_words(|choice| match choice {
        Choice::Network => format!("{} (as `arch`)", choice.words()),
        _ => choice.words().to_owned(),
    });
    let text = error.hint(hint).to_string();
    failure(kind, &text.replace("safetensors, PyTorch or ONNX", "safetensors or ONNX"))
}
