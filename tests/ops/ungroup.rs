use super::harness::Run;
use crate::oracle::{Rng, T};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn filters_spread_over_the_diagonal_and_back() {
    let mut rng = Rng(121);
    for (d, groups) in [([2, 2, 3, 6], 2), ([1, 3, 1, 5], 5), ([1, 1, 5, 9], 3)] {
        let [r, s, c, k] = d;
        let (x, dy) = (rng.tensor(d), rng.tensor([r, s, c * groups, k]));
        let (mut y, mut dx) = (T::zeros(dy.d), T::zeros(d));
        for i in 0..r {
            for j in 0..s {
                for ci in 0..c {
                    for ki in 0..k {
                        let wide = ki / (k / groups) * c + ci;
                        let at = y.i(i, j, wide, ki);
                        y.v[at] = x.at(i, j, ci, ki);
                        let at = dx.i(i, j, ci, ki);
                        dx.v[at] = dy.at(i, j, wide, ki);
                    }
                }
            }
        }
        let mut run = Run::new(KernelFamily::Direct);
        let xv = run.input(Shape::filter(r, s, c, k), &x.v);
        let dyv = run.input(Shape::filter(r, s, c * groups, k), &dy.v);
        let yv = run.graph.ungroup(xv, groups).unwrap();
        let dxv = run.graph.gradients(yv, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[yv, dxv]);
        assert_eq!(got[0], y.v);
        assert_eq!(got[1], dx.v);
    }
}
