use super::harness::{Run, close, each};
use crate::oracle::{self, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn relu_and_its_gradient_are_exact() {
    let mut rng = Rng(31);
    for (precision, d) in each([[1, 1, 1, 1], [2, 3, 5, 3], [1, 7, 1, 13], [3, 5, 4, 4]]) {
        let (mut x, dy) = (rng.tensor(d).stored_as(precision), rng.tensor(d).stored_as(precision));
        x.v[0] = 0.0; // the gradient at 0 is 0
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let shape = Shape::image(d[0], d[1], d[2], d[3]);
        let (xv, dyv) = (run.input(shape, &x.v), run.input(shape, &dy.v));
        let y = run.graph.relu(xv).unwrap();
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, dx]);
        close(&got[0], &oracle::relu(&x).v, 0.0);
        close(&got[1], &oracle::relu_dx(&x, &dy).v, 0.0);
    }
}
