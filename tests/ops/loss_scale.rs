use super::harness::{Run, each, gpu};
use crate::oracle::Rng;
use ocelli::gpu::Limits;
use ocelli::kernels::{BufId, Dispatch, KernelFamily};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Precision, Shape};

/// The vector of the step. In the output, its last number is the inverse of the loss scale.
const STEP: [f64; 4] = [0.1, 0.9, 0.001, 1.0];
const SCALE: [f64; 4] = [12.0, 3.0, 0.0, 0.0];

fn let_through() -> [f32; 4] {
    [0.1, 0.9, 0.001, 1.0 / 4096.0]
}

#[test]
fn a_number_that_is_not_finite_is_found_wherever_it_is() {
    let mut rng = Rng(111);
    // The last ones have more numbers than a workgroup tests.
    let shapes = [
        Shape::vector(1),
        Shape::filter(3, 1, 5, 7),
        Shape::image(2, 3, 1, 3),
        Shape::image(3, 9, 31, 13),
        Shape::filter(3, 3, 37, 64),
    ];
    for (precision, shape) in each(shapes) {
        let shape = shape.stored_as(precision);
        let mut run = Run::new(KernelFamily::Direct);
        let step = run.input(Shape::vector(4), &STEP);
        let scale = run.state(Shape::vector(4), &SCALE);
        let values = [shape, Shape::vector(5), shape].map(|s| run.graph.input("x", s));
        let y = run.graph.loss_scale(step, scale, &values).unwrap();
        let session = run.session(&[y]);
        let largest = if shape.precision() == Precision::F16 { 65504.0 } else { f32::MAX };
        let count = shape.elements().unwrap();
        let mut content: Vec<f32> = (0..count).map(|_| largest * rng.unit() as f32).collect();
        content[count / 2] = -largest;
        session.write(values[1], &[1e-45, -0.0, 3.0, f32::MAX, f32::MIN_POSITIVE]).unwrap();
        let run_with = |content: &[f32]| {
            session.write(scale, &SCALE.map(|x| x as f32)).unwrap();
            session.write(values[0], content).unwrap();
            session.write(values[2], content).unwrap();
            session.run().unwrap();
            session.output(y).unwrap()
        };
        assert_eq!(run_with(&content), let_through(), "{shape:?}");
        for wrong in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
            let places = [0, count - 1, rng.int(0, count as i64 - 1) as usize];
            for place in places {
                let before = std::mem::replace(&mut content[place], wrong);
                assert_eq!(run_with(&content), [0.0; 4], "{wrong} at {place} of {shape:?}");
                content[place] = before;
            }
        }
        assert_eq!(run_with(&content), let_through(), "what was found is forgotten");
    }
}

#[test]
fn it_tests_all_batch_chunks_of_a_large_batch() {
    let limits = Limits { binding_bytes: 1024, buffer_bytes: 1024 };
    for (precision, place) in each([0, 7 * 128 - 1, 4 * 128]) {
        let mut run = Run::new(KernelFamily::Direct);
        let x = run.graph.input("x", Shape::pixels(7, 8, 4));
        let step = run.graph.input("step", Shape::vector(4));
        let scale = run.graph.input("scale", Shape::vector(4));
        let wide = run.graph.preprocess(x, [0.0; 3], [1e-6; 3], precision).unwrap();
        // 1 / 1e-6 is infinite in f16 and finite in f32.
        let wide = run.graph.add(wide, wide).unwrap();
        let y = run.graph.loss_scale(step, scale, &[wide]).unwrap();
        let plan = Plan::new(&run.graph, &[y], &PlanOptions::new(KernelFamily::Direct, limits)).unwrap();
        let pieces = |d: &&Dispatch| d.buffers.iter().any(|(b, _)| matches!(b.id, BufId::Chunk(..)));
        let looks = plan.dispatches().iter().filter(pieces).filter(|d| d.kernel.entry == "look").count();
        assert_eq!(looks, if precision == Precision::F16 { 2 } else { 4 });
        let session = Session::new(gpu(), plan, None).unwrap();
        session.write(step, &STEP.map(|x| x as f32)).unwrap();
        session.write(scale, &SCALE.map(|x| x as f32)).unwrap();
        let mut pixels = vec![0u8; 7 * 8 * 4 * 4];
        session.write_stored(x, &pixels).unwrap();
        session.run().unwrap();
        assert_eq!(session.output(y).unwrap(), let_through());
        pixels[place / 128 * 128 + place % 128 / 4 * 4] = 255;
        session.write_stored(x, &pixels).unwrap();
        session.run().unwrap();
        let skipped = session.output(y).unwrap() == [0.0; 4];
        assert_eq!(skipped, precision == Precision::F16, "picture {}", place / 128);
    }
}

#[test]
fn the_scale_halves_at_once_and_doubles_after_many_steps() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.graph.input("x", Shape::vector(3));
    let step = run.input(Shape::vector(4), &STEP);
    let scale = run.state(Shape::vector(4), &[16.0, 0.0, 0.0, 0.0]);
    let seed = run.graph.scaled_fill(5, 0.75, scale).unwrap();
    let rates = run.graph.loss_scale(step, scale, &[x]).unwrap();
    let session = run.session(&[seed, rates]);
    let then = |from: [f32; 4], finite: bool| {
        session.write(scale, &from).unwrap();
        session.write(x, &[1.0, if finite { 2.0 } else { f32::INFINITY }, 3.0]).unwrap();
        session.run().unwrap();
        // Both outputs use the scale before the update.
        let factor = from[0].exp2();
        assert_eq!(session.output(seed).unwrap(), [0.75 * factor; 5]);
        let unscale = if finite { 1.0 / factor } else { 0.0 };
        assert_eq!(session.output(rates).unwrap()[3], unscale);
        session.read(scale).unwrap()
    };
    assert_eq!(then([16.0, 7.0, 2.0, 0.0], true), [16.0, 8.0, 2.0, 0.0]);
    assert_eq!(then([16.0, 7.0, 2.0, 0.0], false), [15.0, 0.0, 3.0, 1.0]);
    assert_eq!(then([15.0, 0.0, 3.0, 1.0], false), [14.0, 0.0, 4.0, 2.0]);
    assert_eq!(then([14.0, 0.0, 4.0, 2.0], true), [14.0, 1.0, 4.0, 0.0]);
    assert_eq!(then([14.0, 1998.0, 4.0, 0.0], true), [14.0, 1999.0, 4.0, 0.0]);
    assert_eq!(then([14.0, 1999.0, 4.0, 0.0], true), [15.0, 0.0, 4.0, 0.0]);
    // The exponent stops at the ends of its range. One that was set above the range only decreases.
    assert_eq!(then([24.0, 1999.0, 0.0, 0.0], true), [24.0, 0.0, 0.0, 0.0]);
    assert_eq!(then([100.0, 1999.0, 0.0, 0.0], true), [100.0, 0.0, 0.0, 0.0]);
    assert_eq!(then([100.0, 3.0, 0.0, 0.0], false), [99.0, 0.0, 1.0, 1.0]);
    assert_eq!(then([-10.0, 0.0, 26.0, 26.0], false), [-10.0, 0.0, 27.0, 27.0]);
    assert_eq!(then([-9.0, 5.0, 1.0, 0.0], true), [-9.0, 6.0, 1.0, 0.0]);
}

#[test]
fn what_is_no_step_or_has_no_numbers_is_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let (short, step) = (run.graph.input("a", Shape::vector(3)), run.graph.input("b", Shape::vector(4)));
    let labels = run.graph.input("c", Shape::labels(2));
    assert!(
        run.graph.loss_scale(short, step, &[step]).is_err()
            && run.graph.loss_scale(step, short, &[step]).is_err()
    );
    assert!(run.graph.loss_scale(step, step, &[labels]).is_err());
}
