use super::harness::Run;
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn a_row_of_a_matrix() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(1, 1, 2, 5), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    let (a, b) = (run.graph.slice(x, 0).unwrap(), run.graph.slice(x, 1).unwrap());
    let got = run.outputs(&[a, b]);
    assert_eq!(got[0], [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(got[1], [6.0, 7.0, 8.0, 9.0, 10.0]);
    assert!(run.graph.slice(x, 2).is_err());
}
