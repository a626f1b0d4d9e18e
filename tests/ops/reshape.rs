use super::harness::Run;
use crate::oracle::Rng;
use ocelli::graph::Shape;
use ocelli::ops::Product;

#[test]
fn a_reshaped_value_and_its_gradient_are_the_same_numbers() {
    let mut rng = Rng(91);
    let x = rng.small_integers([2, 3, 2, 8]);
    let dy = rng.small_integers([2, 1, 1, 48]);
    let mut run = Run::new(Product::Direct);
    let xv = run.input(Shape::image(2, 3, 2, 8), &x.v);
    let dyv = run.input(Shape::image(2, 1, 1, 48), &dy.v);
    let y = run.graph.reshape(xv, Shape::image(2, 1, 1, 48)).unwrap();
    let twice = run.graph.relu(y).unwrap();
    let back = run.graph.reshape(twice, Shape::image(2, 3, 2, 8)).unwrap();
    let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
    let got = run.outputs(&[y, back, dx]);
    assert_eq!(got[0], x.v);
    assert_eq!(got[1], crate::oracle::relu(&x).v);
    assert_eq!(got[2], dy.v);
    // Where nothing is read back, nothing is copied.
    let s = run.graph.relu(back).unwrap();
    let copies = run.session(&[s]).plan().dispatches().iter().filter(|d| d.kernel.name == "reshape").count();
    assert_eq!(copies, 0);
}

#[test]
fn shapes_of_another_size_are_refused() {
    let mut run = Run::new(Product::Direct);
    let x = run.input(Shape::image(1, 2, 1, 4), &[0.0; 8]);
    assert_eq!(run.graph.reshape(x, Shape::image(1, 2, 1, 4)).unwrap(), x);
    assert!(run.graph.reshape(x, Shape::image(1, 1, 1, 12)).is_err());
    // 3 channels take as much memory as 4.
    assert!(run.graph.reshape(x, Shape::image(1, 2, 1, 3)).is_ok());
}
