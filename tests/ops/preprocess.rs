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
