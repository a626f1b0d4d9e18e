//! Fully connected layers: convolutions with their own shape rule.

use super::harness::{Run, each, products, worst, worst_in};
use crate::oracle::{self, Conv, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::{Precision, Shape};

#[test]
fn linear_is_a_matrix_product_bit_exact_on_integers() {
    let mut rng = Rng(21);
    for (precision, (n, h, w, c, k)) in each([(1, 1, 1, 5, 3), (3, 2, 3, 5, 13), (9, 1, 1, 64, 10)]) {
        let (x, weight) = (rng.small_integers([n, h, w, c]), rng.small_integers([h, w, c, k]));
        let bias: Vec<f64> = (0..k).map(|_| rng.int(-3, 3) as f64).collect();
        let depth = h * w * c;
        let mut want = vec![0.0; n * k];
        for i in 0..n {
            for j in 0..k {
                want[i * k + j] =
                    bias[j] + (0..depth).map(|d| x.v[i * depth + d] * weight.v[d * k + j]).sum::<f64>();
            }
        }
        for product in products() {
            let mut run = Run::new(product).storing(precision);
            let xv = run.input(Shape::image(n, h, w, c), &x.v);
            let wv = run.input(Shape::filter(h, w, c, k), &weight.v);
            let bv = run.input(Shape::vector(k), &bias);
            let y = run.graph.linear(xv, wv, Some(bv)).unwrap();
            assert_eq!(run.graph.shape(y).unwrap(), Shape::image(n, 1, 1, k).stored_as(precision));
            assert_eq!(run.outputs(&[y])[0], want);
        }
    }
}

#[test]
fn logits_are_single_precision_and_so_is_what_their_gradient_is_computed_from() {
    let mut rng = Rng(22);
    for (precision, (n, h, w, c, k)) in each([(2, 1, 1, 37, 13), (3, 2, 3, 5, 10), (70, 1, 1, 9, 5)]) {
        let (d, o) = ([n, h, w, c], Conv { stride: [1, 1], pad: [0, 0], groups: 1 });
        let (x, weight) = (rng.tensor(d).stored_as(precision), rng.tensor([h, w, c, k]));
        let dy = rng.tensor([n, 1, 1, k]);
        let want = [
            oracle::conv2d(&x, &weight, None, o),
            oracle::conv2d_dx(&dy, &weight, d, o),
            oracle::conv2d_dw(&x, &dy, weight.d, o),
        ];
        for product in products() {
            let mut run = Run::new(product).storing(precision);
            let xv = run.input(Shape::image(n, h, w, c), &x.v);
            let wv = run.input(Shape::filter(h, w, c, k), &weight.v);
            let dyv = run.input_as(Precision::F32, Shape::image(n, 1, 1, k), &dy.v);
            let y = run.graph.logits(xv, wv, None).unwrap();
            assert_eq!(run.graph.shape(y).unwrap(), Shape::image(n, 1, 1, k));
            let gradients = run.graph.gradients(y, dyv, &[xv, wv]).unwrap();
            let got = run.outputs(&[y, gradients[0].unwrap(), gradients[1].unwrap()]);
            let [y, dx, dw] = &want;
            let errors = [
                worst(&got[0], &y.0.v, &y.1.v, h * w * c),
                worst_in(precision, &got[1], &dx.0.v, &dx.1.v, k),
                worst(&got[2], &dw.0.v, &dw.1.v, n),
            ];
            assert!(errors.iter().all(|e| *e <= 1.0), "{d:?} {k} {product:?} {precision:?}: {errors:?}");
        }
    }
}

#[test]
fn weights_of_another_map_size_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(1, 3, 3, 4), &[0.0; 36]);
    let w = run.input(Shape::filter(2, 3, 4, 5), &[0.0; 120]);
    let error = run.graph.linear(x, w, None).unwrap_err().to_string();
    assert!(error.contains("2x3") && error.contains("3x3"), "{error}");
}
