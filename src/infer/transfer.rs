//! Between the memory of a session and tensors in PyTorch's layout.

use crate::error::{Error, Result};
use crate::exchange::names;
use crate::models::{Difference, Parameter};
use crate::plan::Session;
use crate::weights::{Source, import_rows, no_memory, not_finite, rows_together};
#[cfg(not(target_family = "wasm"))]
use crate::weights::{Tensor, export};
use std::collections::BTreeMap;
use std::ops::Range;

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
    load_by(session, parameters, source, &mut |name, rows| source.rows(name, rows))
}

/// Reads rows of a tensor, as [`Source::rows`].
pub type Rows<'a> = dyn FnMut(&str, Range<usize>) -> Result<Vec<f32>> + 'a;

/// The same with rows of the source that are read by `read`, for who must not wait for a disk.
///
/// # Errors
/// As [`load`], and those of `read`.
pub fn load_by<'a>(
    session: &Session,
    parameters: impl Iterator<Item = &'a Parameter> + Clone,
    source: &dyn Source,
    read: &mut Rows,
) -> Result<()> {
    let mut loading = Loading::new(parameters.clone(), source)?;
    for parameter in parameters {
        let mut one = Part::of(parameter.clone());
        let row: usize = parameter.torch_shape.iter().skip(1).product();
        let Range { start, end } = parameter.rows;
        let step = if source.reads_by_rows(&parameter.name) { rows_together(row) } else { end - start };
        for first in (start..end).step_by(step.max(1)) {
            loading.rows(&mut one, read, first..first.saturating_add(step).min(end))?;
        }
        loading.write(session, one)?;
    }
    not_finite(&loading.bad).map_or(Ok(()), Err)
}

/// Parameters that wait for their tensors, of a file that is still arriving.
pub struct Loading {
    /// By the name of their tensor in the file.
    waiting: BTreeMap<String, Vec<Part>>,
    /// Tensors with numbers that are none.
    bad: Vec<String>,
    /// Bytes since the session was last flushed.
    written: u64,
}

/// A parameter of which some rows are there.
struct Part {
    parameter: Parameter,
    /// As it lies in GPU memory; empty before the first row.
    stored: Vec<f32>,
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
                .hint("name the network that they were made for, with its number of classes"));
        }
        let mut waiting: BTreeMap<String, Vec<Part>> = BTreeMap::new();
        for parameter in list {
            waiting.entry(source.original(&parameter.name).to_owned()).or_default().push(Part::of(parameter));
        }
        Ok(Self { waiting, bad: Vec::new(), written: 0 })
    }

    /// Takes rows of a tensor, which has this name in the file; they can be read now, and those before them have been taken. Writes
    /// what waits for nothing more. Nothing waits for a tensor that inference does without.
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
        for mut part in self.waiting.remove(original).unwrap_or_default() {
            let Range { start, end } = part.parameter.rows;
            let here = rows.start.max(start)..rows.end.min(end);
            if !here.is_empty() {
                self.rows(&mut part, &mut |name, rows| source.rows(name, rows), here)?;
            }
            if rows.end < end {
                rest.push(part);
            } else {
                self.write(session, part)?;
            }
        }
        if !rest.is_empty() {
            self.waiting.insert(original.to_owned(), rest);
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

    /// Reads some rows of a parameter.
    fn rows(&mut self, part: &mut Part, read: &mut Rows, rows: Range<usize>) -> Result<()> {
        let Part { parameter, stored } = part;
        let first = rows.start - parameter.rows.start;
        let data = read(&parameter.name, rows)?;
        // A number is none if all bits of its exponent are set.
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

    /// Writes a parameter of which all rows have been read.
    fn write(&mut self, session: &Session, part: Part) -> Result<()> {
        let Part { parameter, stored } = part;
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

impl Part {
    const fn of(parameter: Parameter) -> Self {
        Self { parameter, stored: Vec::new() }
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
        let data = export(&session.read_stored(p.value)?, p.shape)?;
        // Pieces follow each other, and so do their rows.
        let tensor = tensors.entry(p.name.clone()).or_insert(Tensor { shape, data: Vec::new() });
        tensor.data.extend(data);
    }
    Ok(tensors)
}
