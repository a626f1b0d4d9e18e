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

#[test]
fn three_steps_of_nesterovs_momentum() {
    let mut rng = Rng(82);
    let hyper = [f64::from(0.1f32), f64::from(0.9f32), f64::from(1e-2f32)];
    for shape in [Shape::filter(3, 3, 5, 13), Shape::vector(7)] {
        let d = shape.dims();
        let (w, v, dw) = (rng.tensor(d), rng.tensor(d), rng.tensor(d));
        let mut run = Run::new(KernelFamily::Direct);
        let step = run.input(Shape::vector(4), &[hyper[0], hyper[1], hyper[2], 1.0]);
        let (wv, vv, dv) = (run.state(shape, &w.v), run.state(shape, &v.v), run.input(shape, &dw.v));
        run.graph.sgd_nesterov(step, dv, wv, vv).unwrap();
        let session = run.session(&[]);
        let (mut want_w, mut want_v) = (w.v, v.v);
        for _ in 0..3 {
            session.run().unwrap();
            (want_w, want_v) = oracle::sgd_nesterov(&want_w, &want_v, &dw.v, hyper);
        }
        let read = |v| session.read(v).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
        close(&read(wv), &want_w, 16.0 * U);
        close(&read(vv), &want_v, 12.0 * U);
    }
}

/// A gradient of a fully connected layer is not written: the step is in the epilogue of the product.
#[test]
fn nesterovs_momentum_in_the_epilogue_of_a_product() {
    for product in super::harness::products() {
        let mut rng = Rng(83);
        let hyper = [0.5, 0.25, 0.125];
        let (x, dy) = (rng.small_integers([4, 1, 1, 24]), rng.small_integers([4, 1, 1, 16]));
        let w = rng.small_integers([1, 1, 24, 16]);
        let v = rng.small_integers([1, 1, 24, 16]);
        let mut run = Run::new(product);
        let step = run.input(Shape::vector(4), &[hyper[0], hyper[1], hyper[2], 1.0]);
        let (xv, dyv) =
            (run.input(Shape::image(4, 1, 1, 24), &x.v), run.input(Shape::image(4, 1, 1, 16), &dy.v));
        let shape = Shape::filter(1, 1, 24, 16);
        let (wv, vv) = (run.state(shape, &w.v), run.state(shape, &v.v));
        let y = run.graph.linear(xv, wv, None).unwrap();
        let dw = run.graph.gradients(y, dyv, &[wv]).unwrap()[0].unwrap();
        run.graph.sgd_nesterov(step, dw, wv, vv).unwrap();
        let session = run.session(&[]);
        let fused = session
            .plan()
            .dispatches()
            .iter()
            .any(|d| d.kernel.entry != "sgd" && d.kernel.constants.contains(&("NESTEROV", 1)));
        assert!(fused, "{product:?}: the step has a dispatch of its own");
        session.run().unwrap();
        let mut gradient = vec![0.0; 24 * 16];
        for n in 0..4 {
            for c in 0..24 {
                for k in 0..16 {
                    gradient[c * 16 + k] += x.v[n * 24 + c] * dy.v[n * 16 + k];
                }
            }
        }
        let (want_w, want_v) = oracle::sgd_nesterov(&w.v, &v.v, &gradient, hyper);
        let read = |v| session.read(v).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
        assert_eq!((read(wv), read(vv)), (want_w, want_v), "{product:?}");
    }
}
