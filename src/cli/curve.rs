//! Robust accuracy over the strength of the attack, within one audit.
//!
//! Each point is an audit of its own under a name of its own. An image that fell at a weaker point of the same axis,
//! or to the attack of the audit where that is no stronger, has fallen and is not attacked again: the larger ball
//! holds the smaller one, and more steps or restarts count as the best of all. So a curve never rises.

use serde::{Deserialize, Serialize};

use super::config::ConfigError;
use super::sitting::Sitting;
use crate::attacks::{Attack, AttackConfig, Magnitude};
use crate::audit::{AuditOptions, Inherit, TargetChoice};
use crate::metrics::CurvePoint;
use crate::models::Classifier as _;
use crate::run::EventLog;

/// The strengths of the curves; an axis without values has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CurveSection {
    /// Radii of the ball.
    pub epsilon: Vec<Magnitude>,
    /// Steps or queries.
    pub steps: Vec<usize>,
    /// Runs from different starts.
    pub restarts: Vec<usize>,
}

/// One point, with the attack that it is made with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    axis: &'static str,
    value: String,
    /// Name of its rows.
    name: String,
    config: AttackConfig,
    inherit: Vec<Inherit>,
}

impl CurveSection {
    /// The points axis by axis, from the weakest to the strongest. `name` is what the rows call the attack of the
    /// audit.
    pub fn points(&self, attack: &AttackConfig, name: &str) -> Result<Vec<Point>, ConfigError> {
        let none = |axis: &str| {
            ConfigError::Value(format!("curve.{axis}: the attack {name} has no {axis}; leave the list empty"))
        };
        let mut points = Vec::new();
        if !self.epsilon.is_empty() {
            let own = attack.budget().ok_or_else(|| none("epsilon"))?.1.value();
            let mut epsilons = self.epsilon.clone();
            epsilons.sort_by(|a, b| a.value().total_cmp(&b.value()));
            epsilons.dedup_by(|a, b| a.value().total_cmp(&b.value()).is_eq());
            let values = epsilons.iter().map(|epsilon| {
                let config = attack.with_epsilon(epsilon).ok_or_else(|| none("epsilon"))?;
                Ok((epsilon.to_string(), epsilon.value().total_cmp(&own), config))
            });
            points.extend(axis("epsilon", values.collect::<Result<_, ConfigError>>()?, name));
        }
        let counts: [Counted; 2] = [
            ("steps", &self.steps, attack.steps(), AttackConfig::with_steps),
            ("restarts", &self.restarts, attack.restarts(), AttackConfig::with_restarts),
        ];
        for (key, values, own, with) in counts.into_iter().filter(|(_, values, ..)| !values.is_empty()) {
            let own = own.ok_or_else(|| none(key))?;
            let mut values = values.to_vec();
            values.sort_unstable();
            values.dedup();
            let values = values.into_iter().map(|value| {
                let config = with(attack, value).ok_or_else(|| none(key))?;
                Ok((value.to_string(), value.cmp(&own), config))
            });
            points.extend(axis(key, values.collect::<Result<_, ConfigError>>()?, name));
        }
        for point in &points {
            let refused =
                |error| ConfigError::Value(format!("curve.{} = {}: {error}", point.axis, point.value));
            point.config.validate().map_err(refused)?;
        }
        Ok(points)
    }
}

/// An axis of whole numbers: its values, that of the audit, and how an attack gets another one.
type Counted<'a> =
    (&'static str, &'a [usize], Option<usize>, fn(&AttackConfig, usize) -> Option<AttackConfig>);

/// A value of an axis, how it compares with that of the audit, and its attack.
type Strength = (String, std::cmp::Ordering, AttackConfig);

/// The points of one axis, each with what it takes over.
fn axis(key: &'static str, values: Vec<Strength>, attack: &str) -> Vec<Point> {
    let mut weaker: Vec<Inherit> = Vec::new();
    let mut points = Vec::new();
    for (value, order, config) in values {
        let mut inherit = weaker.clone();
        if order.is_ge() {
            inherit.push(Inherit { attack: attack.to_owned(), whole: order.is_eq() });
        }
        let plain: String = value.replace('/', "of").split_whitespace().collect();
        let name = format!("{attack}-{key}-{plain}");
        weaker.push(Inherit { attack: name.clone(), whole: false });
        points.push(Point { axis: key, value, name, config, inherit });
    }
    points
}

impl Point {
    /// Its attack, on pictures of a shape `[C, H, W]`.
    pub fn build(&self, shape: [usize; 3]) -> Result<Box<dyn Attack>, ConfigError> {
        self.config.build(shape).map_err(|error| ConfigError::Value(error.to_string()))
    }

    /// The options of its audit, from those of the audit's own attack.
    pub fn options(&self, of_audit: &AuditOptions) -> AuditOptions {
        AuditOptions {
            targets: TargetChoice::None,
            name: Some(self.name.clone()),
            inherit: self.inherit.clone(),
            ..of_audit.clone()
        }
    }
}

/// Makes the points that the log does not have yet.
pub(super) fn run(
    points: &[Point],
    sitting: &Sitting,
    events: &mut EventLog,
) -> anyhow::Result<Vec<CurvePoint>> {
    let shape = sitting.model.network.input_shape();
    let mut curve = Vec::new();
    for point in points {
        let attack = point.build(shape)?;
        let options = point.options(&sitting.options());
        let outcome = sitting.make(attack.as_ref(), &options, &point.name, events)?;
        let counts = outcome.counts.attacks.get(&point.name).and_then(|found| found.untargeted.as_ref());
        curve.extend(counts.map(|counts| CurvePoint::of(point.axis, &point.value, &point.name, counts)));
    }
    Ok(curve)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> CurveSection {
        toml::from_str(text).expect(text)
    }

    fn attack(text: &str) -> AttackConfig {
        toml::from_str(text).expect(text)
    }

    #[test]
    fn points_take_over_what_is_weaker_and_the_same() {
        let given = section("epsilon = [\"16/255\", \"2/255\", \"8/255\", 0.0078431372549]");
        let points = given.points(&attack("kind = \"pgd\""), "pgd").expect("valid");
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["pgd-epsilon-2of255", "pgd-epsilon-8of255", "pgd-epsilon-16of255"]);
        let inherits = |index: usize| -> Vec<(&str, bool)> {
            points[index].inherit.iter().map(|from| (from.attack.as_str(), from.whole)).collect()
        };
        assert!(inherits(0).is_empty());
        assert_eq!(inherits(1), [("pgd-epsilon-2of255", false), ("pgd", true)]);
        assert_eq!(
            inherits(2),
            [("pgd-epsilon-2of255", false), ("pgd-epsilon-8of255", false), ("pgd", false)]
        );
        assert_eq!(points[2].config.budget().expect("a ball").1, &Magnitude::levels(16));
    }

    #[test]
    fn steps_and_restarts_are_axes_of_their_own() {
        let given = section("steps = [40, 10]\nrestarts = [2]");
        let points = given.points(&attack("kind = \"pgd\""), "pgd").expect("valid");
        let found: Vec<(&str, &str, Option<usize>, Option<usize>)> = points
            .iter()
            .map(|point| (point.axis, point.value.as_str(), point.config.steps(), point.config.restarts()))
            .collect();
        let expected = [
            ("steps", "10", Some(10), Some(1)),
            ("steps", "40", Some(40), Some(1)),
            ("restarts", "2", Some(10), Some(2)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn strengths_that_make_no_sense_are_refused() {
        let error =
            |given: &str, of: &str| section(given).points(&attack(of), "it").expect_err(given).to_string();
        let found = error("epsilon = [\"8/255\"]", "kind = \"eyeglasses\"");
        assert!(found.contains("curve.epsilon") && found.contains("has no epsilon"), "{found}");
        assert!(error("steps = [1]", "kind = \"fgsm\"").contains("has no steps"));
        assert!(error("restarts = [1]", "kind = \"square\"").contains("has no restarts"));
        assert!(error("steps = [0]", "kind = \"pgd\"").contains("curve.steps = 0"));
        assert!(error("epsilon = [8]", "kind = \"pgd\"").contains("8/255"));
    }
}
