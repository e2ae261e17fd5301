//! What differs between two runs, and what chance could have made of it.

use std::collections::HashMap;

use serde::Serialize;

use super::input::LoadedPart;
use super::measure::{MOST_DENSE, rate_matrix};
use crate::Seed;
use crate::metrics::{
    ClassComparison, Levelling, McNemar, NamedDifference, PairedComparison, PairedCounts, RateMatrix,
    relative_rho, unpaired_differences,
};
use crate::report::{FlatFigure, FlatFigures, p_words};
use crate::tables::{Cells, Part};

/// What the differences were computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Basis {
    /// The same images in both runs, pair by pair.
    SameImages {
        /// How many.
        images: u64,
    },
    /// Two sets of images.
    DifferentImages,
    /// Figures alone.
    FiguresAlone,
}

/// One figure of both runs.
#[allow(clippy::struct_field_names)] // The fields are named as in the JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    pub name: String,
    pub base: Option<f64>,
    pub candidate: Option<f64>,
    /// Candidate minus base.
    pub difference: Option<f64>,
    /// Ends of its 95 % interval.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub p_value: Option<f64>,
    #[serde(skip)]
    pub base_figure: Option<FlatFigure>,
    #[serde(skip)]
    pub candidate_figure: Option<FlatFigure>,
}

impl Basis {
    pub fn explain(self) -> String {
        match self {
            Self::SameImages { images } => format!("Differences are those of the same {images} images."),
            Self::DifferentImages => {
                "The images are not the same, or have no names: they are taken as two samples.".into()
            }
            Self::FiguresAlone => "Differences of figures alone: nothing is known of their noise.".into(),
        }
    }
}

impl Difference {
    /// Whether its interval is on one side of 0; `None` without an interval.
    pub fn significant(&self) -> Option<bool> {
        let (low, high) = self.low.zip(self.high)?;
        Some(low > 0.0 || high < 0.0)
    }

    /// For a table.
    pub fn cell(&self) -> String {
        let Some(difference) = self.difference else { return "-".into() };
        let interval = self.low.zip(self.high).map(|(low, high)| format!(" [{low:+.3}, {high:+.3}]"));
        let p = self.p_value.map(|p| format!(" {}", p_words(p)));
        format!("{difference:+.3}{}{}", interval.unwrap_or_default(), p.unwrap_or_default())
    }
}

/// A part as figures and, where it was read as a table, as rows.
type Sided<'a> = (&'a FlatFigures, Option<&'a LoadedPart>);

/// How two parts differ.
#[allow(clippy::struct_field_names)] // The fields are named as in the JSON.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Differences {
    pub basis: Basis,
    /// All figures that either side has.
    pub differences: Vec<Difference>,
    /// Images that one run alone gets right, if the images are the same.
    pub mcnemar: Option<McNemar>,
    /// For each class the change of accuracy, if the images are the same.
    pub per_class: Vec<Option<ClassComparison>>,
    /// Where a change of asymmetry came from.
    pub levelling: Option<Levelling>,
    /// Relative change of worst-class and of mean accuracy together.
    pub rho: Option<f64>,
}

impl Differences {
    /// Of two parts with the same classes.
    pub fn of(
        base: Sided,
        candidate: Sided,
        classes: &[String],
        seed: Seed,
        draws: u32,
    ) -> anyhow::Result<Self> {
        let mut found = Self {
            basis: Basis::FiguresAlone,
            differences: of_figures(base.0, candidate.0),
            mcnemar: None,
            per_class: Vec::new(),
            levelling: None,
            rho: None,
        };
        let (Some(base), Some(candidate)) = (base.1, candidate.1) else { return Ok(found) };
        let (Some(before), Some(after)) = (base.cells.as_ref(), candidate.cells.as_ref()) else {
            return Ok(found);
        };
        if classes.len() > MOST_DENSE {
            return Ok(found);
        }
        if let [Some(before), Some(after)] = [before, after].map(|cells| rates(classes.len(), cells)) {
            found.levelling = Levelling::between(&before, &after);
        }
        let (Cells::Counts(before), Cells::Counts(after)) = (before, after) else { return Ok(found) };
        let pairs = match (&base.rows, &candidate.rows) {
            (Some(base), Some(candidate)) => same_images(base, candidate, classes)?,
            _ => None,
        };
        let named = if let Some(pairs) = pairs {
            let mut counts = PairedCounts::new(classes.len());
            for [label, base, candidate] in &pairs {
                counts.add(*label as usize, *base as usize, *candidate as usize);
            }
            let paired = PairedComparison::of(&counts, seed, draws);
            found.basis = Basis::SameImages { images: pairs.len() as u64 };
            (found.mcnemar, found.per_class, found.rho) = (paired.mcnemar, paired.per_class, paired.rho);
            paired.differences
        } else {
            found.basis = Basis::DifferentImages;
            let (before, after) = (before.to_dense(), after.to_dense());
            found.rho = relative_rho(&after, &before);
            unpaired_differences(&before, &after, seed, draws)
        };
        for NamedDifference { name, low, high, p_value, .. } in named {
            if let Some(known) = found.differences.iter_mut().find(|known| known.name == name) {
                (known.low, known.high, known.p_value) = (low, high, p_value);
            }
        }
        Ok(found)
    }

    /// What stands below the table.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = vec![self.basis.explain()];
        if let Some(McNemar { only_base, only_candidate, p_value }) = self.mcnemar {
            remarks.push(format!(
                "Right in the base alone: {only_base} images; in the candidate alone: {only_candidate} (McNemar's test, p {p_value:.3})."
            ));
        }
        if let Some(Levelling { larger, smaller, .. }) = self.levelling {
            remarks.push(format!(
                "Change of a1 = {larger:+.3} from the larger rate of each pair, {:+.3} from the smaller: a smaller rate that rises \
                 levels down.",
                -smaller
            ));
        }
        remarks
    }
}

/// The figures of both sides, nothing known of their noise together.
fn of_figures(base: &FlatFigures, candidate: &FlatFigures) -> Vec<Difference> {
    let mut names: Vec<&String> = base.0.iter().map(|(name, _)| name).collect();
    names.extend(candidate.0.iter().map(|(name, _)| name).filter(|name| base.get(name).is_none()));
    let difference = |name: &String| {
        let [a, b] = [base.get(name), candidate.get(name)].map(Option::<&FlatFigure>::copied);
        let [x, y] = [a, b].map(|figure| figure.map(|figure| figure.value));
        Difference {
            name: name.clone(),
            base: x,
            candidate: y,
            difference: x.zip(y).map(|(x, y)| y - x),
            low: None,
            high: None,
            p_value: None,
            base_figure: a,
            candidate_figure: b,
        }
    };
    names.into_iter().map(difference).collect()
}

fn rates(classes: usize, cells: &Cells) -> Option<RateMatrix> {
    match cells {
        Cells::Counts(counts) => Some(RateMatrix::of_confusion(&counts.to_dense())),
        Cells::Rates(rates) => rate_matrix(classes, rates),
    }
}

/// Label, prediction in the base and prediction in the candidate of each image, if both runs have exactly
/// the same images.
fn same_images(base: &Part, candidate: &Part, classes: &[String]) -> anyhow::Result<Option<Vec<[u32; 3]>>> {
    if base.ids.is_empty() || candidate.ids.is_empty() {
        return Ok(None);
    }
    let of_base: HashMap<u64, usize> = base.untargeted().map(|row| (base.ids[row], row)).collect();
    let mut pairs = Vec::with_capacity(of_base.len());
    for row in candidate.untargeted() {
        let Some(&other) = of_base.get(&candidate.ids[row]) else { return Ok(None) };
        let (label, before) = (candidate.labels[row], base.labels[other]);
        anyhow::ensure!(
            label == before,
            "an image has class `{}` in the base and `{}` in the candidate; are the classes in the same order?",
            classes[before as usize],
            classes[label as usize]
        );
        pairs.push([label, base.predictions[other], candidate.predictions[row]]);
    }
    Ok((pairs.len() == of_base.len() && !pairs.is_empty()).then_some(pairs))
}
