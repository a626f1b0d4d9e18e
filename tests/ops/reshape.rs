use super::harness::{Run, each};
use crate::oracle::Rng;
use ocelli::kernels::KernelFamily;
use ocelli::tensor::{Precision, Shape};

#[test]
fn a_reshaped_value_and_its_gradient_are_the_same_numbers() {
    let mut rng = Rng(91);
    for (precision, d) in each([[2, 3, 2, 8]]) {
        let x = rng.small_integers(d);
        let dy = rng.small_integers([2, 1, 1, 48]);
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let xv = run.input(Shape::image(2, 3, 2, 8), &x.v);
        let dyv = run.input(Shape::image(2, 1, 1, 48), &dy.v);
        let y = run.graph.reshape(xv, Shape::image(2, 1, 1, 48).stored_as(precision)).unwrap();
        let twice = run.graph.relu(y).unwrap();
        let back = run.graph.reshape(twice, Shape::image(2, 3, 2, 8).stored_as(precision)).unwrap();
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, back, dx]);
        assert_eq!(got[0], x.v);
        assert_eq!(got[1], crate::oracle::relu(&x).v);
        assert_eq!(got[2], dy.v);
        // If neither reshaped value is an output, nothing is copied.
        let s = run.graph.relu(back).unwrap();
        let copies =
            run.session(&[s]).plan().dispatches().iter().filter(|d| d.kernel.name == "reshape").count();
        assert_eq!(copies, 0);
    }
}

#[test]
fn shapes_of_another_size_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(1, 2, 1, 4), &[0.0; 8]);
    assert_eq!(run.graph.reshape(x, Shape::image(1, 2, 1, 4)).unwrap(), x);
    assert!(run.graph.reshape(x, Shape::image(1, 1, 1, 12)).is_err());
    let mut refused = |shape: Shape, to: Shape| {
        let x = run.input(shape, &vec![0.0; shape.elements().unwrap()]);
        let error = run.graph.reshape(x, to).unwrap_err().to_string();
        assert!(error.contains("cannot become"), "{error}");
    };
    // 3 channels take as much memory as 4, and the fourth must be zero.
    refused(Shape::image(1, 2, 1, 4), Shape::image(1, 2, 1, 3));
    refused(Shape::image(1, 2, 1, 3), Shape::image(1, 1, 1, 6));
    // Another number of images, or not an activation.
    refused(Shape::image(2, 2, 1, 4), Shape::image(4, 1, 1, 4));
    refused(Shape::image(1, 1, 1, 16), Shape::filter(1, 1, 4, 4));
    refused(Shape::filter(1, 1, 4, 4), Shape::image(1, 1, 1, 16));
    // Another precision.
    refused(Shape::image(1, 2, 1, 4), Shape::image(1, 1, 1, 8).stored_as(Precision::F16));
}
