//! Whether a report speaks only of classes and groups that it has: one that was edited or damaged may not.

use crate::metrics::{
    ConfusionFigures, FairnessReport, GroupFigures, GroupFlow, GroupReport, SymmetryFigures,
};

impl FairnessReport {
    /// Whether all indices of classes and groups exist and every list of classes has all of them. What
    /// [`Self::compute`] gives does; ask this of a report that was read.
    pub fn indices_fit(&self) -> bool {
        let classes = self.classes.len();
        let targeted = |found: &super::TargetedFigures| {
            let worst = [found.worst_source, found.worst_target];
            let lists = [&found.from_source, &found.into_target].map(Vec::len);
            lists == [classes; 2]
                && [&found.strict, &found.loose].map(Vec::len) == [classes; 2]
                && worst.iter().flatten().all(|worst| worst.class < classes)
                && found.symmetry.as_ref().is_none_or(|found| symmetry_fits(found, classes))
        };
        confusion_fits(&self.clean, classes)
            && self.untargeted.as_ref().is_none_or(|found| confusion_fits(found, classes))
            && self.targeted.as_ref().is_none_or(targeted)
            && self.groups.iter().all(|group| group_fits(group, classes))
    }
}

fn confusion_fits(found: &ConfusionFigures, classes: usize) -> bool {
    let (source, target) = (&found.source, &found.target);
    let mut rates = [source.worst, source.best, target.largest_share].into_iter().flatten();
    let mut exposures = [target.largest_exposure, target.smallest_exposure].into_iter().flatten();
    let lists = [source.per_class.len(), target.shares.len(), target.exposures.len()];
    let mut pairs = found.tests.iter().flat_map(|tests| &tests.significant_pairs);
    lists == [classes; 3]
        && rates.all(|rate| rate.class < classes)
        && exposures.all(|exposure| exposure.class < classes)
        && found.symmetry.as_ref().is_none_or(|found| symmetry_fits(found, classes))
        && pairs.all(|pair| pair.from < classes && pair.to < classes)
}

fn symmetry_fits(found: &SymmetryFigures, classes: usize) -> bool {
    found.largest_gap.from < classes && found.largest_gap.to < classes
}

fn group_fits(group: &GroupReport, classes: usize) -> bool {
    let groups = group.groups.len();
    let flow = |flow: &GroupFlow| {
        let square = |table: &Vec<Vec<Option<f64>>>| {
            table.len() == groups && table.iter().all(|row| row.len() == groups)
        };
        square(&flow.rates)
            && square(&flow.per_source)
            && flow.largest_gap.is_none_or(|gap| gap.from < groups && gap.to < groups)
    };
    let figures = |found: &GroupFigures| {
        let mut spreads = [found.class_macro, found.sample_weighted].into_iter().flatten();
        found.per_group.len() == groups && spreads.all(|spread| spread.worst < groups) && flow(&found.flow)
    };
    group.members.len() == groups
        && group.members.iter().flatten().all(|&class| class < classes)
        && figures(&group.clean)
        && group.untargeted.as_ref().is_none_or(figures)
        && group.targeted.as_ref().is_none_or(flow)
}
