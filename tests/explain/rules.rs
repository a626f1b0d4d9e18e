//! What ReLUs and local response normalisations pass back, on a network with pooling, LRN, concatenation and residual sums, against a
//! reference in f64.

use crate::ops::harness::{Run, each, products};
use crate::oracle::{self, Conv, Lrn, Pool, Rng, T};
use ocelli::autodiff::BackwardRule;
use ocelli::ops::{ConvOptions, LrnOptions, PoolOptions, Running};
use ocelli::tensor::Shape;

const RULES: [BackwardRule; 3] = [BackwardRule::Gradient, BackwardRule::Guided, BackwardRule::Deconvnet];

const SAME: Conv = Conv { stride: [1; 2], pad: [1; 2], groups: 1 };
const POINT: Conv = Conv { stride: [1; 2], pad: [0; 2], groups: 1 };
const STRIDED: Conv = Conv { stride: [2; 2], pad: [1; 2], groups: 1 };
const POOL: Pool =
    Pool { kernel: [3; 2], stride: [2; 2], pad: [[0; 2]; 2], ceil: false, count_padding: true };
const LRN: Lrn = Lrn { size: 5, alpha: 1.0, beta: 0.75, bias: 1.0 };
const EPSILON: f64 = 1e-5;

fn options(o: Conv) -> ConvOptions {
    ConvOptions { stride: o.stride, pad: o.pad, groups: o.groups }
}

/// What a ReLU with the result `y` passes back.
fn back(rule: BackwardRule, y: &T, dy: &T) -> T {
    let pass = |y: f64, dy: f64| match rule {
        BackwardRule::Gradient => y > 0.0,
        BackwardRule::Guided => y > 0.0 && dy > 0.0,
        BackwardRule::Deconvnet => dy > 0.0,
    };
    let v = y.v.iter().zip(&dy.v).map(|(y, dy)| if pass(*y, *dy) { *dy } else { 0.0 }).collect();
    T { d: dy.d, v }
}

fn add(a: &T, b: &T) -> T {
    assert_eq!(a.d, b.d);
    T { d: a.d, v: a.v.iter().zip(&b.v).map(|(a, b)| a + b).collect() }
}

fn concat(a: &T, b: &T) -> T {
    let [n, h, w, c] = a.d;
    let rows = a.v.chunks(c).zip(b.v.chunks(b.d[3]));
    T { d: [n, h, w, c + b.d[3]], v: rows.flat_map(|(a, b)| [a, b].concat()).collect() }
}

/// The first channels, and the rest.
fn apart(x: &T, first: usize) -> [T; 2] {
    let [n, h, w, c] = x.d;
    let part = |d: usize, f: &dyn Fn(&[f64]) -> Vec<f64>| T {
        d: [n, h, w, d],
        v: x.v.chunks(c).flat_map(f).collect(),
    };
    [part(first, &|row| row[..first].to_vec()), part(c - first, &|row| row[first..].to_vec())]
}

/// The operands of the network.
struct Network {
    x: T,
    w: [T; 5],
    /// Mean, variance, scale and shift of the batch norm.
    norm: [Vec<f64>; 4],
    /// Without LRN and batch norm all results of small integers are integers.
    whole: bool,
    seed: T,
}

impl Network {
    fn new(rng: &mut Rng, whole: bool) -> Self {
        let (x, shapes) =
            ([2, 11, 9, 3], [[3, 3, 3, 8], [1, 1, 8, 6], [3, 3, 8, 5], [3, 3, 11, 11], [3, 3, 11, 7]]);
        let mut tensor = |d| if whole { rng.small_integers(d) } else { rng.tensor(d) };
        let x = tensor(x);
        let w = shapes.map(&mut tensor);
        let seed = tensor([2, 3, 2, 7]);
        let mut vector = |low: f64, high: f64| -> Vec<f64> {
            (0..11).map(|_| f64::from((low + (high - low) * (0.5 + 0.5 * rng.unit())) as f32)).collect()
        };
        let norm = [vector(-0.5, 0.5), vector(0.5, 1.5), vector(-1.0, 1.5), vector(-0.5, 0.5)];
        Self { x, w, norm, whole, seed }
    }

    /// The result, and what comes back to `x`.
    fn expected(&self, rule: BackwardRule) -> [T; 2] {
        let [w1, w2, w3, w4, w5] = &self.w;
        let [mean, variance, gamma, beta] = &self.norm;
        let conv = |x: &T, w: &T, o: Conv| oracle::conv2d(x, w, None, o).0;
        let a = oracle::relu(&conv(&self.x, w1, SAME));
        let pooled = oracle::max_pool(&a, POOL);
        let normed = if self.whole { pooled.clone() } else { oracle::lrn(&pooled, LRN) };
        let b = oracle::relu(&conv(&normed, w2, POINT));
        let c = oracle::relu(&conv(&normed, w3, SAME));
        let both = concat(&b, &c);
        let d = conv(&both, w4, SAME);
        let scaled =
            if self.whole { d } else { oracle::batch_norm(&d, mean, variance, gamma, beta, EPSILON) };
        let e = oracle::relu(&add(&scaled, &both));
        let y = oracle::relu(&conv(&e, w5, STRIDED));

        let dx = |dy: &T, w: &T, x: &T, o: Conv| oracle::conv2d_dx(dy, w, x.d, o).0;
        let de = back(rule, &e, &dx(&back(rule, &y, &self.seed), w5, &e, STRIDED));
        let mut dd = de.clone();
        if !self.whole {
            for (i, v) in dd.v.iter_mut().enumerate() {
                *v *= gamma[i % 11] / (variance[i % 11] + EPSILON).sqrt();
            }
        }
        let [db, dc] = apart(&add(&dx(&dd, w4, &both, SAME), &de), 6);
        let into_b = dx(&back(rule, &b, &db), w2, &normed, POINT);
        let into_c = dx(&back(rule, &c, &dc), w3, &normed, SAME);
        let dnormed = add(&into_b, &into_c);
        let through = self.whole || rule == BackwardRule::Deconvnet;
        let dpooled = if through { dnormed } else { oracle::lrn_dx(&pooled, &dnormed, LRN) };
        let da = oracle::max_pool_dx(&a, &dpooled, POOL);
        [y, dx(&back(rule, &a, &da), w1, &self.x, SAME)]
    }

    /// The same on the GPU.
    fn computed(&self, run: &mut Run, rule: BackwardRule) -> Vec<Vec<f64>> {
        let image = |t: &T| Shape::image(t.d[0], t.d[1], t.d[2], t.d[3]);
        let x = run.input(image(&self.x), &self.x.v);
        let seed = run.input(image(&self.seed), &self.seed.v);
        let [w1, w2, w3, w4, w5] = [0, 1, 2, 3, 4].map(|i: usize| {
            let T { d: [r, s, c, k], v } = &self.w[i];
            run.state(Shape::filter(*r, *s, *c, *k), v)
        });
        let [mean, variance, gamma, beta] =
            [0, 1, 2, 3].map(|i: usize| run.state(Shape::vector(11), &self.norm[i]));
        let g = &mut run.graph;
        let unit = |g: &mut ocelli::graph::Graph, x, w, o| {
            let y = g.conv2d(x, w, None, options(o)).unwrap();
            g.relu(y).unwrap()
        };
        let a = unit(g, x, w1, SAME);
        let pooled = g.max_pool(a, PoolOptions::square(3, 2)).unwrap();
        let lrn = LrnOptions { size: 5, alpha: 1.0, beta: 0.75, bias: 1.0 };
        let normed = if self.whole { pooled } else { g.lrn(pooled, lrn).unwrap() };
        let (b, c) = (unit(g, normed, w2, POINT), unit(g, normed, w3, SAME));
        let both = g.concat(&[b, c]).unwrap();
        let d = g.conv2d(both, w4, None, options(SAME)).unwrap();
        let running = Running { mean, variance };
        let scaled = if self.whole {
            d
        } else {
            g.batch_norm_inference(d, [gamma, beta], running, EPSILON as f32).unwrap()
        };
        let sum = g.add(scaled, both).unwrap();
        let e = g.relu(sum).unwrap();
        let y = unit(g, e, w5, STRIDED);
        let dx = g.gradients_by(rule, &[(y, seed)], &[x]).unwrap()[0].unwrap();
        run.outputs(&[y, dx])
    }
}

#[test]
fn what_comes_back_is_that_of_the_reference() {
    let mut rng = Rng(2301);
    for product in products() {
        for rule in RULES {
            let network = Network::new(&mut rng, false);
            let [y, dx] = network.expected(rule);
            let got = network.computed(&mut Run::new(product), rule);
            for (what, got, wanted) in [("y", &got[0], &y.v), ("dx", &got[1], &dx.v)] {
                let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
                let off =
                    norm(&mut got.iter().zip(wanted).map(|(a, b)| a - b)) / norm(&mut wanted.iter().copied());
                println!("{product:?} {rule:?} {what}: {off:.1e}");
                assert!(off < 2e-6, "{product:?} {rule:?} {what}: {off:e}");
            }
        }
    }
}

#[test]
fn integers_come_back_bit_for_bit() {
    let mut rng = Rng(2302);
    for product in products() {
        for rule in RULES {
            let network = Network::new(&mut rng, true);
            let [y, dx] = network.expected(rule);
            assert!(dx.v.iter().chain(&y.v).all(|x| x.abs() < 16_777_216.0), "no longer exact in f32");
            let got = network.computed(&mut Run::new(product), rule);
            assert_eq!(got[0], y.v, "{product:?} {rule:?}");
            assert_eq!(got[1], dx.v, "{product:?} {rule:?}");
            assert!(dx.v.iter().any(|x| *x != 0.0));
        }
    }
}

/// The paper's unpooling: the place of each maximum is recorded (the switch), and numbers go back to these places. Where windows overlap
/// they are added.
#[test]
fn unpooling_with_switches_is_the_gradient_of_max_pooling() {
    let mut rng = Rng(2303);
    for (precision, (d, kernel, stride)) in
        each([([2, 6, 8, 5], 2, 2), ([1, 9, 7, 12], 3, 2), ([3, 5, 5, 1], 3, 1)])
    {
        let x = T::new(d, || rng.int(-40, 40) as f64);
        let [n, h, w, c] = d;
        let [p, q] = [(h - kernel) / stride + 1, (w - kernel) / stride + 1];
        let above = rng.small_integers([n, p, q, c]);
        let mut unpooled = T::zeros(d);
        for image in 0..n {
            for row in 0..p {
                for column in 0..q {
                    for channel in 0..c {
                        let (mut switch, mut most) = ([0; 2], f64::NEG_INFINITY);
                        for y in row * stride..row * stride + kernel {
                            for z in column * stride..column * stride + kernel {
                                if x.at(image, y, z, channel) > most {
                                    (switch, most) = ([y, z], x.at(image, y, z, channel));
                                }
                            }
                        }
                        let at = unpooled.i(image, switch[0], switch[1], channel);
                        unpooled.v[at] += above.at(image, row, column, channel);
                    }
                }
            }
        }
        let mut run = Run::new(products()[0]).storing(precision);
        let xv = run.input(Shape::image(n, h, w, c), &x.v);
        let seed = run.input(Shape::image(n, p, q, c), &above.v);
        let y = run.graph.max_pool(xv, PoolOptions::square(kernel, stride)).unwrap();
        let rule = BackwardRule::Deconvnet;
        let back = run.graph.gradients_by(rule, &[(y, seed)], &[xv]).unwrap()[0].unwrap();
        assert_eq!(run.outputs(&[back])[0], unpooled.v, "{precision:?} {d:?}");
    }
}
