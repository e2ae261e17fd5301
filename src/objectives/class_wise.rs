//! The frame of FRL, CFA, WAT and DAFA: methods that give each class weights, and some of them radii, by what
//! they learn of the classes over the epochs.

use super::{ClassFigures, Losses, Objective, Pictures, Whole};
use crate::Seed;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// What such a method says itself. Its configuration does, so that its state is all that changes.
pub trait ClassMethod: Send {
    /// Short name, under which checkpoints hold the state too.
    const NAME: &'static str;

    /// What it learns. Its numbers as a slice are one for each class.
    type State: Send + serde::Serialize + serde::de::DeserializeOwned + AsRef<[f64]>;

    /// What the radius of each image is multiplied by; none where all have that of the attack.
    fn radii(&self, _state: &Self::State, _labels: &[usize]) -> Option<Vec<f64>> {
        None
    }

    /// Weighs the losses of a batch, and learns from them.
    fn weigh(&self, state: &mut Self::State, losses: &mut Losses, labels: &[usize]);

    /// Learns at the end of an epoch, from its validation if it had one.
    fn end_epoch(&self, state: &mut Self::State, validation: Option<&ClassFigures>);
}

/// An objective whose classes have weights, and radii, of their own.
pub struct ClassWise<M: ClassMethod> {
    config: M,
    base: Box<dyn Objective>,
    pub(super) state: M::State,
}

impl<M: ClassMethod> ClassWise<M> {
    pub(super) fn new(config: M, base: Box<dyn Objective>, state: M::State) -> Self {
        Self { config, base, state }
    }
}

impl<M: ClassMethod> Objective for ClassWise<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn attack(&self, victim: &Victim, batch: &Batch, whole: &Whole, seed: Seed) -> Pictures {
        let Some(radii) = self.config.radii(&self.state, &batch.labels) else {
            return self.base.attack(victim, batch, whole, seed);
        };
        let radii: Vec<f32> = radii.iter().map(|factor| *factor as f32).collect();
        self.base.attack(victim, &batch.scale_radii(&radii), whole, seed)
    }

    fn base(&self) -> Option<&dyn Objective> {
        Some(self.base.as_ref())
    }

    fn base_mut(&mut self) -> Option<&mut dyn Objective> {
        Some(self.base.as_mut())
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let mut losses = self.base.losses(student, batch, pictures);
        self.config.weigh(&mut self.state, &mut losses, &batch.labels);
        losses
    }

    fn end_epoch(&mut self, validation: Option<&ClassFigures>) {
        self.config.end_epoch(&mut self.state, validation);
        self.base.end_epoch(validation);
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!({M::NAME: self.state, "base": self.base.state()})
    }

    fn restore(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let (method, classes) = (M::NAME, self.state.as_ref().len());
        let found: M::State = serde_json::from_value(state[method].clone())
            .map_err(|error| format!("the state of {method} cannot be used ({error})"))?;
        let length = found.as_ref().len();
        if length != classes {
            return Err(format!("the state of {method} is of {length} classes, expected {classes}"));
        }
        self.state = found;
        self.base.restore(&state["base"])
    }
}

#[cfg(test)]
mod tests {
    use crate::objectives::{
        CfaConfig, DafaConfig, FrlConfig, Objective, ObjectiveConfig, StandardConfig, WatConfig,
    };
    use serde_json::json;

    /// What checkpoints hold must be readable by later versions.
    #[test]
    fn states_have_the_form_that_checkpoints_hold() {
        let base = || Box::new(ObjectiveConfig::Standard(StandardConfig {}));
        let zeros = [0.0; 2];
        for (config, state) in [
            (
                ObjectiveConfig::Frl(FrlConfig { base: base(), ..FrlConfig::default() }),
                json!({"frl": {"epoch": 3, "natural": [0.1, 0.0], "boundary": zeros, "margins": zeros}}),
            ),
            (
                ObjectiveConfig::Cfa(CfaConfig { margins: false, base: base(), ..CfaConfig::default() }),
                json!({"cfa": {"epoch": 3, "seen": [2.0, 1.0], "recognised": zeros, "accuracy": [null, 0.5]}}),
            ),
            (
                ObjectiveConfig::Wat(WatConfig { base: base(), ..WatConfig::default() }),
                json!({"wat": {"costs": [4.0, 2.0], "mean_cost": 2.5}}),
            ),
            (
                ObjectiveConfig::Dafa(DafaConfig { margins: false, base: base(), ..DafaConfig::default() }),
                json!({"dafa": {"epoch": 3, "sums": [], "counts": [], "weights": [0.6, 1.4]}}),
            ),
        ] {
            let mut state = state;
            state["base"] = serde_json::Value::Null;
            let mut objective: Box<dyn Objective> = config.build([3, 16, 16], 2).expect("valid");
            objective.restore(&state).expect("a state of two classes");
            assert_eq!(objective.state(), state);
            let error = config.build([3, 16, 16], 3).expect("valid").restore(&state).expect_err("of two");
            assert!(
                error.contains(objective.name()) && error.contains("of 2 classes, expected 3"),
                "{error}"
            );
        }
    }
}
