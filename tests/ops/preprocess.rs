use super::harness::{Run, U, close_in, each};
use crate::oracle::{self, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::{Precision, Shape};

#[test]
fn pixels_become_normalised_numbers() {
    let mut rng = Rng(91);
    let (mean, std) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    for (precision, (n, h, w)) in each([(1, 1, 1), (2, 3, 5), (3, 17, 11)]) {
        let pixels: Vec<u32> = (0..n * h * w).map(|_| rng.next() as u32).collect();
        let mut run = Run::new(KernelFamily::Direct);
        let xv = run.words(Shape::pixels(n, h, w), &pixels);
        let y = run.graph.preprocess(xv, mean, std, precision).unwrap();
        let want = oracle::preprocess(&pixels, mean.map(f64::from), std.map(f64::from));
        close_in(precision, &run.outputs(&[y])[0], &want, 8.0 * U);
    }
}

#[test]
fn a_deviation_of_zero_is_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let xv = run.words(Shape::pixels(1, 1, 1), &[0]);
    assert!(run.graph.preprocess(xv, [0.0; 3], [1.0, 0.0, 1.0], Precision::F32).is_err());
    assert!(run.graph.preprocess(xv, [f32::NAN; 3], [1.0; 3], Precision::F32).is_err());
}

#[test]
fn the_gradient_is_with_respect_to_each_colour() {
    let mut rng = Rng(92);
    let (mean, std) = ([0.485f32, 0.456, 0.406], [0.229f32, 0.224, 0.225]);
    for (precision, (n, h, w)) in each([(1, 1, 1), (2, 3, 5), (3, 17, 11)]) {
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let xv = run.words(Shape::pixels(n, h, w), &vec![0x0102_0304; n * h * w]);
        let y = run.graph.preprocess(xv, mean, std, precision).unwrap();
        let dy = rng.tensor([n, h, w, 3]).stored_as(precision);
        let dyv = run.input(Shape::image(n, h, w, 3), &dy.v);
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let want: Vec<f64> =
            dy.v.iter().enumerate().map(|(i, dy)| dy / (255.0 * f64::from(std[i % 3]))).collect();
        close_in(precision, &run.outputs(&[dx])[0], &want, 2.0 * U);
    }
}
