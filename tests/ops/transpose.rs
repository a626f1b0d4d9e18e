use super::harness::Run;
use crate::oracle::{Rng, T};
use ocelli::graph::Shape;
use ocelli::ops::Product;

fn turned(x: &T) -> T {
    let [r, s, c, k] = x.d;
    let mut y = T::zeros([r, s, k, c]);
    for i in 0..r {
        for j in 0..s {
            for ci in 0..c {
                for ki in 0..k {
                    let at = y.i(i, j, ki, ci);
                    y.v[at] = x.at(i, j, ci, ki);
                }
            }
        }
    }
    y
}

#[test]
fn channels_change_places_there_and_back() {
    let mut rng = Rng(111);
    for d in [[3, 3, 4, 8], [1, 1, 1, 1], [2, 3, 5, 13], [1, 5, 13, 3]] {
        let (x, dy) = (rng.tensor(d), rng.tensor([d[0], d[1], d[3], d[2]]));
        let mut run = Run::new(Product::Direct);
        let xv = run.input(Shape::filter(d[0], d[1], d[2], d[3]), &x.v);
        let dyv = run.input(Shape::filter(d[0], d[1], d[3], d[2]), &dy.v);
        let y = run.graph.transpose(xv).unwrap();
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, dx]);
        assert_eq!(got[0], turned(&x).v);
        assert_eq!(got[1], turned(&dy).v);
    }
}
