//! A graph as text, and as DOT for Graphviz.

use super::{Graph, Source};
use crate::error::Untrusted;
use std::fmt;

fn kind(source: &Source) -> &'static str {
    match source {
        Source::Input => "input",
        Source::State => "state",
        Source::Op(op) => op.name(),
    }
}

impl Graph {
    /// The graph in the DOT language, for `dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph {\n  node [shape=box, fontname=monospace];\n");
        for (i, node) in self.nodes().iter().enumerate() {
            let name = Untrusted::new(&node.name);
            let label = format!("{name}\\n{} {}", kind(&node.source), node.shape);
            dot += &format!("  v{i} [label=\"{}\"];\n", label.replace('"', "'"));
            for input in &node.inputs {
                dot += &format!("  v{} -> v{i};\n", input.index());
            }
        }
        dot + "}\n"
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.nodes().iter().enumerate() {
            let inputs: Vec<String> = node.inputs.iter().map(|v| format!("%{}", v.index())).collect();
            let call = format!("{}({})", kind(&node.source), inputs.join(", "));
            writeln!(f, "%{i} = {call}  {}  # {}", node.shape, Untrusted::new(&node.name))?;
        }
        Ok(())
    }
}
