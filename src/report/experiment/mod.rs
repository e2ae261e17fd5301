//! The outcome of an experiment: mean and standard deviation over seeds of every figure of every method, and what the
//! differences from the baseline are worth.

mod text;

use serde::Serialize;

use super::FlatFigures;
use crate::metrics::{SeedDifference, SeedFigure, Spread, holm};

pub use text::{experiment_csv, experiment_markdown, experiment_terminal};

/// Differences at least this unlikely by chance are marked.
pub const LEVEL: f64 = 0.05;

/// Which comparisons share the 5 % chance of a false call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// The methods under one figure: each figure is a question of its own.
    #[default]
    Methods,
    /// All methods under all figures of a table.
    Table,
}

/// Which values of a figure one wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// The more the better.
    Higher,
    /// The less the better.
    Lower,
    /// Neither: a test statistic, or a duration, which says as much of the machine.
    Neither,
}

impl Better {
    /// By the name of a figure, whatever stands before its last dot.
    pub fn of(figure: &str) -> Self {
        let (part, name) = figure.rsplit_once('.').unwrap_or(("", figure));
        let bare = name.trim_start_matches("targeted_");
        let higher = ["accuracy", "best_class", "worst_over_mean", "share_entropy"];
        if part == "train" || bare.starts_with("test_") {
            Self::Neither
        } else if higher.iter().any(|known| bare.ends_with(known))
            || ["worst_class", "worst_split_half", "worst_tenth"].contains(&name)
            || name.ends_with("_worst_group")
        {
            Self::Higher
        } else {
            Self::Lower
        }
    }
}

/// The runs of one method.
#[derive(Clone, Debug)]
pub struct MethodRuns {
    /// Its name.
    pub name: String,
    /// Seed and figures of each finished run.
    pub runs: Vec<(u64, FlatFigures)>,
}

/// What a table is made of.
#[derive(Clone, Debug)]
pub struct ExperimentInput {
    /// Name of the data set.
    pub data: String,
    /// Name of the model.
    pub model: String,
    /// Name of the method that the others are compared with.
    pub baseline: String,
    /// All methods in the order of the table.
    pub methods: Vec<MethodRuns>,
    /// Names of the figures in the order of the table.
    pub figures: Vec<String>,
    /// Whether all seeds are tested on the same pictures.
    pub same_pictures: bool,
    /// What is adjusted for together.
    pub family: Family,
}

/// One figure of one method.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Seed and value of each run that has the figure.
    pub values: Vec<(u64, f64)>,
    /// Mean and standard deviation over them.
    pub spread: Option<Spread>,
    /// Standard deviation that other test pictures would give one run, where the figure has intervals.
    pub sampling_sd: Option<f64>,
    /// Against the baseline, over the seeds that both have.
    pub difference: Option<SeedDifference>,
    /// Holm's adjusted p-value over seeds.
    pub p_holm: Option<f64>,
    /// The same for the p-value with the luck of the test pictures.
    pub p_holm_both: Option<f64>,
    /// Whether it is the best mean, and significantly so.
    pub best: bool,
}

/// One line of a table.
#[derive(Clone, Debug, Serialize)]
pub struct FigureLine {
    /// Name of the figure.
    pub name: String,
    /// Which values one wants.
    pub better: Better,
    /// One cell a method.
    pub cells: Vec<Cell>,
}

/// One data set and model: figures are lines, methods are columns.
#[derive(Clone, Debug, Serialize)]
pub struct ExperimentTable {
    /// Name of the data set.
    pub data: String,
    /// Name of the model.
    pub model: String,
    /// Name of the baseline.
    pub baseline: String,
    /// Names of the methods.
    pub methods: Vec<String>,
    /// Seeds of each method's finished runs.
    pub seeds: Vec<Vec<u64>>,
    /// Whether all seeds are tested on the same pictures.
    pub same_pictures: bool,
    /// What is adjusted for together.
    pub family: Family,
    /// The figures.
    pub figures: Vec<FigureLine>,
}

impl ExperimentTable {
    /// Computes everything. Figures that no run has are left out.
    pub fn of(input: &ExperimentInput) -> Self {
        let at_base = input.methods.iter().position(|method| method.name == input.baseline);
        let base = at_base.map(|at| &input.methods[at]);
        let mut figures: Vec<FigureLine> = input
            .figures
            .iter()
            .map(|name| FigureLine {
                name: name.clone(),
                better: Better::of(name),
                cells: input
                    .methods
                    .iter()
                    .map(|method| {
                        let against = base.filter(|base| base.name != method.name);
                        Cell::of(method, against, name, input.same_pictures)
                    })
                    .collect(),
            })
            .filter(|line| line.cells.iter().any(|cell| !cell.values.is_empty()))
            .collect();
        adjust(&mut figures, input.family, |cell| cell.difference?.p_seeds, |cell, p| cell.p_holm = Some(p));
        let both = |cell: &Cell| cell.difference?.p_both;
        adjust(&mut figures, input.family, both, |cell, p| cell.p_holm_both = Some(p));
        for line in &mut figures {
            line.mark_best(at_base);
        }
        Self {
            data: input.data.clone(),
            model: input.model.clone(),
            baseline: input.baseline.clone(),
            methods: input.methods.iter().map(|method| method.name.clone()).collect(),
            seeds: input
                .methods
                .iter()
                .map(|method| method.runs.iter().map(|(seed, _)| *seed).collect())
                .collect(),
            same_pictures: input.same_pictures,
            family: input.family,
            figures,
        }
    }

    /// The most seeds that any method has.
    pub fn most_seeds(&self) -> usize {
        self.seeds.iter().map(Vec::len).max().unwrap_or(0)
    }
}

fn seed_figures(method: &MethodRuns, name: &str) -> Vec<(u64, SeedFigure)> {
    let figure = |(seed, figures): &(u64, FlatFigures)| {
        let found = figures.get(name)?;
        Some((*seed, SeedFigure::new(found.value, found.low.zip(found.high))))
    };
    method.runs.iter().filter_map(figure).collect()
}

impl Cell {
    fn of(method: &MethodRuns, base: Option<&MethodRuns>, name: &str, same_pictures: bool) -> Self {
        let found = seed_figures(method, name);
        let values: Vec<(u64, f64)> = found.iter().map(|(seed, figure)| (*seed, figure.value)).collect();
        let variances: Option<Vec<f64>> = found.iter().map(|(_, figure)| figure.sampling_variance).collect();
        let mean = |each: Vec<f64>| Spread::of(&each).map(|spread| spread.mean.sqrt());
        let difference = base.and_then(|base| {
            let of_base = seed_figures(base, name);
            let partner = |seed: u64| of_base.iter().find(|(other, _)| *other == seed).map(|found| found.1);
            let pairs: Vec<(SeedFigure, SeedFigure)> =
                found.iter().filter_map(|(seed, figure)| Some((*figure, partner(*seed)?))).collect();
            SeedDifference::of(&pairs, same_pictures)
        });
        Self {
            spread: Spread::of(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>()),
            sampling_sd: variances.and_then(mean),
            values,
            difference: difference.filter(|_| Better::of(name) != Better::Neither),
            p_holm: None,
            p_holm_both: None,
            best: false,
        }
    }

    /// Whether the difference over seeds stands after the adjustment.
    pub fn significant(&self) -> bool {
        self.p_holm.is_some_and(|p| p <= LEVEL)
    }

    /// Whether it stands with the luck of the test pictures too.
    pub fn significant_in_both(&self) -> bool {
        self.significant() && self.p_holm_both.is_some_and(|p| p <= LEVEL)
    }
}

/// Sets the adjusted p-values, line by line or over all lines.
fn adjust(
    lines: &mut [FigureLine],
    family: Family,
    p_of: impl Fn(&Cell) -> Option<f64>,
    set: impl Fn(&mut Cell, f64),
) {
    let groups: Vec<Vec<(usize, usize)>> = {
        let tested = |line: usize| -> Vec<(usize, usize)> {
            let cells = lines[line].cells.iter().enumerate();
            cells.filter(|(_, cell)| p_of(cell).is_some()).map(|(at, _)| (line, at)).collect()
        };
        let by_line: Vec<Vec<(usize, usize)>> = (0..lines.len()).map(tested).collect();
        match family {
            Family::Methods => by_line,
            Family::Table => vec![by_line.concat()],
        }
    };
    for group in groups {
        let p_values: Vec<f64> =
            group.iter().filter_map(|&(line, at)| p_of(&lines[line].cells[at])).collect();
        for ((line, at), p) in group.into_iter().zip(holm(&p_values)) {
            set(&mut lines[line].cells[at], p);
        }
    }
}

impl FigureLine {
    /// The best mean is marked if its method is significantly better than the baseline; the baseline's if every other
    /// method is significantly worse.
    fn mark_best(&mut self, base: Option<usize>) {
        let sign = match self.better {
            Better::Higher => 1.0,
            Better::Lower => -1.0,
            Better::Neither => return,
        };
        let means: Vec<Option<f64>> =
            self.cells.iter().map(|cell| cell.spread.map(|spread| sign * spread.mean)).collect();
        let Some(top) = means.iter().flatten().copied().reduce(f64::max) else { return };
        let first: Vec<usize> =
            (0..means.len()).filter(|&at| means[at].is_some_and(|mean| mean >= top)).collect();
        let [at] = first[..] else { return };
        let better = |cell: &Cell| cell.difference.is_some_and(|found| sign * found.mean > 0.0);
        self.cells[at].best = if Some(at) == base {
            let mut others = self.cells.iter().enumerate().filter(|(other, _)| *other != at).peekable();
            others.peek().is_some() && others.all(|(_, cell)| cell.significant())
        } else {
            self.cells[at].significant() && better(&self.cells[at])
        };
    }
}

#[cfg(test)]
mod tests;
