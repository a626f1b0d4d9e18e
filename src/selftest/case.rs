//! A case of the self-test: a small graph, what its inputs hold, and the numbers that are wanted.

use crate::autotune::error_bound::ErrorBound;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Kernel};
use crate::graph::{Graph, Source};
use crate::kernels::gemm::excluded::{core_name, kernel_name};
use crate::kernels::{Access, Algorithm, AlgorithmCache, BufId, ConvProblem, Dispatch, WinogradMode};
use crate::plan::{Plan, PlanOptions, Session};
use crate::tensor::{Precision, Shape, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The error of results that are not exact. It is far above rounding errors and far below a lost or doubled term.
const NEAR: ErrorBound = ErrorBound { relative: 1e-5, absolute: 1e-5 };

/// What all cases in one precision share.
pub(super) struct Setup {
    pub(super) options: PlanOptions,
    pub(super) precision: Precision,
}

pub(super) struct Case {
    /// The row of the table: a core or an operation.
    pub(super) row: String,
    /// What is computed.
    pub(super) what: String,
    pub(super) precision: Precision,
    pub(super) graph: Graph,
    pub(super) options: PlanOptions,
    /// The product that the case tests, with its algorithm; `None` if the case tests all its kernels.
    pub(super) tested: Option<(ConvProblem, Algorithm)>,
    contents: Vec<(Value, Vec<u8>)>,
    checks: Vec<Check>,
}

struct Check {
    value: Value,
    want: Vec<f64>,
    bound: ErrorBound,
}

/// A wrong result.
pub(super) struct Wrong {
    /// The first wrong number.
    pub(super) what: String,
    /// The names of the kernels that may be the reason, for [`crate::gpu::Excluded`].
    pub(super) kernels: BTreeSet<String>,
}

/// Integers from -2 to 2 in an order without a pattern.
pub(super) fn integers(count: usize, seed: u32) -> Vec<f64> {
    let integer = |i: u32| f64::from((i.wrapping_mul(2_654_435_761) >> 16) % 5) - 2.0;
    (0..count as u32).map(|i| integer(i.wrapping_add(seed.wrapping_mul(7919)))).collect()
}

/// As many integers as a shape has elements.
pub(super) fn filled(dims: [usize; 4], seed: u32) -> Vec<f64> {
    integers(dims.iter().product(), seed)
}

impl Setup {
    /// A case without inputs.
    pub(super) fn case(&self, row: impl Into<String>, what: impl Into<String>) -> Case {
        let mut options = self.options.clone();
        options.record.winograd = WinogradMode::Off;
        Case {
            row: row.into(),
            what: what.into(),
            precision: self.precision,
            graph: Graph::new(),
            options,
            tested: None,
            contents: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// A case that tests an algorithm of a product.
    pub(super) fn product(&self, row: impl Into<String>, problem: ConvProblem, algorithm: Algorithm) -> Case {
        let mut case = self.case(row, problem.to_string());
        let mut algorithms = AlgorithmCache::default();
        algorithms.insert(problem, algorithm);
        case.options = case.options.with_algorithms(algorithms);
        if let Algorithm::Winograd { .. } = algorithm {
            case.options.record.winograd = WinogradMode::Auto;
        }
        case.tested = Some((problem, algorithm));
        case
    }
}

impl Case {
    /// An activation in the precision of the case.
    pub(super) fn image(&mut self, [n, h, w, c]: [usize; 4], content: &[f64]) -> Result<Value> {
        self.input(Shape::image(n, h, w, c).stored_as(self.precision), content)
    }

    pub(super) fn input(&mut self, shape: Shape, content: &[f64]) -> Result<Value> {
        let value = self.graph.input("input", shape);
        self.fill(value, shape, content)
    }

    pub(super) fn state(&mut self, shape: Shape, content: &[f64]) -> Result<Value> {
        let value = self.graph.state(format!("state{}", self.contents.len()), shape);
        self.fill(value, shape, content)
    }

    fn fill(&mut self, value: Value, shape: Shape, content: &[f64]) -> Result<Value> {
        let dense: Vec<f32> = content.iter().map(|x| *x as f32).collect();
        self.contents.push((value, shape.encode(&shape.pad(&dense)?)));
        Ok(value)
    }

    /// An input of u32.
    pub(super) fn words(&mut self, shape: Shape, content: &[u32]) -> Value {
        let value = self.graph.input("words", shape);
        self.contents.push((value, bytemuck::cast_slice(content).to_vec()));
        value
    }

    /// The gradient of `y`, whose own gradient is `dy`, with respect to `x`.
    pub(super) fn gradient(&mut self, y: Value, dy: Value, x: Value) -> Result<Value> {
        let gradients = self.graph.gradients(y, dy, &[x])?;
        gradients.into_iter().next().flatten().ok_or_else(|| Error::internal("a case without its gradient"))
    }

    /// A result, or a state after the run, that must have exactly these numbers.
    pub(super) fn exactly(&mut self, value: Value, want: Vec<f64>) {
        self.within(value, want, ErrorBound::EXACT);
    }

    /// A result that must be close to these numbers.
    pub(super) fn nearly(&mut self, value: Value, want: Vec<f64>) {
        self.within(value, want, NEAR);
    }

    /// A sum of `terms` numbers of about 1 that must be close to these numbers.
    pub(super) fn summed(&mut self, value: Value, want: Vec<f64>, terms: usize) {
        self.within(value, want, ErrorBound { absolute: NEAR.absolute + 1e-6 * terms as f64, ..NEAR });
    }

    pub(super) fn within(&mut self, value: Value, want: Vec<f64>, bound: ErrorBound) {
        self.checks.push(Check { value, want, bound });
    }

    /// The plan of the case.
    pub(super) fn plan(&self) -> Result<Plan> {
        let is_result =
            |value: &Value| self.graph.node(*value).is_ok_and(|node| matches!(node.source, Source::Op(_)));
        let outputs: Vec<Value> = self.checks.iter().map(|check| check.value).filter(is_result).collect();
        let plan = Plan::new(&self.graph, &outputs, &self.options)?;
        match &self.tested {
            Some((problem, algorithm)) if plan.products().get(problem) != Some(algorithm) => {
                Err(Error::internal(format!("{problem} is not computed by {algorithm}")))
            }
            _ => Ok(plan),
        }
    }

    /// Runs the case on memory full of NaN patterns. Returns the wrong results.
    pub(super) fn run(&self, gpu: &Arc<Gpu>, plan: Plan) -> Result<Vec<Wrong>> {
        // The self-check of the adapter would end the device if the kernel that it uses is wrong.
        let session = Session::untried(gpu.clone(), plan, None)?;
        session.poison()?;
        for (value, bytes) in self.contents.iter().filter(|(value, _)| session.has(*value)) {
            session.write_stored(*value, bytes)?;
        }
        session.run()?;
        let mut wrong = Vec::new();
        for check in &self.checks {
            let stored = session.read_stored(check.value)?;
            if let Some(what) = check.first_wrong(self.graph.shape(check.value)?, &stored)? {
                wrong.push(Wrong { what, kernels: self.blamed(session.plan(), Some(check.value)) });
            }
        }
        Ok(wrong)
    }

    /// The names of the kernels that are the reason of an error at `place`: the kernel that the place names, if it names one.
    pub(super) fn blamed_for(&self, plan: &Plan, place: &str) -> BTreeSet<String> {
        let names = |kernel: &&Kernel| place.ends_with(&format!("{} {}", kernel.name, kernel.entry));
        match plan.dispatches().iter().map(|dispatch| &dispatch.kernel).find(names) {
            Some(kernel) if self.tested.is_none() => [kernel_name(kernel)].into(),
            _ => self.blamed(plan, None),
        }
    }

    /// The names of the kernels that compute a value: the tested core if there is one. Without a value, those of the whole
    /// case.
    pub(super) fn blamed(&self, plan: &Plan, value: Option<Value>) -> BTreeSet<String> {
        let name = |(problem, algorithm): (&ConvProblem, &Algorithm)| {
            let Algorithm::Winograd { tile } = algorithm else {
                let kernel = algorithm.kernel().map(|kernel| kernel.to_string()).unwrap_or_default();
                return core_name(&kernel, problem.pass, problem.precision);
            };
            core_name(tile, problem.pass, problem.precision)
        };
        if let Some((problem, algorithm)) = &self.tested {
            return [name((problem, algorithm))].into();
        }
        let computes = |dispatch: &&Dispatch| {
            let Some(value) = value else { return true };
            let slot = plan.slot_of(BufId::Value(value));
            let mut writes = dispatch.buffers.iter().filter(|(_, access)| *access == Access::Write);
            dispatch.value == value || writes.any(|(buf, _)| plan.slot_of(buf.id) == slot)
        };
        let mut found: Vec<&Dispatch> = plan.dispatches().iter().filter(computes).collect();
        if found.is_empty() {
            found = plan.dispatches().iter().collect();
        }
        let mut names = BTreeSet::new();
        for dispatch in found {
            if dispatch.product {
                names.extend(plan.products().iter().map(name));
            } else {
                names.insert(kernel_name(&dispatch.kernel));
            }
        }
        names
    }
}

impl Check {
    /// The first number that is wrong, with its place and how many there are; `None` if there is none.
    fn first_wrong(&self, shape: Shape, stored: &[f32]) -> Result<Option<String>> {
        let got = shape.unpad(stored)?;
        let mut bound = self.bound;
        if shape.precision() == Precision::F16 && !bound.is_exact() {
            // f16 has eleven significant bits, and its smallest positive number is 2^-24.
            bound.relative += 1.0 / 2048.0;
            bound.absolute += 1.0 / f64::from(1 << 25);
        }
        let wrong = |(_, (got, want)): &(usize, (&f32, &f64))| !bound.allows(f64::from(**got), **want);
        let count = got.iter().zip(&self.want).enumerate().filter(wrong).count();
        if got.len() != self.want.len() {
            return Err(Error::internal(format!("{} numbers are wanted of {shape}", self.want.len())));
        }
        let Some((place, (got_number, want))) = got.iter().zip(&self.want).enumerate().find(wrong) else {
            let padded = shape.pad(&got)?;
            let same = padded.iter().zip(stored).all(|(a, b)| a.to_bits() == b.to_bits());
            return Ok((!same).then(|| format!("the padding of {shape} is not zero")));
        };
        Ok(Some(format!(
            "{got_number} instead of {want} at {}; {count} of {} numbers are wrong",
            position(shape, place),
            got.len()
        )))
    }
}

/// The indices of an element, in the order of [`Shape::dims`].
fn position(shape: Shape, mut place: usize) -> String {
    let mut indices = [0; 4];
    for (index, size) in indices.iter_mut().zip(shape.dims()).rev() {
        *index = place % size.max(1);
        place /= size.max(1);
    }
    format!("{indices:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(bound: ErrorBound, shape: Shape, want: &[f64], stored: &[f32]) -> Option<String> {
        Check { value: Value::default(), want: want.to_vec(), bound }.first_wrong(shape, stored).unwrap()
    }

    #[test]
    fn the_first_wrong_number_is_named_with_its_place() {
        let shape = Shape::image(1, 2, 1, 3);
        let want = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let right = [1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0];
        assert_eq!(wrong(ErrorBound::EXACT, shape, &want, &right), None);
        let (mut two, mut padding, mut nan) = (right, right, right);
        (two[5], two[6]) = (5.5, -6.0);
        let says = "5.5 instead of 5 at [0, 1, 0, 1]; 2 of 6 numbers are wrong";
        assert_eq!(wrong(ErrorBound::EXACT, shape, &want, &two).as_deref(), Some(says));
        padding[7] = 1.0;
        assert!(wrong(NEAR, shape, &want, &padding).unwrap().contains("padding"));
        nan[0] = f32::NAN;
        assert!(wrong(NEAR, shape, &want, &nan).unwrap().starts_with("NaN instead of 1"));
    }

    #[test]
    fn an_error_within_the_bound_is_right() {
        let shape = Shape::image(1, 1, 1, 1);
        let stored = |x: f32| [x, 0.0, 0.0, 0.0];
        assert_eq!(wrong(NEAR, shape, &[100.0], &stored(100.0005)), None);
        assert!(wrong(NEAR, shape, &[100.0], &stored(100.01)).is_some());
        assert!(wrong(ErrorBound::EXACT, shape, &[100.0], &stored(100.0005)).is_some());
        let half = shape.stored_as(Precision::F16);
        assert_eq!(wrong(NEAR, half, &[100.0], &stored(100.01)), None, "f16 rounds more");
        assert_eq!(wrong(ErrorBound::EXACT, shape, &[0.0], &stored(-0.0)), None);
    }

    #[test]
    fn integers_take_all_five_values() {
        let all = integers(1000, 3);
        for value in -2..=2 {
            let count = all.iter().filter(|x| **x == f64::from(value)).count();
            assert!((150..250).contains(&count), "{value}: {count}");
        }
        assert_ne!(integers(10, 1), integers(10, 2));
    }
}
