use super::harness::Run;
use ocelli::kernels::KernelFamily;

#[test]
fn one_number_everywhere_but_in_the_padding() {
    for c in [1, 4, 13, 130] {
        let mut run = Run::new(KernelFamily::Direct);
        let y = run.graph.fill(c, 0.25).unwrap();
        assert_eq!(run.outputs(&[y])[0], vec![0.25; c]);
    }
}
