//! The page of a run.

use super::chart::{Chart, Series, short};
use super::confusion::Confusion;
use super::html::{Text, page, pairs};
use super::image::Sheet;
use super::table::Metrics;
use serde_json::{Map, Value};

/// A validation picture, with what the network says of it.
#[derive(Debug, Clone)]
pub struct Example {
    /// The picture.
    pub picture: Sheet,
    /// The name of its file.
    pub name: String,
    /// The right class.
    pub right: String,
    /// The class with the largest logit.
    pub predicted: String,
    /// The probability of that class.
    pub probability: f64,
}

/// What the page of a run shows. Everything but the table and the settings may be absent.
#[derive(Debug, Clone, Default)]
pub struct RunPage {
    /// The name of the run.
    pub name: String,
    /// The table.
    pub metrics: Metrics,
    /// The content of `config.json`.
    pub config: Map<String, Value>,
    /// How the validation pictures were classified.
    pub confusion: Option<Confusion>,
    /// The filters of the first convolution.
    pub filters: Option<Sheet>,
    /// Right answers, the most confident first.
    pub best: Vec<Example>,
    /// Mistakes, the most confident first.
    pub worst: Vec<Example>,
}

impl RunPage {
    /// The page as HTML. Names of files and classes are text in it, whatever they are.
    pub fn html(&self) -> String {
        let resolved = self.config.get("resolved").and_then(Value::as_object);
        let text = |name: &str| self.config.get(name).map(said).unwrap_or_default();
        let mut body = format!("<h1>{}</h1>\n", Text::new(&self.name));
        body += &format!("<p>{} on {}</p>\n", Text::name(&text("arch")), Text::first(&text("data"), 200));
        body += &self.tiles(resolved);
        let charts: String = curves(&[("", &self.metrics)]).iter().map(Chart::card).collect();
        if !charts.is_empty() {
            body += &format!("<h2>Curves</h2>\n<div class=\"grid\">\n{charts}</div>\n");
        }
        if let Some(confusion) = &self.confusion {
            let cards = confusion.accuracies() + &confusion.heat_map();
            if !cards.is_empty() {
                body += &format!("<h2>Classes</h2>\n<div class=\"grid\">\n{cards}</div>\n");
            }
        }
        body += &shots("The most confident mistakes", &self.worst);
        body += &shots("The most confident right answers", &self.best);
        if let Some(filters) = &self.filters {
            body += &format!(
                "<h2>Filters of the first convolution</h2>\n<div class=\"card\"><p>each on its own scale from its smallest weight to \
                 its largest</p><img class=\"pixels\" alt=\"filters\" {} src=\"{}\"></div>\n",
                size(filters),
                filters.uri()
            );
        }
        let rows = resolved
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_array() || value.as_array().is_some_and(|all| all.len() < 4));
        let machine = pairs(rows.map(|(name, value)| (name.as_str(), said(value))));
        let rows = self.config.iter().filter(|(name, _)| *name != "resolved");
        let settings = pairs(rows.map(|(name, value)| (name.as_str(), said(value))));
        body += &format!(
            "<h2>Settings and machine</h2>\n<div class=\"grid\">\n<div class=\"card\"><h3>Settings</h3>{settings}</div>\n\
             <div class=\"card\"><h3>What they came to</h3>{machine}</div>\n</div>\n"
        );
        page(&format!("{} - Ocelli", self.name), &body)
    }

    /// The numbers that are asked for first.
    fn tiles(&self, resolved: Option<&Map<String, Value>>) -> String {
        let percent = |x: f64| format!("{:.2}%", 100.0 * x);
        let mut tiles = Vec::new();
        if let Some((epoch, top1)) = self.metrics.best("val_top1") {
            tiles.push((percent(top1), format!("best validation top-1, epoch {epoch:.0}")));
        }
        let steps = resolved.and_then(|resolved| resolved.get("steps")).and_then(Value::as_u64);
        let steps = steps.map_or_else(String::new, |steps| format!(" of {steps}"));
        let mut last = |column: &str, name: String, say: &dyn Fn(f64) -> String| {
            if let Some(x) = self.metrics.last(column) {
                tiles.push((say(x), name));
            }
        };
        last("val_top1", "last validation top-1".to_owned(), &percent);
        last("val_top5", "last validation top-5".to_owned(), &percent);
        last("val_loss", "last validation loss".to_owned(), &short);
        last("epoch", "epochs".to_owned(), &short);
        last("step", format!("steps{steps}"), &|x| format!("{x:.0}"));
        last("images_per_s", "images a second".to_owned(), &|x| format!("{x:.0}"));
        last("data_wait", "waited for data".to_owned(), &|x| format!("{:.0}%", 100.0 * x));
        let tiles = tiles
            .into_iter()
            .map(|(value, name)| format!("<div class=\"tile\"><b>{value}</b><span>{name}</span></div>\n"));
        format!("<div class=\"tiles\">\n{}</div>\n", tiles.collect::<String>())
    }
}

/// The charts of runs. A run without a name is alone on its page.
pub(super) fn curves(runs: &[(&str, &Metrics)]) -> Vec<Chart> {
    // Title, columns with their names, in percent, logarithmic if that shows more.
    type Plan = (&'static str, &'static [(&'static str, &'static str)], bool, bool);
    const CHARTS: [Plan; 5] = [
        ("Loss", &[("train_loss", "training"), ("val_loss", "validation")], false, true),
        (
            "Accuracy",
            &[("train_top1", "training"), ("val_top1", "validation"), ("val_top5", "validation, top 5")],
            true,
            false,
        ),
        ("Learning rate", &[("lr", "learning rate")], false, true),
        ("Images a second", &[("images_per_s", "training")], false, false),
        ("Share of the time that the GPU waited for data", &[("data_wait", "waiting")], true, false),
    ];
    let chart = |(title, columns, percent, log): Plan| {
        let mut series = Vec::new();
        for (i, (run, metrics)) in runs.iter().enumerate() {
            // Beside other runs, the top-5 accuracy would be one curve too many.
            let most = if run.is_empty() { 3 } else { 2 };
            for (j, (column, name)) in columns.iter().take(most).enumerate() {
                let (name, colour, dashed) = match (run.is_empty(), columns.len()) {
                    (true, _) => ((*name).to_owned(), j, false),
                    (false, 1) => ((*run).to_owned(), i, false),
                    (false, _) => (format!("{run}, {name}"), i, j == 0),
                };
                series.push(Series { name, points: metrics.points(column), colour, dashed });
            }
        }
        Chart { title, series, percent, log }
    };
    CHARTS.into_iter().map(chart).collect()
}

fn size(sheet: &Sheet) -> String {
    let [width, height] = sheet.size();
    format!("width=\"{width}\" height=\"{height}\"")
}

fn shots(title: &str, examples: &[Example]) -> String {
    if examples.is_empty() {
        return String::new();
    }
    let shot = |example: &Example| {
        let Example { picture, name, right, predicted, probability } = example;
        let (said, name) = (Text::first(predicted, 40), Text::first(name, 60));
        let verdict = match right == predicted {
            true => format!("<b>{said}</b>, right"),
            false => format!("<b>{said}</b>, not {}", Text::first(right, 40)),
        };
        format!(
            "<figure><img alt=\"{name}\" title=\"{name}\" src=\"{}\"><figcaption>{verdict}<br>{:.1}% sure<br>{name}</figcaption></figure>\n",
            picture.uri(),
            100.0 * probability
        )
    };
    format!(
        "<h2>{title}</h2>\n<div class=\"shots\">\n{}</div>\n",
        examples.iter().map(shot).collect::<String>()
    )
}

/// A setting as people write it.
pub(super) fn said(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Array(all) => all.iter().map(said).collect::<Vec<_>>().join(", "),
        Value::Object(all) => {
            all.iter().map(|(name, value)| format!("{name} {}", said(value))).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_in_a_run_is_markup() {
        let evil = "<script>alert(1)</script>\u{1b}[31m\u{7}\"'&";
        let config =
            json!({ "arch": evil, evil: evil, "list": [evil], "resolved": { evil: evil, "steps": evil } });
        let example = Example {
            picture: Sheet::thumbnail(1, 1, &[1, 2, 3, 4]).unwrap(),
            name: evil.to_owned(),
            right: evil.to_owned(),
            predicted: format!("{evil}2"),
            probability: f64::NAN,
        };
        let mut confusion = Confusion::new(vec![evil.to_owned(), format!("2{evil}")]);
        confusion.add(0, 1);
        let run = RunPage {
            name: evil.to_owned(),
            metrics: Metrics::parse("epoch,val_top1,val_loss\n1,0.5,2\n2,0.75,1\n").unwrap(),
            config: config.as_object().cloned().unwrap(),
            confusion: Some(confusion),
            filters: Sheet::filters(&[1, 3, 2, 2], &[0.5; 12]),
            best: vec![example.clone()],
            worst: vec![example],
        };
        let html = run.html();
        assert!(!html.contains("<script") && !html.chars().any(|c| c.is_control() && c != '\n'), "{html}");
        assert!(html.contains("75.00%") && html.contains("&lt;script&gt;"));
        for outside in ["http://", "https://", "src=\"/", "url(", "@import", "javascript"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_run_without_anything_has_a_page() {
        let html = RunPage { name: "empty".to_owned(), ..RunPage::default() }.html();
        assert!(html.contains("<h1>empty</h1>") && !html.contains("<h2>Curves"), "{html}");
    }
}
