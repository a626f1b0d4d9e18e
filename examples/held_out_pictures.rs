//! Writes some held-out pictures of Fashion-MNIST as PNG files, to classify them with `ocelli predict`:
//! `cargo run --release --example held_out_pictures -- FOLDER COUNT`

use ocelli::data::{Split, open};
use ocelli::error::{Error, Result};
use std::path::Path;
use std::process::ExitCode;

/// Writes `count` pictures, spread evenly over the split, with their class in the file name.
fn write(folder: &Path, count: usize) -> Result<()> {
    let set = open("fashion-mnist", Split::Val)?;
    let count = count.min(set.len());
    std::fs::create_dir_all(folder).map_err(|e| Error::from_io(e, "create", folder))?;
    for number in 0..count {
        let index = (2 * number + 1) * set.len() / (2 * count);
        let class = set.classes().get(set.label(index) as usize).map_or("unknown", String::as_str);
        let path = folder.join(format!("{number}_{}.png", file_name(class)));
        let picture = set.load(index)?;
        let (width, height) = (picture.width() as u32, picture.height() as u32);
        image::save_buffer(&path, picture.rgba(), width, height, image::ColorType::Rgba8)
            .map_err(|e| Error::io(format!("cannot write: {e}")).at(path.display().to_string()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// `Ankle boot` as `ankle-boot`.
fn file_name(class: &str) -> String {
    class.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [folder, count] => match count.parse() {
            Ok(count) => write(Path::new(folder), count),
            Err(_) => Err(Error::usage(format!("\"{count}\" is no number of pictures"))),
        },
        _ => Err(Error::usage("two arguments are needed").hint("give FOLDER and COUNT")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("held_out_pictures: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
