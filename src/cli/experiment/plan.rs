//! The cells of an experiment: where each is, with which configuration, and what it waits for.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml::{Table, Value};

use super::super::audit::{AuditRunConfig, SplitName};
use super::super::config::{self, ConfigError};
use super::super::train::TrainRunConfig;
use super::file::{DataEntry, Experiment, MethodEntry};
use super::search;
use crate::audit::TargetChoice;
use crate::models::ModelConfig;

/// One training with its audits: indices into the lists of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    /// Trials come first, then seed by seed, so that an unfinished table is a balanced one.
    pub seed_rank: usize,
    pub data: usize,
    pub model: usize,
    pub method: usize,
    pub seed: u64,
    /// The combination of hyper-parameters that is tried; `None` for a cell with the chosen ones.
    pub trial: Option<usize>,
}

/// An audit of a cell.
pub(super) struct AuditJob {
    /// Name of the attack; empty for the one without a name.
    pub name: String,
    pub place: PathBuf,
    pub config: AuditRunConfig,
}

/// An experiment with the directory that it fills.
pub(super) struct Plan {
    pub file: Experiment,
    /// Where the file is: its relative paths start there.
    pub path: PathBuf,
    pub root: PathBuf,
}

impl Plan {
    /// Reads a file and checks every configuration that it leads to.
    ///
    /// # Errors
    /// What is wrong, with the method or attack that it is about.
    pub fn read(path: &Path, out: Option<&Path>) -> anyhow::Result<Self> {
        let file = Experiment::read(path).with_context(|| path.display().to_string())?;
        let stem = path.file_stem().unwrap_or_default();
        let root = out.map_or_else(|| Path::new("runs").join(stem), Path::to_path_buf);
        // Cells are found from any directory.
        let root = std::path::absolute(&root).with_context(|| root.display().to_string())?;
        let plan = Self { file, path: path.to_path_buf(), root };
        plan.check().with_context(|| path.display().to_string())?;
        Ok(plan)
    }

    fn check(&self) -> anyhow::Result<()> {
        for method in &self.file.method {
            let mut settings = method.combinations()?;
            if settings.is_empty() {
                settings.push(Vec::new());
            }
            for (model, setting) in self.file.model.iter().flat_map(|m| settings.iter().map(move |s| (m, s)))
            {
                let about = || format!("method `{}`, model `{}`", method.name, model.name);
                let config = self.train_layers(method, &model.keys, setting).with_context(about)?;
                check_training(&config).with_context(about)?;
            }
        }
        for (at, attack) in self.file.attacks.iter().enumerate() {
            let (name, config) = self.attack(attack).with_context(|| format!("attack {}", at + 1))?;
            let twice = self.file.attacks[..at].iter().any(|other| attack_name(other) == name);
            if twice {
                return Err(ConfigError::Value(format!(
                    "two attacks are called `{name}`: give each another `name`; one may have none"
                ))
                .into());
            }
            config.attack.validate().map_err(|error| ConfigError::Value(error.to_string()))?;
        }
        Ok(())
    }

    /// All cells, trials first, then seed by seed. A cell comes after what it waits for.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for data in 0..self.file.data.len() {
            for model in 0..self.file.model.len() {
                for method in 0..self.file.method.len() {
                    for seed in &self.file.seeds {
                        self.add(&mut cells, self.cell(data, model, method, *seed));
                    }
                }
            }
        }
        cells.sort_by_key(|cell| {
            (cell.trial.is_none() && self.file.seeds.contains(&cell.seed), cell.seed_rank)
        });
        cells
    }

    fn cell(&self, data: usize, model: usize, method: usize, seed: u64) -> Cell {
        let seed_rank = self.file.seeds.iter().position(|other| *other == seed).unwrap_or(0);
        Cell { seed_rank, data, model, method, seed, trial: None }
    }

    /// Adds what a cell waits for, and then the cell, where they are not there yet.
    fn add(&self, cells: &mut Vec<Cell>, cell: Cell) {
        for need in self.needs(&cell) {
            self.add(cells, need);
        }
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }

    /// What must be done before a cell can be: the model it starts from, the trials of its method.
    pub fn needs(&self, cell: &Cell) -> Vec<Cell> {
        let method = self.method(cell);
        let mut needs = Vec::new();
        if let Some(after) = &method.after {
            let start = self.file.method.iter().position(|other| other.name == *after);
            needs.extend(start.map(|start| self.cell(cell.data, cell.model, start, cell.seed)));
        }
        if cell.trial.is_none() {
            needs.extend(self.trials(cell));
        }
        needs
    }

    /// The trials behind a cell's hyper-parameters.
    pub fn trials(&self, cell: &Cell) -> Vec<Cell> {
        let count = self.method(cell).combinations().map_or(0, |all| all.len());
        let seed = self.file.selection.seed;
        (0..count).map(|trial| Cell { trial: Some(trial), seed, seed_rank: 0, ..*cell }).collect()
    }

    pub fn method(&self, cell: &Cell) -> &MethodEntry {
        &self.file.method[cell.method]
    }

    /// The path of a cell below the root, by which it is called.
    pub fn key(&self, cell: &Cell) -> String {
        let method = self.method(cell);
        let parts = [self.file.data[cell.data].name(), &self.file.model[cell.model].name, &method.name];
        let last = match cell.trial {
            None => format!("seed-{}", cell.seed),
            Some(trial) => {
                let all = method.combinations().unwrap_or_default();
                format!("search/{}", all.get(trial).map_or_else(String::new, |setting| search::slug(setting)))
            }
        };
        format!("{}/{last}", parts.join("/"))
    }

    pub fn place(&self, cell: &Cell) -> PathBuf {
        self.root.join(self.key(cell))
    }

    /// The folder of the pictures of a cell.
    pub fn pictures(&self, cell: &Cell) -> PathBuf {
        match &self.file.data[cell.data] {
            DataEntry::Folder(entry) => {
                std::path::absolute(&entry.path).unwrap_or_else(|_| entry.path.clone())
            }
            entry if entry.split_per_seed() => {
                self.root.join("pictures").join(format!("{}-seed-{}", entry.name(), cell.seed))
            }
            entry => self.root.join("pictures").join(entry.name()),
        }
    }

    /// The configuration of a cell's training; `None` while its hyper-parameters are not chosen.
    ///
    /// # Errors
    /// When trials cannot be read.
    pub fn train_config(&self, cell: &Cell) -> anyhow::Result<Option<TrainRunConfig>> {
        let method = self.method(cell);
        let setting = match cell.trial {
            Some(trial) => method.combinations()?[trial].clone(),
            None if method.search.is_empty() => Vec::new(),
            None => match search::chosen(self, cell)? {
                Some(choice) => choice.setting,
                None => return Ok(None),
            },
        };
        let mut config = self.train_layers(method, &self.file.model[cell.model].keys, &setting)?;
        config.seed = cell.seed;
        config.data = self.pictures(cell);
        if let Some(start) = self.needs(cell).iter().find(|need| need.method != cell.method) {
            config.model.from = Some(self.place(start).join("train/model"));
            // Its head is for these classes already.
            config.model.new_head = false;
        }
        Ok(Some(config))
    }

    fn train_layers(
        &self,
        method: &MethodEntry,
        model: &Table,
        setting: &[(String, Value)],
    ) -> Result<TrainRunConfig, ConfigError> {
        let named = |name: &str, table: &Table| {
            let mut outer = Table::new();
            outer.insert(name.to_owned(), Value::Table(table.clone()));
            outer
        };
        let mut layers = vec![
            named("train", &self.file.train),
            named("validation", &self.file.validation),
            named("model", model),
            named("objective", &method.objective),
            named("train", &method.train),
        ];
        // One layer each: `apply` takes dotted keys.
        layers.extend(setting.iter().map(|(key, value)| {
            let mut layer = Table::new();
            layer.insert(key.clone(), value.clone());
            layer
        }));
        config::layered(&self.path, layers)
    }

    /// The audits of a cell: of a trial none, or one on validation pictures; else one for each attack.
    ///
    /// # Errors
    /// What is wrong with an attack.
    pub fn audits(&self, cell: &Cell) -> Result<Vec<AuditJob>, ConfigError> {
        let place = self.place(cell);
        let attacks = match (cell.trial, self.method(cell).hidden) {
            (Some(_), _) if !self.file.selection.needs_audit() => &[],
            (Some(_), _) => &self.file.attacks[..1],
            (None, true) => &[],
            (None, false) => &self.file.attacks[..],
        };
        attacks
            .iter()
            .map(|attack| {
                let (name, mut config) = self.attack(attack)?;
                config.seed = cell.seed;
                config.data = self.pictures(cell);
                config.model = place.join("train/model");
                if cell.trial.is_some() {
                    config.split = SplitName::Val;
                    if !self.file.selection.figure.starts_with("targeted_") {
                        config.targets = TargetChoice::None;
                    }
                }
                let folder = if name.is_empty() { "audit".to_owned() } else { format!("audit-{name}") };
                Ok(AuditJob { name, place: place.join(folder), config })
            })
            .collect()
    }

    /// Name and configuration of an attack.
    fn attack(&self, table: &Table) -> Result<(String, AuditRunConfig), ConfigError> {
        let mut keys = table.clone();
        let name = attack_name(table);
        keys.remove("name");
        for key in ["seed", "model", "data", "split"] {
            if keys.contains_key(key) {
                return Err(ConfigError::Value(format!(
                    "attacks: `{key}` is decided by the experiment; remove it"
                )));
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !name.chars().all(plain) || name == "clean" || name == "train" {
            return Err(ConfigError::Value(format!(
                "the attack is called `{name}`: expected letters, digits, '-' and '_', and neither `clean` nor `train`"
            )));
        }
        Ok((name, config::layered(&self.path, vec![keys])?))
    }
}

fn attack_name(table: &Table) -> String {
    table.get("name").map_or_else(String::new, |name| name.as_str().unwrap_or("?").to_owned())
}

/// What can be wrong with a training before any picture is read.
fn check_training(config: &TrainRunConfig) -> Result<(), ConfigError> {
    config.train.check().map_err(ConfigError::Value)?;
    let side = config.model.preprocessing.side;
    if config.model.from.is_none() {
        // Any two classes: those of the pictures are not known yet.
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let model = ModelConfig::new(config.model.architecture, classes, config.model.preprocessing.clone());
        model.check().map_err(|reason| ConfigError::Value(format!("model.{reason}")))?;
        let shape = [3, side, side];
        config.objective.build(shape, 2).map_err(|error| ConfigError::Value(error.to_string()))?;
        let attack = config.validation.attack.build(shape);
        attack.map_err(|error| ConfigError::Value(format!("validation.{error}")))?;
    }
    Ok(())
}
