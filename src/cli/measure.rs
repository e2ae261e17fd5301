//! From what was read to figures.

use super::Usage;
use super::input::{Loaded, LoadedPart};
use crate::Seed;
use crate::metrics::{
    ConfusionFigures, ConfusionMatrix, Figure, GroupFigures, GroupFlow, ImageOutcomes, Rate, RateMatrix,
    SparseMatrix, SuccessMatrix, TargetedFigures,
};
use crate::report::{
    FlatFigures, METRICS_SCHEMA, METRICS_SCHEMA_VERSION, MetricsDocument, OfficialReport, PartGroups,
    PartReport,
};
use crate::tables::{Cells, ClassGroups};

/// Up to so many classes matrices are kept whole, which groups and targeted attacks need.
pub(super) const MOST_DENSE: usize = 1000;

/// Draws behind each interval and noise floor, unless others are asked for.
const DRAWS: u32 = 2000;

/// Pairs of classes that the report lists.
const LISTED_PAIRS: usize = 100;

/// The draws for so many classes: with very many they take minutes and are made only if asked for.
pub(super) fn draws(asked: Option<u32>, classes: usize) -> u32 {
    asked.unwrap_or(if classes <= MOST_DENSE { DRAWS } else { 0 })
}

/// The draws behind each interval of a difference. Each computes all figures of four matrices.
pub(super) fn difference_draws(asked: Option<u32>, classes: usize) -> u32 {
    asked.unwrap_or(if classes <= 100 { DRAWS } else { DRAWS / 10 })
}

/// All figures of an input.
pub(super) fn measure(input: &Loaded, seed: u64, asked: Option<u32>) -> anyhow::Result<MetricsDocument> {
    let draws = draws(asked, input.classes.len());
    let large = input.classes.len() > MOST_DENSE;
    let mut notes = Vec::new();
    if large && draws == 0 {
        notes.push(format!(
            "More than {MOST_DENSE} classes: figures other than rates have no interval and no noise floor. Ask for them with \
             --draws N."
        ));
    }
    if input.parts.iter().any(|part| matches!(part.cells, Some(Cells::Rates(_)))) {
        notes.push(
            "These are rates without counts: no figure has an interval, a noise floor or a number of images."
                .into(),
        );
    }
    if large && !input.groups.is_empty() {
        let problem = format!("groups need at most {MOST_DENSE} classes, found {}", input.classes.len());
        return Err(Usage(problem).into());
    }
    let parts: Vec<PartReport> =
        input.parts.iter().map(|part| measure_part(input, part, seed, draws)).collect();
    if input.parts.iter().filter_map(|part| part.rows.as_ref()).any(|rows| rows.ids.is_empty()) {
        notes.push("The rows have no names of images, so nobody checked whether one is there twice.".into());
    }
    if large
        && input
            .parts
            .iter()
            .filter_map(|part| part.rows.as_ref())
            .any(|rows| rows.targeted().next().is_some())
    {
        notes.push(format!(
            "More than {MOST_DENSE} classes: of targeted attacks only the success of all together is given."
        ));
    }
    Ok(MetricsDocument {
        schema: METRICS_SCHEMA.into(),
        schema_version: METRICS_SCHEMA_VERSION,
        syfar_version: env!("CARGO_PKG_VERSION").into(),
        input: input.name.clone(),
        classes: input.classes.clone(),
        seed,
        draws,
        notes,
        parts,
    })
}

fn measure_part(input: &Loaded, part: &LoadedPart, seed: u64, draws: u32) -> PartReport {
    let seed = Seed::new(seed).purpose(&part.name);
    let classes = input.classes.len();
    let mut report = PartReport {
        name: part.name.clone(),
        figures: FlatFigures::default(),
        untargeted: None,
        largest_pairs: Vec::new(),
        targeted: None,
        groups: Vec::new(),
    };
    let (mut dense, mut rates) = (None, None);
    match &part.cells {
        Some(Cells::Counts(matrix)) => {
            let found = if classes <= MOST_DENSE {
                ConfusionFigures::of(dense.insert(matrix.to_dense()), seed.purpose("untargeted"), draws)
            } else {
                matrix.figures(seed.purpose("untargeted"), draws)
            };
            report.figures = FlatFigures::of_confusion(&found);
            report.untargeted = Some(found);
            report.largest_pairs = matrix.largest_pairs(LISTED_PAIRS);
        }
        Some(Cells::Rates(cells)) => {
            rates = rate_matrix(classes, cells);
            report.figures = rates.as_ref().map(FlatFigures::of_rates).unwrap_or_default();
        }
        None => {}
    }
    let attacked = targeted(&mut report, part, classes, seed.purpose("targeted"), draws);
    for group in &input.groups {
        let seed = seed.purpose("groups").purpose(&group.column);
        let found = part_groups(group, dense.as_ref(), rates.as_ref(), attacked.as_ref(), seed, draws);
        if let Some(figures) = &found.untargeted {
            report.figures.add_groups(&group.column, figures);
        }
        if let Some(flow) = &found.targeted {
            report.figures.add_targeted_flow(&group.column, flow);
        }
        report.groups.push(found);
    }
    report
}

/// Targeted attacks.
enum Attacked {
    /// Of images that have names.
    Images(ImageOutcomes),
    /// Of images that nobody can tell apart.
    Counts(SuccessMatrix),
}

impl Attacked {
    /// Their flow between groups, with intervals where images are known.
    fn flow(&self, members: &[Vec<usize>]) -> GroupFlow {
        match self {
            Self::Images(outcomes) => GroupFlow::of_images(outcomes, members),
            Self::Counts(counts) => {
                GroupFlow::of(&RateMatrix::of_success(counts), members, counts.total_attempts())
            }
        }
    }
}

/// Adds the figures of targeted attacks, and returns the attacks if there are any.
fn targeted(
    report: &mut PartReport,
    part: &LoadedPart,
    classes: usize,
    seed: Seed,
    draws: u32,
) -> Option<Attacked> {
    let rows = part.rows.as_ref()?;
    let attacks = || {
        rows.targeted().filter_map(|row| {
            let (label, target) = (rows.labels[row], rows.target(row)?);
            Some((row, label as usize, target as usize, rows.predictions[row] == target))
        })
    };
    attacks().next()?;
    if classes > MOST_DENSE {
        // An image of the target's class is no attack: it is there from the start.
        let other = || attacks().filter(|attack| attack.1 != attack.2);
        let rate = Rate::of(other().filter(|attack| attack.3).count() as u64, other().count() as u64)?;
        // Attacks on one image hang together, so Wilson's interval would be too narrow.
        let figure = Figure::new(rate.value, rate.n);
        report.figures.0.push(("targeted_success".into(), figure.into()));
        return None;
    }
    let (attacked, found) = if rows.ids.is_empty() {
        let mut counts = SuccessMatrix::new(classes);
        attacks().for_each(|(_, source, target, succeeded)| counts.add(source, target, succeeded));
        let found = TargetedFigures::of(&counts, seed, draws);
        (Attacked::Counts(counts), found)
    } else {
        let mut outcomes = ImageOutcomes::new(classes);
        attacks().for_each(|(row, source, target, succeeded)| {
            outcomes.add(rows.ids[row] as usize, source, target, succeeded);
        });
        let found = TargetedFigures::of_images(&outcomes, seed, draws);
        (Attacked::Images(outcomes), found)
    };
    report.figures.add_targeted(&found);
    report.targeted = Some(found);
    Some(attacked)
}

fn part_groups(
    group: &ClassGroups,
    dense: Option<&ConfusionMatrix>,
    rates: Option<&RateMatrix>,
    attacked: Option<&Attacked>,
    seed: Seed,
    draws: u32,
) -> PartGroups {
    PartGroups {
        column: group.column.clone(),
        groups: group.groups.clone(),
        members: group.members.clone(),
        overlap: group.overlap(),
        untargeted: dense.map(|counts| GroupFigures::of(counts, &group.members, seed, draws)),
        flow_of_rates: rates.map(|rates| GroupFlow::of(rates, &group.members, 0)),
        targeted: attacked.map(|attacked| attacked.flow(&group.members)),
    }
}

/// The rates with gaps where a class has no images.
pub(super) fn rate_matrix(classes: usize, cells: &[f64]) -> Option<RateMatrix> {
    let known = cells.chunks(classes.max(1)).flat_map(|row| {
        let empty = row.iter().all(|rate| *rate == 0.0);
        row.iter().map(move |rate| (!empty).then(|| rate.min(1.0)))
    });
    RateMatrix::from_rates(classes, known.collect())
}

/// The published script's report on the one matrix of an input.
pub(super) fn official(input: &Loaded) -> anyhow::Result<OfficialReport> {
    let with_cells: Vec<(&str, &Cells)> =
        input.parts.iter().filter_map(|part| Some((part.name.as_str(), part.cells.as_ref()?))).collect();
    let attacked = with_cells.iter().rfind(|(name, _)| *name != "clean").or(with_cells.first());
    let Some((_, cells)) =
        attacked.filter(|_| with_cells.iter().filter(|(name, _)| *name != "clean").count() <= 1)
    else {
        let names: Vec<&str> = with_cells.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "the official format is of one matrix, found {}; keep the rows of one attack",
            names.join(", ")
        );
        return Err(Usage(problem).into());
    };
    if input.classes.len() > MOST_DENSE {
        let problem =
            format!("the official format is for at most {MOST_DENSE} classes, found {}", input.classes.len());
        return Err(Usage(problem).into());
    }
    let matrix = match cells {
        Cells::Rates(rates) => rates.clone(),
        Cells::Counts(counts) => whole(counts),
    };
    let groups: Option<Vec<(String, Vec<usize>)>> = input
        .groups
        .first()
        .map(|group| group.groups.iter().cloned().zip(group.members.iter().cloned()).collect());
    OfficialReport::of(&input.classes, &matrix, groups.as_deref())
        .ok_or_else(|| Usage("the official format needs at least two classes".into()).into())
}

fn whole(counts: &SparseMatrix) -> Vec<f64> {
    let classes = counts.classes();
    let mut cells = vec![0.0; classes * classes];
    for label in 0..classes {
        counts.row(label).for_each(|(prediction, count)| cells[label * classes + prediction] = count as f64);
    }
    cells
}
