//! The versions of operators. Only this file knows at which version of ONNX's operators a form or a meaning changes.
//! `tests/golden/onnx/versions.py` compares the table with the definitions of the `onnx` package, and makes a model for both sides of each
//! change.

use super::node::{DAMAGED, Node};
use crate::error::{Error, Result};

/// The supported operators, with the versions at which their definitions changed. Only the features that the networks need are supported;
/// others are refused.
pub(super) const OPERATORS: &[(&str, &[i64])] = &[
    ("Add", &[1, 6, 7, 13, 14]),
    ("AveragePool", &[1, 7, 10, 11, 19, 22]),
    ("BatchNormalization", &[1, 6, 7, 9, 14, 15]),
    ("Cast", &[1, 6, 9, 13, 19, 21, 23, 24, 25, 28]),
    ("Clip", &[1, 6, 11, 12, 13]),
    ("Concat", &[1, 4, 11, 13]),
    ("Constant", &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25]),
    ("ConstantOfShape", &[9, 20, 21, 23, 24, 25]),
    ("Conv", &[1, 11, 22]),
    ("Div", &[1, 6, 7, 13, 14]),
    ("Dropout", &[1, 6, 7, 10, 12, 13, 22]),
    ("Flatten", &[1, 9, 11, 13, 21, 23, 24, 25]),
    ("Gather", &[1, 11, 13]),
    ("Gemm", &[1, 6, 7, 9, 11, 13]),
    ("Expand", &[8, 13]),
    ("GlobalAveragePool", &[1, 22]),
    ("GlobalMaxPool", &[1, 22]),
    ("Identity", &[1, 13, 14, 16, 19, 21, 23, 24, 25]),
    ("LRN", &[1, 13]),
    ("LogSoftmax", &[1, 11, 13]),
    ("MatMul", &[1, 9, 13]),
    ("MaxPool", &[1, 8, 10, 11, 12, 22]),
    ("Mul", &[1, 6, 7, 13, 14]),
    ("Pad", &[1, 2, 11, 13, 18, 19, 21, 23, 24, 25]),
    ("Neg", &[1, 6, 13]),
    ("Reciprocal", &[1, 6, 13]),
    ("ReduceMax", &[1, 11, 12, 13, 18, 20]),
    ("ReduceMean", &[1, 11, 13, 18]),
    ("ReduceProd", &[1, 11, 13, 18]),
    ("Relu", &[1, 6, 13, 14]),
    ("Reshape", &[1, 5, 13, 14, 19, 21, 23, 24, 25]),
    ("Shape", &[1, 13, 15, 19, 21, 23, 24, 25]),
    ("Slice", &[1, 10, 11, 13]),
    ("Sigmoid", &[1, 6, 13]),
    ("Softmax", &[1, 11, 13]),
    ("Sqrt", &[1, 6, 13]),
    ("Split", &[1, 2, 11, 13, 18]),
    ("Squeeze", &[1, 11, 13, 21, 23, 24, 25]),
    ("Sub", &[1, 6, 7, 13, 14]),
    ("Sum", &[1, 6, 8, 13]),
    ("Transpose", &[1, 13, 21, 23, 24, 25]),
    ("Unsqueeze", &[1, 11, 13, 21, 23, 24, 25]),
];

/// Attributes that became inputs: the version of the change, and the index of the input.
const INPUTS: &[(&str, &str, i64, usize)] = &[
    ("Clip", "min", 11, 1),
    ("Clip", "max", 11, 2),
    ("Pad", "pads", 11, 1),
    ("Pad", "value", 11, 2),
    ("ReduceMax", "axes", 18, 1),
    ("ReduceMean", "axes", 18, 1),
    ("ReduceProd", "axes", 18, 1),
    ("Reshape", "shape", 5, 1),
    ("Slice", "starts", 10, 1),
    ("Slice", "ends", 10, 2),
    ("Slice", "axes", 10, 3),
    ("Slice", "steps", 10, 4),
    ("Split", "split", 13, 1),
    ("Squeeze", "axes", 13, 1),
    ("Unsqueeze", "axes", 13, 1),
];

/// Whether an operator is supported in any version.
pub(super) fn is_known(operator: &str) -> bool {
    OPERATORS.iter().any(|(name, _)| *name == operator)
}

/// Whether a parameter of a node is an attribute or an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Input(usize),
    Attribute,
    Nowhere,
}

impl Node<'_> {
    /// The version of the operator: that of its last change up to the version of the file.
    ///
    /// # Errors
    /// [`Error::Data`] if the operator is newer than the version of the file.
    pub(super) fn version(&self) -> Result<i64> {
        let versions = OPERATORS.iter().find(|(name, _)| *name == self.op()).map_or(&[][..], |(_, all)| all);
        versions.iter().rev().find(|since| **since <= self.opset).copied().ok_or_else(|| {
            let first = versions.first().copied().unwrap_or(1);
            Error::data(format!(
                "the file is of opset {}, which has no {} before {first}",
                self.opset,
                self.op()
            ))
            .hint(DAMAGED)
        })
    }

    /// Where a parameter of this name is in this version.
    ///
    /// # Errors
    /// [`Error::Data`] if the node has it in the place of another version.
    pub(super) fn given(&self, name: &str) -> Result<Given> {
        let Some((.., since, place)) = INPUTS.iter().find(|(op, what, ..)| *op == self.op() && *what == name)
        else {
            return Ok(if self.has(name) { Given::Attribute } else { Given::Nowhere });
        };
        let (attribute, input) = (self.has(name), self.input(*place).is_some());
        let is_input = self.version()? >= *since;
        match (is_input, attribute, input) {
            (true, false, true) => Ok(Given::Input(*place)),
            (false, true, false) => Ok(Given::Attribute),
            (_, false, false) => Ok(Given::Nowhere),
            // It was an optional input, then an attribute, and then an input again.
            (false, false, true) if self.op() == "Split" && self.version()? == 1 => Ok(Given::Input(*place)),
            _ => {
                let form = if attribute { "an attribute" } else { "an input" };
                Err(Error::data(format!(
                    "its {name} is {form}, which {} does not have in opset {}",
                    self.op(),
                    self.opset
                ))
                .hint(DAMAGED))
            }
        }
    }

    /// Whether the node is in training mode: batch norm with the statistics of the batch, dropout that drops numbers. `switch` is the third
    /// input of dropout, if there is one.
    pub(super) fn trains(&self, switch: bool) -> Result<bool> {
        let version = self.version()?;
        Ok(match self.op() {
            // First an attribute with the default 0, then the number of results, then another attribute.
            "BatchNormalization" if version < 7 => self.int("is_test", 0)? == 0,
            "BatchNormalization" => {
                let results = self.outputs().iter().skip(1).any(|name| !name.is_empty());
                (version < 14 && results) || self.int("training_mode", 0)? != 0
            }
            "Dropout" if version < 7 => self.int("is_test", 0)? == 0,
            // In the versions between, dropout had no training mode.
            "Dropout" if version < 12 => false,
            "Dropout" => switch,
            _ => false,
        })
    }

    /// Whether batch norm has statistics for each pixel.
    pub(super) fn is_per_pixel(&self) -> Result<bool> {
        // Version 9 removed this attribute.
        Ok(self.int("spatial", 1)? == 0)
    }

    /// The default axis of a softmax, and whether the axes from it on are flattened.
    pub(super) fn softmax_axis(&self) -> Result<(i64, bool)> {
        let flattens = self.version()? < 13;
        Ok((self.int("axis", if flattens { 1 } else { -1 })?, flattens))
    }

    /// The axis of a concatenation.
    pub(super) fn concat_axis(&self) -> Result<i64> {
        if self.version()? >= 4 && !self.has("axis") {
            return Err(Error::data("it does not say along which axis it joins").hint(DAMAGED));
        }
        self.int("axis", 1)
    }

    /// The axis to which the first axis of the second operand belongs, if the operands are not aligned at the last axis.
    ///
    /// # Errors
    /// [`Error::Data`] if the node has the attribute in a version without it.
    pub(super) fn broadcast_axis(&self) -> Result<Option<i64>> {
        let said = self.int("broadcast", 0)? != 0 && self.has("axis");
        if said && self.version()? >= 7 {
            return Err(Error::data(format!("it says an axis, which {} has before version 7", self.op()))
                .hint(DAMAGED));
        }
        Ok(if said { Some(self.int("axis", 0)?) } else { None })
    }

    /// Whether a split into parts of different sizes is allowed.
    pub(super) fn splits_unevenly(&self) -> Result<bool> {
        Ok(self.version()? >= 18)
    }
}
