use super::harness::{Run, U, close, close_in, each};
use crate::oracle::{self, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

fn image(d: [usize; 4]) -> Shape {
    Shape::image(d[0], d[1], d[2], d[3])
}

#[test]
fn shortcuts_and_their_gradients_are_exact() {
    let mut rng = Rng(61);
    let cases = [
        ([2, 3, 4, 5], [2, 3, 4, 5], 1),
        ([2, 4, 4, 32], [2, 8, 8, 16], 2),
        ([1, 3, 2, 13], [1, 5, 4, 3], 2),
        ([1, 2, 3, 5], [1, 4, 7, 5], 3),
        ([3, 1, 1, 4], [3, 1, 1, 1], 1),
    ];
    for (precision, (ad, sd, stride)) in each(cases) {
        let sd = if stride == 3 { [1, 4, 7, 5] } else { sd };
        let (a, s, dy) = (rng.small_integers(ad), rng.small_integers(sd), rng.small_integers(ad));
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let (av, sv, dyv) =
            (run.input(image(ad), &a.v), run.input(image(sd), &s.v), run.input(image(ad), &dy.v));
        let y = run.graph.add_shortcut(av, sv, stride).unwrap();
        let gradients = run.graph.gradients(y, dyv, &[av, sv]).unwrap();
        let ds = gradients[1].unwrap();
        assert_eq!(gradients[0], Some(dyv), "the gradient of a is dy itself");
        let outputs = if ds == dyv { vec![y] } else { vec![y, ds] };
        let got = run.outputs(&outputs);
        close(&got[0], &oracle::add_shortcut(&a, &s, stride).v, 0.0);
        if let Some(got) = got.get(1) {
            close(got, &oracle::add_shortcut_ds(&dy, sd, stride).v, 0.0);
        }
    }
}

#[test]
fn a_sum_is_rounded_once() {
    let mut rng = Rng(62);
    for (precision, d) in each([[2, 3, 5, 3], [1, 7, 1, 13]]) {
        let (a, b) = (rng.tensor(d).stored_as(precision), rng.tensor(d).stored_as(precision));
        let mut run = Run::new(KernelFamily::Direct).storing(precision);
        let (av, bv) = (run.input(image(d), &a.v), run.input(image(d), &b.v));
        let y = run.graph.add(av, bv).unwrap();
        let want: Vec<f64> = a.v.iter().zip(&b.v).map(|(a, b)| a + b).collect();
        close_in(precision, &run.outputs(&[y])[0], &want, U);
    }
}

#[test]
fn a_value_used_twice_gets_both_gradients() {
    let mut run = Run::new(KernelFamily::Direct);
    let shape = Shape::image(1, 1, 2, 3);
    let x = run.input(shape, &[1.0, -2.0, 3.0, 4.0, -5.0, 6.0]);
    let dy = run.input(shape, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let r = run.graph.relu(x).unwrap();
    let y = run.graph.add(r, x).unwrap();
    let dx = run.graph.gradients(y, dy, &[x]).unwrap()[0].unwrap();
    let got = run.outputs(&[y, dx]);
    assert_eq!(got[0], [2.0, -2.0, 6.0, 8.0, -5.0, 12.0]);
    assert_eq!(got[1], [2.0, 2.0, 6.0, 8.0, 5.0, 12.0]);
}

#[test]
fn shortcuts_that_do_not_lead_there_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let a = run.input(Shape::image(1, 2, 2, 4), &[0.0; 16]);
    let s = run.input(Shape::image(1, 3, 5, 4), &[0.0; 60]);
    assert!(run.graph.add(a, s).is_err());
    assert!(run.graph.add_shortcut(a, s, 2).unwrap_err().to_string().contains("does not lead"));
}
