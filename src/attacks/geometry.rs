//! Plane geometry of what is worn: similarities (turn, size, shift) and homographies (perspective).
//!
//! Points are `(x, y)` in pixels, x to the right and y down; the centre of the first pixel of a picture is
//! `(0.5, 0.5)`.

/// A point of a picture or a texture.
pub(super) type Point = (f64, f64);

/// `p -> (a x - b y, b x + a y) + shift`: it keeps angles and the ratios of lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Similarity {
    a: f64,
    b: f64,
    shift: Point,
}

impl Similarity {
    /// Everything stays where it is.
    pub const IDENTITY: Self = Self { a: 1.0, b: 0.0, shift: (0.0, 0.0) };

    /// Turns by an angle in radians (from x towards y) and enlarges about a centre, and moves that centre
    /// to another place.
    pub fn about(centre: Point, angle: f64, size: f64, to: Point) -> Self {
        let (a, b) = (size * angle.cos(), size * angle.sin());
        let turned = Self { a, b, shift: (0.0, 0.0) }.apply(centre);
        Self { a, b, shift: (to.0 - turned.0, to.1 - turned.1) }
    }

    /// The one that brings some points nearest to others in the sense of least squares (Umeyama, "Least-squares
    /// estimation of transformation parameters between two point patterns", PAMI 1991, without reflection);
    /// none when either set is one point.
    pub fn fit(from: &[Point], to: &[Point]) -> Option<Self> {
        let count = from.len().min(to.len()) as f64;
        let mean = |points: &[Point]| {
            let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / count, sum.1 / count)
        };
        let (middle, aim) = (mean(from), mean(to));
        let (mut along, mut across, mut length) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (p, q) = ((p.0 - middle.0, p.1 - middle.1), (q.0 - aim.0, q.1 - aim.1));
            along += p.0 * q.0 + p.1 * q.1;
            across += p.0 * q.1 - p.1 * q.0;
            length += p.0 * p.0 + p.1 * p.1;
        }
        let (a, b) = (along / length, across / length);
        if !(a.is_finite() && b.is_finite() && a.hypot(b) > 1e-6) {
            return None;
        }
        let turned = Self { a, b, shift: (0.0, 0.0) }.apply(middle);
        Some(Self { a, b, shift: (aim.0 - turned.0, aim.1 - turned.1) })
    }

    /// This one, and then another.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let (a, b) = (next.a * self.a - next.b * self.b, next.b * self.a + next.a * self.b);
        Self { a, b, shift: next.apply(self.shift) }
    }

    /// Where a point goes.
    pub fn apply(&self, (x, y): Point) -> Point {
        (self.a * x - self.b * y + self.shift.0, self.b * x + self.a * y + self.shift.1)
    }

    /// Where a point comes from.
    pub fn undo(&self, (x, y): Point) -> Point {
        let (x, y) = (x - self.shift.0, y - self.shift.1);
        let square = self.a * self.a + self.b * self.b;
        ((self.a * x + self.b * y) / square, (self.a * y - self.b * x) / square)
    }
}

/// `p -> ((h0 x + h1 y + h2) / w, (h3 x + h4 y + h5) / w)` with `w = h6 x + h7 y + 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Homography([f64; 8]);

impl Homography {
    /// The one that takes four points to four others; none when three of them are on a line.
    pub fn between(from: [Point; 4], to: [Point; 4]) -> Option<Self> {
        let mut rows = [[0.0; 9]; 8];
        for (index, ((x, y), (u, v))) in from.into_iter().zip(to).enumerate() {
            rows[2 * index] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
            rows[2 * index + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
        }
        solve(rows).map(Self)
    }

    /// Where a point goes; not finite on the line that goes to infinity.
    pub fn apply(&self, (x, y): Point) -> Point {
        let h = &self.0;
        let w = h[6] * x + h[7] * y + 1.0;
        ((h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w)
    }
}

/// Solves eight linear equations, the right side in the last column, by elimination with pivots.
fn solve(mut rows: [[f64; 9]; 8]) -> Option<[f64; 8]> {
    for step in 0..8 {
        let pivot = (step..8).max_by(|&a, &b| rows[a][step].abs().total_cmp(&rows[b][step].abs()))?;
        rows.swap(step, pivot);
        if rows[step][step].abs() < 1e-9 {
            return None;
        }
        let above = rows[step];
        for row in &mut rows[step + 1..] {
            let factor = row[step] / above[step];
            row.iter_mut().zip(above).for_each(|(value, above)| *value -= factor * above);
        }
    }
    let mut solution = [0.0; 8];
    for step in (0..8).rev() {
        let known: f64 = (step + 1..8).map(|column| rows[step][column] * solution[column]).sum();
        solution[step] = (rows[step][8] - known) / rows[step][step];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(a: Point, b: Point, slack: f64) -> bool {
        (a.0 - b.0).abs() < slack && (a.1 - b.1).abs() < slack
    }

    #[test]
    fn a_turn_by_hand() {
        let quarter = Similarity::about((2.0, 1.0), std::f64::consts::FRAC_PI_2, 2.0, (5.0, 5.0));
        assert!(near(quarter.apply((2.0, 1.0)), (5.0, 5.0), 1e-12));
        assert!(near(quarter.apply((3.0, 1.0)), (5.0, 7.0), 1e-12), "x turns towards y");
        assert!(near(quarter.apply((2.0, 2.0)), (3.0, 5.0), 1e-12));
    }

    #[test]
    fn a_homography_by_hand() {
        // The unit square to a trapezoid whose lower side is twice as long as the upper one.
        let corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)];
        let found = Homography::between(corners, [(0.0, 0.0), (1.0, 0.0), (2.0, 1.0), (0.0, 1.0)]);
        let found = found.expect("no three on a line");
        // The diagonals of a figure meet where those of its picture do: (1/2, 1/2) goes to (2/3, 1/3).
        assert!(near(found.apply((0.5, 0.5)), (2.0 / 3.0, 1.0 / 3.0), 1e-12));
    }

    #[test]
    fn degenerate_figures_have_no_map() {
        let corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)];
        let line = [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 1.0)];
        assert_eq!(Homography::between(line, corners), None);
        assert_eq!(Similarity::fit(&[(1.0, 1.0); 3], &corners[..3]), None);
        assert_eq!(Similarity::fit(&corners[..3], &[(4.0, 4.0); 3]), None);
        assert_eq!(Similarity::fit(&[], &[]), None);
    }

    proptest! {
        #[test]
        fn what_is_done_can_be_undone_and_found_again(
            angle in -3.0_f64..3.0, size in 0.2_f64..5.0, x in -50.0_f64..50.0, y in -50.0_f64..50.0,
        ) {
            let map = Similarity::about((3.0, 4.0), angle, size, (x, y));
            let points = [(0.0, 0.0), (10.0, 2.0), (3.0, 8.0)];
            let moved = points.map(|point| map.apply(point));
            for (before, after) in points.into_iter().zip(moved) {
                prop_assert!(near(map.undo(after), before, 1e-9));
            }
            let twice = map.then(map).apply((7.0, -5.0));
            prop_assert!(near(twice, map.apply(map.apply((7.0, -5.0))), 1e-8));
            let found = Similarity::fit(&points, &moved).expect("three points");
            prop_assert!(near(found.apply((7.0, -5.0)), map.apply((7.0, -5.0)), 1e-8));
            let two = Similarity::fit(&points[..2], &moved[..2]).expect("two points");
            prop_assert!(near(two.apply((7.0, -5.0)), map.apply((7.0, -5.0)), 1e-8));
        }
    }
}
