use super::harness::Run;
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn rate_and_decay_get_factors() {
    let mut run = Run::new(KernelFamily::Direct);
    let step = run.input(Shape::vector(4), &[0.5, 0.75, 0.25, 2.0]);
    let slow = run.graph.param_group(step, 0.125, 1.0).unwrap();
    let bare = run.graph.param_group(step, 1.0, 0.0).unwrap();
    let got = run.outputs(&[slow, bare]);
    assert_eq!(got[0], [0.0625, 0.75, 0.25, 2.0]);
    assert_eq!(got[1], [0.5, 0.75, 0.0, 2.0]);
}

#[test]
fn factors_that_make_no_sense_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let step = run.input(Shape::vector(4), &[0.0; 4]);
    let other = run.input(Shape::vector(8), &[0.0; 8]);
    for factor in [-1.0, f32::NAN, f32::INFINITY] {
        assert!(run.graph.param_group(step, factor, 1.0).is_err(), "{factor}");
        assert!(run.graph.param_group(step, 1.0, factor).is_err(), "{factor}");
    }
    assert!(run.graph.param_group(other, 1.0, 1.0).is_err());
}
