//! The session: a plan on a GPU. It creates every buffer, pipeline and bind group before the first step. In a browser
//! [`Session::compiled`] creates the pipelines and bind groups, or else the first step does.

use super::{Plan, Role};
use crate::error::{Error, Result};
use crate::gpu::{BoundDispatch, Buffer, CommandList, Expected, Gpu, STAMP_BYTES, Stamp, Submission};
use crate::kernels::BufId;
use crate::tensor::{Layout, Shape, Value};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A plan with its GPU memory, ready to be replayed.
///
/// A session has one set of inputs, so threads cannot share it: it may be sent to another thread, but is not [`Sync`].
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<ocelli::plan::Session>();
/// ```
pub struct Session {
    pub(super) gpu: Arc<Gpu>,
    pub(super) plan: Plan,
    slots: Vec<Buffer>,
    bound: OnceCell<Ready>,
    /// The stamp of the outputs, and the number of submissions that it has counted.
    pub(super) stamp: Stamp,
    pub(super) stamped: Cell<u32>,
    /// Distinguishes the runs of this session from those of others.
    id: u64,
    /// The number of the last run, as written to the stamp.
    number: Cell<u32>,
    /// The copies of the outputs to staging buffers, one set for each in-flight run.
    copies: [Copies; Session::UNDER_WAY],
    pub(super) runs: Cell<u64>,
    pub(super) last: RefCell<Option<Started>>,
}

/// The number of sessions created so far.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// Source, destination and bytes of two copies for each output: the output, and its stamp, which follows it in the
/// staging buffer.
type Copies = Vec<[(Buffer, Buffer, u64); 2]>;

/// The compiled kernels with their bind groups.
struct Ready {
    kernels: Vec<BoundDispatch>,
    stamp: Vec<BoundDispatch>,
}

/// A started run. Its outputs can be read until [`Session::UNDER_WAY`] later runs have been started.
#[derive(Debug, Clone)]
pub struct Started {
    session: u64,
    number: u64,
    pub(super) submission: Submission,
    expected: Expected,
}

impl Session {
    /// The most in-flight runs whose outputs have not been read.
    pub const UNDER_WAY: usize = 2;

    /// Creates a session on an adapter that has not passed the self-check.
    pub(crate) fn untried(gpu: Arc<Gpu>, plan: Plan, shared: Option<&Self>) -> Result<Self> {
        let mut theirs = HashMap::new();
        for (value, planned) in shared.iter().flat_map(|s| &s.plan.values) {
            if let (Role::State, Some(session)) = (planned.role, shared) {
                theirs.insert((planned.name.clone(), planned.shape), session.slot(*value)?.clone());
            }
        }
        let mut names = HashMap::new();
        for (value, planned) in &plan.values {
            if let (Some(slot), true) = (plan.places.get(&BufId::Value(*value)), planned.role == Role::State)
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
                    .hint("plan it with `PlanOptions::with_separate_sgd`"));
                }
            });
        }
        let (copies, runs, last) = (Default::default(), Cell::new(0), RefCell::default());
        let mut results = Vec::new();
        for value in &plan.outputs {
            let slot = plan.places.get(&BufId::Value(*value)).and_then(|slot| slots.get(*slot));
            let (Some(slot), Some(planned)) = (slot, plan.values.get(value)) else {
                return Err(Error::internal("an output that is not in the plan"));
            };
            results.push((slot.clone(), planned.shape.bytes()));
        }
        let stamp = gpu.stamp(results.clone())?;
        let (bound, stamped, number) = (OnceCell::new(), Cell::new(0), Cell::new(0));
        let id = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let mut session = Self { gpu, plan, slots, bound, stamp, stamped, id, number, copies, runs, last };
        for i in 0..Self::UNDER_WAY {
            for (output, (from, _)) in results.iter().enumerate() {
                let bytes = from.size();
                let to = session.gpu.staging("output", bytes + STAMP_BYTES)?;
                let stamp = session.stamp.copy(output, &to, bytes);
                session.copies[i].push([(from.clone(), to, bytes), stamp]);
            }
        }
        // In a browser this would block the page; there `Session::compiled` is awaited instead.
        #[cfg(not(target_family = "wasm"))]
        pollster::block_on(session.compiled_untried())?;
        Ok(session)
    }

    pub(super) async fn compiled_untried(&self) -> Result<()> {
        self.plan.compiled(&self.gpu).await?;
        self.bound().map(|_| ())
    }

    /// The compiled kernels with their bind groups.
    pub(crate) fn bound(&self) -> Result<&[BoundDispatch]> {
        self.ready().map(|ready| &ready.kernels[..])
    }

    fn ready(&self) -> Result<&Ready> {
        if let Some(ready) = self.bound.get() {
            return Ok(ready);
        }
        let mut uniforms: HashMap<&[u8], Buffer> = HashMap::new();
        let mut bound = Vec::with_capacity(self.plan.dispatches.len());
        for dispatch in &self.plan.dispatches {
            let name = dispatch.kernel.name;
            let pipeline = self.gpu.planned_pipeline(&dispatch.kernel)?;
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
                buffers.push((slot, buf.offset..buf.offset.saturating_add(buf.bytes)));
            }
            bound.push(self.gpu.bind(name, &pipeline, &buffers, dispatch.workgroups)?);
        }
        let stamp = self.gpu.bind_stamp(&self.stamp)?;
        Ok(self.bound.get_or_init(|| Ready { kernels: bound, stamp }))
    }

    /// The plan of the session.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device of the session.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    pub(super) fn slot(&self, value: Value) -> Result<&Buffer> {
        let place = self.plan.places.get(&BufId::Value(value));
        place
            .and_then(|slot| self.slots.get(*slot))
            .ok_or_else(|| Error::internal("a value that is not in the plan"))
    }

    pub(super) fn shape(&self, value: Value) -> Result<Shape> {
        let planned = self.plan.values.get(&value);
        Ok(planned.ok_or_else(|| Error::internal("a value that is not in the plan"))?.shape)
    }

    /// Whether the plan stores this value. It does not store values that no output or update needs, and values within a
    /// fusion group.
    pub fn has(&self, value: Value) -> bool {
        self.plan.values.contains_key(&value)
    }

    /// Writes an input or a state, without padding, in the order of [`crate::tensor::Shape::dims`].
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
        self.write_stored(value, &shape.encode(&shape.pad(content)?))
    }

    /// Writes the bytes of an input or a state in its memory layout, padding included.
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

    /// The memory of an input, a state or an output, in the layout of its shape with padding. The program's own
    /// commands may copy from and to it on the GPU before and after a run.
    ///
    /// # Errors
    /// [`Error::Internal`] for a value that is not in the plan, or whose memory is shared with other values.
    pub fn buffer(&self, value: Value) -> Result<&Buffer> {
        let role = self.plan.values.get(&value).map(|planned| planned.role);
        if role.is_none_or(|role| role == Role::Temporary) {
            return Err(Error::internal("a value without memory of its own"));
        }
        self.slot(value)
    }

    /// Writes class indices `(N)`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the value has another layout or another number of labels.
    pub fn write_labels(&self, value: Value, labels: &[u32]) -> Result<()> {
        let shape = self.shape(value)?;
        if shape.layout() != Layout::Labels || shape.elements() != Some(labels.len()) {
            return Err(Error::usage(format!("{} labels written to {shape:?}", labels.len())));
        }
        self.write_stored(value, bytemuck::cast_slice(labels))
    }

    /// Submits the pending writes, so that no copy of them is kept in host memory.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub fn flush(&self) -> Result<()> {
        self.gpu.flush()
    }

    /// Starts one step. The GPU may still be running it when this returns.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub fn run(&self) -> Result<()> {
        let started = self.start()?;
        self.last.replace(Some(started));
        Ok(())
    }

    /// Starts one step whose outputs are read by [`Session::output_of`]. A caller may start the next step before it
    /// reads them, so that the GPU does not wait for the host.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn start(&self) -> Result<Started> {
        let number = self.runs.replace(self.runs.get() + 1);
        let submission = self.submit(number, self.copies_of(number).as_flattened())?;
        Ok(Started { session: self.id, number, submission, expected: self.expected() })
    }

    /// Whether the GPU is done with a run. It does not wait.
    #[cfg(not(target_family = "wasm"))]
    pub fn is_done(&self, run: &Started) -> bool {
        self.gpu.is_done(&run.submission)
    }

    /// The expected stamp of the last submitted run.
    pub(super) fn expected(&self) -> Expected {
        Expected { number: self.number.get(), count: self.stamped.get() }
    }

    /// Submits the kernels of a step, followed by copies.
    fn submit(&self, run: u64, copies: &[(Buffer, Buffer, u64)]) -> Result<Submission> {
        self.submit_again(run, 0, copies)
    }

    /// Like `submit`, but repeats the kernels of the last submission `again` more times.
    pub(super) fn submit_again(
        &self,
        run: u64,
        again: u32,
        copies: &[(Buffer, Buffer, u64)],
    ) -> Result<Submission> {
        let Ready { kernels, stamp } = self.ready()?;
        // Run numbers start at 1, because memory that was never written contains 0.
        self.number.set((run as u32).wrapping_add(1));
        self.gpu.number(&self.stamp, self.number.get())?;
        let submit = |pass: CommandList| {
            let submission = self.gpu.submit(&pass)?;
            self.stamped.set(self.stamped.get().wrapping_add(1));
            Ok(submission)
        };
        let mut rest = &kernels[..];
        let (last, others) = self.plan.submissions.split_last().unwrap_or((&0, &[]));
        for count in others {
            let (dispatches, behind) = rest.split_at(*count.min(&rest.len()));
            submit(CommandList { dispatches, stamp, ..CommandList::default() })?;
            rest = behind;
        }
        let dispatches = &rest[..*last.min(&rest.len())];
        submit(CommandList { dispatches, again, stamp, copies })
    }

    /// The kernels of a step, for timing.
    pub(super) fn kernels(&self) -> Result<CommandList<'_>> {
        Ok(CommandList { dispatches: self.bound()?, ..CommandList::default() })
    }

    fn copies_of(&self, run: u64) -> &Copies {
        &self.copies[(run % Self::UNDER_WAY as u64) as usize]
    }

    /// The staging buffer of an output of a run, the offset of its stamp in bytes, and its shape.
    pub(super) fn copied(&self, run: &Started, value: Value) -> Result<(&Buffer, u64, Shape)> {
        if run.session != self.id {
            return Err(Error::internal("an output of a run of another session"));
        }
        let position = self.plan.outputs.iter().position(|v| *v == value);
        let Some([(_, staging, bytes), _]) = position.and_then(|i| self.copies_of(run.number).get(i)) else {
            return Err(Error::internal("a value that is no output of the plan"));
        };
        if self.runs.get() > run.number + Self::UNDER_WAY as u64 {
            return Err(Error::internal("an output of a run whose memory has been used again"));
        }
        Ok((staging, *bytes, self.shape(value)?))
    }

    /// An output without padding, from the bytes of the staging buffer. It verifies the stamp that follows the output.
    pub(super) fn unpacked(
        &self,
        run: &Started,
        mut read: Vec<u8>,
        before_stamp: u64,
        shape: Shape,
    ) -> Result<Vec<f32>> {
        let stamp = read.split_off(before_stamp as usize);
        read.truncate(shape.bytes() as usize);
        self.gpu.verify(&stamp, &read, run.expected)?;
        shape.unpad(&shape.decode(&read)?)
    }

    /// The bytes of a value in its memory layout. It verifies that all runs so far were done.
    pub(super) async fn stored(&self, value: Value) -> Result<Vec<u8>> {
        let bytes = self.shape(value)?.bytes();
        let ran = (self.stamped.get() > 0).then(|| (&self.stamp, self.expected()));
        self.gpu.download_stamped(self.slot(value)?, bytes, ran).await
    }

    /// Like `Session::output_of`, for callers that must not block, such as a browser.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub async fn output_async(&self, run: &Started, value: Value) -> Result<Vec<f32>> {
        let (staging, bytes, shape) = self.copied(run, value)?;
        let read = self.gpu.read_async(staging, bytes + STAMP_BYTES, &run.submission).await?;
        self.unpacked(run, read, bytes, shape)
    }

    /// Fills temporaries and outputs with bit patterns of NaN, for tests: reads of memory that was never written become
    /// visible.
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
