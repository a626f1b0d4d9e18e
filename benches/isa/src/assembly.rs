//! Assembly text as basic blocks, whatever the chip.

/// What an instruction does, as far as the measures need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many fused multiply-adds of one number each.
    Fma(u32),
    /// A matrix instruction.
    Matrix,
    /// A load from memory.
    Load,
    /// A reciprocal: every division has one.
    Divide,
    Branch,
    /// Takes no issue slot of its own, such as `s_delay_alu`.
    Hint,
    Other,
}

/// An instruction of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) kind: Kind,
    /// If it waits for loads from memory: how many of the latest may still be under way.
    pub(crate) waits: Option<usize>,
    /// The cycles until the next one may be issued, where the compiler says so.
    pub(crate) cycles: u64,
}

/// Instructions that run one after the other, and the blocks that may follow.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) next: Vec<usize>,
}

/// Blocks in the order of the text. A loop is a range of blocks whose last one goes back to the first.
pub(crate) type Program = Vec<Block>;
