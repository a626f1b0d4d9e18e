//! What `ocelli eval` prints and writes.

use super::EvalArgs;
use crate::cli::table::{Cell, Table};
use crate::cli::{csv, print, print_json};
use crate::data::Dataset;
use crate::error::{Result, Untrusted};
use crate::train::{ClassScore, Confusion, Evaluation, Score, Scores};
use serde::Serialize;
use std::path::Path;

/// The most classes for which JSON has the whole confusion matrix.
const IN_JSON: usize = 100;

/// The most classes for which a file has the whole confusion matrix.
const IN_CSV: usize = 1000;

/// Longest class name that is printed, in characters.
const NAME: usize = 60;

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    evaluation: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<Class<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Vec<Vec<u64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<Vec<Picture<'a>>>,
}

#[derive(Serialize)]
struct Class<'a> {
    class: u32,
    name: &'a str,
    images: u64,
    correct_top1: u64,
    correct_top5: u64,
    top1: Option<f64>,
    top5: Option<f64>,
    most_confused_with: Option<&'a str>,
    confused: u64,
}

#[derive(Serialize)]
struct Picture<'a> {
    image: String,
    label: &'a str,
    prediction: &'a str,
    probability: f32,
    probability_of_label: f32,
    /// 1 if it is right.
    rank: u32,
    loss: f32,
}

/// The scores with the names of pictures and classes.
struct Named<'a> {
    set: &'a dyn Dataset,
    scores: &'a Scores,
}

impl<'a> Named<'a> {
    fn class(&self, class: u32) -> &'a str {
        self.set.classes().get(class as usize).map_or("?", String::as_str)
    }

    fn picture(&self, score: &Score) -> Picture<'a> {
        Picture {
            image: self.set.name(score.position as usize),
            label: self.class(score.label),
            prediction: self.class(score.predicted),
            probability: score.probability,
            probability_of_label: score.of_label,
            rank: score.rank + 1,
            loss: score.loss,
        }
    }

    fn json_class(&self, class: ClassScore) -> Class<'a> {
        Class {
            class: class.class,
            name: self.class(class.class),
            images: class.images,
            correct_top1: class.correct_top1,
            correct_top5: class.correct_top5,
            top1: class.top1(),
            top5: class.top5(),
            most_confused_with: class.confused_with.map(|(other, _)| self.class(other)),
            confused: class.confused_with.map_or(0, |(_, count)| count),
        }
    }
}

/// Writes the files that are asked for, and prints the result.
pub(super) fn report(args: &EvalArgs, set: &dyn Dataset, scores: &Scores) -> Result<()> {
    let named = Named { set, scores };
    let confusion = scores.confusion();
    if let Some(path) = &args.csv {
        write_pictures(path, &named)?;
    }
    if let Some(path) = &args.confusion {
        write_confusion(path, &named, &confusion)?;
    }
    let evaluation = scores.evaluation();
    let classes = args.per_class.then(|| scores.per_class(&confusion));
    let worst = args.worst.map(|most| scores.worst(most));
    if args.json {
        return print_json(&Json {
            evaluation,
            classes: classes.map(|list| list.into_iter().map(|class| named.json_class(class)).collect()),
            confusion: confusion.matrix(IN_JSON).filter(|_| args.per_class),
            worst: worst.map(|list| list.iter().map(|score| named.picture(score)).collect()),
        });
    }
    summary(&evaluation)?;
    if let Some(list) = classes {
        print("")?;
        per_class(&named, &list)?;
    }
    if let Some(list) = worst {
        print("")?;
        print_worst(&named, &list)?;
    }
    Ok(())
}

fn summary(result: &Evaluation) -> Result<()> {
    print(&format!(
        "{} images: top-1 {:.2}% ({}), top-5 {:.2}% ({}), loss {:.4}",
        result.images,
        100.0 * result.top1,
        result.correct_top1,
        100.0 * result.top5,
        result.correct_top5,
        result.loss
    ))?;
    print(&format!(
        "error: top-1 {:.2}%, top-5 {:.2}%; calibration error {:.2}%",
        100.0 * (1.0 - result.top1),
        100.0 * (1.0 - result.top5),
        100.0 * result.calibration_error
    ))
}

fn short(name: &str) -> String {
    Untrusted::new(name).at_most(NAME).to_string()
}

fn per_class(named: &Named, classes: &[ClassScore]) -> Result<()> {
    let mut table = Table::of_numbers(["class", "pictures", "top-1", "top-5", "most confused with"]);
    let percent = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.2}%", 100.0 * part));
    for class in classes {
        let confused = class
            .confused_with
            .map_or("-".to_owned(), |(other, count)| format!("{} ({count})", short(named.class(other))));
        table.push([
            Cell::plain(short(named.class(class.class))),
            Cell::plain(class.images.to_string()),
            Cell::plain(percent(class.top1())),
            Cell::plain(percent(class.top5())),
            Cell::plain(confused),
        ]);
    }
    table.lines().iter().try_for_each(|line| print(line))
}

fn print_worst(named: &Named, worst: &[Score]) -> Result<()> {
    if worst.is_empty() {
        return print("no picture is classified wrongly");
    }
    let mut table = Table::of_text(["picture", "class", "predicted as", "probability", "of its class"]);
    for score in worst {
        let picture = named.picture(score);
        table.push([
            Cell::quoted(picture.image),
            Cell::plain(short(picture.label)),
            Cell::plain(short(picture.prediction)),
            Cell::plain(format!("{:.2}%", 100.0 * picture.probability)),
            Cell::plain(format!("{:.2}%", 100.0 * picture.probability_of_label)),
        ]);
    }
    table.lines().iter().try_for_each(|line| print(line))
}

fn write_pictures(path: &Path, named: &Named) -> Result<()> {
    let head = "file,label,prediction,probability,probability_of_label,rank,loss";
    let rows = named.scores.pictures().iter().map(|score| {
        let picture = named.picture(score);
        let texts = [&picture.image, picture.label, picture.prediction].map(csv::text);
        let numbers = [
            picture.probability.to_string(),
            picture.probability_of_label.to_string(),
            picture.rank.to_string(),
            picture.loss.to_string(),
        ];
        texts.into_iter().chain(numbers).collect()
    });
    csv::write(path, head, rows)
}

/// The matrix, a row for each class and a column for each prediction. For very many classes only the pairs that occur, a row each.
fn write_confusion(path: &Path, named: &Named, confusion: &Confusion) -> Result<()> {
    let name = |class: u32| csv::text(named.class(class));
    match confusion.matrix(IN_CSV) {
        Some(matrix) => {
            let columns: Vec<String> = (0..matrix.len() as u32).map(name).collect();
            let head = format!("label,{}", columns.join(","));
            let rows = matrix.iter().zip(&columns).map(|(row, class)| {
                std::iter::once(class.clone()).chain(row.iter().map(u64::to_string)).collect()
            });
            csv::write(path, &head, rows)
        }
        None => {
            let rows = confusion
                .pairs()
                .map(|(label, predicted, count)| vec![name(label), name(predicted), count.to_string()]);
            csv::write(path, "label,prediction,pictures", rows)
        }
    }
}
