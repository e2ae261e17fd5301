//! Reports that the tests of this module print.

use crate::Seed;
use crate::metrics::{AuditCounts, ConfusionMatrix, FairnessReport, GroupColumn, SuccessMatrix};

/// Three classes of 10 images.
fn counts(untargeted: [[u64; 3]; 3], targeted: [[u64; 3]; 3]) -> AuditCounts {
    AuditCounts {
        classes: ["anna", "ben_o", "Łucja"].map(String::from).to_vec(),
        attack: "glasses".into(),
        clean: confusion([[10, 0, 0], [1, 9, 0], [0, 0, 10]]),
        untargeted: Some(confusion(untargeted)),
        targeted: Some(success(targeted)),
        outcomes: None,
        groups: vec![GroupColumn {
            name: "gender".into(),
            of_class: ["female", "male", "female"].map(String::from).to_vec(),
        }],
    }
}

/// A matrix from its cells.
pub(super) fn confusion(cells: [[u64; 3]; 3]) -> ConfusionMatrix {
    let mut matrix = ConfusionMatrix::new(3);
    for (label, row) in cells.iter().enumerate() {
        row.iter().enumerate().for_each(|(prediction, &images)| matrix.add_images(label, prediction, images));
    }
    matrix
}

/// Ten attacks on each ordered pair, except from the last class to the first, with these successes.
pub(super) fn success(cells: [[u64; 3]; 3]) -> SuccessMatrix {
    let mut matrix = SuccessMatrix::new(3);
    for (source, row) in cells.iter().enumerate() {
        for (target, &successes) in row.iter().enumerate().filter(|&(target, _)| target != source) {
            if (source, target) != (2, 0) {
                (0..10).for_each(|attack| matrix.add(source, target, attack < successes));
            }
        }
    }
    matrix
}

/// Robust 0.200, most errors end in one class.
pub(super) fn plain() -> FairnessReport {
    FairnessReport::compute(
        &counts([[1, 9, 0], [3, 5, 2], [0, 10, 0]], [[0, 9, 2], [1, 0, 1], [0, 8, 0]]),
        Seed::new(1),
        200,
    )
}

/// Robust 0.500, errors are mutual, no noise floor.
pub(super) fn sy_far() -> FairnessReport {
    FairnessReport::compute(
        &counts([[5, 3, 2], [3, 5, 2], [2, 3, 5]], [[0, 2, 1], [2, 0, 1], [0, 1, 0]]),
        Seed::new(1),
        0,
    )
}

/// Nothing was attacked.
pub(super) fn clean_only() -> FairnessReport {
    let counts = AuditCounts { untargeted: None, targeted: None, ..counts([[0; 3]; 3], [[0; 3]; 3]) };
    FairnessReport::compute(&counts, Seed::new(1), 0)
}
