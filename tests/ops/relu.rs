use super::harness::{PRODUCTS, Run};
use ocelli::graph::Shape;

#[test]
fn relu_smoke() {
    let mut run = Run::new(PRODUCTS[1]);
    let shape = Shape::image(1, 2, 2, 3);
    let x = run.input(shape, &[1., -2., 3., -0.5, 0., 7., 1., 1., -1., 2., 2., 2.]);
    let y = run.graph.relu(x).unwrap();
    let got = run.outputs(&[y]);
    assert_eq!(got[0], [1., 0., 3., 0., 0., 7., 1., 1., 0., 2., 2., 2.]);
}
