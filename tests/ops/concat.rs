use super::harness::{Run, each};
use crate::oracle::{Rng, T};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::{Precision, Shape, Value};

fn joined(parts: &[T]) -> Vec<f64> {
    let pixels = parts[0].v.len() / parts[0].d[3];
    let row = |i: usize| parts.iter().flat_map(move |p| p.v[i * p.d[3]..(i + 1) * p.d[3]].to_vec());
    (0..pixels).flat_map(row).collect()
}

/// Joins parts, with or without a ReLU before each, and compares result and gradients with plain loops.
/// Returns how many copies the plan has.
fn check(precision: Precision, rng: &mut Rng, channels: &[usize], relu: &[bool]) -> usize {
    let [n, h, w] = [2, 3, 2];
    let parts: Vec<T> = channels.iter().map(|c| rng.small_integers([n, h, w, *c])).collect();
    let all: usize = channels.iter().sum();
    let dy = rng.small_integers([n, h, w, all]);
    let mut run = Run::new(KernelFamily::Direct).storing(precision);
    let inputs: Vec<Value> = parts.iter().map(|p| run.input(Shape::image(n, h, w, p.d[3]), &p.v)).collect();
    let dyv = run.input(Shape::image(n, h, w, all), &dy.v);
    let made: Vec<Value> =
        inputs.iter().zip(relu).map(|(x, r)| if *r { run.graph.relu(*x).unwrap() } else { *x }).collect();
    let y = run.graph.concat(&made).unwrap();
    let gradients = run.graph.gradients(y, dyv, &inputs).unwrap();
    let outputs: Vec<Value> = [y].into_iter().chain(gradients.into_iter().map(Option::unwrap)).collect();
    let got = run.outputs(&outputs);
    let after: Vec<T> =
        parts.iter().zip(relu).map(|(p, r)| if *r { crate::oracle::relu(p) } else { p.clone() }).collect();
    assert_eq!(got[0], joined(&after), "{channels:?} {relu:?}");
    let mut from = 0;
    for ((part, relu), got) in parts.iter().zip(relu).zip(&got[1..]) {
        let [.., c] = part.d;
        let slice = dy.v.chunks(all).flat_map(|row| row[from..from + c].to_vec()).collect();
        let slice = T { d: part.d, v: slice };
        let want = if *relu { crate::oracle::relu_dx(part, &slice) } else { slice };
        assert_eq!(*got, want.v, "{channels:?} {relu:?} part from {from}");
        from += c;
    }
    run.session(&outputs).plan().dispatches().iter().filter(|d| d.kernel.name == "concat").count()
}

#[test]
fn concat_and_its_gradient_are_exact() {
    let mut rng = Rng(71);
    for (precision, ()) in each([()]) {
        let mut copies = |channels: &[usize], relu: &[bool]| check(precision, &mut rng, channels, relu);
        assert_eq!(copies(&[4, 8, 12], &[true; 3]), 0, "slices of the result are free both ways");
        assert_eq!(copies(&[8, 4, 5], &[true; 3]), 0, "the last part may have any width");
        assert_eq!(copies(&[4, 8], &[true, false]), 2, "an input is copied there and back");
        assert_eq!(copies(&[3, 6, 1, 5], &[true; 4]), 8, "parts that do not start at a vec4 are copied");
        assert_eq!(copies(&[5], &[false]), 0, "one part is the result");
    }
}

#[test]
fn a_part_with_other_readers_and_a_part_twice() {
    let mut rng = Rng(72);
    let x = rng.small_integers([1, 2, 2, 4]);
    let mut run = Run::new(KernelFamily::Direct);
    let xv = run.input(Shape::image(1, 2, 2, 4), &x.v);
    let r = run.graph.relu(xv).unwrap();
    // A sum cannot read a slice, so r has memory of its own. One value cannot be in two places of a concatenation.
    let sum = run.graph.add(r, xv).unwrap();
    let s = run.graph.relu(sum).unwrap();
    let twice = run.graph.concat(&[s, s]).unwrap();
    let y = run.graph.concat(&[r, s]).unwrap();
    let (rx, sx) = (crate::oracle::relu(&x), {
        let r = crate::oracle::relu(&x);
        let sum = T { d: x.d, v: r.v.iter().zip(&x.v).map(|(a, b)| a + b).collect() };
        crate::oracle::relu(&sum)
    });
    let got = run.outputs(&[twice, y]);
    assert_eq!(got[0], joined(&[sx.clone(), sx.clone()]));
    assert_eq!(got[1], joined(&[rx, sx]));
}

#[test]
fn maps_that_differ_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let a = run.input(Shape::image(1, 2, 2, 4), &[0.0; 16]);
    let b = run.input(Shape::image(1, 2, 1, 4), &[0.0; 8]);
    assert!(run.graph.concat(&[a, b]).is_err());
    assert!(run.graph.concat(&[]).is_err());
    let c = run.input_as(Precision::F16, Shape::image(1, 2, 2, 4), &[0.0; 16]);
    assert!(run.graph.concat(&[a, c]).is_err());
    assert!(run.graph.channels(a, 2, 3).is_err());
    assert!(run.graph.channels(a, usize::MAX, 2).is_err());
}
