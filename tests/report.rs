//! `ocelli bench --report`: the page that people send, and what is refused before anything is measured. What `--tune` chose, in JSON.

use crate::cli::fails;
use crate::support::fixtures::{folder, run};
use serde_json::Value as Json;
use std::fs;
use std::path::Path;

/// A small network, measured as shortly as possible.
const SMALL: [&str; 9] =
    ["bench", "--seconds", "0", "--arch", "resnet20", "--size", "8", "--batch-size", "2"];

fn json(stdout: &str) -> Vec<Json> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The files in a folder, without the cache.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "cache").collect()
}

#[test]
fn a_report_has_the_adapter_both_passes_and_the_protocol() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("r.md"), "an older report").unwrap();
    let (code, stdout, stderr) =
        run(here, &[&SMALL[..], &["--report", "r.md", "--json", "--profile"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("r.md: 2 of 2 measurements"), "{stderr}");
    assert_eq!(names(here), ["r.md"]);
    let page = fs::read_to_string(here.join("r.md")).unwrap();
    let measured = json(&stdout);
    let modes: Vec<&Json> = measured.iter().map(|m| &m["mode"]).collect();
    assert_eq!(modes, ["infer", "train"], "the least work first");
    for m in &measured {
        let pass = if m["mode"] == "train" { "training" } else { "inference" };
        let row = format!("| `resnet20` | {pass} | 8x8 | {:.2} | ", m["ms_median"].as_f64().unwrap());
        assert!(page.contains(&row), "{row}\n{page}");
        assert!(page.contains(&format!("\n## resnet20 {pass}\n")), "{page}");
        let kernel = &m["profile"]["kernels"][0];
        assert!(
            page.contains(&format!("| `{}` | {} | ", kernel["name"].as_str().unwrap(), kernel["calls"])),
            "{page}"
        );
    }
    let named = |key: &str| format!("| `{}` |", measured[0][key].as_str().unwrap());
    assert!(page.contains(&named("adapter")) && page.contains(&named("driver")), "{page}");
    let command =
        "`ocelli bench --report FILE --arch resnet20 --batch-size 2 --size 8 --precision f32 --tune ";
    for part in
        [command, concat!("| ocelli ", env!("CARGO_PKG_VERSION")), "batch of 2 pictures", "SGD with momentum"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("Not measured"), "{page}");
    // Each row has as many cells as the head of its table, which GitHub demands.
    for table in page.split("\n\n").filter(|part| part.starts_with('|')) {
        let cells: Vec<usize> =
            table.lines().map(|line| line.replace("\\|", "").matches('|').count()).collect();
        assert!(cells.iter().all(|n| *n == cells[0]), "{table}");
    }
}

#[test]
fn a_network_that_fails_stands_in_the_report_with_the_reason() {
    let folder = folder();
    let here = folder.path();
    // The last map is one pixel: a batch of one has no variance, and only an inference is possible.
    let one = [
        "bench",
        "--seconds",
        "0",
        "--arch",
        "resnet20",
        "--size",
        "4",
        "--batch-size",
        "1",
        "--report",
        "r.md",
    ];
    let (code, stdout, stderr) = run(here, &one);
    assert_eq!(code, 2, "{stderr}");
    assert!(stdout.starts_with("resnet20 infer batch 1 at 4x4"), "{stdout}");
    assert!(stderr.contains("1 of 2 measurements failed; the report names them"), "{stderr}");
    let page = fs::read_to_string(here.join("r.md")).unwrap();
    assert!(page.contains("| `resnet20` | inference | 4x4 |"), "{page}");
    assert!(
        page.contains("Not measured:\n\n| network | pass | why |") && page.contains("batch norm"),
        "{page}"
    );
    // With nothing to report there is no report.
    fails(
        here,
        &[&one[..9], &["--mode", "train", "--report", "none.md"]].concat(),
        2,
        &["batch of at least 2"],
    );
    fails(
        here,
        &["bench", "--report", "none.md", "--time-limit", "0"],
        2,
        &["would take about", "--time-limit", "no report"],
    );
    assert_eq!(names(here), ["r.md"]);
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("file"), "").unwrap();
    for (report, code, says) in [
        ("nowhere/r.md", 66, &["nowhere", "no such folder for the report"][..]),
        ("file/r.md", 74, &["file", "write to this folder"]),
        (".", 2, &["this is a folder"]),
        ("..", 2, &["this is a folder"]),
    ] {
        let arguments = [&SMALL[..], &["--report", report]].concat();
        fails(here, &arguments, code, says);
        let (_, _, stderr) = run(here, &arguments);
        assert!(!stderr.contains("adapter: "), "{stderr}");
    }
    fails(here, &["bench", "--report", "r.md", "--arch", "resnet21"], 2, &["resnet21", "did you mean"]);
    fails(here, &["bench", "--report", "r.md", "--weights", "none"], 66, &["none"]);
    fails(here, &["bench", "--report", "r.md", "--output", "x"], 2, &["--output", "--weights"]);
    // Without a report both are needed, and there is nothing to leave out.
    fails(here, &["bench", "--mode", "infer"], 2, &["--arch"]);
    fails(here, &["bench", "--arch", "resnet20"], 2, &["--mode"]);
    fails(here, &[&SMALL[..], &["--mode", "infer", "--time-limit", "5"]].concat(), 2, &["--report"]);
    assert_eq!(names(here), ["file"]);
}

#[test]
fn json_tells_what_was_chosen_by_measurement() {
    let folder = folder();
    let here = folder.path();
    let arguments = [&SMALL[..], &["--mode", "infer", "--tune", "quick", "--json"]].concat();
    let (code, stdout, stderr) = run(here, &arguments);
    assert_eq!(code, 0, "{stderr}");
    let result = &json(&stdout)[0];
    let tuned = result["tuned"].as_array().unwrap_or_else(|| panic!("{stdout}"));
    assert!(stderr.contains(&format!("choosing kernels for {} products", tuned.len())), "{stderr}");
    for product in tuned {
        assert!(product["product"].as_str().unwrap().contains("y"), "{product}");
        let ms = product["ms"].as_object().unwrap();
        for way in ["heuristic", "chosen"] {
            assert!(ms[product[way].as_str().unwrap()].as_f64().unwrap() > 0.0, "{product}");
        }
        assert!((1..=3).contains(&ms.len()) && product["images"].as_u64().unwrap() >= 1, "{product}");
    }
    let (_, stdout, _) = run(here, &arguments);
    assert_eq!(json(&stdout)[0].get("tuned"), None, "it is kept");
}
