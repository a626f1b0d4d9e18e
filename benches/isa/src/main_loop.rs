//! The main loop of a kernel: what a wave executes in one turn of it.

use crate::assembly::{Block, Instruction, Kind, Program};
use std::collections::{BTreeSet, HashMap};

/// One turn of the main loop, along its longest path. A wave in any role executes at most this.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Instructions, without hints.
    pub(crate) instructions: u64,
    pub(crate) cycles: u64,
    pub(crate) fma: u64,
    pub(crate) matrix: u64,
    pub(crate) loads: u64,
    /// Waits on memory between the first load of a block and the last multiply-add of the block before.
    pub(crate) memory_waits: u64,
    pub(crate) divisions: u64,
    pub(crate) branches: u64,
}

impl Turn {
    fn with(self, other: Self, times: u64) -> Self {
        Self {
            instructions: self.instructions + times * other.instructions,
            cycles: self.cycles + times * other.cycles,
            fma: self.fma + times * other.fma,
            matrix: self.matrix + times * other.matrix,
            loads: self.loads + times * other.loads,
            memory_waits: 0,
            divisions: self.divisions + times * other.divisions,
            branches: self.branches + times * other.branches,
        }
    }

    fn of(block: &Block) -> Self {
        let mut turn = Self::default();
        for instruction in &block.instructions {
            let is = |kind: Kind| u64::from(instruction.kind == kind);
            if let Kind::Fma(count) = instruction.kind {
                turn.fma += u64::from(count);
            }
            turn.instructions += 1 - is(Kind::Hint);
            turn.cycles += instruction.cycles;
            turn.matrix += is(Kind::Matrix);
            turn.loads += is(Kind::Load);
            turn.divisions += is(Kind::Divide);
            turn.branches += is(Kind::Branch);
        }
        turn
    }

    /// What the loop is there for: the multiply-adds, those of a matrix instruction many times.
    fn work(&self) -> u64 {
        self.fma + 1000 * self.matrix
    }
}

/// A path through the blocks of a loop.
#[derive(Debug, Default, Clone)]
struct Path {
    turn: Turn,
    blocks: Vec<usize>,
}

/// A natural loop: its first block, and the blocks that lead back to it.
#[derive(Debug)]
struct Loop {
    header: usize,
    body: BTreeSet<usize>,
}

impl Loop {
    fn is_inside(&self, outer: &Self) -> bool {
        self.header != outer.header && self.body.is_subset(&outer.body)
    }
}

/// The loop of a program that holds most of the multiply-adds, with the loop around it if there is one; if there are no
/// multiply-adds, the longest loop. `fma` is the number of multiply-adds of a turn, where the kernel's constants tell it;
/// from it follows how often an inner loop runs.
pub(crate) fn find(program: &Program, fma: Option<u64>) -> Option<Turn> {
    let loops = loops(program);
    let once = |l: &Loop| path(program, l, &loops, 1).turn;
    let innermost = |l: &&Loop| !loops.iter().any(|other| other.is_inside(l));
    let hot = loops.iter().filter(innermost).max_by_key(|l| (once(l).work(), once(l).instructions))?;
    let around = loops.iter().filter(|l| hot.is_inside(l)).min_by_key(|l| l.body.len());
    let Some(main) = around.filter(|_| once(hot).work() > 0) else {
        return Some(measured(program, &path(program, hot, &loops, 1)));
    };
    let (whole, inner) = (once(main).fma, once(hot).fma);
    let outside = whole.saturating_sub(inner);
    let turns = fma.and_then(|fma| fma.saturating_sub(outside).checked_div(inner)).unwrap_or(1).max(1);
    Some(measured(program, &path(program, main, &loops, turns)))
}

/// The natural loops of a program. Several branches back to the same block are one loop.
fn loops(program: &Program) -> Vec<Loop> {
    let before = |i: usize| (0..program.len()).filter(move |b| program[*b].next.contains(&i));
    let mut loops: Vec<Loop> = Vec::new();
    for (latch, block) in program.iter().enumerate() {
        for header in block.next.iter().copied().filter(|next| *next <= latch) {
            let mut body = BTreeSet::from([header]);
            let mut rest = vec![latch];
            while let Some(i) = rest.pop() {
                if body.insert(i) {
                    rest.extend(before(i));
                }
            }
            match loops.iter_mut().find(|l| l.header == header) {
                Some(known) => known.body.extend(body),
                None => loops.push(Loop { header, body }),
            }
        }
    }
    loops
}

/// The path of most instructions through a loop. Inner loops with multiply-adds run `turns` times, others once.
fn path(program: &Program, of: &Loop, loops: &[Loop], turns: u64) -> Path {
    Walk { program, of, loops, turns, known: HashMap::new() }.from(of.header).unwrap_or_default()
}

struct Walk<'a> {
    program: &'a Program,
    of: &'a Loop,
    loops: &'a [Loop],
    turns: u64,
    /// The longest path from a block; `None` while it is being looked for.
    known: HashMap<usize, Option<Path>>,
}

impl Walk<'_> {
    /// The longest path from a block to the end of the turn; `None` if the block only leads out of the loop.
    fn from(&mut self, i: usize) -> Option<Path> {
        if let Some(known) = self.known.get(&i) {
            return known.clone();
        }
        self.known.insert(i, None);
        let inner = self.loops.iter().filter(|l| l.header == i && l.is_inside(self.of));
        let (here, next) = match inner.max_by_key(|l| l.body.len()) {
            Some(inner) => {
                let path = path(self.program, inner, self.loops, self.turns);
                let times = if path.turn.work() > 0 { self.turns } else { 1 };
                let all = inner.body.iter().flat_map(|b| &self.program[*b].next);
                let next: Vec<usize> = all.copied().filter(|n| !inner.body.contains(n)).collect();
                (Path { turn: Turn::default().with(path.turn, times), ..path }, next)
            }
            None => {
                let block = &self.program[i];
                (Path { turn: Turn::of(block), blocks: vec![i] }, block.next.clone())
            }
        };
        let mut longest = next.contains(&self.of.header).then(Path::default);
        for n in next.into_iter().filter(|n| *n != self.of.header && self.of.body.contains(n)) {
            if let Some(path) = self.from(n)
                && longest.as_ref().is_none_or(|l| l.turn.instructions < path.turn.instructions)
            {
                longest = Some(path);
            }
        }
        let path = longest.map(|after| Path {
            turn: here.turn.with(after.turn, 1),
            blocks: [here.blocks, after.blocks].concat(),
        });
        self.known.insert(i, path.clone());
        path
    }
}

/// The turn of a path, with its waits for loads of this turn before the end of its multiplication. A wait for the loads of
/// the turn before, which leaves those of this one under way, is none of them. The last hundredth of the multiply-adds does
/// not count: a compiler mixes them with what comes after.
fn measured(program: &Program, path: &Path) -> Turn {
    let all: Vec<_> = path.blocks.iter().flat_map(|i| &program[*i].instructions).collect();
    let works = |i: &&Instruction| matches!(i.kind, Kind::Fma(_) | Kind::Matrix);
    let rest = all.iter().copied().filter(|i| works(i)).count() / 100;
    let last = all.iter().enumerate().rev().filter(|(_, i)| works(i)).nth(rest).map(|(at, _)| at);
    let first = all.iter().position(|i| i.kind == Kind::Load);
    let order = match (first, last) {
        (Some(first), Some(last)) if first < last => all[first..last].to_vec(),
        // The multiplication is in the next turn.
        (Some(first), Some(last)) => [&all[first..], &all[..last]].concat(),
        _ => Vec::new(),
    };
    let (mut loads, mut memory_waits) = (0, 0);
    for instruction in order {
        loads += usize::from(instruction.kind == Kind::Load);
        memory_waits += u64::from(instruction.waits.is_some_and(|left| left < loads));
    }
    Turn { memory_waits, ..path.turn }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aco;

    /// A loop with a branch that only some waves take, and an inner loop of two multiply-adds.
    const TEXT: &str = "BB0:\n\ts_nop ; 0\nBB1:\n\ts_waitcnt vmcnt(0) ; 0\n\ts_cbranch_scc0 BB3 ; 0\nBB2:\n\tds_write_b128 v0, v1 ; 0\nBB3:\n\tbuffer_load_dwordx4 v0 ; 0\n\ts_delay_alu x ; 0\nBB4:\n\tv_fmac_f32 v0, v1, v2 ; 0\n\tv_fmac_f32 v0, v1, v2 ; 0\n\ts_cbranch_scc1 BB4 ; 0\nBB5:\n\ts_cbranch_scc1 BB1 ; 0\nBB6:\n\ts_endpgm ; 0\n";

    #[test]
    fn an_inner_loop_counts_as_often_as_it_runs() {
        let turn = find(&aco::read(TEXT), Some(32)).unwrap();
        assert_eq!((turn.fma, turn.loads, turn.memory_waits), (32, 1, 0));
        // The wait, the branch, the write, the load, 16 turns of three, the branch back.
        assert_eq!(turn.instructions, 4 + 16 * 3 + 1);
        assert_eq!(turn.branches, 1 + 16 + 1);
    }

    #[test]
    fn a_wait_between_the_load_and_the_multiplication_is_found() {
        let text = TEXT.replace("s_delay_alu x", "s_waitcnt vmcnt(0)");
        assert_eq!(find(&aco::read(&text), Some(32)).unwrap().memory_waits, 1);
    }
}
