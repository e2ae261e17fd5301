//! Lines over an axis, as coordinates: the template draws them.

use serde::Serialize;
use serde_json::Value;

use super::PlacedFigure;
use super::source::TrainingEpoch;

/// Size of the drawing, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Most labels below the axis.
const LABELS: usize = 10;

/// A drawing with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Chart {
    /// What is drawn.
    pub title: String,
    /// What the axis below counts.
    pub axis: String,
    /// Width and height.
    pub size: [f64; 2],
    /// Lines of the grid: height in the drawing and label.
    pub grid: Vec<(f64, String)>,
    /// Left and right end of the grid.
    pub ends: [f64; 2],
    /// Labels below the axis: place in the drawing and text.
    pub labels: Vec<(f64, String)>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Line {
    /// Its name.
    pub name: String,
    /// For `points` of a polyline.
    pub drawn: String,
    /// Its points.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    /// Its place on the axis, as it was written.
    pub label: String,
    /// Coordinates in the drawing.
    pub x: f64,
    /// As `x`.
    pub y: f64,
    /// Upper and lower end of the interval in the drawing.
    pub whisker: Option<[f64; 2]>,
    /// The number.
    pub value: f64,
    /// The figure of `metrics.json` that it is, if it is one.
    pub figure: Option<PlacedFigure>,
}

/// A point before it has a place: position and label on the axis, number, figure.
type Given = (f64, String, f64, Option<PlacedFigure>);

impl Chart {
    /// Lines over an axis. `top` is the upper end of the grid where it is known.
    fn of(title: &str, axis: &str, top: Option<f64>, given: Vec<(String, Vec<Given>)>) -> Option<Self> {
        let all = || given.iter().flat_map(|(_, points)| points);
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut highest = 0.0_f64;
        for (at, _, value, _) in all() {
            (from, to) = (from.min(*at), to.max(*at));
            highest = highest.max(*value);
        }
        if from > to {
            return None;
        }
        let top = top.unwrap_or_else(|| round_up(highest));
        let span = if to > from { to - from } else { 1.0 };
        let x = |at: f64| tenth(LEFT + (at - from) / span * (WIDTH - LEFT - RIGHT));
        let y = |value: f64| tenth(HEIGHT - BOTTOM - (value / top).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM));
        let mut labels: Vec<(f64, String)> = Vec::new();
        for (at, label, ..) in all() {
            if !labels.iter().any(|(place, _)| place.to_bits() == x(*at).to_bits()) {
                labels.push((x(*at), label.clone()));
            }
        }
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let every = labels.len().div_ceil(LABELS);
        let labels = labels.into_iter().step_by(every.max(1)).collect();
        let line = |(name, points): (String, Vec<Given>)| {
            let points: Vec<Point> = points
                .into_iter()
                .map(|(at, label, value, figure)| {
                    let ends = figure.as_ref().and_then(|figure| figure.number.low.zip(figure.number.high));
                    Point {
                        label,
                        x: x(at),
                        y: y(value),
                        whisker: ends.map(|(low, high)| [y(high), y(low)]),
                        value,
                        figure,
                    }
                })
                .collect();
            let drawn: Vec<String> = points.iter().map(|point| format!("{},{}", point.x, point.y)).collect();
            Line { name, drawn: drawn.join(" "), points }
        };
        Some(Self {
            title: title.to_owned(),
            axis: axis.to_owned(),
            size: [WIDTH, HEIGHT],
            grid: (0..=4)
                .map(|part| f64::from(part) / 4.0 * top)
                .map(|value| (y(value), short(value)))
                .collect(),
            ends: [LEFT, WIDTH - RIGHT],
            labels,
            lines: given.into_iter().map(line).collect(),
        })
    }
}

/// Robust accuracy over the strength of the attack, one drawing an axis.
pub(super) fn curves(metrics: &Value) -> Vec<Chart> {
    let points = metrics.get("curves").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text =
        |point: &Value, key: &str| point.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut axes: Vec<String> = Vec::new();
    for axis in points.iter().map(|point| text(point, "axis")) {
        if !axes.contains(&axis) {
            axes.push(axis);
        }
    }
    let chart = |axis: &String| {
        let on_axis: Vec<usize> =
            (0..points.len()).filter(|&index| text(&points[index], "axis") == *axis).collect();
        let strengths: Option<Vec<f64>> =
            on_axis.iter().map(|&index| strength(&text(&points[index], "value"))).collect();
        let given = on_axis.iter().enumerate().filter_map(|(place, &index)| {
            let figure = PlacedFigure::at(metrics, &format!("/curves/{index}/robust"))?;
            let at = strengths.as_ref().map_or(place as f64, |strengths| strengths[place]);
            Some((at, text(&points[index], "value"), figure.number.value, Some(figure)))
        });
        let line = ("robust accuracy".to_owned(), given.collect());
        Chart::of(&format!("Robust accuracy over {axis}"), axis, Some(1.0), vec![line])
    };
    axes.iter().filter_map(chart).collect()
}

/// The number that a strength is, where it is one: `8/255` or `40`.
fn strength(text: &str) -> Option<f64> {
    match text.split_once('/') {
        Some((part, whole)) => {
            let (part, whole): (f64, f64) = (part.trim().parse().ok()?, whole.trim().parse().ok()?);
            Some(part / whole).filter(|value| value.is_finite())
        }
        None => text.trim().parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// Accuracy and the terms of the loss over the epochs.
pub(super) fn training(epochs: &[TrainingEpoch]) -> Vec<Chart> {
    let line = |name: &str, of: &dyn Fn(&TrainingEpoch) -> Option<f64>| {
        let points = epochs.iter().filter_map(|epoch| {
            let value = of(epoch).filter(|value| value.is_finite())?;
            Some((epoch.epoch as f64, epoch.epoch.to_string(), value, None))
        });
        (name.to_owned(), points.collect::<Vec<Given>>())
    };
    let accuracies = vec![
        line("clean, validation", &|epoch| epoch.clean_accuracy),
        line("robust, validation", &|epoch| epoch.robust_accuracy),
        line("training pictures", &|epoch| epoch.train_accuracy),
    ];
    let mut terms: Vec<&String> = Vec::new();
    for (name, _) in epochs.iter().flat_map(|epoch| &epoch.terms) {
        if !terms.contains(&name) {
            terms.push(name);
        }
    }
    let losses = terms
        .into_iter()
        .map(|name| {
            line(name, &|epoch| epoch.terms.iter().find(|(term, _)| term == name).map(|(_, value)| *value))
        })
        .collect();
    let drawn = |lines: Vec<(String, Vec<Given>)>| {
        lines.into_iter().filter(|(_, points)| !points.is_empty()).collect()
    };
    [
        Chart::of("Accuracy in training", "epoch", Some(1.0), drawn(accuracies)),
        Chart::of("Terms of the loss", "epoch", None, drawn(losses)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The next of 1, 2, 4 or 8 times a power of ten: its quarters are short.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10.0_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 8.0]
        .map(|step| step * power)
        .into_iter()
        .find(|end| *end >= value)
        .unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rate(value: f64) -> Value {
        json!({"value": value, "low": value - 0.1, "high": value + 0.1, "n": 10})
    }

    #[test]
    fn a_curve_has_a_drawing_for_each_axis() {
        let metrics = json!({"curves": [
            {"axis": "epsilon", "value": "2/255", "attack": "a", "robust": rate(0.75)},
            {"axis": "epsilon", "value": "8/255", "attack": "b", "robust": rate(0.5)},
            {"axis": "steps", "value": "40", "attack": "c", "robust": null},
        ]});
        let found = curves(&metrics);
        assert_eq!(found.len(), 1, "the axis without a figure has none");
        let line = &found[0].lines[0];
        assert_eq!((line.points[0].x, line.points[1].x), (LEFT, WIDTH - RIGHT));
        // Half of the height of the grid, and the interval 0.1 above and below.
        let middle = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
        assert!((line.points[1].y - middle).abs() < 0.06);
        let [high, low] = line.points[1].whisker.expect("an interval");
        assert!((low - high - 0.2 * (HEIGHT - TOP - BOTTOM)).abs() < 0.11);
        assert_eq!(line.points[0].figure.as_ref().expect("a figure").path, "/curves/0/robust");
        assert_eq!(
            found[0].labels.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["2/255", "8/255"]
        );
    }

    #[test]
    fn training_has_accuracy_and_loss_and_skips_what_is_not_there() {
        let epoch = |epoch, loss, clean| TrainingEpoch {
            epoch,
            terms: vec![("clean".into(), loss)],
            train_accuracy: None,
            clean_accuracy: clean,
            robust_accuracy: None,
        };
        let found = training(&[epoch(1, 3.0, None), epoch(2, 1.5, Some(0.5)), epoch(3, f64::NAN, Some(0.6))]);
        assert_eq!(found[0].lines.len(), 1);
        assert_eq!(found[0].lines[0].points.len(), 2);
        assert_eq!(found[1].lines[0].points.len(), 2, "what is not a number is not drawn");
        assert_eq!(found[1].grid[4].1, "4");
        assert!(training(&[]).is_empty());
    }

    #[test]
    fn many_labels_are_thinned_and_one_point_is_a_drawing() {
        let points = (0..95).map(|at| (f64::from(at), at.to_string(), 0.5, None)).collect();
        let chart = Chart::of("t", "a", None, vec![("l".into(), points)]).expect("points");
        assert!(chart.labels.len() <= LABELS);
        let one = Chart::of("t", "a", None, vec![("l".into(), vec![(3.0, "3".into(), 0.0, None)])])
            .expect("a point");
        assert_eq!(one.lines[0].drawn, format!("{LEFT},{}", HEIGHT - BOTTOM));
    }
}
