//! The nodes that an output needs, the check of their operators, and the input of the file.

use super::node::{DAMAGED, place};
use super::unknown::does;
use super::versions::is_known;
use crate::error::{Error, Result, Untrusted};
use crate::weights::Source;
use crate::weights::onnx::{File, proto};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What is known of a graph before it is imported.
#[derive(Debug)]
pub(super) struct Order {
    /// The indices of the nodes that the output needs, in the order of the file.
    pub(super) nodes: Vec<usize>,
    /// The name of the input.
    pub(super) input: String,
    /// The name of the output.
    pub(super) output: String,
    /// The batch size of the file, if it is fixed.
    pub(super) batch: Option<usize>,
    /// Channels, height and width of the input; `None` for those that are open.
    pub(super) sizes: [Option<usize>; 3],
    /// Whether channels are the last axis of the input, as in TensorFlow.
    pub(super) channels_last: bool,
    /// How many numbers all tensors of the file have.
    pub(super) numbers: usize,
}

impl Order {
    /// # Errors
    /// [`Error::Data`] if the graph does not have exactly one input, is unsorted or cyclic, or has unknown operators, which are all named.
    pub(super) fn of(file: &File, output: &str) -> Result<Self> {
        let (input, sizes) = input(file)?;
        let nodes = needed(file, &input, output)?;
        known(file, &nodes)?;
        let channels_last = super::layout::channels_last(file, &input, sizes);
        let [batch, channels, h, w] = match sizes {
            [n, h, w, c] if channels_last => [n, c, h, w],
            sizes => sizes,
        };
        let numbers = file.entries().values().map(|e| e.elements()).fold(0usize, usize::saturating_add);
        Ok(Self {
            nodes,
            input,
            output: output.to_owned(),
            batch,
            sizes: [channels, h, w],
            channels_last,
            numbers,
        })
    }
}

/// The input of the graph and its sizes. Old exporters list tensors of the file as inputs too; these are ignored.
pub(super) fn input(file: &File) -> Result<(String, [Option<usize>; 4])> {
    let open: Vec<_> = file.graph().input.iter().filter(|i| file.tensor(&i.name).is_none()).collect();
    let [one] = open[..] else {
        let names: Vec<_> = open.iter().take(5).map(|i| i.name.as_str()).collect();
        return Err(Error::data(format!(
            "the graph has {} inputs, not one: {}",
            open.len(),
            names.join(", ")
        ))
        .hint("give a network that takes pictures alone, with its weights in the file"));
    };
    let described = one.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    // An input of integers would be pixels. Here the input is normalised pixels.
    let number = described.map_or(0, |t| t.elem_type);
    if ![0, proto::tensor::FLOAT, proto::tensor::FLOAT16, proto::tensor::DOUBLE, proto::tensor::BFLOAT16]
        .contains(&number)
    {
        return Err(Error::data("its input takes no floating-point numbers")
            .at(Untrusted::short(&one.name))
            .hint("export the network without the conversion of its pixels"));
    }
    let shape = described.and_then(|t| t.shape.as_ref());
    let Some(shape) = shape else { return Ok((one.name.clone(), [None; 4])) };
    let size = |dim: &proto::Dimension| match dim.dim_value {
        Some(value) if value > 0 => usize::try_from(value).ok().filter(|v| *v <= 1 << 14).map(Some),
        // A size of 0 or less means that it is open.
        _ => Some(None),
    };
    let sizes: Option<Vec<_>> = shape.dim.iter().map(size).collect();
    match sizes.as_deref() {
        Some([n, c, h, w]) => Ok((one.name.clone(), [*n, *c, *h, *w])),
        _ => Err(Error::data(format!("its {} sizes are not those of pictures", shape.dim.len()))
            .at(format!("input {}", one.name))
            .hint("give a network that takes a batch of pictures: N, C, H, W, each side at most 16384")),
    }
}

/// The nodes that an output depends on.
pub(super) fn needed(file: &File, input: &str, output: &str) -> Result<Vec<usize>> {
    let nodes = &file.graph().node;
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if makers.insert(name, i).is_some() || name == input || file.tensor(name).is_some() {
                return Err(Error::data(format!("{name} is made twice")).at(place(node)).hint(DAMAGED));
            }
        }
    }
    let first = makers
        .get(output)
        .ok_or_else(|| Error::data("no node makes it").at(format!("output {output}")).hint(DAMAGED))?;
    let mut seen = HashSet::from([*first]);
    let mut open = vec![*first];
    while let Some(i) = open.pop() {
        let Some(node) = nodes.get(i) else { continue };
        for name in node.input.iter().filter(|n| !n.is_empty()) {
            let Some(maker) = makers.get(name.as_str()) else {
                if name != input && file.tensor(name).is_none() {
                    let what = format!("it reads {name}, which nothing makes and the file does not hold");
                    return Err(Error::data(what).at(place(node)).hint(DAMAGED));
                }
                continue;
            };
            if *maker >= i {
                let what = format!(
                    "it reads {name}, which a later node makes: the graph has a cycle or is not sorted"
                );
                return Err(Error::data(what).at(place(node)).hint(DAMAGED));
            }
            if seen.insert(*maker) {
                open.push(*maker);
            }
        }
    }
    let mut order: Vec<usize> = seen.into_iter().collect();
    order.sort_unstable();
    Ok(order)
}

/// Refuses unknown operators, and names all of them.
fn known(file: &File, order: &[usize]) -> Result<()> {
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    let mut first = None;
    for node in order.iter().filter_map(|i| file.graph().node.get(*i)) {
        let name = operator(node);
        if !is_known(&name) {
            *unknown.entry(name).or_default() += 1;
            first = first.or(Some(node));
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let quantised = unknown.keys().any(|name| name.contains("Quantize") || name.contains("QLinear"));
    let own = unknown.keys().any(|name| file.model().functions.iter().any(|f| name.ends_with(&f.name)));
    let list: Vec<_> = unknown.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    let does = first.map_or(String::new(), |node| match does(&node.op_type) {
        Some(does) => format!("; {} {does}", place(node)),
        None => format!("; the first is {}", place(node)),
    });
    let what = format!("operators that are not known here: {}{does}", list.join(", "));
    Err(Error::data(what).hint(if quantised {
        "the network is quantised; give the one with floating-point weights"
    } else if own {
        "some are functions of the file; export the network with its functions inlined"
    } else {
        "the networks of the five families need none of them"
    }))
}

/// The name of an operator, with its domain if that is not ONNX's own.
pub(super) fn operator(node: &proto::Node) -> String {
    match node.domain.as_str() {
        "" | "ai.onnx" => Untrusted::short(&node.op_type).into(),
        domain => format!("{}.{}", Untrusted::short(domain), Untrusted::short(&node.op_type)),
    }
}
