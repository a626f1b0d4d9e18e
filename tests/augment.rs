//! Data augmentation through its public interface.

use crate::oracle::Rng;
use ocelli::data::{Augment, ChannelOrder, Normalization, Picture, Preprocessing};
use ocelli::random::{Draw, Stream};

#[test]
fn augmentation_moves_and_mirrors() {
    // A picture whose every pixel is different: where each one comes from can be seen.
    let size = 12;
    let rgba = (0..size * size).flat_map(|i| [(1 + i / size) as u8, (1 + i % size) as u8, 0, 255]).collect();
    let picture = Picture::from_rgba(size, size, rgba).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..400 {
        let varied = augmented(Augment::CIFAR, &picture, index);
        assert_eq!(varied, augmented(Augment::CIFAR, &picture, index));
        assert_eq!((varied.height(), varied.width()), (size, size));
        // The middle never leaves the picture, so it tells the shift and the mirroring.
        let at = |y: usize, x: usize| &varied.rgba()[(y * size + x) * 4..][..2];
        let (here, right) = (at(6, 6), at(6, 7));
        let mirrored = right[1] < here[1];
        let (dy, dx) = (i32::from(here[0]) - 7, i32::from(here[1]) - if mirrored { 6 } else { 7 });
        assert!(dy.abs() <= 4 && dx.abs() <= 4, "{dy} {dx}");
        seen.insert((dy, dx, mirrored));
        for y in 0..size {
            for x in 0..size {
                let from_x = if mirrored { size - 1 - x } else { x } as i32 + dx;
                let from_y = y as i32 + dy;
                let inside = (0..size as i32).contains(&from_y) && (0..size as i32).contains(&from_x);
                let want = if inside { [1 + from_y as u8, 1 + from_x as u8] } else { [0, 0] };
                assert_eq!(at(y, x), want, "{dy} {dx} {mirrored} at {y} {x}");
            }
        }
    }
    assert!(seen.len() > 130, "only {} of 162 variations in 400 draws", seen.len());
    assert_eq!(augmented(Augment::NONE, &picture, 0), picture);
}

#[test]
fn every_preset_gives_pictures_of_the_input_from_pictures_of_any_size() {
    let how = Preprocessing::covering(Normalization::IMAGENET);
    let presets = ["none", "cifar", "alexnet", "vgg", "resnet", "inception", "modern"];
    for (i, [h, w]) in [[1, 1], [3, 40], [200, 7], [24, 24], [61, 83]].into_iter().enumerate() {
        let mut rng = Rng(i as u64 + 1);
        let rgba = (0..h * w * 4).map(|_| rng.int(0, 255) as u8).collect();
        let picture = Picture::from_rgba(h, w, rgba).unwrap();
        for preset in presets {
            let augment: Augment = preset.parse().unwrap();
            let mut seen = std::collections::BTreeSet::new();
            for index in 0..60 {
                let draw = Draw::new(3, Stream::Augment, 1, index);
                let varied = augment.apply(picture.clone(), [24, 20], &how, draw).unwrap();
                assert_eq!((varied.height(), varied.width()), (24, 20), "{preset} of {h}x{w}");
                seen.insert(varied.into_rgba());
            }
            let expected = if preset == "none" { 1..=1 } else { 2..=60 };
            assert!(expected.contains(&seen.len()), "{preset} of {h}x{w}: {} variations", seen.len());
        }
    }
}

#[test]
fn colours_vary_in_the_order_red_green_blue_whatever_the_network_takes() {
    let rgba = (0..16 * 16).flat_map(|i| [200 - (i % 16) as u8, 60 + (i / 16) as u8, 20, 255]).collect();
    let picture = Picture::from_rgba(16, 16, rgba).unwrap();
    let augment: Augment = "modern,lighting=0.1".parse().unwrap();
    let of = |how: Preprocessing| {
        let draw = Draw::new(9, Stream::Augment, 0, 4);
        augment.apply(picture.clone(), [16, 16], &how, draw).unwrap()
    };
    let rgb = of(Preprocessing::covering(Normalization::IMAGENET));
    let bgr =
        of(Preprocessing { order: ChannelOrder::Bgr, ..Preprocessing::covering(Normalization::IMAGENET) });
    for (a, b) in rgb.rgba().chunks(4).zip(bgr.rgba().chunks(4)) {
        assert_eq!(a, [b[2], b[1], b[0], b[3]]);
    }
}

/// A picture that is varied and stays as large as it is.
fn augmented(augment: Augment, picture: &Picture, index: u32) -> Picture {
    let (size, how) = ([picture.height(), picture.width()], Preprocessing::covering(Normalization::IMAGENET));
    augment.apply(picture.clone(), size, &how, Draw::new(1, Stream::Augment, 0, index)).unwrap()
}
