use super::harness::{Run, U, close_in, each};
use crate::oracle::{self, Lrn, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::ops::LrnOptions;
use ocelli::tensor::Shape;

#[test]
fn lrn_and_its_gradient_for_even_and_odd_windows_and_at_the_ends() {
    let mut rng = Rng(51);
    let cases = [
        ([2, 3, 4, 16], 5, 5e-4, 0.75, 2.0),
        ([1, 2, 3, 7], 5, 1.0, 0.75, 1.0),
        ([1, 1, 5, 13], 4, 2.0, 0.75, 1.0),
        ([3, 1, 1, 1], 3, 0.5, 0.5, 1.5),
        ([1, 3, 2, 6], 11, 1.5, 1.0, 0.5),
        ([1, 2, 2, 9], 1, 1.0, 0.75, 1.0),
        ([1, 2, 2, 10], 2, 3.0, 0.6, 1.0),
    ];
    for (precision, (d, size, alpha, beta, bias)) in each(cases) {
        let (mut x, dy) = (rng.tensor(d), rng.tensor(d));
        x.v.iter_mut().for_each(|x| *x *= 4.0);
        let (x, dy) = (x.stored_as(precision), dy.stored_as(precision));
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let shape = Shape::image(d[0], d[1], d[2], d[3]);
        let (xv, dyv) = (run.input(shape, &x.v), run.input(shape, &dy.v));
        let options = LrnOptions { size, alpha: alpha as f32, beta: beta as f32, bias: bias as f32 };
        let y = run.graph.lrn(xv, options).unwrap();
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, dx]);
        let round = |x: f64| f64::from(x as f32);
        let o = Lrn { size, alpha: round(alpha), beta: round(beta), bias: round(bias) };
        // For beta = 0.75 the kernel uses square roots. For others it uses `pow`, which most adapters approximate.
        let tolerance = if beta == 0.75 { 60.0 * U } else { 400.0 * U };
        close_in(precision, &got[0], &oracle::lrn(&x, o).v, tolerance);
        close_in(precision, &got[1], &oracle::lrn_dx(&x, &dy, o).v, tolerance);
    }
}

#[test]
fn constants_that_make_no_sense_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(1, 1, 1, 4), &[0.0; 4]);
    let fine = LrnOptions { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 };
    assert!(run.graph.lrn(x, fine).is_ok());
    for wrong in [
        LrnOptions { size: 0, ..fine },
        LrnOptions { size: 65, ..fine },
        LrnOptions { alpha: -1.0, ..fine },
        LrnOptions { beta: f32::NAN, ..fine },
        LrnOptions { bias: 0.0, ..fine },
    ] {
        assert!(run.graph.lrn(x, wrong).is_err(), "{wrong:?}");
    }
}
