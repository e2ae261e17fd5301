//! Lines over an axis.

use super::super::chart::Chart;
use super::drawing::{Anchor, Drawing, Form, PALE, SERIES};

/// What stands above the chart, and a line of the legend below it.
const ABOVE: f64 = 24.0;
const LINE: f64 = 18.0;

/// A chart with its legend below.
pub(super) fn chart(chart: &Chart) -> Drawing {
    let [width, height] = chart.size;
    let [left, right] = chart.ends;
    let size = [width, height + ABOVE + LINE * chart.lines.len() as f64];
    let mut drawing = Drawing::new(&chart.title, size, [left, ABOVE - 6.0]);
    let down = |y: f64| y + ABOVE;
    for (y, label) in &chart.grid {
        drawing.line(vec![[left, down(*y)], [right, down(*y)]], 1.0, PALE);
        drawing.text(label, [left - 6.0, down(y + 4.0)], Anchor::End, 12.0);
    }
    for (x, label) in &chart.labels {
        drawing.text(label, [*x, down(height - 26.0)], Anchor::Middle, 12.0);
    }
    drawing.text(&chart.axis, [f64::midpoint(left, right), down(height - 6.0)], Anchor::Middle, 12.0);
    for (number, line) in chart.lines.iter().enumerate() {
        let (colour, dashes) = SERIES[number % SERIES.len()];
        let points: Vec<[f64; 2]> = line.points.iter().map(|point| [point.x, down(point.y)]).collect();
        let marks = points.iter().map(|&at| (Form::Disc(at, 2.5), colour));
        let marks: Vec<_> = marks.collect();
        drawing.shapes.push((Form::Line(points, 2.0, dashes), colour));
        for point in &line.points {
            if let Some(ends) = point.whisker {
                drawing.line(ends.map(|y| [point.x, down(y)]).to_vec(), 1.5, colour);
            }
        }
        drawing.shapes.extend(marks);
        let y = down(height + 6.0 + LINE * number as f64);
        drawing.shapes.push((Form::Line(vec![[left, y], [left + 26.0, y]], 2.0, dashes), colour));
        drawing.text(&line.name, [left + 34.0, y + 4.0], Anchor::Start, 12.0);
    }
    drawing
}
