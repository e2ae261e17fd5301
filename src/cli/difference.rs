//! What differs between two runs, and what chance could have made of it.

use std::collections::HashMap;

use serde::Serialize;

use super::input::LoadedPart;
use crate::Seed;
use crate::report::{FlatFigure, FlatFigures};
use crate::tables::Part;

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
        let p = self.p_value.map(|p| if p < 0.001 { " p < 0.001".into() } else { format!(" p {p:.3}") });
        format!("{difference:+.3}{}{}", interval.unwrap_or_default(), p.unwrap_or_default())
    }
}

/// A part as figures and, where it was read as a table, as rows.
type Sided<'a> = (&'a FlatFigures, Option<&'a LoadedPart>);

/// The differences of all figures that either side has.
pub(super) fn differences(
    base: Sided,
    candidate: Sided,
    classes: &[String],
    seed: Seed,
    draws: u32,
) -> anyhow::Result<(Basis, Vec<Difference>)> {
    let mut names: Vec<&String> = base.0.0.iter().map(|(name, _)| name).collect();
    names.extend(candidate.0.0.iter().map(|(name, _)| name).filter(|name| base.0.get(name).is_none()));
    let mut found: Vec<Difference> = names
        .into_iter()
        .map(|name| {
            let [a, b] = [base.0.get(name), candidate.0.get(name)].map(|figure| figure.copied());
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
        })
        .collect();
    let rows = |part: Option<&LoadedPart>| part.and_then(|part| part.rows.as_ref());
    let paired = match (rows(base.1), rows(candidate.1)) {
        (Some(base), Some(candidate)) => same_images(base, candidate, classes)?,
        _ => None,
    };
    let _ = (seed, draws, &mut found);
    let basis = match (paired, base.1, candidate.1) {
        (Some(pairs), _, _) => Basis::SameImages { images: pairs.len() as u64 },
        (None, Some(_), Some(_)) => Basis::DifferentImages,
        _ => Basis::FiguresAlone,
    };
    Ok((basis, found))
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
