//! The command line: arguments in, exit code out. Only this module prints.
//!
//! Exit codes: 0 done, 1 error, 2 usage or configuration, 3 a condition of `compare` holds or a check of
//! `doctor` failed, 130 interrupted and resumable.

#[cfg(test)]
mod any_table;
mod attack;
mod audit;
mod bench;
mod certify;
mod checks;
mod compare;
mod condition;
mod config;
mod curve;
mod data;
mod demo;
mod difference;
mod doctor;
mod ending;
mod experiment;
mod input;
mod measure;
mod merge;
mod metrics;
mod models;
mod page;
mod predict;
mod progress;
mod setting;
mod shard;
mod show;
mod sitting;
mod team;
mod tensorboard;
mod train;
mod watch;
mod weights;
mod worn;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use sha2::{Digest, Sha256};

use crate::run::{EventLog, Layout, RunDir, RunError, StopFlag, install_stop_flag, write_file};
use crate::train::{Alone, Team};
use config::ConfigError;

pub use team::{Ended, run_in_team};

/// Stack of a worker: as much as the first thread of a process usually has.
const STACK_BYTES: usize = 8 << 20;

/// Fair adversarial robustness of image classifiers: train, attack, audit.
#[derive(Parser)]
#[command(name = "syfar", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train three classifiers on real faces, attack them with eyeglasses and compare them.
    Demo(demo::DemoArguments),
    /// Fetch, draw or look at pictures.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Train a classifier.
    Train(train::TrainArguments),
    /// Attack a trained classifier and report how robust and how symmetric it is.
    Audit(audit::AuditArguments),
    /// Join an audit that was made in shards: check that nothing is missing or twice, and write all its files.
    Merge(merge::MergeArguments),
    /// Save adversarial pictures as files, and judge them as they are there.
    Attack(attack::AttackArguments),
    /// Certify radii within which a model that is smoothed by noise cannot change its mind.
    Certify(certify::CertifyArguments),
    /// Check whether a model can be judged by an attack, and whether the attack is sound.
    Doctor(doctor::DoctorArguments),
    /// Train and audit data sets x models x methods x seeds, and compare the methods.
    Experiment(experiment::ExperimentArguments),
    /// Show a run while it goes on: in the terminal, as text, or as a page.
    Watch(watch::WatchArguments),
    /// Write event files for TensorBoard from the logs of runs.
    Tensorboard(tensorboard::TensorboardArguments),
    /// Write a page (HTML) of one run or several, to be read by people.
    Report(page::ReportArguments),
    /// Print the figures of finished audits side by side.
    Show(show::ShowArguments),
    /// Figures of predictions or a confusion matrix of any program.
    Metrics(metrics::MetricsArguments),
    /// Compare two runs, and fail if a condition holds.
    Compare(compare::CompareArguments),
    /// List the architectures with their parameters and costs.
    Models(models::ModelsArguments),
    /// Turn weights of PyTorch or safetensors into a model directory.
    Import(weights::ImportArguments),
    /// Write the weights of a model as safetensors under the names of PyTorch.
    Export(weights::ExportArguments),
    /// Logits of a model, and gradients with respect to the pixels.
    Predict(predict::PredictArguments),
    /// Measure how fast this machine trains and attacks.
    Bench(bench::BenchArguments),
}

/// Set by the first Ctrl-C or SIGTERM.
pub(crate) struct Context {
    stop: StopFlag,
    /// Whether events go to standard output, and what is for people to standard error.
    json: bool,
    /// Who trains.
    team: &'static dyn Team,
}

impl Context {
    /// For commands that save and return when they are asked to stop.
    fn stoppable() -> anyhow::Result<Self> {
        Ok(Self { stop: install_stop_flag()?, json: false, team: &Alone })
    }

    /// The same with events on standard output, if `json` is set.
    fn with_json(self, json: bool) -> Self {
        Self { json, ..self }
    }

    /// The log of a run.
    fn events(&self, path: &Path) -> Result<EventLog, RunError> {
        let log = EventLog::open(path)?;
        Ok(if self.json { log.with_copy(Box::new(std::io::stdout())) } else { log })
    }

    /// The same as one rank of several.
    fn in_team(self, team: &'static dyn Team) -> Self {
        Self { team, ..self }
    }

    /// Prints what a command came to: to standard output, unless that is for events. One rank speaks for all.
    fn say(&self, text: &str) {
        if self.team.rank() > 0 {
            return;
        }
        if self.json {
            eprintln!("{text}");
        } else {
            say(text);
        }
    }
}

/// The work was interrupted; `resume` is the command that goes on.
#[derive(Debug, thiserror::Error)]
#[error("stopped; everything so far is saved. To go on: {resume}")]
struct Interrupted {
    resume: String,
}

/// Arguments that make no sense, or not together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// A condition that was to be reported holds.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

/// Parses the arguments, does what they ask and prints what went wrong.
pub fn run() -> ExitCode {
    let command = Arguments::parse().command;
    // A page is served by threads of its own, which must find a worker free.
    let waits = matches!(command, Command::Watch(_));
    let done = if waits { dispatch(command) } else { among_workers(|| dispatch(command)) };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if error.is::<Interrupted>() || error.is::<Failed>() {
        eprintln!("{error}");
    } else {
        eprintln!("error: {}", in_words(&error));
    }
    ExitCode::from(exit_code(&error))
}

/// Runs a command on one of the threads that share its work. From outside each kernel would wake one of them,
/// sleep until all are done, and be woken.
fn among_workers(work: impl FnOnce() -> anyhow::Result<()> + Send) -> anyhow::Result<()> {
    rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES).build_global().map_err(|error| {
        Usage(format!(
            "cannot start as many threads as RAYON_NUM_THREADS or the number of processors says ({error}); set it to a \
             smaller number"
        ))
    })?;
    rayon::scope(|_| work())
}

/// See the head of this module.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Interrupted>() {
        130
    } else if error.is::<Failed>() {
        3
    } else if error.is::<ConfigError>() || error.is::<Usage>() {
        2
    } else {
        1
    }
}

/// An error with its causes. Many say their cause already; nothing is said twice.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |words, cause| {
        let cause = cause.to_string();
        if words.contains(&cause) { words } else { format!("{words}: {cause}") }
    })
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(arguments) => demo::demo(&arguments, &Context::stoppable()?),
        Command::Data(command) => data::data(command),
        Command::Train(arguments) => {
            train::train(&arguments, &Context::stoppable()?.with_json(arguments.json))
        }
        Command::Audit(arguments) => {
            audit::audit(&arguments, &Context::stoppable()?.with_json(arguments.json))
        }
        Command::Merge(arguments) => merge::merge(&arguments, &Context::stoppable()?),
        Command::Attack(arguments) => attack::attack(&arguments, &Context::stoppable()?),
        Command::Certify(arguments) => certify::certify(&arguments, &Context::stoppable()?),
        Command::Doctor(arguments) => doctor::doctor(&arguments, &Context::stoppable()?),
        Command::Experiment(arguments) => experiment::experiment(&arguments, &Context::stoppable()?),
        Command::Watch(arguments) => watch::watch(&arguments),
        Command::Tensorboard(arguments) => tensorboard::tensorboard(&arguments),
        Command::Report(arguments) => page::report(&arguments),
        Command::Show(arguments) => show::show(&arguments),
        Command::Metrics(arguments) => metrics::metrics(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Models(arguments) => {
            models::models(&arguments);
            Ok(())
        }
        Command::Import(arguments) => weights::import(&arguments),
        Command::Export(arguments) => weights::export(&arguments),
        Command::Predict(arguments) => predict::predict(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
    }
}

/// The command that was given, for the log and for the message of how to resume.
fn command_line() -> String {
    let words: Vec<String> = std::env::args_os()
        .map(|word| {
            let word = word.to_string_lossy().into_owned();
            let plain =
                !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_./=:,+".contains(c));
            if plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
        })
        .collect();
    words.join(" ")
}

/// [`command_line`] with `--resume`, for the message of how to go on. Demo, experiment and shards go on by themselves.
fn resume_command() -> String {
    let command = command_line();
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let goes_on = words.get(1).is_some_and(|word| word == "demo" || word == "experiment")
        || words.iter().any(|word| word == "--resume" || word == "--shard" || word.starts_with("--shard="));
    if goes_on { command } else { format!("{command} --resume") }
}

/// Whether a run was started in this directory.
fn begun(out: &Path) -> bool {
    out.join("config.toml").exists()
}

/// The seeds that a configuration file can hold.
fn seeds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(..1 << 62)
}

/// Prints to standard output. Whoever reads may stop reading (`syfar show RUN | head`): no error.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A new run directory, or the one to go on with.
fn run_directory(out: &Path, stored: &str, resume: bool) -> Result<RunDir, RunError> {
    if resume { RunDir::resume(out, stored) } else { RunDir::create(out, stored) }
}

/// The configuration as the run directory keeps it: with what else must stay the same for a resumed run
/// to be the same run, the pictures, the model that is attacked, the mask.
fn stored_config(
    config: &impl serde::Serialize,
    data: &crate::data::Dataset,
    files: &[&Path],
) -> anyhow::Result<String> {
    // By way of text, so that numbers are those that a person would write.
    let mut table: toml::Table = toml::to_string(config)?.parse()?;
    let mut fixed = toml::Table::new();
    fixed.insert("syfar_version".to_owned(), env!("CARGO_PKG_VERSION").into());
    fixed.insert("data_hash".to_owned(), data.hash.as_str().into());
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let digest =
            Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        fixed.insert(file.display().to_string(), digest.into());
    }
    table.insert("provenance".to_owned(), toml::Value::Table(fixed));
    Ok(toml::to_string(&table)?)
}

/// Keeps the division of the pictures with the run, where it does not follow from their folders.
fn keep_splits(layout: &Layout, data: &crate::data::Dataset) -> Result<(), RunError> {
    data.splits.as_ref().map_or(Ok(()), |splits| write_file(&layout.splits(), splits.as_bytes()))
}

/// What the first line of a log says: how the run came about, and what it is about to do.
fn provenance(seed: u64, data: &crate::data::Dataset, plan: serde_json::Value) -> serde_json::Value {
    let mut start = serde_json::json!({
        "command": command_line(),
        "syfar_version": env!("CARGO_PKG_VERSION"),
        "git_commit": env!("SYFAR_COMMIT"),
        "device": format!("{:?}", burn::tensor::Device::default()),
        "instruction_set": crate::nn::instruction_set(),
        "threads": rayon::current_num_threads(),
        "seed": seed,
        "data_hash": data.hash,
        "classes": data.classes,
    });
    if let (Some(start), serde_json::Value::Object(plan)) = (start.as_object_mut(), plan) {
        start.extend(plan);
    }
    start
}

/// Refuses a model whose classes are not those of the data, in the same order.
fn same_classes(model: &[String], data: &[String], from: &Path) -> anyhow::Result<()> {
    if model == data {
        return Ok(());
    }
    anyhow::ensure!(
        !model.is_empty(),
        "the model {} gives embeddings and knows no classes. Train a head on it: syfar train --set model.from={} \
         --set model.new_head=true",
        from.display(),
        from.display()
    );
    let missing = |of: &[String], from: &[String]| -> String {
        let names: Vec<&str> =
            of.iter().filter(|name| !from.contains(name)).take(3).map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    anyhow::bail!(
        "the model {} knows {} classes, the data set has {}. Only in the model: {}; only in the data: {}. \
         Use the data set that the model was trained on, or train a new model.",
        from.display(),
        model.len(),
        data.len(),
        missing(model, data),
        missing(data, model)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = || anyhow::anyhow!("no such file");
        assert_eq!(in_words(&error().context("a.toml")), "a.toml: no such file");
        assert_eq!(
            in_words(&error().context("a.toml: no such file. Correct the path.")),
            "a.toml: no such file. Correct the path."
        );
    }
}
