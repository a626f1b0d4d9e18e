//! Writes a network as it is before training, to measure with: `cargo run --release --example untrained -- ARCH FILE`

use ocelli::data::{Normalization, Preprocessing};
use ocelli::error::{Error, Result};
use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::models::{Arch, Init};
use ocelli::train::{EvaluationStep, transfer};
use ocelli::weights::{Dtype, InMemory, Metadata, write_source};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// The seed of the weights: every machine writes the same file.
const SEED: u64 = 1;

/// Writes safetensors with the first weights of He et al., under which numbers stay of one size through many layers.
fn write(arch: &Arch, path: &Path) -> Result<()> {
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    let settings = arch.settings(1);
    let step = EvaluationStep::new(&gpu, arch, &settings, None)?;
    for (i, parameter) in step.parameters().iter().enumerate() {
        step.session().write(parameter.value, &parameter.initial(SEED, i, Some(Init::He)))?;
    }
    let tensors = transfer::save(step.session(), step.parameters().iter())?;
    let [height, width] = settings.size;
    let metadata = Metadata {
        arch: arch.name.to_owned(),
        classes: (0..settings.classes).map(|i| format!("class {i}")).collect(),
        input: [height, width, 3],
        // A picture of the size of the input stays as it is.
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
    };
    write_source(path, &InMemory::new(&tensors), &metadata.strings()?, Dtype::F32)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match &arguments[..] {
        [arch, file] => Arch::find(arch).and_then(|arch| write(arch, Path::new(file))),
        _ => Err(Error::usage(
            "give the network and the file to write, as in `untrained resnet18 resnet18.safetensors`",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("untrained: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
