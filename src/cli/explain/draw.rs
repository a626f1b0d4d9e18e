//! The figures of each method.

use super::figures::{panel, short};
use super::method::Method;
use super::mosaic::{filter_panels, grid_of_vector};
use super::{Named, Work};
use crate::cli::progress::Progress;
use crate::data::{ColourMap, Picture, crop_at};
use crate::error::{Error, Result};
use crate::explain::{
    self, Class, Input, Map, MaximizeOptions, Occlusion, OcclusionOptions, Reconstruction, SmoothGradOptions,
    Target, Units, overlay,
};
use crate::infer::Filters;
use crate::report::{ColourBar, Figure, Panel};

/// Units that are shown if the user does not say how many.
const UNITS: usize = 9;
/// Maps of activations.
const MAPS: usize = 64;
/// Classes that are maximized.
const CLASSES: usize = 10;
/// How much a heat map covers the picture.
const SHARE: f32 = 0.7;

/// The methods that need no picture.
pub(super) fn without_picture(method: Method, work: &mut Work) -> Result<()> {
    match method {
        Method::Filters => filters(work),
        Method::Maximize => maximize(work, None),
        _ => Err(Error::internal("a method without a picture")),
    }
}

/// The figures of a picture. `name` is that of its file.
pub(super) fn of_picture(method: Method, work: &mut Work, name: &str, input: &Input) -> Result<()> {
    let of = Named { name, input };
    match method {
        Method::Filters => filters(work),
        Method::Activations => activations(work, &of),
        Method::Deconvnet => deconvnet(work, &of),
        Method::Gradcam => grad_cam(work, &of),
        Method::Guided => guided(work, &of),
        Method::Saliency => saliency(work, &of),
        Method::Occlusion => occlusion(work, &of),
        Method::Maximize => maximize(work, Some(&of)),
        Method::Units => Err(Error::internal("units of one picture")),
    }
}

fn bar(
    label: &str,
    least: impl Into<String>,
    greatest: impl Into<String>,
    colours: ColourMap,
) -> Option<ColourBar> {
    Some(ColourBar {
        label: label.to_owned(),
        least: least.into(),
        greatest: greatest.into(),
        colours: colours.table().to_vec(),
    })
}

/// The picture with the class and its probability.
fn original(work: &Work, class: Class, input: &Input) -> Result<Panel> {
    Ok(panel("picture", probability(work, class), &input.picture()?))
}

fn probability(work: &Work, class: Class) -> String {
    format!("{}: {:.1}%", work.class_name(class.index), 100.0 * class.probability)
}

fn grad_cam(work: &mut Work, of: &Named) -> Result<()> {
    let (class, layer) = (work.class()?, work.args.layer.as_deref());
    let found = explain::guided_grad_cam(&mut work.explainer, of.input, class, layer)?;
    let cam = &found.cam;
    let over = overlay(&of.input.picture()?, &cam.heat, SHARE, ColourMap::Viridis)?;
    let [h, w, _] = cam.map.shape;
    let panels = vec![
        original(work, cam.class, of.input)?,
        panel("Grad-CAM", format!("{h}x{w} places, at most {}", short(cam.map.range()[1])), &over),
        panel("guided Grad-CAM", "grey is 0", &found.product.around_grey()?),
    ];
    let title = format!("Grad-CAM for {} at {}: {}", work.class_name(cam.class.index), cam.layer, of.name);
    let bar = bar("speaks for the class (share of the greatest)", "0", "1", ColourMap::Viridis);
    let mut text = format!(
        "Where the layer {} speaks for the class: the sum of its maps, each times the mean of its gradient, without what is below \
         0 (Selvaraju et al., 2017).",
        cam.layer
    );
    if cam.map.range()[1] <= 0.0 {
        text += " Nothing in this layer speaks for the class.";
        work.global.say(format!("{}: nothing in {} speaks for this class", of.name, cam.layer));
    }
    work.figures.add(&format!("gradcam-{}", of.name), Figure { title, columns: 3, panels, bar }, &text)
}

fn guided(work: &mut Work, of: &Named) -> Result<()> {
    let class = work.class()?;
    let found = explain::guided(&mut work.explainer, of.input, class)?;
    let panels = vec![
        original(work, found.class, of.input)?,
        panel("guided backpropagation", "grey is 0", &found.gradient.around_grey()?),
    ];
    let title = format!("Guided backpropagation of {}: {}", work.class_name(found.class.index), of.name);
    let text = "The gradient of the logit with respect to the picture, where a ReLU passes back only what is above 0 \
                (Springenberg et al., 2014).";
    work.figures.add(&format!("guided-{}", of.name), Figure { title, columns: 2, panels, bar: None }, text)
}

fn saliency(work: &mut Work, of: &Named) -> Result<()> {
    let class = work.class()?;
    let args = work.args;
    let plain = explain::saliency(&mut work.explainer, of.input, class)?;
    let options = SmoothGradOptions { samples: args.samples, noise: args.noise, seed: args.seed };
    let go_on = work.go_on();
    let smooth =
        explain::smooth_grad(&mut work.explainer, of.input, Some(plain.class.index), options, &mut |_| {
            go_on()
        })?;
    let heat =
        |map: &Map| map.largest_of_channels().share_of_peak().in_colours([0.0, 1.0], ColourMap::Viridis);
    let most = |map: &Map| format!("at most {}", short(map.largest_of_channels().range()[1]));
    let panels = vec![
        original(work, plain.class, of.input)?,
        panel("gradient", most(&plain.gradient), &heat(&plain.gradient)?),
        panel("SmoothGrad", most(&smooth.gradient), &heat(&smooth.gradient)?),
    ];
    let title = format!("Saliency of {}: {}", work.class_name(plain.class.index), of.name);
    let bar = bar("absolute gradient (share of the greatest)", "0", "1", ColourMap::Viridis);
    let text = format!(
        "The greatest absolute gradient of the logit over red, green and blue of each pixel (Simonyan et al., 2013), and its mean \
         over {} noisy pictures (Smilkov et al., 2017).",
        args.samples
    );
    work.figures.add(&format!("saliency-{}", of.name), Figure { title, columns: 3, panels, bar }, &text)
}

fn occlusion(work: &mut Work, of: &Named) -> Result<()> {
    let class = work.class()?;
    let options = OcclusionOptions { size: work.args.square, stride: work.args.stride, colour: None };
    let go_on = work.go_on();
    let progress = Progress::pictures(work.global.quiet, 0);
    let found = explain::occlusion(&mut work.explainer, of.input, class, options, &mut |done, all| {
        progress.total(all as u64);
        progress.set(done as u64);
        go_on()
    });
    progress.finish();
    let Occlusion { class, size, map, heat, rows, columns } = found?;
    let [least, greatest] = map.range();
    let over = overlay(&of.input.picture()?, &heat, SHARE, ColourMap::Viridis)?;
    let caption = format!("{}x{} places of a square of {size} pixels", rows.len(), columns.len());
    let panels = vec![
        original(work, class, of.input)?,
        panel("probability", caption, &map.in_colours([least, greatest], ColourMap::Viridis)?),
        panel("what the class needs", "yellow: hidden, the probability falls most", &over),
    ];
    let title = format!("Occlusion of {}: {}", work.class_name(class.index), of.name);
    let percent = |x: f32| format!("{:.1}%", 100.0 * x);
    let label = "probability while the square hides this place";
    let bar = bar(label, percent(least), percent(greatest), ColourMap::Viridis);
    let text = "The probability of the class while a grey square hides a part of the picture (Zeiler and Fergus, 2014, section 4.2).";
    work.figures.add(&format!("occlusion-{}", of.name), Figure { title, columns: 3, panels, bar }, text)
}

fn activations(work: &mut Work, of: &Named) -> Result<()> {
    let args = work.args;
    let found = explain::activations(&mut work.explainer, of.input, args.layer.as_deref())?;
    let [h, w, c] = found.maps.shape;
    let [least, greatest] = found.maps.range();
    let colours = ColourMap::Viridis;
    let mut panels = vec![];
    if h * w == 1 {
        if !args.unit.is_empty() || args.top_units.is_some() {
            return Err(Error::usage(
                "it has no maps, but one number for each channel: all are shown in one picture",
            )
            .at(format!("layer {}", found.layer))
            .hint("choose no units, or name a layer with maps"));
        }
        let grid = grid_of_vector(&found.maps);
        let caption = format!("channels row by row, {} in each", grid.shape[1]);
        panels.push(panel("channels", caption, &grid.in_colours([least, greatest], colours)?));
    } else {
        let units = match (&args.unit[..], args.top_units) {
            ([], count) => found.strongest.iter().copied().take(count.unwrap_or(MAPS)).collect(),
            (units, _) => units.to_vec(),
        };
        for unit in units {
            work.explainer.layer(&found.layer)?.check_unit(unit)?;
            let map = found.maps.channel(unit);
            let picture = map.in_colours([least, greatest], colours)?;
            panels.push(panel(unit.to_string(), short(map.range()[1]), &picture));
        }
    }
    let columns = if panels.len() > 9 { 8 } else { 3 };
    let title = format!("Activations of {}: {}", found.layer, of.name);
    let bar = bar("activation", short(least), short(greatest), colours);
    let text = format!(
        "{} of {c} maps of {h}x{w} for this picture, with the number of the channel above and its greatest activation below. All \
         have the same scale.",
        panels.len()
    );
    work.figures.add(&format!("activations-{}", of.name), Figure { title, columns, panels, bar }, &text)
}

fn deconvnet(work: &mut Work, of: &Named) -> Result<()> {
    let args = work.args;
    let layer = work.explainer.layer_or_middle_map(args.layer.as_deref())?.name.clone();
    let picture = of.input.picture()?;
    let mut panels = Vec::new();
    // A few units at a time: what comes back for each is as large as the picture.
    let units = match &args.unit[..] {
        [] => {
            let maps = explain::activations(&mut work.explainer, of.input, Some(&layer))?;
            let fires = |unit: &usize| maps.maps.peak(*unit).1 > 0.0;
            let firing = maps.strongest.iter().copied().filter(fires);
            firing.take(args.top_units.unwrap_or(UNITS)).collect::<Vec<usize>>()
        }
        units => units.to_vec(),
    };
    if units.is_empty() {
        return Err(Error::data("no unit fires for this picture")
            .at(format!("layer {layer}"))
            .hint("name another layer, or choose another picture"));
    }
    for some in units.chunks(UNITS) {
        if work.stopped() {
            return Err(Error::stopped(format!(
                "stopped after {} of {} units",
                panels.len() / 2,
                units.len()
            )));
        }
        let some = Units::These(some.to_vec());
        for one in &explain::deconvnet(&mut work.explainer, of.input, Some(&layer), &some)? {
            let [row, column] = one.place;
            let title = format!("unit {}", one.unit);
            let caption = format!("{} at {row},{column}", short(one.activation));
            panels.push(panel(title, caption, &one.image.part(one.field).around_grey()?));
            panels.push(panel("", "picture", &patch(&picture, one)?));
        }
    }
    let title = format!("DeconvNet from {layer}: {}", of.name);
    let columns = if panels.len() > 2 { 6 } else { 2 };
    let text = "The greatest activation of each unit, passed back to the pixels: unpooled with the recorded places of the maxima, \
                rectified, and filtered with the transposed filters (Zeiler and Fergus, 2014, section 2.1). Below it \
                the activation and its row and column, beside it the part of the picture that it depends on.";
    work.figures.add(&format!("deconvnet-{}", of.name), Figure { title, columns, panels, bar: None }, text)
}

/// The part of a picture that an activation depends on.
pub(super) fn patch(picture: &Picture, of: &Reconstruction) -> Result<Picture> {
    let [top, left, height, width] = of.field;
    crop_at(picture, [top as isize, left as isize], height, width)
}

fn filters(work: &mut Work) -> Result<()> {
    let found = explain::filters(&mut work.explainer, work.args.layer.as_deref())?;
    let Filters { layer, shape: [k, r, s, c], .. } = &found;
    let panels = filter_panels(&found)?;
    let shown = panels.len();
    let title = format!("Filters of {layer}");
    let inputs = if *c == 3 { "in colour".to_owned() } else { format!("the mean over {c} inputs") };
    let text = format!(
        "{shown} of {k} filters of {r}x{s}, {inputs}. Grey is 0, and each is as strong as it can be."
    );
    let columns = if shown > 9 { 8 } else { 3 };
    work.figures.add(&format!("filters-{layer}"), Figure { title, columns, panels, bar: None }, &text)
}

fn maximize(work: &mut Work, of: Option<&Named>) -> Result<()> {
    let args = work.args;
    let options = MaximizeOptions {
        steps: args.steps,
        rate: args.rate,
        jitter: args.jitter,
        blur: args.blur,
        total_variation: args.total_variation,
        decay: args.decay,
        seed: args.seed,
        ..MaximizeOptions::default()
    };
    let targets: Vec<(Target, String)> = match &args.layer {
        None => {
            let classes = match work.class()? {
                Some(class) => vec![class],
                None => (0..work.explainer.class_names().len().min(CLASSES)).collect(),
            };
            classes
                .into_iter()
                .map(|class| (Target::Class(class), work.class_name(class).to_owned()))
                .collect()
        }
        Some(name) => {
            let layer = work.explainer.layer(name)?;
            let units = match (&args.unit[..], args.top_units) {
                ([], count) => (0..layer.shape[2].min(count.unwrap_or(UNITS))).collect(),
                (units, _) => units.to_vec(),
            };
            let target = |unit: usize| Target::Unit { layer: layer.name.clone(), unit };
            units.into_iter().map(|unit| (target(unit), format!("unit {unit}"))).collect()
        }
    };
    let progress = Progress::steps(work.global.quiet, targets.len().saturating_mul(args.steps) as u64);
    let (mut panels, mut stopped) = (Vec::new(), None);
    for (i, (target, name)) in targets.iter().enumerate() {
        let go_on = work.go_on();
        let start = of.map(|of| of.input);
        let found = explain::maximize(&mut work.explainer, target, start, options, &mut |step, _| {
            progress.set(i.saturating_mul(args.steps).saturating_add(step) as u64);
            go_on()
        });
        if work.stopped() {
            stopped = Some(Error::stopped(format!("stopped after {i} of {} pictures", targets.len())));
            break;
        }
        let found = match found {
            // Of several units some may be dead.
            Err(error @ Error::Data(_)) if targets.len() > 1 => {
                progress.say(error.to_string());
                continue;
            }
            other => other?,
        };
        let ends = [found.history.first(), found.history.last()].map(|x| short(x.copied().unwrap_or(0.0)));
        panels.push(panel(name.clone(), format!("from {} to {}", ends[0], ends[1]), &found.picture));
    }
    progress.finish();
    if panels.is_empty() {
        return Err(stopped.unwrap_or_else(|| {
            Error::data("none of the units answers to the picture").hint("name other units, or another layer")
        }));
    }
    let (what, file) = match &args.layer {
        None => ("classes".to_owned(), "classes".to_owned()),
        Some(_) => match targets.first() {
            Some((Target::Unit { layer, .. }, _)) => (format!("units of {layer}"), layer.clone()),
            _ => ("units".to_owned(), "units".to_owned()),
        },
    };
    let begins = of.map_or_else(|| "noise".to_owned(), |of| of.name.to_owned());
    let title = format!("What excites {what} most, from {begins}");
    let text = format!(
        "{} steps along the gradient, with jitter, blur, total variation and decay; below each what was reached.",
        args.steps
    );
    let columns = if panels.len() > 3 { 5 } else { 3 };
    let name = of.map_or_else(|| format!("maximize-{file}"), |of| format!("maximize-{file}-{}", of.name));
    work.figures.add(&name, Figure { title, columns, panels, bar: None }, &text)?;
    stopped.map_or(Ok(()), Err)
}
