use super::harness::{Run, U, close};
use crate::oracle::{self, Rng};
use ocelli::graph::Shape;
use ocelli::ops::Product;

#[test]
fn three_steps_of_momentum_and_decay() {
    let mut rng = Rng(81);
    let hyper = [f64::from(0.1f32), f64::from(0.9f32), f64::from(1e-2f32)];
    for shape in [Shape::filter(3, 3, 5, 13), Shape::vector(7), Shape::filter(1, 1, 3, 1)] {
        let d = shape.dims();
        let (w, v, dw) = (rng.tensor(d), rng.tensor(d), rng.tensor(d));
        let mut run = Run::new(Product::Direct);
        let step = run.input(Shape::vector(4), &[hyper[0], hyper[1], hyper[2], 0.0]);
        let (wv, vv, dv) = (run.state(shape, &w.v), run.state(shape, &v.v), run.input(shape, &dw.v));
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
        assert_eq!(stored, shape.pad(&shape.unpad(&stored)), "the padding stays zero");
    }
}
