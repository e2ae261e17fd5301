//! The file of an experiment: what is crossed with what.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::super::config::{self, ConfigError};
use super::names;
use crate::data::{FashionMnistConfig, SyntheticConfig};
use crate::report::Family;

/// The figures of the table where the file names none.
pub(super) const FIGURES: [&str; 18] = [
    "clean.micro_accuracy",
    "micro_accuracy",
    "worst_class",
    "source_gap",
    "share_gap",
    "largest_exposure",
    "exposure_gap",
    "a1",
    "a1_normalised",
    "largest_gap",
    "penalty_evaluation",
    "targeted_success_macro",
    "targeted_worst_target",
    "targeted_target_gap",
    "targeted_a1_normalised",
    "targeted_penalty_evaluation",
    "train.seconds_per_epoch",
    "train.seconds",
];

/// An experiment as it is written down.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Experiment {
    /// Seeds of the table.
    pub seeds: Vec<u64>,
    /// Name of the method that the others are compared with.
    pub baseline: String,
    /// Figures of the table by their JSON names; [`FIGURES`] by default.
    #[serde(default)]
    pub figures: Vec<String>,
    /// Which comparisons Holm's adjustment is over.
    #[serde(default)]
    pub holm: Family,
    /// Data sets.
    pub data: Vec<DataEntry>,
    /// Models.
    pub model: Vec<ModelEntry>,
    /// Training methods.
    pub method: Vec<MethodEntry>,
    /// Attacks of the audit.
    pub attacks: Vec<Table>,
    /// Keys of `train.*` that all methods share.
    #[serde(default)]
    pub train: Table,
    /// Keys of `validation.*`, the same for all methods.
    #[serde(default)]
    pub validation: Table,
    /// How hyper-parameters are chosen.
    #[serde(default)]
    pub selection: Selection,
}

/// Where pictures come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum DataEntry {
    /// A folder with `train/`, `val/` and `test/`.
    Folder(FolderEntry),
    /// The AT&T (Olivetti) faces.
    Orl(OrlEntry),
    /// Drawn faces.
    SyntheticFaces(SyntheticEntry),
    /// A part of Fashion-MNIST.
    FashionMnist(FashionEntry),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FolderEntry {
    pub name: String,
    /// Relative to the file of the experiment.
    pub path: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrlEntry {
    pub name: String,
    /// Decides who of a person's pictures is in which split. Default 0.
    #[serde(default)]
    pub split_seed: u64,
    /// Whether each seed has a split of its own instead.
    #[serde(default)]
    pub split_per_seed: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SyntheticEntry {
    pub name: String,
    /// What to draw, by the keys of [`SyntheticConfig`].
    #[serde(default)]
    pub draw: SyntheticConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FashionEntry {
    pub name: String,
    /// How much of it, by the keys of [`FashionMnistConfig`].
    #[serde(default)]
    pub part: FashionMnistConfig,
}

impl DataEntry {
    pub fn name(&self) -> &str {
        match self {
            Self::Folder(entry) => &entry.name,
            Self::Orl(entry) => &entry.name,
            Self::SyntheticFaces(entry) => &entry.name,
            Self::FashionMnist(entry) => &entry.name,
        }
    }

    /// Whether each seed has a split of its own.
    pub fn split_per_seed(&self) -> bool {
        matches!(self, Self::Orl(OrlEntry { split_per_seed: true, .. }))
    }
}

/// A model, by the keys of `model.*` of a training.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ModelEntry {
    pub name: String,
    #[serde(flatten)]
    pub keys: Table,
}

/// A training method.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MethodEntry {
    pub name: String,
    /// The table `objective` of a training.
    pub objective: Table,
    /// Keys of `train.*` that differ from the shared ones.
    #[serde(default)]
    pub train: Table,
    /// Another method whose finished model this one starts from, instead of random weights.
    #[serde(default)]
    pub after: Option<String>,
    /// Whether it is only there for others to start from: not audited and not in the table.
    #[serde(default)]
    pub hidden: bool,
    /// Lists of values by key of the training, such as `objective.symmetry_weight`; all combinations are tried.
    #[serde(default)]
    pub search: Table,
}

/// How hyper-parameters are chosen, on validation pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Selection {
    /// Seed of the trials; none of the table's.
    pub seed: u64,
    /// What is best.
    pub rule: Rule,
    /// The figure of `least-within`, and the tie-break of `robust`, by its JSON name.
    pub figure: String,
    /// How far below the best trial's robust accuracy `least-within` may go.
    pub within: f64,
    /// Whether all methods with a search must try equally many combinations.
    pub same_budget: bool,
}

/// What the best trial of a method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rule {
    /// The largest sum of clean and robust accuracy.
    CleanPlusRobust,
    /// The largest robust accuracy, among equals the least `figure`.
    Robust,
    /// The least `figure` among those whose robust accuracy is within `within` of the best.
    LeastWithin,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            seed: 1_000_000,
            rule: Rule::CleanPlusRobust,
            figure: "a1_normalised".to_owned(),
            within: 0.01,
            same_budget: true,
        }
    }
}

impl Selection {
    /// The rule in words.
    pub fn words(&self) -> String {
        let Self { figure, within, .. } = self;
        match self.rule {
            Rule::CleanPlusRobust => "the largest sum of clean and robust validation accuracy".to_owned(),
            Rule::Robust => {
                format!("the largest robust validation accuracy, among equals the least {figure}")
            }
            Rule::LeastWithin => format!(
                "the least {figure} on validation pictures among the trials whose robust accuracy there is within \
                 {within} of the method's best trial"
            ),
        }
    }

    /// Whether trials are audited.
    pub fn needs_audit(&self) -> bool {
        self.rule != Rule::CleanPlusRobust
    }
}

impl MethodEntry {
    /// All combinations of the values searched, each as a table of keys; none without a search.
    ///
    /// # Errors
    /// Where a value is not a list with at least one entry.
    pub fn combinations(&self) -> Result<Vec<Vec<(String, Value)>>, ConfigError> {
        let mut lists = Vec::new();
        config::flatten("", self.search.clone(), &mut lists);
        if lists.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = vec![Vec::new()];
        for (key, list) in lists {
            let wrong = || {
                let expected = "expected a list of values, such as [0.3, 1.0, 3.0]";
                ConfigError::Value(format!("method `{}`: search.{key} is {list}, {expected}", self.name))
            };
            let values = list.as_array().filter(|values| !values.is_empty()).ok_or_else(wrong)?;
            all = all
                .iter()
                .flat_map(|chosen: &Vec<(String, Value)>| {
                    values.iter().map(|value| {
                        let mut chosen = chosen.clone();
                        chosen.push((key.clone(), value.clone()));
                        chosen
                    })
                })
                .collect();
        }
        Ok(all)
    }
}

impl Experiment {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] that names the file or key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut table = config::read(path)?;
        // `"@roa"` stands for the table `[named.roa]`, wherever a table may stand.
        let named = match table.remove("named") {
            Some(Value::Table(named)) => named,
            Some(other) => {
                return Err(ConfigError::Value(format!("named = {other}, expected tables [named.NAME]")));
            }
            None => Table::new(),
        };
        names::fill(&mut table, &named, 0)?;
        let mut read: Self = config::parse(table)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        for entry in &mut read.data {
            match entry {
                DataEntry::Folder(entry) => entry.path = directory.join(&entry.path),
                DataEntry::FashionMnist(entry) => entry.part.from = directory.join(&entry.part.from),
                DataEntry::Orl(_) | DataEntry::SyntheticFaces(_) => {}
            }
        }
        if read.figures.is_empty() {
            read.figures = FIGURES.map(str::to_owned).to_vec();
        }
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), ConfigError> {
        names::check("data", self.data.iter().map(DataEntry::name))?;
        names::check("model", self.model.iter().map(|entry| entry.name.as_str()))?;
        names::check("method", self.method.iter().map(|entry| entry.name.as_str()))?;
        let fail = |reason: String| Err(ConfigError::Value(reason));
        if self.seeds.is_empty() || self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            return fail(format!("seeds = {:?}, expected a list of different numbers", self.seeds));
        }
        if let Some(seed) = self.seeds.iter().chain([&self.selection.seed]).find(|seed| **seed >= 1 << 62) {
            return fail(format!("the seed {seed} is too large, expected less than 2^62"));
        }
        let base = self.method(&self.baseline, "baseline")?;
        if base.hidden {
            return fail(format!("baseline = \"{}\" is a hidden method: it has no audit", self.baseline));
        }
        for (at, method) in self.method.iter().enumerate() {
            if let Some(after) = &method.after {
                let start = self.method(after, &format!("method `{}`: after", method.name))?;
                if !self.method[..at].iter().any(|earlier| earlier.name == start.name) {
                    return fail(format!(
                        "method `{}` starts from `{after}`, which stands below it: move it up",
                        method.name
                    ));
                }
            }
        }
        if self.attacks.is_empty() {
            return fail("no [[attacks]]: expected at least one attack to audit with".to_owned());
        }
        self.check_search()
    }

    fn check_search(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::Value(reason));
        let mut budgets = Vec::new();
        for method in &self.method {
            let count = method.combinations()?.len();
            if count > 0 {
                budgets.push((&method.name, count));
            }
        }
        let Some((first, budget)) = budgets.first() else { return Ok(()) };
        if self.seeds.contains(&self.selection.seed) {
            return fail(format!(
                "selection.seed = {} is among the seeds of the table; choose another, so that no run of the table \
                 took part in its own selection",
                self.selection.seed
            ));
        }
        if let Some((name, count)) = budgets.iter().find(|(_, count)| count != budget)
            && self.selection.same_budget
        {
            return fail(format!(
                "method `{first}` tries {budget} combinations and method `{name}` {count}: give each the same number, or \
                 set selection.same_budget = false and say so where you show the table"
            ));
        }
        if let Some(entry) = self.data.iter().find(|entry| entry.split_per_seed()) {
            return fail(format!(
                "data `{}` has a split for each seed and method `{first}` a search: pictures to choose on would be \
                 pictures that other seeds test on. Use split_per_seed = false, or remove the search",
                entry.name()
            ));
        }
        if self.selection.within.is_nan() || self.selection.within < 0.0 {
            return fail(format!("selection.within is {}, expected 0 or more", self.selection.within));
        }
        Ok(())
    }

    /// A method by name.
    ///
    /// # Errors
    /// Lists the known ones.
    pub fn method(&self, name: &str, place: &str) -> Result<&MethodEntry, ConfigError> {
        self.method.iter().find(|method| method.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.method.iter().map(|method| method.name.as_str()).collect();
            let nearest = known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name), known))
                .min()
                .filter(|(distance, _)| *distance <= 3);
            let hint = nearest.map_or_else(String::new, |(_, known)| format!(" Did you mean `{known}`?"));
            ConfigError::Value(format!(
                "{place} = \"{name}\" is no method of this file. There are: {}.{hint}",
                known.join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests;
