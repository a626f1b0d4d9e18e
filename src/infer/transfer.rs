//! Between the memory of a session and tensors in PyTorch's layout.

use crate::error::{Error, Result};
use crate::exchange::names;
use crate::models::{Difference, Parameter};
use crate::plan::Session;
use crate::weights::{Source, import, not_finite};
#[cfg(not(target_family = "wasm"))]
use crate::weights::{Tensor, export};
#[cfg(not(target_family = "wasm"))]
use std::collections::BTreeMap;

/// How many bytes may wait for the GPU in the memory of the host.
const AT_ONCE: u64 = 32 << 20;

/// Writes the tensors of a file into the parameters of a session, one after the other. Nothing is written unless all
/// names and shapes are right.
///
/// # Errors
/// [`Error::Data`] listing what is missing, unexpected, of another shape or not finite; otherwise as [`Source::rows`].
pub fn load<'a>(
    session: &Session,
    parameters: impl Iterator<Item = &'a Parameter> + Clone,
    source: &dyn Source,
) -> Result<()> {
    let list: Vec<Parameter> = parameters.clone().cloned().collect();
    let difference = Difference::between(&names(source), &list);
    if !difference.is_empty() {
        return Err(Error::data(format!("these are not the weights of this network: {difference}"))
            .cure("give the network they were made for with --arch, and its number of classes"));
    }
    let mut bad = Vec::new();
    let mut written = 0;
    for parameter in parameters {
        let name = &parameter.name;
        let data = source.rows(name, parameter.rows.clone())?;
        if data.iter().any(|x| !x.is_finite()) && !bad.contains(name) {
            bad.push(name.clone());
        }
        if bad.is_empty() {
            let content = import(&data, parameter.shape).map_err(|e| e.at(name.clone()))?;
            session.write_stored(parameter.value, bytemuck::cast_slice(&content))?;
            written += parameter.shape.bytes();
            if written >= AT_ONCE {
                session.flush()?;
                written = 0;
            }
        }
    }
    not_finite(&bad).map_or(Ok(()), Err)
}

/// Reads the parameters of a session as tensors.
///
/// # Errors
/// [`Error::Gpu`] if the device failed on the way.
#[cfg(not(target_family = "wasm"))]
pub fn save<'a>(
    session: &Session,
    parameters: impl Iterator<Item = &'a Parameter>,
) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for p in parameters {
        let shape = p.torch_shape.clone();
        let data = export(&session.read_stored(p.value)?, p.shape);
        // Pieces follow each other, and so do their rows.
        let tensor = tensors.entry(p.name.clone()).or_insert(Tensor { shape, data: Vec::new() });
        tensor.data.extend(data);
    }
    Ok(tensors)
}
