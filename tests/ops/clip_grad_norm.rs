use super::harness::{Run, U, close};
use crate::oracle::Rng;
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn the_norm_of_all_gradients_is_limited() {
    let mut rng = Rng(86);
    let lists = [
        vec![Shape::vector(3)],
        vec![Shape::filter(3, 3, 5, 13), Shape::vector(13), Shape::filter(1, 1, 64, 300)],
        vec![Shape::filter(5, 5, 64, 128), Shape::vector(1), Shape::filter(3, 3, 33, 65)],
    ];
    for shapes in lists {
        for (unscale, max_norm) in [(1.0, 0.5), (0.25, 2.0), (1.0, 1e6)] {
            let gradients: Vec<_> = shapes.iter().map(|shape| (*shape, rng.tensor(shape.dims()).v)).collect();
            let mut run = Run::new(KernelFamily::Direct);
            let step = run.input(Shape::vector(4), &[0.1, 0.9, 0.5, unscale]);
            let values: Vec<_> = gradients.iter().map(|(shape, dw)| run.input(*shape, dw)).collect();
            let clipped = run.graph.clip_grad_norm(step, &values, max_norm as f32).unwrap();
            let got = run.outputs(&[clipped]);
            let squares: f64 = gradients.iter().flat_map(|(_, dw)| dw).map(|x| (unscale * x).powi(2)).sum();
            let factor = (max_norm / (squares.sqrt() + 1e-6)).min(1.0);
            let want = [f64::from(0.1f32), f64::from(0.9f32), 0.5, unscale * factor];
            close(&got[0], &want, 64.0 * U);
            if factor == 1.0 {
                assert_eq!(got[0][3], unscale, "gradients below the norm keep their bits");
            }
        }
    }
}

#[test]
fn a_skipped_step_stays_one() {
    let mut run = Run::new(KernelFamily::Direct);
    let step = run.input(Shape::vector(4), &[0.0; 4]);
    let gradient = run.graph.input("dw", Shape::vector(4));
    let clipped = run.graph.clip_grad_norm(step, &[gradient], 1.0).unwrap();
    let session = run.session(&[clipped]);
    session.write(gradient, &[f32::INFINITY, f32::NAN, 1.0, -1.0]).unwrap();
    session.run().unwrap();
    assert_eq!(session.output(clipped).unwrap(), [0.0; 4]);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let step = run.input(Shape::vector(4), &[0.0; 4]);
    let gradient = run.input(Shape::vector(4), &[0.0; 4]);
    for limit in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(run.graph.clip_grad_norm(step, &[gradient], limit).is_err(), "{limit}");
    }
    assert!(run.graph.clip_grad_norm(step, &[], 1.0).is_err());
}
