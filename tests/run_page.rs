//! The pages about runs: `report.html` in the folder of a run, and `ocelli report`.

use crate::support::fixtures::{folder, run as program, write_pictures};
use std::fs;
use std::path::Path;

/// A name that would be markup, control a terminal and turn text around, where it was not escaped.
#[cfg(unix)]
const EVIL: &str = "<script>alert(1)<\u{29f8}script>\"'&\u{1b}[31m\u{7}\u{202e}";
#[cfg(not(unix))]
const EVIL: &str = "'&\u{202e}";

fn train(here: &Path, out: &str, more: &[&str]) -> (i32, String, String) {
    let start = "train --arch resnet20 --data data --batch-size 4 --size 8 --epochs 3 --out";
    let words: Vec<&str> = start.split(' ').chain([out]).chain(more.iter().copied()).collect();
    program(here, &words)
}

fn page(path: &Path) -> String {
    let html = fs::read_to_string(path).unwrap();
    assert!(!html.contains("<script") && !html.contains("javascript"), "{html}");
    assert!(!html.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{html}");
    for outside in ["http://", "https://", "url(", "@import", "<iframe", "<link rel=\"style"] {
        assert!(!html.contains(outside), "{outside}");
    }
    for (open, close) in
        [("<div", "</div>"), ("<table", "</table>"), ("<figure", "</figure>"), ("<tr", "</tr>")]
    {
        assert_eq!(html.matches(open).count(), html.matches(close).count(), "{open}");
    }
    html
}

#[test]
fn a_run_has_a_page_on_which_names_are_text() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 6, 2, 8);
    for split in ["train", "val"] {
        let part = here.join("data").join(split);
        let class = fs::read_dir(&part).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
        let evil = part.join(EVIL);
        fs::rename(class, &evil).unwrap();
        let picture = fs::read_dir(&evil).unwrap().next().unwrap().unwrap().path();
        let extension = picture.extension().unwrap().to_str().unwrap().to_owned();
        fs::rename(&picture, evil.join(format!("{EVIL}.{extension}"))).unwrap();
    }
    let (code, _, says) = train(here, "run", &[]);
    assert_eq!(code, 0, "{says}");
    let html = page(&here.join("run/report.html"));
    for part in [
        "Loss",
        "Accuracy of each class",
        "Confusion",
        "Filters of the first convolution",
        "The most confident",
        "% sure",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)") || cfg!(not(unix)));
    // Six validation pictures, each among the mistakes or the right answers; filters; all are in the page.
    assert_eq!(html.matches("src=\"data:image/png;base64,iVBOR").count(), 7);
    assert_eq!(html.matches("<img").count(), 7);
    // The curves have a point for each epoch, and the last epoch is there.
    assert!(html.contains("validation, epoch 3: "), "{html}");
    assert!(html.len() < 300_000, "{}", html.len());
}

#[test]
fn runs_are_laid_side_by_side_also_those_of_older_versions() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 4, 1, 8);
    for (out, lr) in [("one", "0.1"), ("two", "0.02")] {
        let (code, _, says) = train(here, out, &["--lr", lr]);
        assert_eq!(code, 0, "{says}");
    }
    let old = here.join("old<script>");
    fs::create_dir(&old).unwrap();
    fs::write(
        old.join("metrics.csv"),
        "epoch,step,lr,train_loss,val_top1\n1,5,0.1,2.3,0.125\n2,10,0.1,2.1,0.25\n",
    )
    .unwrap();
    let (code, _, says) = program(here, &["report", "one", "two", "old<script>", "--out", "page.html"]);
    assert_eq!(code, 0, "{says}");
    let html = page(&here.join("page.html"));
    for part in [
        "3 runs",
        "25.00%",
        "<td>0.1</td><td>0.02</td><td>-</td>",
        "one, validation",
        "old&lt;script&gt;, training",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    // The seed is the same in both runs with settings, but the third has none.
    let (code, _, says) = program(here, &["report", "one", "two", "--out", "page.html"]);
    assert_eq!(code, 0, "{says}");
    let html = page(&here.join("page.html"));
    let settings =
        html.split("Settings that differ").nth(1).unwrap().split("Curves").next().unwrap().to_owned();
    assert_eq!(settings.matches("<th scope").count(), 1, "only the rate: {settings}");
    for (what, part) in [("nowhere", "no such folder"), ("data", "no metrics.csv")] {
        let (code, _, says) = program(here, &["report", what]);
        assert!(code != 0 && says.contains(part), "{says}");
    }
    fs::write(old.join("metrics.csv"), "a,b\n").unwrap();
    let (code, _, says) = program(here, &["report", "old<script>"]);
    assert!(code != 0 && says.contains("metrics.csv"), "{says}");
    fs::write(here.join("one/config.json"), "{").unwrap();
    let (code, _, says) = program(here, &["report", "one"]);
    assert!(code != 0 && says.contains("config.json"), "{says}");
}
