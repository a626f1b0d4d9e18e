use super::harness::{Run, each, worst};
use crate::oracle::{self, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn sums_over_rows() {
    let mut rng = Rng(101);
    for (precision, d) in each([[1, 1, 1, 3], [2, 3, 5, 13], [3, 31, 33, 1], [4, 40, 40, 8]]) {
        for exact in [true, false] {
            let x = if exact { rng.small_integers(d) } else { rng.tensor(d).stored_as(precision) };
            let mut run = Run::new(KernelFamily::Direct).storing(precision);
            let xv = run.input(Shape::image(d[0], d[1], d[2], d[3]), &x.v);
            let y = run.graph.sum_rows(xv).unwrap();
            let got = run.outputs(&[y]);
            let (want, sizes) = oracle::sum_rows(&x);
            if exact {
                assert_eq!(got[0], want, "{d:?}");
            } else {
                let error = worst(&got[0], &want, &sizes, d[0] * d[1] * d[2]);
                assert!(error <= 1.0, "{d:?}: {error}");
            }
        }
    }
}
