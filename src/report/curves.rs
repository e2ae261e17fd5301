//! Robust accuracy over the strength of the attack, as text.

use super::comparison::{ABSENT, rate};
use super::{Align, Table};
use crate::metrics::CurvePoint;

/// A table with a heading for each axis and a line for each point.
pub fn curves(points: &[CurvePoint]) -> String {
    let mut table = Table::new([("strength", Align::Right), ("robust accuracy", Align::Left)]);
    let mut axis = "";
    for point in points {
        if point.axis != axis {
            axis = &point.axis;
            table.heading(axis);
        }
        let robust = point.robust.as_ref().map_or_else(|| ABSENT.to_owned(), rate);
        table.row([point.value.clone(), robust]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Rate;

    #[test]
    fn an_axis_is_a_heading_and_a_point_a_line() {
        let point = |axis: &str, value: &str, standing| CurvePoint {
            axis: axis.to_owned(),
            value: value.to_owned(),
            attack: String::new(),
            robust: Rate::of(standing, 10),
        };
        let points = [point("epsilon", "2/255", 8), point("epsilon", "8/255", 3), point("steps", "100", 2)];
        insta::assert_snapshot!(curves(&points), @"
        strength  robust accuracy
        ───────────────────────────────────
        epsilon
           2/255  0.800 [0.490, 0.943] n 10
           8/255  0.300 [0.108, 0.603] n 10

        steps
             100  0.200 [0.057, 0.510] n 10
        ");
    }
}
