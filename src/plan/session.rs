//! A plan on a GPU: every buffer, pipeline and bind group is made here, before the first step; in a browser pipelines and bind groups by
//! [`Session::compiled`], or else by the first step.

use super::{Plan, Role};
use crate::error::{Error, Result};
use crate::gpu::{Bound, Buffer, Gpu, Pass, Submission};
use crate::graph::{Layout, Shape, Value};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// A plan with its memory, ready to be replayed.
///
/// It has one set of inputs, so threads cannot share it: it may be sent to another thread, but is not [`Sync`].
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<ocelli::plan::Session>();
/// ```
pub struct Session {
    pub(super) gpu: Arc<Gpu>,
    pub(super) plan: Plan,
    slots: Vec<Buffer>,
    bound: OnceCell<Vec<Bound>>,
    /// Copies of the outputs into memory that the host can read: one set for each run that may be under way.
    copies: [Copies; Session::UNDER_WAY],
    runs: Cell<u64>,
    last: RefCell<Option<Started>>,
}

/// From, to, bytes.
type Copies = Vec<(Buffer, Buffer, u64)>;

/// A run whose outputs can be read, until [`Session::UNDER_WAY`] others have been started after it.
#[derive(Debug, Clone)]
pub struct Started {
    number: u64,
    submission: Submission,
}

impl Session {
    /// How many runs may be under way before the outputs of the first must have been read.
    pub const UNDER_WAY: usize = 2;

    /// Makes everything that the plan needs. States of the same name and shape as one of `shared`
    /// use its memory, so that training and evaluation work on the same parameters.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the memory does not suffice; [`Error::Usage`] if both take steps of the same states and the plan is not made
    /// for that ([`super::PlanOptions::with_steps_apart`]).
    pub fn new(gpu: Arc<Gpu>, plan: Plan, shared: Option<&Self>) -> Result<Self> {
        let mut theirs = HashMap::new();
        for (value, planned) in shared.iter().flat_map(|s| &s.plan.values) {
            if let (Role::State, Some(session)) = (planned.role, shared) {
                theirs.insert((planned.name.clone(), planned.shape), session.slot(*value)?.clone());
            }
        }
        let mut names = HashMap::new();
        for (value, planned) in &plan.values {
            if let (Some(slot), true) =
                (plan.places.get(&crate::ops::BufId::Value(*value)), planned.role == Role::State)
            {
                names.insert(*slot, (planned.name.clone(), planned.shape));
            }
        }
        let mut slots = Vec::with_capacity(plan.slots.len());
        for (i, slot) in plan.slots.iter().enumerate() {
            let name = names.get(&i);
            let whole: Option<(&Buffer, u64)> =
                slot.within.and_then(|(whole, from)| Some((slots.get(whole)?, from)));
            slots.push(match (name.and_then(|key| theirs.get(key)), whole) {
                (Some(buffer), None) => buffer.clone(),
                (None, Some((whole, from))) => whole.part(from..from + slot.bytes)?,
                (None, None) => gpu.buffer(name.map_or("slot", |(n, _)| n), slot.bytes)?,
                (Some(_), Some(_)) => {
                    let name = name.map_or_else(String::new, |(name, _)| name.clone());
                    return Err(Error::usage(
                        "the plan has this state in one buffer with others, the shared session elsewhere",
                    )
                    .at(name)
                    .cure("plan it with `PlanOptions::with_steps_apart`"));
                }
            });
        }
        let (copies, runs, last) = (Default::default(), Cell::new(0), RefCell::default());
        let mut session = Self { gpu, plan, slots, bound: OnceCell::new(), copies, runs, last };
        for i in 0..Self::UNDER_WAY {
            for value in session.plan.outputs.clone() {
                let from = session.slot(value)?.clone();
                let to = session.gpu.staging("output", from.size())?;
                session.copies[i].push((from.clone(), to, from.size()));
            }
        }
        // A browser would stand still until they are compiled: there Session::compiled is awaited.
        #[cfg(not(target_family = "wasm"))]
        session.bound()?;
        Ok(session)
    }

    /// Waits until all kernels are compiled. In a browser that goes on side by side and beside everything else, so that states may
    /// be written meanwhile; what has not been compiled so is compiled by the first run, one kernel after the other.
    ///
    /// # Errors
    /// [`Error::Internal`] for a kernel that does not compile, [`Error::Gpu`] if the device failed or its memory does not suffice.
    pub async fn compiled(&self) -> Result<()> {
        self.plan.compiled(&self.gpu).await?;
        self.bound().map(|_| ())
    }

    /// The kernels with their buffers, compiled.
    pub(crate) fn bound(&self) -> Result<&[Bound]> {
        if let Some(bound) = self.bound.get() {
            return Ok(bound);
        }
        let mut uniforms: HashMap<&[u8], Buffer> = HashMap::new();
        let mut bound = Vec::with_capacity(self.plan.dispatches.len());
        for dispatch in &self.plan.dispatches {
            let name = dispatch.kernel.name;
            let pipeline = self.gpu.pipeline(&dispatch.kernel)?;
            let params = match uniforms.get(&*dispatch.params) {
                Some(buffer) => buffer.clone(),
                None => {
                    let buffer = self.gpu.uniform(name, &dispatch.params)?;
                    uniforms.insert(&dispatch.params, buffer.clone());
                    buffer
                }
            };
            let mut buffers = vec![(&params, 0..params.size())];
            for (buf, _) in &dispatch.buffers {
                let slot = self.plan.places.get(&buf.id).and_then(|s| self.slots.get(*s));
                let slot = slot.ok_or_else(|| Error::internal("a buffer without memory"))?;
                buffers.push((slot, buf.offset..buf.offset + buf.bytes));
            }
            bound.push(self.gpu.bind(name, &pipeline, &buffers, dispatch.workgroups)?);
        }
        Ok(self.bound.get_or_init(|| bound))
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device that it runs on.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    pub(super) fn slot(&self, value: Value) -> Result<&Buffer> {
        let place = self.plan.places.get(&crate::ops::BufId::Value(value));
        place
            .and_then(|slot| self.slots.get(*slot))
            .ok_or_else(|| Error::internal("a value that is not in the plan"))
    }

    pub(super) fn shape(&self, value: Value) -> Result<Shape> {
        let planned = self.plan.values.get(&value);
        Ok(planned.ok_or_else(|| Error::internal("a value that is not in the plan"))?.shape)
    }

    /// Whether the plan holds this value: one that nothing needs is left out, and one that a kernel hands on to what
    /// follows in the same kernel.
    pub fn has(&self, value: Value) -> bool {
        self.plan.values.contains_key(&value)
    }

    /// Writes an input or a state, without padding, in the order of [`crate::graph::Shape::dims`].
    ///
    /// # Errors
    /// [`Error::Usage`] if the number of values is not that of the shape.
    pub fn write(&self, value: Value, content: &[f32]) -> Result<()> {
        let shape = self.shape(value)?;
        if shape.elements() != Some(content.len())
            || !matches!(shape.layout(), Layout::Image | Layout::Filter | Layout::Vector)
        {
            return Err(Error::usage(format!("{} numbers written to {shape:?}", content.len())));
        }
        self.write_stored(value, &shape.encode(&shape.pad(content)))
    }

    /// Writes the bytes of an input or a state as they lie in memory, padding included.
    ///
    /// # Errors
    /// [`Error::Usage`] if the number of bytes is not that of the shape.
    pub fn write_stored(&self, value: Value, bytes: &[u8]) -> Result<()> {
        let shape = self.shape(value)?;
        if shape.bytes() != bytes.len() as u64 {
            return Err(Error::usage(format!(
                "{} bytes written to {shape:?} of {}",
                bytes.len(),
                shape.bytes()
            )));
        }
        self.gpu.write(self.slot(value)?, bytes)
    }

    /// Hands over what was written, so that no copy of it is kept.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub fn flush(&self) -> Result<()> {
        self.gpu.flush()
    }

    /// Runs one step. The GPU may still be at work when this returns.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub fn run(&self) -> Result<()> {
        let started = self.start()?;
        self.last.replace(Some(started));
        Ok(())
    }

    /// Runs one step, whose outputs are read by [`Session::output_of`]: a caller may start the next one before it reads them, so
    /// that the GPU need not wait for the host.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn start(&self) -> Result<Started> {
        let number = self.runs.replace(self.runs.get() + 1);
        Ok(Started { number, submission: self.submit(self.copies_of(number))? })
    }

    /// Runs the kernels of a step, and copies after them.
    fn submit(&self, copies: &[(Buffer, Buffer, u64)]) -> Result<Submission> {
        let mut rest = self.bound()?;
        let (last, others) = self.plan.submissions.split_last().unwrap_or((&0, &[]));
        for count in others {
            let (dispatches, behind) = rest.split_at(*count.min(&rest.len()));
            self.gpu.submit(&Pass { dispatches, copies: &[] })?;
            rest = behind;
        }
        let dispatches = &rest[..*last.min(&rest.len())];
        self.gpu.submit(&Pass { dispatches, copies })
    }

    /// All kernels of a step, to be measured.
    pub(super) fn kernels(&self) -> Result<Pass<'_>> {
        Ok(Pass { dispatches: self.bound()?, copies: &[] })
    }

    fn copies_of(&self, run: u64) -> &Copies {
        &self.copies[(run % Self::UNDER_WAY as u64) as usize]
    }

    /// Where an output of a run is copied to, and its shape.
    fn copied(&self, run: &Started, value: Value) -> Result<(&Buffer, Shape)> {
        let position = self.plan.outputs.iter().position(|v| *v == value);
        let Some((_, staging, _)) = position.and_then(|i| self.copies_of(run.number).get(i)) else {
            return Err(Error::internal("a value that is no output of the plan"));
        };
        if self.runs.get() > run.number + Self::UNDER_WAY as u64 {
            return Err(Error::internal("an output of a run whose memory has been used again"));
        }
        Ok((staging, self.shape(value)?))
    }

    /// As `Session::output_of`, for callers that must not block: in a browser it is awaited.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub async fn output_async(&self, run: &Started, value: Value) -> Result<Vec<f32>> {
        let (staging, shape) = self.copied(run, value)?;
        let bytes = self.gpu.read_async(staging, shape.bytes(), &run.submission).await?;
        Ok(shape.unpad(&shape.decode(&bytes)))
    }

    /// Fills all memory that lives only within a step with bit patterns of NaN, outputs too. For tests: whatever
    /// reads memory that nothing has written shows.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn poison(&self) -> Result<()> {
        for (slot, planned) in self.slots.iter().zip(&self.plan.slots) {
            if matches!(planned.role, Role::Temporary | Role::Output) {
                self.gpu.write(slot, &vec![0xff; slot.size() as usize])?;
            }
        }
        Ok(())
    }
}

/// Whatever waits for the GPU, which a browser must not.
#[cfg(not(target_family = "wasm"))]
impl Session {
    /// Runs the kernels of a step without copying its outputs.
    pub(super) fn dispatch(&self) -> Result<()> {
        self.submit(&[]).map(|_| ())
    }

    /// Runs the kernels of a step, without copying its outputs, and measures each on the GPU, in milliseconds; `None` where the
    /// adapter cannot.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_timed(&self) -> Result<Option<Vec<f64>>> {
        self.gpu.submit_timed(&self.kernels()?)
    }

    /// Waits for the last [`Session::run`] and returns one of the outputs, without padding.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub fn output(&self, value: Value) -> Result<Vec<f32>> {
        let last = self.last.borrow().clone();
        self.output_of(&last.ok_or_else(|| Error::internal("an output before the first run"))?, value)
    }

    /// Waits for a run and returns one of its outputs, without padding.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub fn output_of(&self, run: &Started, value: Value) -> Result<Vec<f32>> {
        let (staging, shape) = self.copied(run, value)?;
        let bytes = self.gpu.read(staging, shape.bytes(), &run.submission)?;
        Ok(shape.unpad(&shape.decode(&bytes)))
    }

    /// Copies a state to the host as it lies in memory, padding included.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub fn read_stored(&self, value: Value) -> Result<Vec<f32>> {
        let shape = self.shape(value)?;
        Ok(shape.decode(&self.gpu.download(self.slot(value)?, shape.bytes())?))
    }

    /// Copies a state to the host, without padding.
    ///
    /// # Errors
    /// As [`Session::read_stored`].
    pub fn read(&self, value: Value) -> Result<Vec<f32>> {
        Ok(self.shape(value)?.unpad(&self.read_stored(value)?))
    }
}
