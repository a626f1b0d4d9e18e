//! What follows from the scores of pictures, against cases computed by hand.

use ocelli::train::{Calibration, Score, Scores};

fn picture(position: u32, label: u32, predicted: u32, rank: u32, probability: f32, of_label: f32) -> Score {
    Score { position, label, predicted, rank, probability, of_label, loss: -of_label.ln() }
}

/// Six pictures of three classes. Class 2 has one picture, which is taken for class 0.
fn six() -> Scores {
    let scores = vec![
        picture(0, 0, 0, 0, 0.9, 0.9),
        picture(1, 0, 1, 1, 0.5, 0.3),
        picture(2, 0, 2, 2, 0.75, 0.05),
        picture(3, 1, 1, 0, 0.5, 0.5),
        picture(4, 1, 1, 0, 1.0, 1.0),
        picture(5, 2, 0, 1, 0.75, 0.125),
    ];
    Scores::new(3, scores).unwrap()
}

#[test]
fn accuracy_loss_and_calibration_error_of_six_pictures() {
    let result = six().evaluation();
    assert_eq!((result.images, result.correct_top1, result.correct_top5), (6, 3, 6));
    assert!((result.top1 - 0.5).abs() < 1e-12 && (result.top5 - 1.0).abs() < 1e-12);
    let loss: f64 =
        [0.9_f32, 0.3, 0.05, 0.5, 1.0, 0.125].iter().map(|p| f64::from(-p.ln())).sum::<f64>() / 6.0;
    assert!((result.loss - loss).abs() < 1e-7);
    // Bins: 0.5 twice (one right), 0.75 twice (none right), 0.9 (right), 1.0 (right).
    let by_hand = (2.0 * 0.0 + 2.0 * 0.75 + 0.1 + 0.0) / 6.0;
    assert!((result.calibration_error - by_hand).abs() < 1e-7, "{}", result.calibration_error);
}

#[test]
fn bins_hold_their_upper_end() {
    // 1/15 as f32 is a little above or below the end of bin 0; 0.2 and 1 have bins of their own on either side.
    let calibration = Calibration::of([(0.0, false), (0.05, true), (0.21, false), (1.0, true)].into_iter());
    let filled: Vec<(usize, u64)> = calibration
        .bins()
        .iter()
        .enumerate()
        .filter_map(|(i, bin)| (bin.images > 0).then_some((i, bin.images)))
        .collect();
    assert_eq!(filled, [(0, 2), (3, 1), (14, 1)]);
    assert_eq!(calibration.bins().len(), 15);
    let first = calibration.bins()[0];
    assert!((first.confidence - 0.025).abs() < 1e-8 && (first.accuracy - 0.5).abs() < 1e-12);
    // (2 * 0.475 + 0.21 + 0) / 4
    assert!((calibration.error() - 0.29).abs() < 1e-7);
    assert_eq!(Calibration::of(std::iter::empty()).error(), 0.0);
}

#[test]
fn the_confusion_matrix_of_six_pictures() {
    let scores = six();
    let confusion = scores.confusion();
    assert_eq!(confusion.matrix(3).unwrap(), [[1, 1, 1], [0, 2, 0], [1, 0, 0]]);
    assert_eq!(confusion.matrix(2), None);
    assert_eq!(confusion.pairs().count(), 5);
    // Of two equal ones the lower class.
    assert_eq!(confusion.most_confused(0), Some((1, 1)));
    assert_eq!(confusion.most_confused(1), None);
    assert_eq!(confusion.most_confused(2), Some((0, 1)));
    let classes = scores.per_class(&confusion);
    let counts: Vec<_> = classes.iter().map(|c| (c.images, c.correct_top1, c.correct_top5)).collect();
    assert_eq!(counts, [(3, 1, 3), (2, 2, 2), (1, 0, 1)]);
}

#[test]
fn the_worst_are_wrong_with_the_most_confidence() {
    let scores = six();
    let positions = |list: Vec<Score>| list.iter().map(|s| s.position).collect::<Vec<_>>();
    // 2 and 5 are equally sure; 2 gives the right class less.
    assert_eq!(positions(scores.worst(9)), [2, 5, 1]);
    assert_eq!(positions(scores.worst(1)), [2]);
    assert_eq!(positions(scores.best(2)), [4, 0]);
}

#[test]
fn a_class_without_pictures_has_no_accuracy_and_no_pictures_are_an_error() {
    let scores = Scores::new(4, vec![picture(0, 3, 0, 1, 0.5, 0.25)]).unwrap();
    let classes = scores.per_class(&scores.confusion());
    assert_eq!(classes.iter().map(|c| c.top1()).collect::<Vec<_>>(), [None, None, None, Some(0.0)]);
    assert!(Scores::new(4, Vec::new()).is_err());
}
