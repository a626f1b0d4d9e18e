//! The planner: it orders the operations, fuses them, selects algorithms, records kernels, and assigns memory slots to
//! buffers.

use super::fusion::{Group, groups};
use super::{
    Label, Plan, Planned, Role, Step, batch_chunks, memory, multi_tensor, schedule, slices, watchdog,
};
use crate::error::Result;
use crate::graph::{Graph, Op, Reduces, Source};
use crate::kernels::{
    Algorithm, Batch, Buf, BufId, ChannelReduction, ConvProblem, Fusion, Handover, Partials, RecordOptions,
    Recorder, chunk_ranges,
};
use crate::tensor::{Shape, Value};
use std::collections::{BTreeMap, HashMap};

/// Like [`Plan::new`], but without the check of the limits.
pub(super) fn plan(graph: &Graph, outputs: &[Value], options: &RecordOptions) -> Result<Plan> {
    let order = schedule::order(graph, outputs)?;
    let mut planner = Planner::new(graph, &order, outputs, options)?;
    planner.add_inputs_and_states(&order)?;
    for group in groups(graph, &order, outputs)? {
        planner.record(&group, outputs)?;
    }
    planner.finish(outputs)
}

/// The fused reduction of a buffer, for consumers of the same view.
struct Reduced {
    of: Buf,
    reduction: ChannelReduction,
    partials: Partials,
}

/// The buffer of each value.
struct Buffers<'a> {
    graph: &'a Graph,
    /// The values that are stored in chunks or within other values. Each other value has its own buffer.
    shared: HashMap<Value, Buf>,
}

impl Buffers<'_> {
    fn of(&self, value: Value) -> Result<Buf> {
        match self.shared.get(&value) {
            Some(buf) => Ok(*buf),
            None => Ok(Buf::of(value, self.graph.shape(value)?)),
        }
    }

    fn of_inputs(&self, value: Value) -> Result<Vec<Buf>> {
        self.graph.node(value)?.inputs.iter().map(|input| self.of(*input)).collect()
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    recorder: Recorder,
    buffers: Buffers<'a>,
    /// The partials that producers have left for consumers.
    reduced: HashMap<BufId, Reduced>,
    deferred: HashMap<BufId, Partials>,
    values: HashMap<Value, Planned>,
    labels: HashMap<Value, Label>,
    macs: HashMap<Value, u64>,
    steps: Vec<Step>,
    products: BTreeMap<ConvProblem, Algorithm>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, order: &[Value], outputs: &[Value], options: &RecordOptions) -> Result<Self> {
        let mut shared = batch_chunks::find(graph, order, outputs, options.limits.bindable_bytes())?;
        let buffers = Buffers { graph, shared: shared.clone() };
        shared.extend(slices::find(graph, order, outputs, |value| buffers.of(value))?);
        Ok(Self {
            graph,
            recorder: Recorder::new(options.clone()),
            buffers: Buffers { graph, shared },
            reduced: HashMap::new(),
            deferred: HashMap::new(),
            values: HashMap::new(),
            labels: HashMap::new(),
            macs: HashMap::new(),
            steps: Vec::new(),
            products: BTreeMap::new(),
        })
    }

    fn add_inputs_and_states(&mut self, order: &[Value]) -> Result<()> {
        for value in order {
            match self.graph.node(*value)?.source {
                Source::Input => self.add(*value, Role::Input)?,
                Source::State => self.add(*value, Role::State)?,
                Source::Op(_) => {}
            }
        }
        Ok(())
    }

    /// Adds a value that needs memory.
    fn add(&mut self, value: Value, role: Role) -> Result<()> {
        let node = self.graph.node(value)?;
        let (name, shape, kind) = (node.name.clone(), node.shape, node.kind);
        self.values.insert(value, Planned { name, shape, role, kind });
        Ok(())
    }

    /// Records the kernels of a fusion group.
    fn record(&mut self, group: &Group, outputs: &[Value]) -> Result<()> {
        let node = self.graph.node(group.head)?;
        let Source::Op(op) = &node.source else { return Ok(()) };
        let result = group.result();
        let shapes = node.inputs.iter().map(|v| self.graph.shape(*v)).collect::<Result<Vec<_>>>()?;
        let macs = op.macs(&shapes);
        let label = Label { layer: node.name.clone(), op: op.name() };
        self.recorder.start(result, node.own);
        self.record_group(group, op.as_ref(), macs).map_err(|e| e.at(format!("layer {label}")))?;
        // A result that is left as partials is not stored.
        if !self.deferred.contains_key(&BufId::Value(result)) {
            self.add(result, if outputs.contains(&result) { Role::Output } else { Role::Temporary })?;
        }
        self.macs.insert(result, macs);
        self.labels.insert(result, label);
        self.steps.push(Step { value: result, members: group.members() });
        Ok(())
    }

    fn record_group(&mut self, group: &Group, op: &dyn Op, macs: u64) -> Result<()> {
        let (x, y) = (self.buffers.of_inputs(group.head)?, self.buffers.of(group.result())?);
        let reduction =
            group.reduction.map(|reduction| reduction.with(|v| self.buffers.of(v))).transpose()?;
        let fusion = Fusion {
            algorithm: None,
            epilogue: group.epilogue(self.graph, &mut self.recorder, |v| self.buffers.of_inputs(v))?,
            reduction: reduction.filter(|reduction| is_whole(y) && has_whole_operands(reduction)),
            partials: group.partials_in.and_then(|input| self.partials(input, op, &x)),
            defers: group.partials_out,
        };
        let Handover { reduced, deferred } = self.record_in_chunks(op, &x, &fusion, y, macs)?;
        if let (Some(partials), Some(reduction)) = (reduced, fusion.reduction) {
            self.reduced.insert(y.id, Reduced { of: y, reduction, partials });
        }
        if let Some(partials) = deferred {
            self.deferred.insert(y.id, partials);
        }
        Ok(())
    }

    /// The partials that a producer has left of an input, if the operation reduces that input or accepts its partials.
    fn partials(&self, input: usize, op: &dyn Op, x: &[Buf]) -> Option<Partials> {
        let of = *x.get(input)?;
        let Some(wanted) = op.traits().reduces else { return self.deferred.get(&of.id).copied() };
        let reduced = self.reduced.get(&of.id)?;
        // The partials fit only the same view, because a reshape has other channels. A dot product must also have the
        // same factor.
        let same = reduced.of == of
            && match (wanted, reduced.reduction) {
                (Reduces::MeanM2 { .. }, ChannelReduction::MeanM2) => true,
                (Reduces::SumAndDot { x: i, .. }, ChannelReduction::SumAndDot { x: by, .. }) => {
                    x.get(i) == Some(&by)
                }
                _ => false,
            };
        same.then_some(reduced.partials)
    }

    /// Records an operation. An operation that works image by image is recorded in ranges of as many images as can be
    /// bound.
    fn record_in_chunks(
        &mut self,
        op: &dyn Op,
        x: &[Buf],
        fusion: &Fusion,
        y: Buf,
        macs: u64,
    ) -> Result<Handover> {
        let per_image = op.traits().per_image;
        let of_pictures: Vec<Buf> =
            x.iter().enumerate().filter(|(i, _)| per_image.contains(*i)).map(|(_, buf)| *buf).collect();
        if of_pictures.is_empty() {
            return self.record_fused(op, x, fusion, y);
        }
        let bound: Vec<Buf> =
            of_pictures.into_iter().chain(fusion.epilogue.activations()).chain([y]).collect();
        let ranges = watchdog::shorter(chunk_ranges(&bound), &bound, macs, self.recorder.options().call_macs);
        if ranges.len() == 1 {
            return self.record_fused(op, x, fusion, y);
        }
        for images in ranges {
            let views = x.iter().enumerate().map(|(i, input)| match per_image.contains(i) {
                true => input.images(images.clone()),
                false => Ok(*input),
            });
            let views = views.collect::<Result<Vec<_>>>()?;
            // A fused reduction must cover all images at once.
            let epilogue = fusion.epilogue.images(&images)?;
            let fusion = Fusion { epilogue, reduction: None, ..fusion.clone() };
            self.record_fused(op, &views, &fusion, y.images(images)?)?;
        }
        Ok(Handover::default())
    }

    /// Selects the algorithm of an operation and records the operation.
    fn record_fused(&mut self, op: &dyn Op, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        if !self.recorder.trusts() {
            // Only operations of this library take part in fusion and leave partials.
            op.record(&mut self.recorder, x, y)?;
            return Ok(Handover::default());
        }
        let shapes: Vec<Shape> = x.iter().map(|buf| buf.shape).collect();
        let Some(problem) = op.problem(&shapes) else {
            return op.record_fused(&mut self.recorder, x, fusion, y);
        };
        let algorithm = self.recorder.options().select(&problem);
        self.recorder.options().check(algorithm, &problem)?;
        self.products.insert(problem, algorithm);
        let fusion = Fusion { algorithm: Some(algorithm), ..fusion.clone() };
        op.record_fused(&mut self.recorder, x, &fusion, y)
    }

    fn finish(self, outputs: &[Value]) -> Result<Plan> {
        let Self { recorder, values, mut labels, macs, steps, products, .. } = self;
        let options = recorder.options().clone();
        let recorded = recorder.into_recorded();
        let (dispatches, arenas) = multi_tensor::lower(recorded, &options, &values, &mut labels)?;
        let (slots, places) = memory::assign(&dispatches, &values, &arenas);
        let submissions = watchdog::submissions(&dispatches, &macs, options.call_macs);
        let outputs = outputs.to_vec();
        Ok(Plan { dispatches, submissions, values, outputs, slots, places, macs, labels, steps, products })
    }
}

/// Whether a view covers all images and all channels of one buffer.
fn is_whole(buf: Buf) -> bool {
    let Batch { first, of, chunk } = buf.batch;
    buf.slice.is_none() && first == 0 && chunk == 0 && buf.shape.dims()[0] == of
}

fn has_whole_operands(reduction: &ChannelReduction) -> bool {
    match reduction {
        ChannelReduction::MeanM2 => true,
        ChannelReduction::SumAndDot { x, .. } => is_whole(*x),
    }
}
