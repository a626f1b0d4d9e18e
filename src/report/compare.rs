//! Several runs side by side.

use super::chart::{Chart, short};
use super::html::{COLOURS, Text, page};
use super::page::{curves, said};
use super::table::Metrics;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A run to compare.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// Its table.
    pub metrics: Metrics,
    /// The content of its `config.json`; empty if there is none.
    pub config: Map<String, Value>,
}

/// What a setting came to matters where the setting leaves it open; the list of classes is too long.
const RESOLVED: [&str; 8] =
    ["batch_size", "input", "adapter", "driver", "backend", "version", "train_pictures", "val_pictures"];

/// A page with the runs beside each other: their best results, the settings in which they differ, their curves.
pub fn compare(runs: &[Run]) -> String {
    let mut body = format!("<h1>{} runs</h1>\n<h2>Results</h2>\n{}", runs.len(), results(runs));
    body += &format!("<h2>Settings that differ</h2>\n{}", differences(runs));
    let named: Vec<(&str, &Metrics)> = runs.iter().map(|run| (run.name.as_str(), &run.metrics)).collect();
    let charts: String = curves(&named).iter().map(Chart::card).collect();
    body += &format!(
        "<h2>Curves</h2>\n<p>dashed: training, solid: validation</p>\n<div class=\"grid\">\n{charts}</div>\n"
    );
    page("Runs - Ocelli", &body)
}

/// The name of a run beside its colour.
fn head(i: usize, run: &Run) -> String {
    format!("<span style=\"color:var(--c{})\">&#9632;</span> {}", i % COLOURS, Text::name(&run.name))
}

fn results(runs: &[Run]) -> String {
    let best = runs
        .iter()
        .filter_map(|run| run.metrics.best("val_top1"))
        .map(|best| best.1)
        .fold(f64::MIN, f64::max);
    let names = [
        "run",
        "best top-1",
        "at epoch",
        "top-5 then",
        "least loss",
        "epochs",
        "steps",
        "images/s",
        "waited",
    ];
    let names: String = names
        .iter()
        .enumerate()
        .map(|(i, name)| format!("<th{}>{name}</th>", if i > 0 { " class=\"n\"" } else { "" }))
        .collect();
    let mut rows = String::new();
    for (i, run) in runs.iter().enumerate() {
        let metrics = &run.metrics;
        let percent = |x: f64| format!("{:.2}%", 100.0 * x);
        let top1 = metrics.best("val_top1");
        let then =
            top1.and_then(|(epoch, _)| metrics.points("val_top5").into_iter().find(|point| point.0 == epoch));
        let loss = metrics.points("val_loss").into_iter().map(|point| point.1).reduce(f64::min);
        let cells = [
            top1.map(|(_, x)| if x >= best { format!("<b>{}</b>", percent(x)) } else { percent(x) }),
            top1.map(|(epoch, _)| format!("{epoch:.0}")),
            then.map(|point| percent(point.1)),
            loss.map(short),
            metrics.last("epoch").map(|x| format!("{x:.0}")),
            metrics.last("step").map(|x| format!("{x:.0}")),
            metrics.last("images_per_s").map(|x| format!("{x:.0}")),
            metrics.last("data_wait").map(|x| format!("{:.0}%", 100.0 * x)),
        ];
        let cells =
            cells.map(|cell| format!("<td class=\"n\">{}</td>", cell.unwrap_or_else(|| "-".to_owned())));
        rows += &format!("<tr><td>{}</td>{}</tr>\n", head(i, run), cells.concat());
    }
    format!("<div class=\"card wide\"><table><tr>{names}</tr>\n{rows}</table></div>\n")
}

/// The settings that are not the same in all runs.
fn differences(runs: &[Run]) -> String {
    let setting = |run: &Run, name: &str| run.config.get(name).map_or_else(|| "-".to_owned(), said);
    let resolved = |run: &Run, name: &str| {
        run.config
            .get("resolved")
            .and_then(|resolved| resolved.get(name))
            .map_or_else(|| "-".to_owned(), said)
    };
    let names: BTreeSet<&String> =
        runs.iter().flat_map(|run| run.config.keys()).filter(|name| *name != "resolved").collect();
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for name in names {
        rows.push((name.clone(), runs.iter().map(|run| setting(run, name)).collect()));
    }
    for name in RESOLVED {
        let label = if name == "batch_size" { "batch size in effect" } else { name };
        rows.push((label.to_owned(), runs.iter().map(|run| resolved(run, name)).collect()));
    }
    rows.retain(|(_, values)| values.iter().any(|value| Some(value) != values.first()));
    if rows.is_empty() {
        return "<p>none</p>\n".to_owned();
    }
    let heads: String =
        runs.iter().enumerate().map(|(i, run)| format!("<th>{}</th>", head(i, run))).collect();
    let rows = rows.into_iter().map(|(name, values)| {
        let cells: String =
            values.iter().map(|value| format!("<td>{}</td>", Text::first(value, 120))).collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", Text::name(&name))
    });
    format!(
        "<div class=\"card wide\"><table><tr><th></th>{heads}</tr>\n{}</table></div>\n",
        rows.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(name: &str, config: Value, table: &str) -> Run {
        Run {
            name: name.to_owned(),
            metrics: Metrics::parse(table).unwrap(),
            config: config.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn runs_of_other_versions_are_compared_by_what_they_have() {
        let new = json!({ "arch": "resnet20", "lr": 0.1, "seed": 1, "resolved": { "batch_size": 64, "classes": ["a"] } });
        let old = json!({ "arch": "resnet20", "lr": 0.2, "seed": 1 });
        let table = "epoch,val_top1,val_top5,data_wait\n1,0.5,0.9,0.1\n2,0.625,0.95,0.2\n";
        let runs = [
            run("new", new, table),
            run("old", old, "epoch,val_top1\n1,0.25\n"),
            run("<script>\u{1b}", Value::Null, "epoch\n"),
        ];
        let html = compare(&runs);
        for part in [
            "<b>62.50%</b>",
            "25.00%",
            "95.00%",
            "<td>0.1</td><td>0.2</td><td>-</td>",
            "batch size in effect",
            "&lt;script",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("<script") && !html.contains('\u{1b}'));
        let same = compare(&runs[..1]);
        assert!(same.contains("<p>none</p>"), "{same}");
    }
}
