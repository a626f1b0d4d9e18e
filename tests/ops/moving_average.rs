use super::harness::{Run, U, close};
use crate::oracle::{self, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn the_average_follows_each_update_of_the_weights() {
    let mut rng = Rng(85);
    let hyper = [0.5, 0.75, 0.125];
    for shape in [Shape::filter(3, 3, 5, 13), Shape::vector(7), Shape::vector(300)] {
        let d = shape.dims();
        let (w, v, dw, average) = (rng.tensor(d), rng.tensor(d), rng.tensor(d), rng.tensor(d));
        let mut run = Run::new(KernelFamily::Direct);
        let step = run.input(Shape::vector(4), &[hyper[0], hyper[1], hyper[2], 1.0]);
        let share = run.input(Shape::vector(4), &[0.25, 0.0, 0.0, 0.0]);
        let (wv, vv, dv) = (run.state(shape, &w.v), run.state(shape, &v.v), run.input(shape, &dw.v));
        let av = run.state(shape, &average.v);
        run.graph.sgd(step, dv, wv, vv).unwrap();
        run.graph.moving_average(share, wv, av).unwrap();
        let session = run.session(&[]);
        let (mut w, mut v, mut average) = (w.v, v.v, average.v);
        for _ in 0..3 {
            session.run().unwrap();
            (w, v) = oracle::sgd(&w, &v, &dw.v, hyper);
            average.iter_mut().zip(&w).for_each(|(a, w)| *a += 0.25 * (w - *a));
        }
        let read: Vec<f64> = session.read(av).unwrap().into_iter().map(f64::from).collect();
        close(&read, &average, 16.0 * U);
        let stored = session.read_stored(av).unwrap();
        assert_eq!(stored, shape.pad(&shape.unpad(&stored).unwrap()).unwrap(), "the padding stays zero");
    }
}

#[test]
fn small_integers_are_exact() {
    let mut run = Run::new(KernelFamily::Direct);
    let share = run.input(Shape::vector(4), &[0.5, 0.0, 0.0, 0.0]);
    let (w, average) =
        (run.state(Shape::vector(3), &[4.0, -2.0, 0.0]), run.state(Shape::vector(3), &[0.0, 2.0, 1.0]));
    run.graph.moving_average(share, w, average).unwrap();
    let session = run.session(&[]);
    session.run().unwrap();
    assert_eq!(session.read(average).unwrap(), [2.0, 0.0, 0.5]);
    assert_eq!(session.read(w).unwrap(), [4.0, -2.0, 0.0]);
}
