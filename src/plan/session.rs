//! A plan on a GPU: every buffer, pipeline and bind group is made here, before the first step; in a browser pipelines and bind groups by
//! [`Session::compiled`], or else by the first step.

use super::{Plan, Role};
use crate::error::{Error, Result};
use crate::gpu::{BoundDispatch, Buffer, CommandList, Expected, Gpu, STAMP_BYTES, Stamp, Submission};
use crate::kernels::BufId;
use crate::tensor::{Layout, Shape, Value};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    bound: OnceCell<Ready>,
    /// What stamps the outputs, and how many submissions it has stamped.
    pub(super) stamp: Stamp,
    pub(super) stamped: Cell<u32>,
    /// Tells its runs from those of others.
    id: u64,
    /// The number that was written last.
    number: Cell<u32>,
    /// Copies of the outputs into memory that the host can read: one set for each run that may be under way.
    copies: [Copies; Session::UNDER_WAY],
    pub(super) runs: Cell<u64>,
    pub(super) last: RefCell<Option<Started>>,
}

/// Sessions that were made.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// From, to, bytes: of each output, and of its stamp, which lies behind it.
type Copies = Vec<[(Buffer, Buffer, u64); 2]>;

/// Kernels with their buffers, compiled.
struct Ready {
    kernels: Vec<BoundDispatch>,
    stamp: Vec<BoundDispatch>,
}

/// A run whose outputs can be read, until [`Session::UNDER_WAY`] others have been started after it.
#[derive(Debug, Clone)]
pub struct Started {
    session: u64,
    number: u64,
    pub(super) submission: Submission,
    expected: Expected,
}

impl Session {
    /// How many runs may be under way before the outputs of the first must have been read.
    pub const UNDER_WAY: usize = 2;

    /// Makes everything that the plan needs, on an adapter that has not been checked.
    pub(super) fn untried(gpu: Arc<Gpu>, plan: Plan, shared: Option<&Self>) -> Result<Self> {
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
        // A browser would stand still until they are compiled: there Session::compiled is awaited.
        #[cfg(not(target_family = "wasm"))]
        pollster::block_on(session.compiled_untried())?;
        Ok(session)
    }

    pub(super) async fn compiled_untried(&self) -> Result<()> {
        self.plan.compiled(&self.gpu).await?;
        self.bound().map(|_| ())
    }

    /// The kernels with their buffers, compiled.
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
        let stamp = self.gpu.bind_stamp(&self.stamp)?;
        Ok(self.bound.get_or_init(|| Ready { kernels: bound, stamp }))
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
        let place = self.plan.places.get(&BufId::Value(value));
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

    /// The memory of an input, a state or an output, in the layout of its shape with padding: commands of one's own may copy from and to
    /// it on the GPU, before and after a run.
    ///
    /// # Errors
    /// [`Error::Internal`] for a value that is not in the plan, or whose memory is used for others too.
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
    /// [`Error::Usage`] if the value is no labels or takes another number of them.
    pub fn write_labels(&self, value: Value, labels: &[u32]) -> Result<()> {
        let shape = self.shape(value)?;
        if shape.layout() != Layout::Labels || shape.elements() != Some(labels.len()) {
            return Err(Error::usage(format!("{} labels written to {shape:?}", labels.len())));
        }
        self.write_stored(value, bytemuck::cast_slice(labels))
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
        let submission = self.submit(number, self.copies_of(number).as_flattened())?;
        Ok(Started { session: self.id, number, submission, expected: self.expected() })
    }

    /// What the stamps of the run say that was submitted last.
    pub(super) fn expected(&self) -> Expected {
        Expected { number: self.number.get(), count: self.stamped.get() }
    }

    /// Runs the kernels of a step, and copies after them.
    fn submit(&self, run: u64, copies: &[(Buffer, Buffer, u64)]) -> Result<Submission> {
        self.submit_again(run, 0, copies)
    }

    /// The same with the kernels of the last submission so often again.
    pub(super) fn submit_again(
        &self,
        run: u64,
        again: u32,
        copies: &[(Buffer, Buffer, u64)],
    ) -> Result<Submission> {
        let Ready { kernels, stamp } = self.ready()?;
        // Memory that nothing has written holds 0, which is no number.
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

    /// All kernels of a step, to be measured.
    pub(super) fn kernels(&self) -> Result<CommandList<'_>> {
        Ok(CommandList { dispatches: self.bound()?, ..CommandList::default() })
    }

    fn copies_of(&self, run: u64) -> &Copies {
        &self.copies[(run % Self::UNDER_WAY as u64) as usize]
    }

    /// Where an output of a run is copied to, how many bytes lie before its stamp, and its shape.
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

    /// An output without padding, from what was read of it and its stamp.
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

    /// The bytes of a value as they lie in memory, if all runs until now have been done.
    pub(super) async fn stored(&self, value: Value) -> Result<Vec<u8>> {
        let bytes = self.shape(value)?.bytes();
        let ran = (self.stamped.get() > 0).then(|| (&self.stamp, self.expected()));
        self.gpu.download_stamped(self.slot(value)?, bytes, ran).await
    }

    /// As `Session::output_of`, for callers that must not block: in a browser it is awaited.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub async fn output_async(&self, run: &Started, value: Value) -> Result<Vec<f32>> {
        let (staging, bytes, shape) = self.copied(run, value)?;
        let read = self.gpu.read_async(staging, bytes + STAMP_BYTES, &run.submission).await?;
        self.unpacked(run, read, bytes, shape)
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
