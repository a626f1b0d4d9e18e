use super::harness::{Run, U, close, close_in, each};
use crate::oracle::{self, Pool, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::ops::PoolOptions;
use ocelli::tensor::Shape;

fn cases() -> Vec<([usize; 4], Pool)> {
    let pool = |kernel, stride, [h, w]: [usize; 2], count_padding| Pool {
        kernel,
        stride,
        pad: [[h; 2], [w; 2]],
        ceil: false,
        count_padding,
    };
    vec![
        ([2, 6, 6, 4], pool([2, 2], [2, 2], [0, 0], true)),
        ([1, 7, 9, 5], pool([3, 3], [2, 2], [0, 0], true)),
        ([3, 8, 5, 13], pool([3, 3], [2, 2], [1, 1], true)),
        ([1, 5, 7, 3], pool([3, 2], [1, 3], [1, 1], false)),
        ([2, 5, 6, 1], pool([2, 2], [3, 4], [0, 0], true)),
        ([1, 7, 7, 64], pool([7, 7], [1, 1], [0, 0], true)),
        ([1, 1, 1, 3], pool([1, 1], [1, 1], [0, 0], false)),
        // The windows of GoogLeNet and of the ONNX model zoo, and some that PyTorch's rule for the last window
        // decides.
        ([1, 8, 9, 4], Pool { ceil: true, ..pool([3, 3], [2, 2], [0, 0], true) }),
        ([1, 6, 6, 5], Pool { pad: [[0, 1], [0, 1]], ..pool([7, 7], [1, 1], [0, 0], false) }),
        ([1, 6, 13, 4], Pool { pad: [[0, 1], [0, 1]], ..pool([3, 3], [2, 2], [0, 0], true) }),
        ([2, 6, 7, 4], Pool { ceil: true, ..pool([2, 3], [3, 2], [1, 1], true) }),
        ([1, 2, 5, 4], Pool { ceil: true, ..pool([3, 3], [2, 2], [0, 0], true) }),
        ([1, 5, 4, 3], Pool { ceil: true, pad: [[1, 0], [0, 1]], ..pool([2, 2], [2, 3], [0, 0], false) }),
    ]
}

fn options(o: Pool) -> PoolOptions {
    let Pool { kernel, stride, pad, ceil, count_padding } = o;
    PoolOptions { kernel, stride, pad, ceil, count_padding }
}

#[test]
fn max_pool_and_its_gradient_are_exact_with_ties() {
    let mut rng = Rng(41);
    for (precision, (d, o)) in each(cases()) {
        // Small integers, so that most windows have several equal maxima.
        let x = rng.small_integers(d);
        let dy = rng.small_integers(o.shape(d));
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let xv = run.input(Shape::image(d[0], d[1], d[2], d[3]), &x.v);
        let [n, p, q, c] = dy.d;
        let dyv = run.input(Shape::image(n, p, q, c), &dy.v);
        let y = run.graph.max_pool(xv, options(o)).unwrap();
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, dx]);
        close(&got[0], &oracle::max_pool(&x, o).v, 0.0);
        close(&got[1], &oracle::max_pool_dx(&x, &dy, o).v, 0.0);
    }
}

#[test]
fn average_pool_and_its_gradient() {
    let mut rng = Rng(42);
    for (precision, (d, o)) in each(cases()) {
        let x = rng.tensor(d).stored_as(precision);
        let dy = rng.tensor(o.shape(d)).stored_as(precision);
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let xv = run.input(Shape::image(d[0], d[1], d[2], d[3]), &x.v);
        let [n, p, q, c] = dy.d;
        let dyv = run.input(Shape::image(n, p, q, c), &dy.v);
        let y = run.graph.average_pool(xv, options(o)).unwrap();
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, dx]);
        let tolerance = (10.0 + 2.0 * ((o.kernel[0] * o.kernel[1]) as f64).sqrt()) * U;
        close_in(precision, &got[0], &oracle::average_pool(&x, o).v, tolerance);
        close_in(precision, &got[1], &oracle::average_pool_dx(d, &dy, o).v, tolerance);
    }
}

#[test]
fn global_average_is_the_mean_of_the_map() {
    let mut rng = Rng(43);
    let x = rng.small_integers([3, 4, 8, 5]);
    let mut run = Run::new(KernelFamily::Direct);
    let xv = run.input(Shape::image(3, 4, 8, 5), &x.v);
    let y = run.graph.global_average_pool(xv).unwrap();
    let o = Pool { kernel: [4, 8], stride: [1, 1], pad: [[0; 2]; 2], ceil: false, count_padding: true };
    assert_eq!(run.outputs(&[y])[0], oracle::average_pool(&x, o).v);
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(1, 2, 5, 3), &[0.0; 30]);
    let error = run.graph.max_pool(x, PoolOptions::square(3, 2)).unwrap_err().to_string();
    assert!(error.contains("smaller than the window"), "{error}");
    let wide = PoolOptions::square(2, 2).padded(2);
    assert!(run.graph.average_pool(x, wide).is_err());
    assert!(run.graph.max_pool(x, PoolOptions::square(2, 0)).is_err());
}

#[test]
fn adaptive_average_pool_and_its_gradient() {
    let mut rng = Rng(44);
    let cases =
        [([2, 13, 9, 5], [6, 6]), ([1, 1, 2, 4], [7, 7]), ([3, 8, 5, 8], [4, 1]), ([1, 7, 3, 1], [5, 4])];
    for (precision, (d, to)) in each(cases) {
        let x = rng.tensor(d).stored_as(precision);
        let dy = rng.tensor([d[0], to[0], to[1], d[3]]).stored_as(precision);
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let xv = run.input(Shape::image(d[0], d[1], d[2], d[3]), &x.v);
        let dyv = run.input(Shape::image(d[0], to[0], to[1], d[3]), &dy.v);
        let y = run.graph.adaptive_average_pool(xv, to).unwrap();
        assert_eq!(run.graph.adaptive_average_pool(y, to).unwrap(), y, "a map of that size is left as it is");
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, dx]);
        close_in(precision, &got[0], &oracle::adaptive_average_pool(&x, to).v, 20.0 * U);
        close_in(precision, &got[1], &oracle::adaptive_average_pool_dx(d, &dy).v, 60.0 * U);
    }
}
