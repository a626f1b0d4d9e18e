//! The assembly of ACO, the compiler of Mesa's driver for AMD chips.

use crate::assembly::{Block, Instruction, Kind, Program};
use std::collections::HashMap;

/// Reads a text of blocks `BBn:` and lines `\top operands ; code`.
pub(crate) fn read(text: &str) -> Program {
    let mut labels = HashMap::new();
    let mut lines: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        if let Some(label) = line.strip_suffix(':').filter(|label| label.starts_with("BB")) {
            labels.insert(label, lines.len());
            lines.push(Vec::new());
        } else if let Some(block) = lines.last_mut().filter(|_| line.starts_with('\t')) {
            let code = line.split(';').next().unwrap_or_default().trim();
            if !code.is_empty() {
                block.push(code);
            }
        }
    }
    let count = lines.len();
    let block = |(i, lines): (usize, &Vec<&str>)| {
        let mut next = Vec::new();
        let mut falls_through = i + 1 < count;
        for line in lines {
            let op = line.split_whitespace().next().unwrap_or_default();
            if op.starts_with("s_branch") || op.starts_with("s_cbranch") {
                next.extend(line.split_whitespace().last().and_then(|label| labels.get(label)));
            }
            falls_through &= !(op == "s_branch" || op == "s_endpgm" || op.starts_with("s_setpc"));
        }
        next.extend(falls_through.then_some(i + 1));
        Block { instructions: lines.iter().flat_map(|line| instructions(line)).collect(), next }
    };
    lines.iter().enumerate().map(block).collect()
}

/// The instructions of a line. RDNA 3 issues two at once, which a line joins by `::`; they count as two.
fn instructions(line: &str) -> impl Iterator<Item = Instruction> {
    let waits = waits(line);
    line.split("::").map(move |part| Instruction { kind: kind(part.trim()), waits, cycles: 0 })
}

/// `s_waitcnt vmcnt(2) lgkmcnt(0)`, or on RDNA 4 `s_wait_loadcnt 0x2`.
fn waits(code: &str) -> Option<usize> {
    if let Some((_, count)) = code.split_once("vmcnt(") {
        return count.split(')').next()?.parse().ok();
    }
    let count = code.strip_prefix("s_wait_loadcnt")?.split_whitespace().next_back()?;
    let count = usize::from_str_radix(count.trim_start_matches("0x"), 16).ok()?;
    // Beside it the same word has the count of workgroup memory.
    Some(if code.starts_with("s_wait_loadcnt_dscnt") { count >> 8 } else { count })
}

fn kind(code: &str) -> Kind {
    let op = code.split_whitespace().next().unwrap_or_default();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| op.starts_with(prefix));
    if starts(&["v_pk_fma_f32"]) {
        return Kind::Fma(2);
    }
    if starts(&[
        "v_fma_f32",
        "v_fmac_f32",
        "v_dual_fmac_f32",
        "v_dual_fma_f32",
        "v_fma_mix_f32",
        "v_mad_f32",
        "v_mac_f32",
    ]) {
        return Kind::Fma(1);
    }
    if starts(&["v_wmma", "v_mfma", "v_swmmac"]) {
        return Kind::Matrix;
    }
    if starts(&["buffer_load", "global_load", "flat_load"]) {
        return Kind::Load;
    }
    if starts(&["v_rcp_f32", "v_rcp_iflag", "v_s_rcp_f32"]) {
        return Kind::Divide;
    }
    if starts(&["s_cbranch", "s_branch"]) {
        return Kind::Branch;
    }
    if starts(&["s_delay_alu", "s_clause", "s_inst_prefetch", "s_set_inst_prefetch", "s_wait_alu"]) {
        return Kind::Hint;
    }
    Kind::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_followers_and_kinds() {
        let text = "BB0:\n\ts_waitcnt vmcnt(1) lgkmcnt(0) ; bf8c\n\tv_fmac_f32_e32 v0, v1, v2 ; 1\n\ts_cbranch_scc0 BB0 ; 2\nBB1:\n\tv_dual_fmac_f32 v0, v1, v2 :: v_dual_mov_b32 v3, v4 ; 3\n\ts_endpgm ; 4\n";
        let program = read(text);
        assert_eq!(program[0].next, [0, 1]);
        assert!(program[1].next.is_empty());
        let all: Vec<Instruction> = program.iter().flat_map(|b| b.instructions.clone()).collect();
        let kinds: Vec<Kind> = all.iter().map(|i| i.kind).collect();
        use Kind::{Branch, Fma, Other};
        assert_eq!(kinds, [Other, Fma(1), Branch, Fma(1), Other, Other]);
        assert_eq!(all.iter().filter_map(|i| i.waits).collect::<Vec<_>>(), [1]);
        assert_eq!(waits("s_wait_loadcnt_dscnt 0x302"), Some(3));
        assert_eq!(waits("s_wait_loadcnt 0x4"), Some(4));
    }
}
