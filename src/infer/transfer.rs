//! Between the memory of a session and tensors in PyTorch's layout.

use crate::error::{Error, Result};
use crate::exchange::names;
use crate::models::{Difference, Parameter};
use crate::plan::Session;
use crate::weights::{Source, import, not_finite};
#[cfg(not(target_family = "wasm"))]
use crate::weights::{Tensor, export};
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
    let mut loading = Loading::new(parameters.clone(), source)?;
    for parameter in parameters {
        loading.write(session, parameter, source)?;
    }
    not_finite(&loading.bad).map_or(Ok(()), Err)
}

/// Parameters that wait for their tensors, of a file that is still arriving.
pub struct Loading {
    /// By the name of their tensor in the file.
    waiting: BTreeMap<String, Vec<Parameter>>,
    /// Tensors with numbers that are none.
    bad: Vec<String>,
    /// Bytes since the session was last flushed.
    written: u64,
}

impl Loading {
    /// Checks names and shapes of a file, whose numbers need not be there yet.
    ///
    /// # Errors
    /// [`Error::Data`] listing what is missing, unexpected or of another shape.
    pub fn new<'a>(parameters: impl Iterator<Item = &'a Parameter>, source: &dyn Source) -> Result<Self> {
        let list: Vec<Parameter> = parameters.cloned().collect();
        let difference = Difference::between(&names(source), &list);
        if !difference.is_empty() {
            return Err(Error::data(format!("these are not the weights of this network: {difference}"))
                .cure("give the network they were made for with --arch, and its number of classes"));
        }
        let mut waiting: BTreeMap<String, Vec<Parameter>> = BTreeMap::new();
        for parameter in list {
            waiting.entry(source.original(&parameter.name).to_owned()).or_default().push(parameter);
        }
        Ok(Self { waiting, bad: Vec::new(), written: 0 })
    }

    /// Writes what was waiting for a tensor, which has this name in the file and can be read now. Nothing waits for a tensor
    /// that inference does without.
    ///
    /// # Errors
    /// As [`Source::rows`] and [`Session::write_stored`].
    pub fn take(&mut self, session: &Session, source: &dyn Source, original: &str) -> Result<()> {
        for parameter in self.waiting.remove(original).unwrap_or_default() {
            self.write(session, &parameter, source)?;
        }
        Ok(())
    }

    /// What is to be said when the file is at its end.
    ///
    /// # Errors
    /// [`Error::Data`] listing the tensors that are not finite, [`Error::Internal`] if some have not been taken.
    pub fn finish(self) -> Result<()> {
        if let Some(error) = not_finite(&self.bad) {
            return Err(error);
        }
        let missing = self.waiting.into_keys().next();
        missing.map_or(Ok(()), |name| Err(Error::internal("its numbers have not been written").at(name)))
    }

    fn write(&mut self, session: &Session, parameter: &Parameter, source: &dyn Source) -> Result<()> {
        let name = &parameter.name;
        let data = source.rows(name, parameter.rows.clone())?;
        if data.iter().any(|x| !x.is_finite()) && !self.bad.contains(name) {
            self.bad.push(name.clone());
        }
        if self.bad.is_empty() {
            let content = import(&data, parameter.shape).map_err(|e| e.at(name.clone()))?;
            session.write_stored(parameter.value, bytemuck::cast_slice(&content))?;
            self.written += parameter.shape.bytes();
            if self.written >= AT_ONCE {
                session.flush()?;
                self.written = 0;
            }
        }
        Ok(())
    }
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
