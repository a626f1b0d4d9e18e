use super::harness::{Run, close_in, each};
use crate::oracle::Rng;
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

/// pcg4d of Jarzynski and Olano, JCGT 9(3), 2020: the reference implementation of the shader's hash.
fn pcg4d(seed: [u32; 4]) -> [u32; 4] {
    let mix = |mut v: [u32; 4]| {
        for i in 0..4 {
            let (a, b) = [(1, 3), (2, 0), (0, 1), (1, 2)][i];
            v[i] = v[i].wrapping_add(v[a].wrapping_mul(v[b]));
        }
        v
    };
    let v = mix(seed.map(|x| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    mix(v.map(|x| x ^ (x >> 16)))
}

/// The elements that are kept. A word is compared as a whole, so its upper bits decide.
fn mask(d: [usize; 4], key: [u32; 4], layer: u32, rate: f64) -> Vec<bool> {
    let c4 = d[3].div_ceil(4);
    let threshold = (rate * 2f64.powi(32)) as u32;
    let mut stays = Vec::new();
    for i in 0..d.iter().product() {
        let (pixel, c) = (i / d[3], i % d[3]);
        let place = (pixel * c4 + c / 4) as u32;
        stays.push(pcg4d([key[0], key[1] ^ layer, key[2] ^ place, key[3]])[c % 4] >= threshold);
    }
    stays
}

#[test]
fn dropout_and_its_gradient_have_the_same_mask() {
    let mut rng = Rng(61);
    for (precision, (d, rate)) in each([([2, 1, 1, 40], 0.5), ([3, 4, 5, 7], 0.25), ([1, 2, 2, 3], 0.0)]) {
        let (x, dy) = (rng.small_integers(d), rng.small_integers(d));
        let key = [rng.next() as u32, rng.next() as u32, rng.next() as u32, 7];
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let shape = Shape::image(d[0], d[1], d[2], d[3]);
        let (xv, dyv) = (run.input(shape, &x.v), run.input(shape, &dy.v));
        let key_value = run.words(Shape::labels(4), &key);
        let y = run.graph.dropout(xv, key_value, rate, 3).unwrap();
        let dx = run.graph.gradients(y, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, dx]);
        let stays = mask(d, key, 3, f64::from(rate));
        let scale = f64::from(1.0 / (1.0 - rate));
        for (got, from) in got.iter().zip([&x, &dy]) {
            let want: Vec<f64> =
                from.v.iter().zip(&stays).map(|(x, s)| if *s { x * scale } else { 0.0 }).collect();
            close_in(precision, got, &want, 1e-6);
        }
        assert_ne!(mask([1, 1, 1, 400], key, 3, 0.5), mask([1, 1, 1, 400], key, 4, 0.5), "layers differ");
    }
}

#[test]
fn the_rate_is_kept_and_neighbours_are_independent() {
    let n = 200_000;
    let stays = mask([1, 1, 1, n], [1, 2, 3, 4], 0, 0.3);
    let part = |count: usize, of: usize| count as f64 / of as f64;
    assert!((part(stays.iter().filter(|s| **s).count(), n) - 0.7).abs() < 0.005);
    let both = stays.windows(2).filter(|w| w[0] && w[1]).count();
    assert!((part(both, n - 1) - 0.49).abs() < 0.005);
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(1, 1, 1, 4), &[0.0; 4]);
    let (key, short) = (run.words(Shape::labels(4), &[0; 4]), run.words(Shape::labels(1), &[0]));
    for rate in [-0.1, 1.0, f32::NAN] {
        assert!(run.graph.dropout(x, key, rate, 0).is_err());
    }
    assert!(run.graph.dropout(x, short, 0.5, 0).is_err());
}
