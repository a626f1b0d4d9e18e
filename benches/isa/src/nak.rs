//! The assembly of NAK, the compiler of Mesa's driver for NVIDIA chips.

use crate::assembly::{Block, Instruction, Kind, Program};

/// The scoreboards of a wave. An instruction of unknown latency sets one, and a reader waits for it.
const SCOREBOARDS: usize = 6;

/// Reads a text of blocks `block N LABEL [before] -> {`, lines, `} -> [after]`.
pub(crate) fn read(text: &str) -> Program {
    let mut program = Program::new();
    // Which scoreboards a load from memory has set, and nobody has waited for.
    let mut loading = [false; SCOREBOARDS];
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("block") && line.ends_with('{') {
            program.push(Block::default());
        } else if let (Some(after), Some(block)) = (line.strip_prefix("} -> ["), program.last_mut()) {
            let after = after.trim_end_matches(']').split(',');
            block.next.extend(after.filter_map(|n| n.trim().parse::<usize>().ok()));
        } else if let Some(block) = program.last_mut().filter(|_| line.contains("// delay=")) {
            block.instructions.push(instruction(line, &mut loading));
        }
    }
    program
}

/// The instruction of a line.
fn instruction(line: &str, loading: &mut [bool; SCOREBOARDS]) -> Instruction {
    let (code, notes) = line.split_once("//").unwrap_or((line, ""));
    let note = |name: &str| {
        notes.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let cycles = note("delay=").parse().unwrap_or(1);
    let kind = kind(code);
    let mut waits = false;
    for (i, _) in note("wt=").chars().rev().enumerate().filter(|(_, bit)| *bit == '1') {
        if let Some(set) = loading.get_mut(i) {
            waits |= std::mem::take(set);
        }
    }
    if let Some(set) = note("wr:").parse::<usize>().ok().and_then(|i| loading.get_mut(i)) {
        *set = kind == Kind::Load;
    }
    Instruction { kind, waits: waits.then_some(0), cycles }
}

fn kind(code: &str) -> Kind {
    // A predicate, then `results = operation operands` or the operation alone.
    let code = code.trim();
    let code = if code.starts_with('@') { code.split_once(' ').map_or("", |(_, rest)| rest) } else { code };
    let operation = code.split_once(" = ").map_or(code, |(_, right)| right);
    let op = operation.split_whitespace().next().unwrap_or_default();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| op.starts_with(prefix));
    if starts(&["ffma"]) {
        Kind::Fma(1)
    } else if starts(&["hmma", "imma"]) {
        Kind::Matrix
    } else if starts(&["ld.global", "ld.generic"]) {
        Kind::Load
    } else if starts(&["mufu.rcp"]) {
        Kind::Divide
    } else if starts(&["bra"]) {
        Kind::Branch
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_of_a_load_waits() {
        let text = "block 0 L0 [] -> {\n r0..4 = ld.global.a64.b128 [r4..6] // delay=5 wr:1\n@!p0 bra L0 // delay=2\n r0 = ffma r1 r2 r0 // delay=1 wt=000010\n} -> [0, 1]\n";
        let program = read(text);
        assert_eq!(program[0].next, [0, 1]);
        let kinds: Vec<Kind> = program[0].instructions.iter().map(|i| i.kind).collect();
        assert_eq!(kinds, [Kind::Load, Kind::Branch, Kind::Fma(1)]);
        assert_eq!(
            program[0].instructions.iter().map(|i| i.waits.is_some()).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(program[0].instructions.iter().map(|i| i.cycles).sum::<u64>(), 8);
    }
}
