//! Shapes as distances: negative inside, positive outside, close to the true distance near the edge.

/// An ellipse with half axes `rx`, `ry` around a centre.
pub(super) fn ellipse(x: f32, y: f32, centre: (f32, f32), rx: f32, ry: f32) -> f32 {
    let (u, v) = ((x - centre.0) / rx, (y - centre.1) / ry);
    let radius = (u * u + v * v).sqrt();
    // The gradient's length at this point turns the implicit function into a distance (first order).
    let slope = ((u / rx) * (u / rx) + (v / ry) * (v / ry)).sqrt().max(1e-6);
    radius * (radius - 1.0) / slope
}

/// A line of half `thickness` from one point to another, with round ends.
pub(super) fn line(x: f32, y: f32, from: (f32, f32), to: (f32, f32), thickness: f32) -> f32 {
    let (px, py, dx, dy) = (x - from.0, y - from.1, to.0 - from.0, to.1 - from.1);
    let along = ((px * dx + py * dy) / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
    let (ex, ey) = (px - along * dx, py - along * dy);
    (ex * ex + ey * ey).sqrt() - thickness
}

/// A bow from `-half_width` to `half_width` around a centre, thickest in the middle: its ends lie `bend`
/// below the middle, and the right end lies `slant` above the left one.
pub(super) fn bow(x: f32, y: f32, half_width: f32, bend: f32, slant: f32, thickness: f32) -> f32 {
    let u = x / half_width;
    let middle = bend * u * u - 0.5 * slant * u;
    let here = thickness * (1.0 - 0.6 * u * u).max(0.2);
    ((y - middle).abs() - here).max(x.abs() - half_width)
}

/// Share of a pixel that a shape covers, given its distance and the width of a pixel.
pub(super) fn coverage(distance: f32, pixel: f32) -> f32 {
    let t = (0.5 - distance / (1.5 * pixel)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipse_is_zero_on_its_edge_and_linear_near_it() {
        for (x, y) in [(0.5, 0.1), (-0.3, 0.1), (0.1, 0.3), (0.1, -0.1)] {
            assert!(ellipse(x, y, (0.1, 0.1), 0.4, 0.2).abs() < 1e-6);
        }
        assert!((ellipse(0.51, 0.1, (0.1, 0.1), 0.4, 0.2) - 0.01).abs() < 1e-3);
        assert!((ellipse(0.1, 0.29, (0.1, 0.1), 0.4, 0.2) + 0.01).abs() < 1e-3);
    }

    #[test]
    fn a_line_has_round_ends() {
        assert!((line(0.0, 0.3, (-1.0, 0.0), (1.0, 0.0), 0.1) - 0.2).abs() < 1e-6);
        assert!((line(1.5, 0.0, (-1.0, 0.0), (1.0, 0.0), 0.1) - 0.4).abs() < 1e-6);
    }

    #[test]
    fn coverage_falls_from_one_to_zero_over_the_edge() {
        assert!(coverage(-1.0, 0.1) > 0.999 && coverage(1.0, 0.1) < 0.001);
        assert!((coverage(0.0, 0.1) - 0.5).abs() < 1e-6);
    }
}
