use super::harness::{Run, U, close};
use crate::oracle::Rng;
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn filters_are_scaled_back_to_the_limit_and_others_left_alone() {
    let mut rng = Rng(81);
    for [r, s, c, k] in [[3, 3, 3, 6], [1, 1, 1, 1], [7, 7, 3, 13], [3, 2, 16, 8]] {
        let mut w = rng.tensor([r, s, c, k]);
        // Every second filter is small.
        w.v.iter_mut().enumerate().filter(|(i, _)| (i % k) % 2 == 1).for_each(|(_, x)| *x *= 0.01);
        let w = w.rounded();
        let rows = r * s * c;
        let rms = |j: usize| ((0..rows).map(|i| w.v[i * k + j].powi(2)).sum::<f64>() / rows as f64).sqrt();
        let scale: Vec<f64> = (0..k).map(|j| (0.1 / rms(j)).min(1.0)).collect();
        let mut run = Run::new(KernelFamily::Direct);
        let step = run.input(Shape::vector(4), &[0.1, 0.9, 0.0, 1.0]);
        let wv = run.state(Shape::filter(r, s, c, k), &w.v);
        run.graph.limit_rms(step, wv, 0.1).unwrap();
        let session = run.session(&[]);
        session.run().unwrap();
        let stored = session.read_stored(wv).unwrap();
        let shape = Shape::filter(r, s, c, k);
        assert_eq!(shape.pad(&shape.unpad(&stored).unwrap()).unwrap(), stored, "the padding is zero");
        let got: Vec<f64> = shape.unpad(&stored).unwrap().into_iter().map(f64::from).collect();
        let want: Vec<f64> = w.v.iter().enumerate().map(|(i, x)| x * scale[i % k]).collect();
        close(&got, &want, 40.0 * U);
        let same = (0..got.len()).filter(|i| (i % k) % 2 == 1).all(|i| got[i] == w.v[i]);
        assert!(same, "small filters keep their bits");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let w = run.state(Shape::filter(1, 1, 1, 1), &[1.0]);
    let x = run.input(Shape::image(1, 1, 1, 1), &[1.0]);
    let step = run.input(Shape::vector(4), &[0.0; 4]);
    assert!(run.graph.limit_rms(step, w, 0.0).is_err() && run.graph.limit_rms(step, w, f32::NAN).is_err());
    assert!(run.graph.limit_rms(step, x, 1.0).is_err() && run.graph.limit_rms(x, w, 1.0).is_err());
}

#[test]
fn a_step_that_was_skipped_leaves_filters_above_the_limit() {
    let mut run = Run::new(KernelFamily::Direct);
    let step = run.input(Shape::vector(4), &[0.0; 4]);
    let w = run.state(Shape::filter(1, 1, 2, 1), &[3.0, 4.0]);
    run.graph.limit_rms(step, w, 0.1).unwrap();
    let session = run.session(&[]);
    session.run().unwrap();
    assert_eq!(session.read(w).unwrap(), [3.0, 4.0]);
}
