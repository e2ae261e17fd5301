//! The command line: arguments in, exit code out. Only this module prints.
//!
//! Exit codes: 0 done, 1 error, 2 usage or configuration, 130 interrupted and resumable.

mod audit;
mod config;
mod data;
mod demo;
mod progress;
mod show;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::{StopFlag, install_stop_flag};
use config::ConfigError;

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
    /// Print the figures of finished audits side by side.
    Show(show::ShowArguments),
}

/// Set by the first Ctrl-C or SIGTERM.
pub(crate) struct Context {
    stop: StopFlag,
}

/// The work was interrupted; `resume` is the command that goes on.
#[derive(Debug, thiserror::Error)]
#[error("stopped; everything so far is saved. To go on: {resume}")]
struct Interrupted {
    resume: String,
}

/// Parses the arguments, does what they ask and prints what went wrong.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match install_stop_flag()
        .map_err(anyhow::Error::from)
        .and_then(|stop| dispatch(arguments, &Context { stop }))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("{error}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn dispatch(arguments: Arguments, context: &Context) -> anyhow::Result<()> {
    match arguments.command {
        Command::Demo(arguments) => demo::demo(&arguments, context),
        Command::Data(command) => data::data(command),
        Command::Train(arguments) => train::train(&arguments, context),
        Command::Audit(arguments) => audit::audit(&arguments, context),
        Command::Show(arguments) => show::show(&arguments),
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

/// [`command_line`] with `--resume`, for the message of how to go on.
fn resume_command() -> String {
    let command = command_line();
    if command.contains(" --resume") || command.contains(" demo") {
        command
    } else {
        format!("{command} --resume")
    }
}

/// A path from a configuration file, which is relative to the file.
fn beside(file: Option<&PathBuf>, path: PathBuf) -> PathBuf {
    match file.and_then(|file| file.parent()) {
        Some(directory) => directory.join(path),
        None => path,
    }
}

/// The configuration as the run directory keeps it: with what else must stay the same for a resumed run
/// to be the same run.
fn stored_config(config: &impl serde::Serialize, data: &crate::data::Dataset) -> anyhow::Result<String> {
    let mut table = toml::Table::try_from(config)?;
    let fixed = [("syfar_version", env!("CARGO_PKG_VERSION")), ("data_hash", data.hash.as_str())];
    let fixed = fixed.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    table.insert("provenance".to_owned(), toml::Value::Table(fixed));
    Ok(toml::to_string(&table)?)
}

/// What the first line of a log says: how the run came about.
fn provenance(seed: u64, data: &crate::data::Dataset) -> serde_json::Value {
    serde_json::json!({
        "command": command_line(),
        "syfar_version": env!("CARGO_PKG_VERSION"),
        "device": format!("{:?}", burn::tensor::Device::default()),
        "threads": rayon::current_num_threads(),
        "seed": seed,
        "data_hash": data.hash,
        "classes": data.classes,
    })
}

/// Refuses a model whose classes are not those of the data, in the same order.
fn same_classes(model: &[String], data: &[String], from: &std::path::Path) -> anyhow::Result<()> {
    if model == data {
        return Ok(());
    }
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
