//! Copies parameters between a session and tensors in PyTorch's layout.

use crate::error::{Error, Result};
use crate::exchange::names;
use crate::models::{Difference, Parameter};
use crate::plan::Session;
use crate::weights::{Source, import_rows, no_memory, not_finite, rows_together};
#[cfg(not(target_family = "wasm"))]
use crate::weights::{Tensor, export};
use std::collections::BTreeMap;
use std::ops::Range;

/// Host memory for writes that the GPU has not taken yet, in bytes.
const AT_ONCE: u64 = 32 << 20;

/// Writes the tensors of a file into the parameters of a session, one after the other. All names and shapes are checked before the
/// first write.
///
/// # Errors
/// [`Error::Data`] listing what is missing, unexpected, of another shape or not finite; otherwise as [`Source::rows`].
pub fn load<'a>(
    session: &Session,
    parameters: impl Iterator<Item = &'a Parameter> + Clone,
    source: &dyn Source,
) -> Result<()> {
    load_by(session, parameters, source, &mut |name, rows| source.rows(name, rows))
}

/// Reads rows of a tensor, as [`Source::rows`].
pub type Rows<'a> = dyn FnMut(&str, Range<usize>) -> Result<Vec<f32>> + 'a;

/// As [`load`], but `read` reads the rows of the source: for callers that must not block on a disk.
///
/// # Errors
/// As [`load`], and the errors of `read`.
pub fn load_by<'a>(
    session: &Session,
    parameters: impl Iterator<Item = &'a Parameter> + Clone,
    source: &dyn Source,
    read: &mut Rows,
) -> Result<()> {
    let mut loading = Loading::new(parameters.clone(), source)?;
    for parameter in parameters {
        let mut pending = Pending::of(parameter.clone());
        let row: usize = parameter.torch_shape.iter().skip(1).product();
        let Range { start, end } = parameter.rows;
        let step = if source.reads_by_rows(&parameter.name) { rows_together(row) } else { end - start };
        for first in (start..end).step_by(step.max(1)) {
            loading.rows(&mut pending, read, first..first.saturating_add(step).min(end))?;
        }
        loading.write(session, pending)?;
    }
    not_finite(&loading.bad).map_or(Ok(()), Err)
}

/// Loads the parameters of a session from a file that is still arriving.
pub struct Loading {
    /// Parameters that are not complete, by the name of their tensor in the file.
    waiting: BTreeMap<String, Vec<Pending>>,
    /// Names of tensors with NaN or infinity.
    bad: Vec<String>,
    /// Bytes written since the last flush.
    written: u64,
}

/// A parameter some of whose rows have been read.
struct Pending {
    parameter: Parameter,
    /// In the layout of GPU memory; empty before the first row.
    stored: Vec<f32>,
}

impl Loading {
    /// Checks the names and shapes of a file whose header has arrived.
    ///
    /// # Errors
    /// [`Error::Data`] listing what is missing, unexpected or of another shape.
    pub fn new<'a>(parameters: impl Iterator<Item = &'a Parameter>, source: &dyn Source) -> Result<Self> {
        let list: Vec<Parameter> = parameters.cloned().collect();
        let difference = Difference::between(&names(source), &list);
        if !difference.is_empty() {
            return Err(Error::data(format!("these are not the weights of this network: {difference}"))
                .hint("name the network that they were made for, with its number of classes"));
        }
        let mut waiting: BTreeMap<String, Vec<Pending>> = BTreeMap::new();
        for parameter in list {
            waiting
                .entry(source.original(&parameter.name).to_owned())
                .or_default()
                .push(Pending::of(parameter));
        }
        Ok(Self { waiting, bad: Vec::new(), written: 0 })
    }

    /// Takes rows of the tensor that has the name `original` in the file. The rows must have arrived, and all earlier rows must have been
    /// taken. A parameter is written as soon as it is complete. Tensors that inference does not use are ignored.
    ///
    /// # Errors
    /// As [`Source::rows`] and [`Session::write_stored`].
    pub fn take(
        &mut self,
        session: &Session,
        source: &dyn Source,
        original: &str,
        rows: Range<usize>,
    ) -> Result<()> {
        let mut rest = Vec::new();
        for mut pending in self.waiting.remove(original).unwrap_or_default() {
            let Range { start, end } = pending.parameter.rows;
            let here = rows.start.max(start)..rows.end.min(end);
            if !here.is_empty() {
                self.rows(&mut pending, &mut |name, rows| source.rows(name, rows), here)?;
            }
            if rows.end < end {
                rest.push(pending);
            } else {
                self.write(session, pending)?;
            }
        }
        if !rest.is_empty() {
            self.waiting.insert(original.to_owned(), rest);
        }
        Ok(())
    }

    /// Checks at the end of the file that all parameters were loaded.
    ///
    /// # Errors
    /// [`Error::Data`] listing the tensors with NaN or infinity, [`Error::Internal`] if some tensors have not been taken.
    pub fn finish(self) -> Result<()> {
        if let Some(error) = not_finite(&self.bad) {
            return Err(error);
        }
        let missing = self.waiting.into_keys().next();
        missing.map_or(Ok(()), |name| Err(Error::internal("its numbers have not been written").at(name)))
    }

    /// Reads some rows of a parameter.
    fn rows(&mut self, pending: &mut Pending, read: &mut Rows, rows: Range<usize>) -> Result<()> {
        let Pending { parameter, stored } = pending;
        let first = rows.start - parameter.rows.start;
        let data = read(&parameter.name, rows)?;
        // All exponent bits set: NaN or infinity.
        let largest = data.iter().fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest));
        if largest >= f32::INFINITY.to_bits() && !self.bad.contains(&parameter.name) {
            self.bad.push(parameter.name.clone());
        }
        if !self.bad.is_empty() {
            return Ok(());
        }
        if stored.is_empty() {
            let numbers = parameter.shape.stored().unwrap_or_default();
            stored
                .try_reserve_exact(numbers)
                .map_err(|_| no_memory(parameter.shape.bytes()).at(parameter.name.clone()))?;
            stored.resize(numbers, 0.0);
        }
        let row: usize = parameter.torch_shape.iter().skip(1).product();
        let together = rows_together(row);
        for (i, some) in data.chunks(together.saturating_mul(row).max(1)).enumerate() {
            let from = first + i * together;
            import_rows(some, from, parameter.shape, stored).map_err(|e| e.at(parameter.name.clone()))?;
        }
        Ok(())
    }

    /// Writes a complete parameter.
    fn write(&mut self, session: &Session, pending: Pending) -> Result<()> {
        let Pending { parameter, stored } = pending;
        if !self.bad.is_empty() {
            return Ok(());
        }
        session.write_stored(parameter.value, bytemuck::cast_slice(&stored))?;
        self.written += parameter.shape.bytes();
        if self.written >= AT_ONCE {
            session.flush()?;
            self.written = 0;
        }
        Ok(())
    }
}

impl Pending {
    const fn of(parameter: Parameter) -> Self {
        Self { parameter, stored: Vec::new() }
    }
}

/// Reads the parameters of a session as tensors.
///
/// # Errors
/// [`Error::Gpu`] if the device failed.
#[cfg(not(target_family = "wasm"))]
pub fn save<'a>(
    session: &Session,
    parameters: impl Iterator<Item = &'a Parameter>,
) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for p in parameters {
        let shape = p.torch_shape.clone();
        let data = export(&session.read_stored(p.value)?, p.shape)?;
        // The pieces of a tensor come in the order of their rows.
        let tensor = tensors.entry(p.name.clone()).or_insert(Tensor { shape, data: Vec::new() });
        tensor.data.extend(data);
    }
    Ok(tensors)
}
