//! Curves as SVG.

use super::html::{COLOURS, Text};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 246.0;
/// Left, top, right and bottom of the area of the curves.
const AREA: [f64; 4] = [52.0, 10.0, 548.0, 222.0];

/// The most points of a curve. More are thinned out.
const POINTS: usize = 600;

/// Curves with at most so many points show each of them.
const DOTS: usize = 60;

/// From this ratio of largest to smallest value on, positive values are shown on a logarithmic scale where the chart allows it.
const LOG: f64 = 20.0;

/// A curve.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    /// Numbers that are not finite are left out.
    pub(super) points: Vec<(f64, f64)>,
    pub(super) colour: usize,
    pub(super) dashed: bool,
}

/// A chart.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) series: Vec<Series>,
    /// Whether values are shares, which are shown in percent.
    pub(super) percent: bool,
    /// Whether a logarithmic scale is allowed.
    pub(super) log: bool,
}

/// From values to places.
struct Scale {
    from: f64,
    to: f64,
    log: bool,
    places: [f64; 2],
}

impl Scale {
    fn place(&self, x: f64) -> f64 {
        let [a, b] = self.places;
        let map = |x: f64| if self.log { x.max(f64::MIN_POSITIVE).log10() } else { x };
        let (from, to) = (map(self.from), map(self.to));
        let share = if to > from { (map(x) - from) / (to - from) } else { 0.5 };
        a + (b - a) * share.clamp(0.0, 1.0)
    }

    /// Round numbers within the scale.
    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (from, to) = (self.from.log10().ceil() as i32, self.to.log10().floor() as i32);
            let step = ((to - from) / 5).max(1) as usize;
            return (from..=to).step_by(step).map(|power| 10_f64.powi(power)).collect();
        }
        let rough = (self.to - self.from) / 6.0;
        if rough <= 0.0 || !rough.is_finite() {
            return vec![self.from];
        }
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let (first, last) = ((self.from / step - 1e-9).ceil(), (self.to / step + 1e-9).floor());
        (0..=((last - first).clamp(0.0, 20.0) as usize)).map(|i| (first + i as f64) * step).collect()
    }
}

impl Chart {
    /// The chart as a card; empty if there is nothing to show.
    pub(super) fn card(&self) -> String {
        let series: Vec<Series> =
            self.series.iter().map(Series::shown).filter(|s| !s.points.is_empty()).collect();
        let all = || series.iter().flat_map(|s| s.points.iter().copied());
        let (Some(x), Some(y)) = (range(all().map(|p| p.0)), range(all().map(|p| p.1))) else {
            return String::new();
        };
        let log = self.log && y.0 > 0.0 && y.1 / y.0 > LOG;
        // A share of next to nothing is not blown up.
        let y = if self.percent { (y.0.min(0.0), y.1.max(0.1)) } else { y };
        // A linear scale starts at 0 where that costs little.
        let from = if log || y.0 > 0.5 * y.1 || y.0 < 0.0 { y.0 } else { 0.0 };
        let flat = if y.1 > from { 0.0 } else { 0.5 * from.abs().max(1e-9) };
        let [left, top, right, bottom] = AREA;
        let x = Scale { from: x.0, to: x.1, log: false, places: [left, right] };
        let y = Scale { from: from - flat, to: y.1 + flat, log, places: [bottom, top] };
        let mut svg = String::new();
        for tick in y.ticks() {
            let place = y.place(tick);
            let label = self.label(tick);
            svg += &format!(
                "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                left - 6.0,
                place + 4.0
            );
        }
        for tick in x.ticks().into_iter().filter(|tick| tick.fract().abs() < 1e-9) {
            let place = x.place(tick);
            svg += &format!(
                "<text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick:.0}</text>\n",
                bottom + 17.0
            );
        }
        series.iter().for_each(|series| svg += &self.curve(series, &x, &y));
        let legend: String = series.iter().map(Series::legend).collect();
        let scale = if log { " (logarithmic)" } else { "" };
        format!(
            "<div class=\"card\"><h3>{0}{scale}</h3>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0} by epoch\">\n\
             {svg}<text x=\"4\" y=\"{y}\">epoch</text>\n</svg>\n<div class=\"legend\">{legend}</div></div>\n",
            self.title,
            y = bottom + 17.0
        )
    }

    fn curve(&self, series: &Series, x: &Scale, y: &Scale) -> String {
        let places: Vec<String> =
            series.points.iter().map(|(a, b)| format!("{:.1},{:.1}", x.place(*a), y.place(*b))).collect();
        let (class, colour) = (if series.dashed { "curve late" } else { "curve" }, series.colour % COLOURS);
        let mut svg = format!(
            "<polyline class=\"{class}\" style=\"stroke:var(--c{colour})\" points=\"{}\"/>\n",
            places.join(" ")
        );
        if series.points.len() <= DOTS {
            for (a, b) in &series.points {
                svg += &format!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\" style=\"fill:var(--c{colour})\"><title>{}, epoch {a:.0}: {}</title></circle>\n",
                    x.place(*a),
                    y.place(*b),
                    Text::name(&series.name),
                    self.label(*b)
                );
            }
        }
        svg
    }

    fn label(&self, x: f64) -> String {
        if self.percent { short(100.0 * x) + "%" } else { short(x) }
    }
}

impl Series {
    /// The points that are numbers whose differences are too, thinned out; the last one stays.
    fn shown(&self) -> Self {
        let is_number = |x: f64| x.abs() < f64::MAX / 4.0;
        let numbers: Vec<(f64, f64)> =
            self.points.iter().copied().filter(|(x, y)| is_number(*x) && is_number(*y)).collect();
        let every = numbers.len().div_ceil(POINTS).max(1);
        let last = numbers.len().saturating_sub(1);
        let points = numbers.into_iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last);
        Self { points: points.map(|(_, point)| point).collect(), ..self.clone() }
    }

    fn legend(&self) -> String {
        let (class, colour) = (if self.dashed { "curve late" } else { "curve" }, self.colour % COLOURS);
        format!(
            "<span><svg viewBox=\"0 0 18 8\" aria-hidden=\"true\"><polyline class=\"{class}\" style=\"stroke:var(--c{colour})\" \
             points=\"0,4 18,4\"/></svg>{}</span>",
            Text::name(&self.name)
        )
    }
}

/// The smallest and the largest number.
fn range(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.fold(None, |range, x| Some(range.map_or((x, x), |(a, b): (f64, f64)| (a.min(x), b.max(x)))))
}

/// A number in a few characters.
pub(super) fn short(x: f64) -> String {
    let a = x.abs();
    if a == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&a) {
        format!("{x:.2e}").replace(".00e", "e").replace("0e", "e")
    } else {
        let digits = if a >= 1000.0 {
            0
        } else if a >= 100.0 {
            1
        } else if a >= 10.0 {
            2
        } else {
            4
        };
        let text = format!("{x:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, log: bool) -> String {
        let series = vec![Series { name: "a<b".to_owned(), points, colour: 9, dashed: true }];
        Chart { title: "loss", series, percent: false, log }.card()
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let card = chart(vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, f64::INFINITY), (4.0, 1.0)], false);
        assert_eq!(card.matches("<circle").count(), 2);
        assert!(!card.contains("NaN") && !card.contains("inf") && card.contains("a&lt;b"), "{card}");
        assert_eq!(chart(vec![(1.0, f64::NAN)], false), "");
        assert_eq!(chart(Vec::new(), false), "");
    }

    #[test]
    fn curves_stay_within_the_area_and_are_thinned_out() {
        let extremes = [0.0, 1e-300, 1e300, f64::MAX, -f64::MAX, 5.0];
        for points in
            [vec![(1.0, 3.0)], extremes.map(|y| (y.min(1e9), y)).to_vec(), vec![(1.0, -1.0), (2.0, -1.0)]]
        {
            let card = chart(points, true);
            let places = card.split("points=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
            for place in places.split(' ') {
                let (x, y) = place.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((52.0..=548.0).contains(&x) && (10.0..=222.0).contains(&y), "{place}");
            }
        }
        let long = chart((0..100_000).map(|i| (f64::from(i), 1.0 / f64::from(i + 1))).collect(), true);
        assert!(long.len() < 20_000 && long.contains("logarithmic"), "{}", long.len());
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.1, 2.345_61, 12.0, 123.46, 12345.6, 1e-5, 1.25e9].map(short);
        assert_eq!(texts, ["0", "0.1", "2.3456", "12", "123.5", "12346", "1e-5", "1.25e9"]);
    }
}
