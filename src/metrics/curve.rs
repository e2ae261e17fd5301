//! Robust accuracy as a curve over the strength of an attack.

use serde::{Deserialize, Serialize};

use super::{ConfusionMatrix, Rate};

/// One point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// What changes along the curve: `epsilon`, `steps` or `restarts`.
    pub axis: String,
    /// Its value, as it was written.
    pub value: String,
    /// What the rows call the attack of this point.
    pub attack: String,
    /// Share of the images that are recognised clean and under every attack of the curve up to this point.
    /// `None` without images.
    pub robust: Option<Rate>,
}

impl CurvePoint {
    /// A point from the predictions under its attack.
    pub fn of(axis: &str, value: &str, attack: &str, counts: &ConfusionMatrix) -> Self {
        let right = (0..counts.classes()).map(|class| counts.count(class, class)).sum();
        let [axis, value, attack] = [axis, value, attack].map(ToOwned::to_owned);
        Self { axis, value, attack, robust: Rate::of(right, counts.total()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_share_of_the_diagonal() {
        let mut counts = ConfusionMatrix::new(2);
        for (label, prediction) in [(0, 0), (0, 0), (0, 1), (1, 1)] {
            counts.add(label, prediction);
        }
        let rate = CurvePoint::of("epsilon", "2/255", "pgd-epsilon-2of255", &counts).robust.expect("images");
        assert_eq!((rate.successes, rate.n), (3, 4));
        assert_eq!(Some(rate), Rate::of(3, 4), "with Wilson's interval");
        assert!(CurvePoint::of("steps", "1", "a", &ConfusionMatrix::new(2)).robust.is_none());
    }
}
