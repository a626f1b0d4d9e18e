//! Between the memory of a session and tensors in PyTorch's layout.

use crate::error::{Error, Result};
use crate::models::{Difference, Parameter};
use crate::plan::Session;
use crate::weights::{Tensor, export, import};
use std::collections::BTreeMap;

/// Writes tensors into the parameters of a session. Nothing is written unless all of them fit.
///
/// # Errors
/// [`Error::Data`] listing what is missing, unexpected or of another shape.
pub fn load<'a>(
    session: &Session,
    parameters: impl Iterator<Item = &'a Parameter> + Clone,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let names = tensors.iter().map(|(name, t)| (name.clone(), t.shape.clone())).collect();
    let list: Vec<Parameter> = parameters.clone().cloned().collect();
    let difference = Difference::between(&names, &list);
    if !difference.is_empty() {
        return Err(Error::data(format!("these are not the weights of this network: {difference}"))
            .cure("give the network they were made for with --arch, and its number of classes"));
    }
    let mut stored = Vec::with_capacity(list.len());
    for parameter in parameters {
        if let Some(tensor) = tensors.get(&parameter.name) {
            let content = import(tensor, parameter.rows.clone(), parameter.shape);
            stored.push((parameter.value, content.map_err(|e| e.at(parameter.name.clone()))?));
        }
    }
    stored.iter().try_for_each(|(value, content)| session.write_stored(*value, bytemuck::cast_slice(content)))
}

/// Reads the parameters of a session as tensors.
///
/// # Errors
/// [`Error::Gpu`] if the device failed on the way.
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
