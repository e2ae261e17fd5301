//! Projections of one picture, on the host: onto a ball, and onto a hyperplane, each within the box of
//! pixels `[0, 1]`.
//!
//! The L1 ball and the box meet in a set whose exact projection is a soft threshold that stops at the box:
//! `d_i <- sign(d_i) min(max(|d_i| - lambda, 0), room_i)` (Croce and Hein, "Mind the box", ICML 2021).
//! Projecting on the ball and clipping afterwards, as older code does, is not it.
//!
//! The hyperplane projections are those of FAB (Croce and Hein, ICML 2020, section 2.2): the shortest `d`
//! with `w . d = c` and `x + d` in the box. Along the way that changes `w . d` most, `w . d` is a concave,
//! piecewise linear function of the length (L-inf) or of the multiplier (L2), so Newton's method from 0
//! never overshoots and ends after finitely many pieces; for L1 the largest weights are used up first. The
//! reference implementation sorts and bisects; the result is the same. Where the plane does not meet the
//! box, the corner nearest to it is the answer.

use super::Norm;

/// More pieces than any picture takes; what is left then is rounding.
const PIECES: usize = 200;

/// The length of the change from one picture to another.
pub(super) fn distance(norm: Norm, from: &[f32], to: &[f32]) -> f32 {
    let changes = from.iter().zip(to).map(|(from, to)| f64::from((to - from).abs()));
    match norm {
        Norm::Linf => changes.fold(0.0, f64::max) as f32,
        Norm::L2 => changes.map(|change| change * change).sum::<f64>().sqrt() as f32,
        Norm::L1 => changes.sum::<f64>() as f32,
    }
}

/// Whether a picture is within `epsilon` of the clean one, up to rounding: half the slack that
/// [`super::ThreatModel::contains`] grants.
pub(super) fn within(norm: Norm, epsilon: f32, clean: &[f32], picture: &[f32]) -> bool {
    let relative = if norm == Norm::Linf { 0.0 } else { 5e-6 };
    distance(norm, clean, picture) <= epsilon * (1.0 + relative) + 5e-7
}

/// Moves a point to the nearest picture within `epsilon` of the clean one. For L2 the change is shortened
/// and then clipped (see [`super::ThreatModel::project`]).
pub(super) fn onto_ball(norm: Norm, clean: &[f32], epsilon: f32, point: &mut [f32]) {
    match norm {
        Norm::Linf => {
            for (value, clean) in point.iter_mut().zip(clean) {
                *value = value.max(clean - epsilon).min(clean + epsilon).clamp(0.0, 1.0);
            }
        }
        Norm::L2 => {
            let length = distance(norm, clean, point);
            let factor = if length > epsilon { epsilon / length } else { 1.0 };
            for (value, clean) in point.iter_mut().zip(clean) {
                *value = (clean + (*value - clean) * factor).clamp(0.0, 1.0);
            }
        }
        Norm::L1 => onto_l1_ball(clean, epsilon, point),
    }
}

/// -1, 0 or 1; 0 also for a NaN.
#[inline]
pub(super) fn sign(value: f32) -> f32 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// How far a value may move in the direction of a number.
fn room(clean: f32, direction: f32) -> f32 {
    (if direction > 0.0 { 1.0 - clean } else { clean }).max(0.0)
}

fn onto_l1_ball(clean: &[f32], epsilon: f32, point: &mut [f32]) {
    let left = |clean: f32, value: f32, threshold: f64| {
        let change = value - clean;
        (f64::from(change.abs()) - threshold).clamp(0.0, f64::from(room(clean, change)))
    };
    let length = |point: &[f32], threshold: f64| -> f64 {
        clean.iter().zip(point).map(|(&clean, &value)| left(clean, value, threshold)).sum()
    };
    let mut threshold = 0.0;
    if length(point, 0.0) > f64::from(epsilon) {
        let largest = f64::from(distance(Norm::Linf, clean, point));
        let (mut low, mut high) = (0.0, largest);
        // Halving until the numbers of an f64 are used up; the upper end is inside the ball.
        while low < high {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if length(point, middle) > f64::from(epsilon) {
                low = middle;
            } else {
                high = middle;
            }
            if high - low < 1e-12 * largest {
                break;
            }
        }
        threshold = high;
    }
    for (value, &clean) in point.iter_mut().zip(clean) {
        let change = left(clean, *value, threshold) as f32;
        *value = (if *value > clean { clean + change } else { clean - change }).clamp(0.0, 1.0);
    }
}

/// The shortest change `d` of a picture with `normal . d = offset` that stays in the box, or as near to it
/// as the box allows.
pub(super) fn onto_hyperplane(norm: Norm, picture: &[f32], normal: &[f32], offset: f64) -> Vec<f32> {
    let sign = if offset < 0.0 { -1.0 } else { 1.0 };
    let wanted = offset.abs();
    // Per value: the size of its weight, and how far it may move the right way.
    let values: Vec<(f64, f64)> = picture
        .iter()
        .zip(normal)
        .map(|(&value, &weight)| (f64::from(weight.abs()), f64::from(room(value, sign * weight))))
        .collect();
    let moved: Vec<f64> = match norm {
        Norm::Linf => {
            let radius = newton(&values, wanted, |weight, room| (weight, room));
            values.iter().map(|&(weight, room)| if weight > 0.0 { radius.min(room) } else { 0.0 }).collect()
        }
        Norm::L2 => {
            let multiplier = newton(&values, wanted, |weight, room| (weight * weight, room / weight));
            let length = |weight: f64, room: f64| (multiplier * weight).min(room);
            values
                .iter()
                .map(|&(weight, room)| if weight > 0.0 { length(weight, room) } else { 0.0 })
                .collect()
        }
        Norm::L1 => greedy(&values, wanted),
    };
    let direction = normal.iter().map(|&weight| if sign * weight > 0.0 { 1.0_f32 } else { -1.0 });
    moved.iter().zip(direction).map(|(&moved, direction)| direction * moved as f32).collect()
}

/// The smallest `t >= 0` with `sum slope_i min(t, end_i) = wanted`, where `piece` gives slope and end of a
/// value; infinite when there is none.
fn newton(values: &[(f64, f64)], wanted: f64, piece: impl Fn(f64, f64) -> (f64, f64)) -> f64 {
    let pieces: Vec<(f64, f64)> = values
        .iter()
        .filter(|(weight, _)| *weight > 0.0)
        .map(|&(weight, room)| piece(weight, room))
        .collect();
    let mut t = 0.0_f64;
    for _ in 0..PIECES {
        let (reached, slope) = pieces.iter().fold((0.0, 0.0), |(reached, steep), &(slope, end)| {
            (reached + slope * t.min(end), if end > t { steep + slope } else { steep })
        });
        let missing: f64 = wanted - reached;
        if missing <= 1e-12 * wanted {
            return t;
        }
        if slope <= 0.0 {
            return f64::INFINITY;
        }
        t += missing / slope;
    }
    t
}

/// Uses up the values of the largest weights until the weighted sum is what is wanted.
fn greedy(values: &[(f64, f64)], wanted: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].0.total_cmp(&values[a].0));
    let mut moved = vec![0.0; values.len()];
    let mut missing = wanted;
    for index in order {
        let (weight, room) = values[index];
        if missing <= 0.0 || weight <= 0.0 {
            break;
        }
        moved[index] = (missing / weight).min(room);
        missing -= weight * moved[index];
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NORMS: [Norm; 3] = [Norm::Linf, Norm::L2, Norm::L1];

    const REFERENCE: [(Norm, f64, [f32; 6]); 6] = [
        (Norm::Linf, 1.5, [-0.006_666_66, 0.006_666_66, -0.006_666_66, 0.006_666_66, -0.006_666_66, 0.0]),
        (Norm::L2, 1.5, [-0.003_278_69, 0.006_557_37, -0.001_639_34, 0.003_278_69, -0.009_836_06, 0.0]),
        (Norm::L1, 1.5, [0.0, 0.0, 0.0, 0.0, -0.016_666_65, 0.0]),
        (Norm::Linf, 3.9, [0.7, -0.7, 0.5, 0.0, 0.0, 0.0]),
        (Norm::L2, 3.9, [0.447_619_08, -0.895_238_16, 0.223_809_54, 0.0, 0.0, 0.0]),
        (Norm::L1, 3.9, [0.55, -0.9, 0.0, 0.0, 0.0, 0.0]),
    ];
    const L1_REFERENCE: [f32; 6] = [0.25, 1.0, 0.15, 0.0, 1.0, 0.3];

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
    }

    #[test]
    fn hyperplane_projections_agree_with_the_reference_implementation() {
        // pyautoattack 0.2.0, with fab_projections:
        //   x = torch.tensor([[.1, .9, .5, 0., 1., .3]]); w = torch.tensor([[1., -2., .5, -1., 3., 0.]])
        //   for b in (1.5, 3.9): [f(x, w, torch.tensor([b])) for f in
        //       (projection_linf, projection_l2, projection_l1)]
        let x = [0.1, 0.9, 0.5, 0.0, 1.0, 0.3];
        let w = [1.0, -2.0, 0.5, -1.0, 3.0, 0.0];
        for (norm, b, expected) in REFERENCE {
            let at: f64 = x.iter().zip(&w).map(|(x, w)| f64::from(x * w)).sum();
            assert_close(&onto_hyperplane(norm, &x, &w, b - at), &expected);
        }
    }

    #[test]
    fn a_plane_outside_the_box_gives_the_nearest_corner() {
        for norm in NORMS {
            let found = onto_hyperplane(norm, &[0.2, 0.6], &[1.0, -1.0], 100.0);
            assert_close(&found, &[0.8, -0.6]);
            assert_close(&onto_hyperplane(norm, &[0.2, 0.6], &[0.0, 0.0], 1.0), &[0.0, 0.0]);
        }
    }

    #[test]
    fn the_l1_ball_by_hand() {
        // Changes 0.5, -0.4, 0.05 and a room of 0.2 for the first: threshold 0.1 leaves 0.2 + 0.3 + 0.
        let mut point = [1.3, 0.1, 0.35];
        onto_ball(Norm::L1, &[0.8, 0.5, 0.3], 0.5, &mut point);
        assert_close(&point, &[1.0, 0.2, 0.3]);
    }

    #[test]
    fn the_l1_ball_agrees_with_the_reference_implementation() {
        // pyautoattack 0.2.0, with autopgd_base.L1_projection:
        //   x = torch.tensor([[.1, .9, .5, 0., 1., .3]]); y = torch.tensor([[.5, .5, -.7, -.2, .3, -.05]])
        //   x + y + L1_projection(x, y, 0.6)
        let x = [0.1, 0.9, 0.5, 0.0, 1.0, 0.3];
        let mut point = [0.6, 1.4, -0.2, -0.2, 1.3, 0.25];
        onto_ball(Norm::L1, &x, 0.6, &mut point);
        assert_close(&point, &L1_REFERENCE);
    }

    fn pictures(size: usize) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec(prop_oneof![Just(0.0_f32), Just(1.0), 0.0_f32..1.0], size)
    }

    proptest! {
        #[test]
        fn nothing_in_the_set_is_nearer_than_the_projection(
            clean in pictures(8),
            point in proptest::collection::vec(-1.0_f32..2.0, 8),
            other in pictures(8),
            epsilon in 0.0_f32..3.0,
        ) {
            // The other picture, brought into the ball by shortening its change.
            let far = distance(Norm::L1, &clean, &other);
            let factor = if far > epsilon { epsilon / far } else { 1.0 };
            let other: Vec<f32> = clean.iter().zip(&other).map(|(c, o)| c + (o - c) * factor).collect();
            let mut nearest = point.clone();
            onto_ball(Norm::L1, &clean, epsilon, &mut nearest);
            prop_assert!(distance(Norm::L1, &clean, &nearest) <= epsilon + 1e-5);
            prop_assert!(nearest.iter().all(|value| (0.0..=1.0).contains(value)));
            prop_assert!(
                distance(Norm::L2, &point, &nearest) <= distance(Norm::L2, &point, &other) + 1e-5
            );
        }

        #[test]
        fn a_change_onto_a_plane_is_on_it_in_the_box_and_shorter_than_another(
            picture in pictures(6),
            normal in proptest::collection::vec(-2.0_f32..2.0, 6),
            other in pictures(6),
        ) {
            // The plane goes through another picture, so it meets the box, and that picture is no nearer.
            let offset: f64 = normal.iter().zip(other.iter().zip(&picture))
                .map(|(w, (o, p))| f64::from(*w) * (f64::from(*o) - f64::from(*p))).sum();
            for norm in NORMS {
                let change = onto_hyperplane(norm, &picture, &normal, offset);
                let end: Vec<f32> = picture.iter().zip(&change).map(|(p, c)| p + c).collect();
                prop_assert!(end.iter().all(|value| (-1e-6..=1.0 + 1e-6).contains(value)), "{:?}", norm);
                let reached: f64 =
                    normal.iter().zip(&change).map(|(w, c)| f64::from(*w) * f64::from(*c)).sum();
                prop_assert!((reached - offset).abs() < 1e-5, "{:?} {} {}", norm, reached, offset);
                prop_assert!(
                    distance(norm, &picture, &end) <= distance(norm, &picture, &other) + 1e-5, "{:?}", norm
                );
            }
        }
    }
}
