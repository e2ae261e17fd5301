//! Figures below each other: bars of classes, and runs side by side.

use super::super::bars::Bars;
use super::super::comparison::Comparison;
use super::drawing::{Anchor, BLACK, Colour, Drawing, Form, PALE, SERIES, SOFT};
use super::{LONGEST, short};

/// Width of a drawing, and of what stands left and right of its bars.
const WIDTH: f64 = 640.0;
const NAMES: f64 = 130.0;
const NUMBERS: f64 = 150.0;

/// From one bar to the next.
const LINE: f64 = 19.0;

/// Colour of a bar.
const FILL: Colour = [91, 143, 199];

/// Longest name of a run, in characters.
const LONGEST_RUN: usize = 60;

/// Bars with their intervals, the worst class first.
pub(super) fn bars(bars: &Bars) -> Drawing {
    let lines = bars.classes.len() + usize::from(bars.more > 0);
    let mut drawing = Drawing::new(bars.title, [WIDTH, 40.0 + LINE * lines as f64], [10.0, 20.0]);
    let track = WIDTH - NAMES - NUMBERS;
    let length = |value: f64| (value / bars.full).clamp(0.0, 1.0) * track;
    let mut y = 34.0;
    for bar in &bars.classes {
        let number = bar.figure.number;
        drawing.text(&short(&bar.class, LONGEST), [NAMES - 8.0, y + 10.0], Anchor::End, 11.0);
        drawing.rect([NAMES, y], [track, 13.0], PALE);
        drawing.rect([NAMES, y], [length(number.value), 13.0], FILL);
        let mut words = format!("{:.3}", number.value);
        if let Some((low, high)) = number.low.zip(number.high) {
            words = format!("{words} [{low:.3}, {high:.3}]");
            let (low, high, middle) = (NAMES + length(low), NAMES + length(high), y + 6.5);
            drawing.line(vec![[low, middle], [high, middle]], 1.5, BLACK);
            for end in [low, high] {
                drawing.line(vec![[end, middle - 4.0], [end, middle + 4.0]], 1.5, BLACK);
            }
        }
        drawing.text(&words, [WIDTH - NUMBERS + 8.0, y + 10.0], Anchor::Start, 11.0);
        y += LINE;
    }
    if bars.more > 0 {
        drawing.text(&format!("and {} more classes", bars.more), [NAMES, y + 10.0], Anchor::Start, 11.0);
    }
    drawing
}

/// One line a figure, from the smallest to the largest value of the runs. Figures that do not lie between 0 and 1 have none.
pub(super) fn comparison(found: &Comparison) -> Option<Drawing> {
    let rows: Vec<_> = found.rows.iter().filter_map(|row| Some((row, row.span?))).collect();
    if rows.is_empty() {
        return None;
    }
    let (left, above) = (290.0, 40.0 + LINE * found.runs.len() as f64);
    let track = WIDTH - left - 20.0;
    let size = [WIDTH, above + 26.0 * rows.len() as f64 + 30.0];
    let mut drawing = Drawing::new("Comparison of runs", size, [10.0, 20.0]);
    for (run, name) in found.runs.iter().enumerate() {
        let y = 40.0 + LINE * run as f64;
        drawing.shapes.push(mark(run, [18.0, y - 4.0]));
        drawing.text(&short(name, LONGEST_RUN), [32.0, y], Anchor::Start, 11.0);
    }
    let bottom = above + 26.0 * rows.len() as f64;
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let x = left + share * track;
        drawing.line(vec![[x, above], [x, bottom]], 1.0, PALE);
        drawing.text(&share.to_string(), [x, bottom + 16.0], Anchor::Middle, 11.0);
    }
    for (at, (row, span)) in rows.iter().enumerate() {
        let y = above + 26.0 * (at as f64 + 0.5);
        let ends = span.map(|value| [left + value * track, y]);
        let arrow = if row.more_is_better { "more is better" } else { "less is better" };
        drawing.text(row.name, [left - 14.0, y - 1.0], Anchor::End, 11.0);
        drawing.text(arrow, [left - 14.0, y + 9.0], Anchor::End, 8.0);
        drawing.line(ends.to_vec(), 3.0, SOFT);
        for (run, figure) in row.figures.iter().enumerate() {
            if let Some(figure) = figure {
                drawing.shapes.push(mark(run, [left + figure.number.value * track, y]));
            }
        }
    }
    Some(drawing)
}

/// The mark of a run: six shapes, so that colour is not needed to tell them apart. Later ones, which are drawn on top, are smaller,
/// so that equal values are all seen.
fn mark(run: usize, [x, y]: [f64; 2]) -> (Form, Colour) {
    let (colour, _) = SERIES[run % SERIES.len()];
    let size = (6.5 - run as f64).max(3.0);
    let corners = |corners: &[[f64; 2]]| {
        Form::Polygon(corners.iter().map(|corner| [x + size * corner[0], y + size * corner[1]]).collect())
    };
    let form = match run % SERIES.len() {
        0 => Form::Disc([x, y], size),
        1 => corners(&[[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]),
        2 => corners(&[[0.0, -1.2], [1.2, 0.0], [0.0, 1.2], [-1.2, 0.0]]),
        3 => corners(&[[0.0, -1.1], [1.1, 0.9], [-1.1, 0.9]]),
        4 => corners(&[[-0.35, -1.1], [0.35, -1.1], [0.35, 1.1], [-0.35, 1.1]]),
        _ => corners(&[[-1.1, -0.9], [1.1, -0.9], [0.0, 1.1]]),
    };
    (form, colour)
}

#[cfg(test)]
mod tests {
    use super::super::super::comparison::comparison as compare;
    use super::super::super::{PlacedFigure, RunSource, bars as lists};
    use super::*;
    use crate::report::example::{plain, sy_far};

    #[test]
    fn a_bar_is_as_long_as_its_value_and_has_its_interval() {
        let report = plain();
        let metrics = serde_json::to_value(&report).expect("JSON");
        let found = &lists::sources(&metrics, &report.classes)[0];
        let svg = bars(found).svg();
        // Robust accuracy of ben_o is 5 of 10, the last of three; the scale ends at the largest end of an interval.
        let number = found.classes[2].figure.number;
        let (low, high) = number.low.zip(number.high).expect("an interval");
        let at = |value: f64| value / found.full * (WIDTH - NAMES - NUMBERS);
        let y = 34.0 + 2.0 * LINE;
        let width = (at(0.5) * 1000.0).round() / 1000.0;
        assert!(
            svg.contains(&format!(
                "<rect x=\"{NAMES}\" y=\"{y}\" width=\"{width}\" height=\"13\" fill=\"#5b8fc7\""
            )),
            "{svg}"
        );
        assert!(svg.contains(&format!(">0.500 [{low:.3}, {high:.3}]</text>")), "{svg}");
        assert!(svg.contains(">ben_o</text>"));
    }

    #[test]
    fn marks_of_a_comparison_stand_at_their_values() {
        let run = |name: &str, report| RunSource {
            name: name.into(),
            metrics: serde_json::to_value::<crate::metrics::FairnessReport>(report).ok(),
            ..RunSource::default()
        };
        let compared = compare(&[run("a", plain()), run("b", sy_far())]).expect("two runs");
        let drawing = comparison(&compared).expect("rows");
        let row = compared
            .rows
            .iter()
            .filter(|row| row.span.is_some())
            .position(|row| row.name == "Robust accuracy");
        let y = 40.0 + 2.0 * LINE + 26.0 * (row.expect("there") as f64 + 0.5);
        let value = |figure: &Option<PlacedFigure>| figure.as_ref().expect("attacked").number.value;
        assert_eq!(compared.rows[1].figures.iter().map(value).collect::<Vec<_>>(), [0.2, 0.5]);
        let disc = drawing.shapes.iter().filter_map(|(form, _)| match form {
            Form::Disc(at, _) => Some(*at),
            _ => None,
        });
        // 290 + 0.2 * 330
        assert!(
            disc.clone().any(|at| (at[0] - 356.0).abs() < 1e-9 && (at[1] - y).abs() < 1e-9),
            "{:?}",
            disc.collect::<Vec<_>>()
        );
        assert!(!drawing.svg().contains("sum"), "sums are not between 0 and 1");
        let none = compare(&[RunSource::default(), RunSource::default()]).expect("two runs");
        assert!(comparison(&none).is_none());
    }
}
