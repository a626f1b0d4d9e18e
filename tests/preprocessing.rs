//! Pictures on their way into a network, against Pillow and torchvision's transforms.

use crate::support::fixtures;
use ocelli::Error;
use ocelli::data::{ChannelOrder, Normalization, Picture, Preprocessing, Resize, fit, read_picture};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

#[derive(Deserialize)]
struct Golden {
    pictures: Vec<Case>,
    photos: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct Case {
    height: usize,
    width: usize,
    resize: Resize,
    size: [usize; 2],
    rgb: Vec<u8>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/preprocessing.json")).unwrap()
}

/// The picture of the script of the same name.
pub fn picture(height: usize, width: usize) -> Picture {
    let pixel = |y: usize, x: usize| {
        let blue = if (x / 9 + y / 6).is_multiple_of(2) { 230 } else { 20 };
        [((x * x * 3 + y * 7) / 5 % 256) as u8, ((x * 11 + y * y * 2) / 7 % 256) as u8, blue, 255]
    };
    let rgba = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(y, x))).collect();
    Picture::from_rgba(height, width, rgba).unwrap()
}

fn rgb(picture: &Picture) -> Vec<u8> {
    picture.rgba().chunks(4).flat_map(|p| [p[0], p[1], p[2]]).collect()
}

fn resized(resize: Resize) -> Preprocessing {
    Preprocessing { resize, ..Preprocessing::covering(Normalization::IMAGENET) }
}

#[test]
fn resizing_is_that_of_torchvision_and_pillow() {
    for case in golden().pictures {
        let Case { height, width, resize, size: [h, w], .. } = case;
        let ours = rgb(&fit(picture(height, width), &resized(resize), h, w).unwrap());
        assert_eq!(ours.len(), case.rgb.len());
        let differences = ours.iter().zip(&case.rgb).map(|(a, b)| a.abs_diff(*b));
        let place = format!("{height}x{width} {resize} to {h}x{w}");
        let largest = differences.clone().max().unwrap();
        let mean = differences.map(f64::from).sum::<f64>() / ours.len() as f64;
        // Both compute in fixed point, and round a number that lies between two to either.
        assert!(largest <= 1 && mean < 0.1, "{place}: largest {largest}, mean {mean}");
    }
}

#[test]
fn photographs_come_out_as_with_pillow() {
    let folder = match fixtures::shared("photos") {
        Ok(folder) => folder,
        Err(reason) => {
            return fixtures::skipped("preprocessing::photographs_come_out_as_with_pillow", &reason);
        }
    };
    let prepared = std::env::var_os("OCELLI_PREPARED").map(std::path::PathBuf::from);
    let how = Preprocessing::torchvision(224);
    assert_eq!(how.resize, Resize::Shorter(256));
    let golden = golden().photos;
    assert!(golden.len() >= 16);
    for (name, means) in golden {
        let fitted = fit(read_picture(folder.join(&name)).unwrap(), &how, 224, 224).unwrap();
        let pixels = rgb(&fitted);
        if let Some(prepared) = &prepared {
            fs::write(prepared.join(format!("{name}.rgb")), &pixels).unwrap();
        }
        // Means over 8 x 8 blocks of 28 x 28 pixels.
        for (i, wanted) in means.iter().enumerate() {
            let (channel, block) = (i % 3, i / 3);
            let (top, left) = (block / 8 * 28, block % 8 * 28);
            let of_row = |y: usize| (left..left + 28).map(move |x| (y * 224 + x) * 3 + channel);
            let sum: u32 = (top..top + 28).flat_map(of_row).map(|at| u32::from(pixels[at])).sum();
            let mean = f64::from(sum) / (28.0 * 28.0);
            assert!((mean - wanted).abs() < 1.0, "{name}: block {block} has {mean}, not {wanted}");
        }
    }
}

#[test]
fn what_is_usual_is_what_others_do() {
    let torchvision = Preprocessing::torchvision(224);
    assert_eq!(
        torchvision.to_string(),
        "resize shorter:256, rgb, mean 0.485,0.456,0.406, std 0.229,0.224,0.225"
    );
    for (size, side) in [(224, 256), (227, 256), (64, 73), (1, 1)] {
        assert_eq!(Preprocessing::caffe(size).resize, Resize::Squash(side), "{size}");
    }
    // Blue first, and each channel with its own mean.
    let caffe = Preprocessing::caffe(227);
    let channels = caffe.channels();
    assert_eq!(caffe.normalization.mean[0], channels.mean[2]);
    let pixel = Picture::from_rgba(1, 1, vec![10, 20, 30, 255]).unwrap();
    let bgr = Preprocessing { order: ChannelOrder::Bgr, ..resized(Resize::Cover) };
    assert_eq!(fit(pixel.clone(), &bgr, 1, 1).unwrap().rgba(), [30, 20, 10, 255]);
    assert_eq!(fit(pixel, &resized(Resize::Cover), 1, 1).unwrap().rgba(), [10, 20, 30, 255]);
}

#[test]
fn strange_sizes_and_rules_are_errors() {
    for text in
        ["", "shorter", "shorter:", "shorter:0", "shorter:-1", "shorter:99999", "squash:x", "Cover", "crop:3"]
    {
        let error = text.parse::<Resize>().unwrap_err();
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("shorter:256"), "{error}");
    }
    for resize in [Resize::Cover, Resize::Shorter(17), Resize::Squash(256)] {
        assert_eq!(resize.to_string().parse::<Resize>().unwrap(), resize);
    }
    // One pixel high: 256 pixels high it would have 256 times 10 million columns.
    let long = Picture::from_rgba(1, 100_000, vec![0; 400_000]).unwrap();
    let error = fit(long, &resized(Resize::Shorter(256)), 224, 224).unwrap_err();
    assert!(error.to_string().contains("64 megapixels"), "{error}");
    let pixel = Picture::from_rgba(1, 1, vec![9; 4]).unwrap();
    for resize in [Resize::Cover, Resize::Shorter(8), Resize::Squash(8), Resize::Shorter(1)] {
        for (height, width) in [(0, 4), (4, 0), (0, 0), (usize::MAX, 2)] {
            let fitted = fit(pixel.clone(), &resized(resize), height, width);
            assert!(matches!(fitted, Err(Error::Data(_))), "{resize} {height}x{width}");
        }
    }
    for mean in [f32::NAN, f32::INFINITY] {
        let normalization = Normalization { mean: [0.0, mean, 0.0], std: [1.0; 3] };
        assert!(Preprocessing::covering(normalization).check().is_err());
    }
    let flat = Normalization { mean: [0.0; 3], std: [1.0, 0.0, 1.0] };
    assert!(Preprocessing::covering(flat).check().is_err());
}
