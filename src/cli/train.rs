//! `syfar train`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::{self, ConfigError};
use super::ending::tell_end;
use super::progress::Progress;
use super::{Context, Interrupted, team};
use crate::Seed;
use crate::attacks::{Attack, AttackConfig, EyeglassConfig};
use crate::data::Dataset;
use crate::models::{Architecture, Crop, Framing, Model, ModelConfig, Preprocessing};
use crate::objectives::{Objective, ObjectiveConfig};
use crate::run::{EventLog, Pace, RunError};
use crate::train::{EpochReport, Job, Observer, StepReport, TrainConfig, TrainOutcome, ValidationProgress};
use crate::watch::Step;

#[derive(clap::Args)]
pub(super) struct TrainArguments {
    /// Folder with train/, val/ and test/, one folder of pictures per class in each.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the run goes: a new directory.
    #[arg(long, required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// TOML file with the configuration.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Sets one key of the configuration, such as train.epochs=10.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Decides every random draw.
    #[arg(long, value_parser = super::seeds())]
    seed: Option<u64>,
    /// Go on with an interrupted run of the same configuration.
    #[arg(long)]
    resume: bool,
    /// Print the configuration with all defaults and stop.
    #[arg(long)]
    print_config: bool,
    /// Print the events of the run to standard output, as events.jsonl gets them, and everything else to standard error.
    #[arg(long)]
    pub json: bool,
}

/// Everything that decides a training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TrainRunConfig {
    /// Decides every random draw.
    pub seed: u64,
    /// Folder with train/, val/ and test/.
    pub data: PathBuf,
    /// What to train.
    pub model: ModelSection,
    /// How.
    pub objective: ObjectiveConfig,
    /// Constants of the loop.
    pub train: TrainConfig,
    /// The attack of the validation.
    pub validation: ValidationSection,
}

/// The model to train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModelSection {
    /// Which network.
    pub architecture: Architecture,
    /// Size and normalisation of the pictures.
    pub preprocessing: Preprocessing,
    /// A model directory to start from instead of random weights; it then decides the keys above.
    pub from: Option<PathBuf>,
    /// What is kept of a picture, where that is not what the model of `from` says.
    pub crop: Option<Crop>,
    /// Keep the body of that model and draw a new last layer, for other classes.
    pub new_head: bool,
}

/// The validation after each epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ValidationSection {
    /// The attack, untargeted.
    pub attack: AttackConfig,
}

impl Default for ValidationSection {
    fn default() -> Self {
        let attack = EyeglassConfig { steps: 20, early_stop: true, ..EyeglassConfig::default() };
        Self { attack: AttackConfig::Eyeglasses(attack) }
    }
}

pub(super) fn train(arguments: &TrainArguments, context: &Context) -> anyhow::Result<()> {
    let config = team::of_first_rank(context.team, || configuration(arguments))?;
    if arguments.print_config {
        super::say(toml::to_string(&config).context("the configuration has no TOML form")?.trim_end());
        return Ok(());
    }
    let out = arguments.out.as_ref().context("--out is missing")?;
    if config.data.as_os_str().is_empty() {
        let missing = "no data set: give --data DIR, or `data = \"DIR\"` in the file";
        return Err(ConfigError::Value(missing.to_owned()).into());
    }
    let data = framing(&config).and_then(|framing| Ok(Dataset::open(&config.data, framing)?));
    let data = team::together(context.team, data)?;
    let outcome = run(&config, &data, out, arguments.resume, "train", context)?;
    match outcome {
        TrainOutcome::Finished { best_epoch, validation, seconds } => {
            context.say(&format!(
                "Trained in {seconds:.0} s. Kept epoch {best_epoch}: on {} validation pictures clean accuracy {:.3}, \
                 robust accuracy {:.3}.\nModel: {}",
                validation.images,
                validation.clean_accuracy,
                validation.robust_accuracy,
                out.join("model").display()
            ));
            Ok(())
        }
        TrainOutcome::Stopped { .. } => Err(Interrupted { resume: super::resume_command() }.into()),
    }
}

/// The configuration that the arguments ask for.
fn configuration(arguments: &TrainArguments) -> anyhow::Result<TrainRunConfig> {
    let mut config: TrainRunConfig = config::load(arguments.config.as_deref(), &arguments.set)?;
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if let Some(seed) = arguments.seed {
        config.seed = seed;
    }
    Ok(config)
}

/// How a configuration wants the pictures.
pub(super) fn framing(config: &TrainRunConfig) -> anyhow::Result<Framing> {
    let mut framing = match &config.model.from {
        None => config.model.preprocessing.framing(),
        Some(from) => Model::load(from, &Device::default())?.config.preprocessing.framing(),
    };
    framing.crop = config.model.crop.unwrap_or(framing.crop);
    Ok(framing)
}

/// Trains into a run directory, which is made, or gone on with if `resume` is set.
pub(super) fn run(
    config: &TrainRunConfig,
    data: &Dataset,
    out: &Path,
    resume: bool,
    name: &str,
    context: &Context,
) -> anyhow::Result<TrainOutcome> {
    let team = context.team;
    let Prepared { model, mut objective, validation_attack, stored } =
        team::together(team, prepare(config, data))?;
    team::same_everywhere(team, data, &stored)?;
    let first = team.rank() == 0;
    let directory = first.then(|| super::run_directory(out, &stored, resume)).transpose();
    let directory = team::together(team, directory.map_err(Into::into))?;
    let layout = directory.as_ref().map_or_else(|| team::shared_layout(out), |own| Ok(own.layout().clone()));
    let layout = team::together(team, layout)?;
    let begin = || {
        super::keep_splits(&layout, data)?;
        let mut events = context.events(&layout.events())?;
        let plan =
            json!({"epochs": config.train.epochs, "objective": objective.name(), "ranks": team.size()});
        events.append("train_start", &super::provenance(config.seed, data, plan))?;
        anyhow::Ok(events)
    };
    let events = team::together(team, first.then(begin).transpose())?;
    let job = Job {
        model,
        data,
        objective: objective.as_mut(),
        validation_attack: validation_attack.as_ref(),
        config: &config.train,
        seed: Seed::new(config.seed).purpose("train"),
        model_directory: &layout.model(),
        checkpoint_directory: &layout.checkpoints(),
        team,
    };
    let Some(mut events) = events else {
        return Ok(crate::train::train(job, &context.stop, &mut Silent)?);
    };
    tell_end(&mut events, |events| {
        let mut observer = TrainObserver::new(events, name);
        let outcome = crate::train::train(job, &context.stop, &mut observer);
        if let Some(progress) = &observer.progress {
            progress.finish();
        }
        let outcome = outcome?;
        let (kind, data) = match &outcome {
            TrainOutcome::Finished { best_epoch, validation, seconds } => {
                ("train_end", json!({"best_epoch": best_epoch, "validation": validation, "seconds": seconds}))
            }
            TrainOutcome::Stopped { epoch } => ("stopped", json!({"epoch": epoch})),
        };
        events.append(kind, &data)?;
        Ok(outcome)
    })
}

/// What a configuration comes to.
struct Prepared {
    model: Model,
    objective: Box<dyn Objective>,
    validation_attack: Box<dyn Attack>,
    /// The configuration as the run keeps it.
    stored: String,
}

fn prepare(config: &TrainRunConfig, data: &Dataset) -> anyhow::Result<Prepared> {
    config.train.check().map_err(ConfigError::Value)?;
    let model = start_model(config, data)?;
    let shape = [3, model.config.preprocessing.side, model.config.preprocessing.side];
    let as_config = |error: &dyn std::fmt::Display| ConfigError::Value(error.to_string());
    let objective = config.objective.build(shape, model.config.classes.len()).map_err(|e| as_config(&e))?;
    let validation_attack =
        config.validation.attack.build(shape).map_err(|e| as_config(&format!("validation.{e}")))?;
    let start = config.model.from.as_ref().map(|from| from.join("model.safetensors"));
    let stored = super::stored_config(config, data, &start.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    Ok(Prepared { model, objective, validation_attack, stored })
}

/// The model to start from, with the classes of the data.
pub(super) fn start_model(config: &TrainRunConfig, data: &Dataset) -> anyhow::Result<Model> {
    let ModelSection { architecture, preprocessing, from, crop, new_head } = &config.model;
    let device = Device::default().autodiff();
    let seed = Seed::new(config.seed).purpose("weights");
    let Some(from) = from else {
        for (key, given) in [("new_head", *new_head), ("crop", crop.is_some())] {
            if given {
                let missing = format!(
                    "model.{key} is given and model.from is missing: give the model directory to start from"
                );
                return Err(ConfigError::Value(missing).into());
            }
        }
        let model = ModelConfig::new(*architecture, data.classes.clone(), preprocessing.clone());
        model.check().map_err(|reason| ConfigError::Value(format!("model.{reason}")))?;
        let network = model.build(seed, &device);
        return Ok(Model { config: model, network });
    };
    let mut model = if *new_head {
        Model::load_with_new_head(from, data.classes.clone(), seed, &device)?
    } else {
        let model = Model::load(from, &device)?;
        super::same_classes(&model.config.classes, &data.classes, from).map_err(|error| {
            anyhow::anyhow!(
                "{error} To keep its body under a new head for these classes: --set model.new_head=true"
            )
        })?;
        model
    };
    if let Some(crop) = crop {
        model.config.preprocessing.crop = *crop;
    }
    Ok(model)
}

/// For ranks that leave the log to rank 0.
struct Silent;

impl Observer for Silent {
    fn step(&mut self, _report: &StepReport) -> Result<(), RunError> {
        Ok(())
    }

    fn epoch(&mut self, _report: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}

/// Writes the log and the progress line.
struct TrainObserver<'a> {
    events: &'a mut EventLog,
    /// When this sitting began.
    started: Instant,
    progress: Option<Progress>,
    name: String,
    /// Clean and robust accuracy of the last validation.
    accuracy: Option<(f64, f64)>,
    /// When steps and parts of validations have events.
    pace: Pace,
    /// Images and seconds since the last event of a step.
    since: (usize, f64),
}

impl<'a> TrainObserver<'a> {
    fn new(events: &'a mut EventLog, name: &str) -> Self {
        Self {
            events,
            started: Instant::now(),
            progress: None,
            name: name.to_owned(),
            accuracy: None,
            pace: Pace::of_lines(),
            since: (0, 0.0),
        }
    }
}

impl Observer for TrainObserver<'_> {
    fn step(&mut self, report: &StepReport) -> Result<(), RunError> {
        let done = ((report.epoch - 1) * report.steps + report.step) as u64;
        let total = (report.epochs * report.steps) as u64;
        let (name, started) = (&self.name, self.started);
        let new = || Progress::new(name, total, done.saturating_sub(1)).since(started);
        let progress = self.progress.get_or_insert_with(new);
        let mut words = vec![format!("epoch {}/{}", report.epoch, report.epochs)];
        words.extend(report.terms.iter().map(|term| format!("{} {:.3}", term.name, term.value)));
        if let Some((clean, robust)) = self.accuracy {
            words.push(format!("val clean {clean:.3} robust {robust:.3}"));
        }
        words.push(format!("{:.0} img/s", report.images as f64 / report.seconds));
        progress.set(done, &words.join("  "));
        self.since = (self.since.0 + report.images, self.since.1 + report.seconds);
        if !self.pace.due() {
            return Ok(());
        }
        let (images, seconds) = std::mem::take(&mut self.since);
        let step = Step {
            epoch: report.epoch,
            epochs: report.epochs,
            step: report.step,
            steps: report.steps,
            terms: report.terms.iter().map(|term| (term.name.to_owned(), term.value)).collect(),
            images_per_second: (seconds > 0.0).then(|| images as f64 / seconds),
            seconds_left: progress.seconds_left(),
        };
        self.events.append("step", &step)
    }

    fn validating(&mut self, progress: ValidationProgress) -> Result<(), RunError> {
        if self.pace.due() { self.events.append("validation", &progress) } else { Ok(()) }
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), RunError> {
        if let Some(validation) = report.validation {
            self.accuracy = Some((validation.clean_accuracy, validation.robust_accuracy));
        }
        self.events.append("epoch", report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::read_events;

    #[test]
    fn the_first_step_of_a_sitting_knows_the_time_left_and_a_validation_is_told() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("events.jsonl");
        let mut log = EventLog::open(&path).expect("new log");
        let mut observer = TrainObserver::new(&mut log, "train");
        let begun = observer.started.checked_sub(std::time::Duration::from_secs(10));
        observer.started = begun.unwrap_or(observer.started);
        let report =
            StepReport { epoch: 3, epochs: 4, step: 1, steps: 10, images: 6, terms: &[], seconds: 2.0 };
        observer.step(&report).expect("written");
        observer.pace = Pace::of_lines();
        let progress = ValidationProgress { epoch: 3, done: 64, total: 200 };
        observer.validating(progress).expect("written");
        observer.validating(progress).expect("too soon");
        let events: Vec<_> =
            read_events(&path).expect("a log").map(|event| event.expect("an event")).collect();
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["step", "validation"]);
        assert_eq!(events[0].data["images_per_second"], 3.0);
        // Ten seconds for the 21st of 40 steps, the first of this sitting.
        let left = events[0].data["seconds_left"].as_f64();
        assert!(begun.is_none() || left >= Some(190.0), "{left:?}");
        assert_eq!(events[1].data, json!({"epoch": 3, "done": 64, "total": 200}));
    }
}
