//! Fully connected layers are convolutions; what is their own is the shape rule.

use super::harness::{Run, products};
use crate::oracle::Rng;
use ocelli::graph::Shape;
use ocelli::ops::Product;

#[test]
fn linear_is_a_matrix_product_bit_exact_on_integers() {
    let mut rng = Rng(21);
    for (n, h, w, c, k) in [(1, 1, 1, 5, 3), (3, 2, 3, 5, 13), (9, 1, 1, 64, 10)] {
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
            let mut run = Run::new(product);
            let xv = run.input(Shape::image(n, h, w, c), &x.v);
            let wv = run.input(Shape::filter(h, w, c, k), &weight.v);
            let bv = run.input(Shape::vector(k), &bias);
            let y = run.graph.linear(xv, wv, Some(bv)).unwrap();
            assert_eq!(run.graph.shape(y).unwrap(), Shape::image(n, 1, 1, k));
            assert_eq!(run.outputs(&[y])[0], want);
        }
    }
}

#[test]
fn weights_of_another_map_size_are_refused() {
    let mut run = Run::new(Product::Direct);
    let x = run.input(Shape::image(1, 3, 3, 4), &[0.0; 36]);
    let w = run.input(Shape::filter(2, 3, 4, 5), &[0.0; 120]);
    let error = run.graph.linear(x, w, None).unwrap_err().to_string();
    assert!(error.contains("2x3") && error.contains("3x3"), "{error}");
}
