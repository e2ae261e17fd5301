//! Rows to counts. Needs no model, so a report can be made again from the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use super::predictions::CLEAN;
use super::{AuditError, Row};
use crate::metrics::{ConfusionMatrix, ImageOutcomes, PartCounts, SuccessMatrix};
use crate::stable_hash;

/// Counts of one attack; a part is absent when no such attack was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttackCounts {
    /// Predictions under the untargeted attack, all images: one that is misclassified unchanged is in
    /// the cell of its clean prediction, so robust accuracy is never above clean accuracy.
    pub untargeted: Option<ConfusionMatrix>,
    /// Targeted attacks on all images of the source, correctly classified when unchanged or not.
    pub targeted: Option<SuccessMatrix>,
    /// The same outcomes image by image.
    pub outcomes: Option<ImageOutcomes>,
    /// The images that stand under the untargeted attack, by the numbers of `outcomes`.
    pub standing: BTreeSet<usize>,
    /// Which part had success first, for the untargeted attack; without names when it has no parts.
    pub untargeted_parts: PartCounts,
    /// The same for the targeted attacks.
    pub targeted_parts: PartCounts,
}

impl AttackCounts {
    /// Images that stand under the untargeted attack, and how many of them fell to a target all the same: these the
    /// untargeted attack has overlooked. None unless there were both kinds of attacks.
    pub fn overlooked(&self) -> Option<[usize; 2]> {
        let outcomes = self.outcomes.as_ref().filter(|_| self.untargeted.is_some())?;
        let overlooked = self.standing.iter().filter(|image| outcomes.fell(**image)).count();
        Some([self.standing.len(), overlooked])
    }
}

/// Counts of all rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Predictions for unchanged pictures.
    pub clean: ConfusionMatrix,
    /// For each attack by name.
    pub attacks: BTreeMap<String, AttackCounts>,
}

impl Counts {
    /// No row yet.
    pub fn new(classes: usize) -> Self {
        Self { clean: ConfusionMatrix::new(classes), attacks: BTreeMap::new() }
    }

    /// Counts all rows of a file, see [`super::read_rows`].
    ///
    /// # Errors
    /// The first row that is an error, or that has a class of `classes` or above.
    pub fn from_rows(
        rows: impl IntoIterator<Item = Result<Row, AuditError>>,
        classes: usize,
    ) -> Result<Self, AuditError> {
        let mut counts = Self::new(classes);
        for row in rows {
            counts.add(&row?)?;
        }
        Ok(counts)
    }

    /// Counts one row.
    ///
    /// # Errors
    /// [`AuditError::Class`] when it has a class that is not below the number of classes.
    pub fn add(&mut self, row: &Row) -> Result<(), AuditError> {
        let classes = self.clean.classes();
        for (part, class) in
            [("label", Some(row.label)), ("prediction", Some(row.prediction)), ("target", row.target)]
        {
            if let Some(class) = class.filter(|&class| class >= classes) {
                return Err(AuditError::Class {
                    what: format!("the {part} of {}", row.image),
                    class,
                    classes,
                });
            }
        }
        if row.attack == CLEAN {
            self.clean.add(row.label, row.prediction);
            return Ok(());
        }
        let attack = self.attacks.entry(row.attack.clone()).or_default();
        let parts =
            if row.target.is_none() { &mut attack.untargeted_parts } else { &mut attack.targeted_parts };
        parts.add(row.success, row.part.as_deref());
        let image = stable_hash(row.image.as_bytes()) as usize;
        match row.target {
            None => {
                if row.prediction == row.label {
                    attack.standing.insert(image);
                }
                attack
                    .untargeted
                    .get_or_insert_with(|| ConfusionMatrix::new(classes))
                    .add(row.label, row.prediction);
            }
            Some(target) => {
                let succeeded = row.prediction == target;
                attack
                    .targeted
                    .get_or_insert_with(|| SuccessMatrix::new(classes))
                    .add(row.label, target, succeeded);
                attack
                    .outcomes
                    .get_or_insert_with(|| ImageOutcomes::new(classes))
                    .add(image, row.label, target, succeeded);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(attack: &str, label: usize, target: Option<usize>, prediction: usize) -> Row {
        Row::plain("a.png", label, attack, target, prediction)
    }

    #[test]
    fn each_row_goes_to_its_own_matrix() {
        let rows = [
            row(CLEAN, 0, None, 0),
            row("pgd", 0, None, 1),
            row("pgd", 0, Some(2), 2),
            row("pgd", 0, Some(2), 1),
            row("roa", 1, Some(0), 1),
        ];
        let counts = Counts::from_rows(rows.map(Ok), 3).expect("valid rows");
        assert_eq!(counts.clean.count(0, 0), 1);
        let pgd = &counts.attacks["pgd"];
        assert_eq!(pgd.untargeted.as_ref().map(|matrix| matrix.row(0).to_vec()), Some(vec![0, 1, 0]));
        let targeted = pgd.targeted.as_ref().expect("targeted rows");
        assert_eq!((targeted.attempts(0, 2), targeted.successes(0, 2)), (2, 1));
        assert_eq!(
            pgd.outcomes.as_ref().map(|outcomes| (outcomes.images(), outcomes.counts())),
            Some((1, targeted.clone()))
        );
        // Ending in a class that is not the target is no success for anybody.
        assert_eq!(targeted.attempts(0, 1), 0);
        assert_eq!(counts.attacks["roa"].untargeted, None);
    }

    #[test]
    fn what_stands_and_falls_to_a_target_is_overlooked() {
        let of = |image: &str, row: Row| Row { image: image.to_owned(), ..row };
        let rows = [
            of("falls", row("pgd", 0, None, 1)),
            of("falls", row("pgd", 0, Some(2), 2)),
            of("stands", row("pgd", 0, None, 0)),
            of("stands", row("pgd", 0, Some(2), 1)),
            of("overlooked", row("pgd", 0, None, 0)),
            of("overlooked", row("pgd", 0, Some(1), 2)),
            of("overlooked", row("pgd", 0, Some(2), 2)),
            of("without targets", row("roa", 0, None, 0)),
        ];
        let counts = Counts::from_rows(rows.map(Ok), 3).expect("valid rows");
        assert_eq!(counts.attacks["pgd"].overlooked(), Some([2, 1]));
        assert_eq!(counts.attacks["roa"].overlooked(), None);
    }

    #[test]
    fn a_class_that_does_not_exist_is_an_error_with_the_image() {
        for row in [row("pgd", 3, None, 0), row("pgd", 0, None, 3), row("pgd", 0, Some(3), 0)] {
            let error = Counts::from_rows([Ok(row)], 3).expect_err("class 3").to_string();
            assert!(error.contains("of a.png is class 3, but there are 3 classes"), "{error}");
        }
    }
}
