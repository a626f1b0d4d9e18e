use super::harness::{Run, U, close};
use crate::oracle::{self, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn three_steps_of_momentum_and_decay() {
    let mut rng = Rng(81);
    let hyper = [f64::from(0.1f32), f64::from(0.9f32), f64::from(1e-2f32)];
    // Gradients of an unscaled loss and of scaled ones. Powers of two add no rounding.
    let cases = [
        (1.0, Shape::filter(3, 3, 5, 13)),
        (1.0 / 1024.0, Shape::vector(7)),
        (2.0, Shape::filter(1, 1, 3, 1)),
    ];
    for (unscale, shape) in cases {
        let scaled = |dw: &[f64]| dw.iter().map(|x| x / unscale).collect::<Vec<_>>();
        let d = shape.dims();
        let (w, v, dw) = (rng.tensor(d), rng.tensor(d), rng.tensor(d));
        let mut run = Run::new(KernelFamily::Direct);
        let step = run.input(Shape::vector(4), &[hyper[0], hyper[1], hyper[2], unscale]);
        let (wv, vv, dv) = (run.state(shape, &w.v), run.state(shape, &v.v), run.input(shape, &scaled(&dw.v)));
        run.graph.sgd(step, dv, wv, vv).unwrap();
        let session = run.session(&[]);
        let (mut want_w, mut want_v) = (w.v, v.v);
        for _ in 0..3 {
            session.run().unwrap();
            (want_w, want_v) = oracle::sgd(&want_w, &want_v, &dw.v, hyper);
        }
        let read = |v| session.read(v).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
        close(&read(wv), &want_w, 12.0 * U);
        close(&read(vv), &want_v, 12.0 * U);
        let stored = session.read_stored(wv).unwrap();
        assert_eq!(stored, shape.pad(&shape.unpad(&stored).unwrap()).unwrap(), "the padding stays zero");
    }
}

#[test]
fn an_unscale_of_zero_changes_no_bit_whatever_the_gradient() {
    let shape = Shape::vector(6);
    let mut run = Run::new(KernelFamily::Direct);
    let step = run.input(Shape::vector(4), &[0.0; 4]);
    let content = [0.5, -0.0, 1e-40, -3.0, f64::from(f32::MAX), 0.0];
    let (w, v) = (run.state(shape, &content), run.state(shape, &content));
    let dw = run.graph.input("dw", shape);
    run.graph.sgd(step, dw, w, v).unwrap();
    let session = run.session(&[]);
    session.write(dw, &[f32::NAN, f32::INFINITY, 1.0, -1.0, f32::NEG_INFINITY, 0.0]).unwrap();
    session.run().unwrap();
    let bits = |list: Vec<f32>| list.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for state in [w, v] {
        assert_eq!(bits(session.read(state).unwrap()), bits(content.map(|x| x as f32).to_vec()));
    }
}
