//! All figures of one audit.

mod indices;

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::groups::{GroupFigures, GroupFlow};
use super::{
    ConfusionMatrix, CurvePoint, GroupColumn, ImageOutcomes, RateMatrix, Robustness, SourceFigures,
    SuccessMatrix, SymmetryFigures, SymmetryTests, TargetFigures, TargetedFigures,
};
use crate::Seed;

/// Version of the serialised form of [`FairnessReport`]. It rises when a field changes its meaning or goes
/// away, not when one is added.
///
/// 2: figures of spread and asymmetry have intervals, the penalties and the gap of group flows are figures
/// and not bare numbers, and `targeted.micro_success` has no Wilson interval any more.
pub const SCHEMA_VERSION: u32 = 2;

/// What an audit counted: the whole input of a report. Every matrix has the classes in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCounts {
    /// `K` names.
    pub classes: Vec<String>,
    /// Name of the attack, such as `glasses`.
    pub attack: String,
    /// Predictions on clean images.
    pub clean: ConfusionMatrix,
    /// Predictions under the untargeted attack.
    pub untargeted: Option<ConfusionMatrix>,
    /// Outcomes of the targeted attack.
    pub targeted: Option<SuccessMatrix>,
    /// The same outcomes image by image, from which the targeted figures get intervals.
    pub outcomes: Option<ImageOutcomes>,
    /// Groupings of the classes.
    pub groups: Vec<GroupColumn>,
}

impl AddAssign<&Self> for AuditCounts {
    /// Both are of the same classes and attack; a part that only one has stays.
    fn add_assign(&mut self, other: &Self) {
        self.clean += &other.clean;
        match (&mut self.untargeted, &other.untargeted) {
            (Some(sum), Some(more)) => *sum += more,
            (none, more) => *none = none.take().or_else(|| more.clone()),
        }
        match (&mut self.outcomes, &other.outcomes) {
            (Some(sum), Some(more)) => *sum += more,
            (none, more) if self.targeted.is_none() => none.clone_from(more),
            // Outcomes of one part would give figures of that part alone.
            (some, _) if other.targeted.is_some() => *some = None,
            _ => {}
        }
        match (&mut self.targeted, &other.targeted) {
            (Some(sum), Some(more)) => *sum += more,
            (none, more) => *none = none.take().or_else(|| more.clone()),
        }
    }
}

/// All figures of one audit, as plain values. What could not be computed is `None`, in JSON `null`.
/// Classes and groups are given by index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FairnessReport {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// Name of the attack.
    pub attack: String,
    /// `K` names, to which all class indices refer.
    pub classes: Vec<String>,
    /// On clean images.
    pub clean: ConfusionFigures,
    /// Under the untargeted attack.
    pub untargeted: Option<ConfusionFigures>,
    /// Of the targeted attack.
    pub targeted: Option<TargetedFigures>,
    /// For each grouping of the classes.
    pub groups: Vec<GroupReport>,
    /// Robust accuracy over the strength of the attack, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<CurvePoint>,
}

/// Figures of one confusion matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfusionFigures {
    /// Number of images.
    pub images: u64,
    /// How often the prediction is right.
    pub robustness: Robustness,
    /// Spread of accuracy over true classes.
    pub source: SourceFigures,
    /// Spread of errors over predicted classes.
    pub target: TargetFigures,
    /// Whether confusions are mutual. Read it next to the accuracy.
    pub symmetry: Option<SymmetryFigures>,
    /// Tests of symmetry. `None` without draws or without two classes with images.
    pub tests: Option<SymmetryTests>,
}

/// Figures of one grouping of the classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Name of the grouping, such as `gender`.
    pub column: String,
    /// Names of the groups, to which all group indices refer.
    pub groups: Vec<String>,
    /// Class indices of each group.
    pub members: Vec<Vec<usize>>,
    /// On clean images.
    pub clean: GroupFigures,
    /// Under the untargeted attack.
    pub untargeted: Option<GroupFigures>,
    /// Success of the targeted attack between groups.
    pub targeted: Option<GroupFlow>,
}

impl FairnessReport {
    /// Computes everything. Noise floors and intervals come from `draws` redrawn matrices each (a few
    /// thousand); with 0 there are only those in closed form. The same counts, seed and draws give the same report on any number of threads.
    pub fn compute(counts: &AuditCounts, seed: Seed, draws: u32) -> Self {
        let seed = seed.purpose("noise floor");
        Self {
            schema_version: SCHEMA_VERSION,
            attack: counts.attack.clone(),
            classes: counts.classes.clone(),
            clean: ConfusionFigures::of(&counts.clean, seed.purpose("clean"), draws),
            untargeted: counts
                .untargeted
                .as_ref()
                .map(|matrix| ConfusionFigures::of(matrix, seed.purpose("untargeted"), draws)),
            targeted: counts.targeted.as_ref().map(|matrix| match &counts.outcomes {
                Some(outcomes) => TargetedFigures::of_images(outcomes, seed.purpose("targeted"), draws),
                None => TargetedFigures::of(matrix, seed.purpose("targeted"), draws),
            }),
            groups: counts
                .groups
                .iter()
                .map(|column| {
                    GroupReport::of(column, counts, seed.purpose("groups").purpose(&column.name), draws)
                })
                .collect(),
            curves: Vec::new(),
        }
    }
}

impl ConfusionFigures {
    /// From counts.
    pub fn of(counts: &ConfusionMatrix, seed: Seed, draws: u32) -> Self {
        Self {
            images: counts.total(),
            robustness: Robustness::of(counts),
            source: SourceFigures::of(counts, seed.purpose("source"), draws),
            target: TargetFigures::of(counts, seed.purpose("target"), draws),
            symmetry: SymmetryFigures::of_confusion(counts, seed, draws),
            tests: (draws > 0).then(|| SymmetryTests::of(counts, seed.purpose("tests"), draws)).flatten(),
        }
    }
}

impl GroupReport {
    fn of(column: &GroupColumn, counts: &AuditCounts, seed: Seed, draws: u32) -> Self {
        let (groups, members): (Vec<String>, Vec<Vec<usize>>) = column.members().into_iter().unzip();
        Self {
            column: column.name.clone(),
            clean: GroupFigures::of(&counts.clean, &members, seed.purpose("clean"), draws),
            untargeted: counts
                .untargeted
                .as_ref()
                .map(|matrix| GroupFigures::of(matrix, &members, seed.purpose("untargeted"), draws)),
            targeted: counts.targeted.as_ref().map(|matrix| match &counts.outcomes {
                Some(outcomes) => GroupFlow::of_images(outcomes, &members),
                None => GroupFlow::of(&RateMatrix::of_success(matrix), &members, matrix.total_attempts()),
            }),
            groups,
            members,
        }
    }
}

#[cfg(test)]
mod tests;
