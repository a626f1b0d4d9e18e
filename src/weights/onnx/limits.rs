//! A limit on the memory that decoding a file takes. A message of two bytes in a file takes hundreds in memory. So the fields are
//! counted before the file is decoded: in one pass over the bytes, without recursion and without allocation.

use super::proto;
use crate::error::{Error, Result};
use std::mem::size_of;

/// The memory that messages and numbers of any file may take, besides the file itself. The deepest networks take a tenth of it.
const ROOM: usize = 64 << 20;
/// The additional memory for each byte of a file: a 16-bit number of one to three bytes is decoded to four.
const BYTES_OF_BYTE: usize = 4;

/// The messages that are decoded and contain other messages or lists.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    OperatorSet,
    KeyValue,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
}

/// What a field becomes in memory.
enum Field {
    /// Nothing, or a value inside its message.
    Skipped,
    /// An item of a list of strings.
    Text,
    /// Numbers of this size in bytes, single or packed.
    Numbers(usize),
    Message(Kind),
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Self::Model => size_of::<proto::Model>(),
            Self::OperatorSet => size_of::<proto::OperatorSet>(),
            Self::KeyValue => size_of::<proto::KeyValue>(),
            Self::Function => size_of::<proto::Function>(),
            Self::Graph => size_of::<proto::Graph>(),
            Self::Node => size_of::<proto::Node>(),
            Self::Attribute => size_of::<proto::Attribute>(),
            Self::Tensor => size_of::<proto::Tensor>(),
            Self::ValueInfo => size_of::<proto::ValueInfo>(),
            Self::Type => size_of::<proto::Type>(),
            Self::TensorType => size_of::<proto::TensorType>(),
            Self::Shape => size_of::<proto::TensorShape>(),
            Self::Dimension => size_of::<proto::Dimension>(),
        }
    }

    /// The fields of proto.rs.
    fn field(self, tag: u64) -> Field {
        use Field::{Message, Numbers, Skipped, Text};
        match (self, tag) {
            (Self::Model, 7) => Message(Self::Graph),
            (Self::Model, 8) => Message(Self::OperatorSet),
            (Self::Model, 14) | (Self::Tensor, 13) => Message(Self::KeyValue),
            (Self::Model, 25) => Message(Self::Function),
            (Self::Graph, 1) => Message(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5) => Message(Self::Tensor),
            (Self::Graph, 11 | 12) => Message(Self::ValueInfo),
            (Self::Node, 5) => Message(Self::Attribute),
            (Self::Node, 1 | 2) => Text,
            (Self::Attribute, 7) | (Self::Tensor, 4) => Numbers(4),
            (Self::Attribute, 8) | (Self::Tensor, 1 | 7 | 10) => Numbers(8),
            (Self::Tensor, 5) => Numbers(4),
            (Self::ValueInfo, 2) => Message(Self::Type),
            (Self::Type, 1) => Message(Self::TensorType),
            (Self::TensorType, 2) => Message(Self::Shape),
            (Self::Shape, 1) => Message(Self::Dimension),
            _ => Skipped,
        }
    }
}

/// Checks that the bytes are messages of a model and that decoding them takes no more memory than their length justifies.
///
/// # Errors
/// [`Error::Data`] if they are incomplete, are no protocol buffer, or would take too much memory.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let broken = || {
        Error::data("this is no usable ONNX file: a message in it is cut off or damaged").hint("get it again")
    };
    let most = bytes.len().saturating_mul(BYTES_OF_BYTE).saturating_add(ROOM);
    let mut cost = 0usize;
    // The ends of the messages around the current field. No message contains its own kind, so there are only a few.
    let mut open = vec![(Kind::Model, bytes.len())];
    let mut at = 0;
    while let Some(&(kind, end)) = open.last() {
        if at >= end {
            open.pop();
            continue;
        }
        let key = varint(bytes, &mut at).ok_or_else(broken)?;
        let field = kind.field(key >> 3);
        let (length, wire) = match key & 7 {
            0 => {
                varint(bytes, &mut at).ok_or_else(broken)?;
                (0, 0)
            }
            1 => (8, 1),
            2 => {
                let length = varint(bytes, &mut at).ok_or_else(broken)?;
                (usize::try_from(length).map_err(|_| broken())?, 2)
            }
            5 => (4, 5),
            // Groups were deprecated before ONNX existed.
            _ => return Err(broken()),
        };
        let next = at.checked_add(length).filter(|next| *next <= end && at <= end).ok_or_else(broken)?;
        cost = cost.saturating_add(match field {
            Field::Skipped => 0,
            Field::Text => size_of::<String>(),
            Field::Message(inner) => inner.bytes(),
            Field::Numbers(bytes_each) if wire != 2 => bytes_each,
            // Packed numbers: those of fixed size are counted by length, varints by their last bytes.
            Field::Numbers(bytes_each) => {
                let fixed = matches!((kind, key >> 3), (Kind::Attribute, 7) | (Kind::Tensor, 4 | 10));
                let packed = bytes.get(at..next).unwrap_or_default();
                if fixed { packed.len() } else { packed.iter().filter(|b| **b < 0x80).count() * bytes_each }
            }
        });
        if cost > most {
            return Err(Error::data("this ONNX file would take far more memory than its size")
                .hint("it was made to do harm, or is damaged"));
        }
        match field {
            Field::Message(inner) if wire == 2 => open.push((inner, next)),
            Field::Message(_) => return Err(broken()),
            _ => at = next,
        }
    }
    Ok(())
}

/// Reads a varint: a number in base 128 of at most ten bytes.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..10 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
